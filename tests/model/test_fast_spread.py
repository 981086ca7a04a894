"""Fast standard deviations: exact with as many directions and members as sparse points, bounded and unbiased with fewer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gapkit import RBF, SOAP, DotProduct, GAPCalculator, GAPRegressor, Noise, Term, TwoBody, load
from gapkit.model.fast_posterior import FastPosterior
from gapkit.model.prediction import predict
from gapkit.neighbors import NeighborList
from tests.conftest import copper_gold

EVERY = ("energy", "energies", "forces", "stress")


@pytest.fixture(scope="module")
def model(alloy):
    """A term of atoms with scaled features, and one of pairs with a kernel whose slope has a part along x."""
    terms = [
        Term(SOAP(4.2, 4, 3), DotProduct(3), n_sparse=30, scale=np.linspace(0.5, 1.5, 144)),
        Term(TwoBody(4.0), RBF(0.8), delta=0.3, n_sparse=20),
    ]
    return GAPRegressor(terms, noise=Noise(1e-3, 0.02, 1e-3), random_state=0).fit(alloy)


@pytest.fixture(scope="module")
def structures():
    return NeighborList.from_atoms([copper_gold(50, (True, True, False)), copper_gold(51, (True, True, True), n=8)], 4.2)


def deviations(potential, neighbors, uncertainty):
    found = predict(potential, neighbors, uncertainty=uncertainty, std=EVERY)
    return {name: np.concatenate([np.ravel(getattr(p, f"{name}_std")) for p in found]) for name in EVERY}


def with_size(potential, rank, n_members):
    result = replace(potential)
    result.__dict__["fast"] = FastPosterior.of(
        potential.terms,
        potential.posterior,
        rank=rank,
        n_members=n_members,
    )
    return result


@pytest.mark.parametrize("approximation", ["dtc", "sor"])
def test_exact_when_large_enough(model, structures, approximation):
    """Energies to 1e-6: the tail of a difference of numbers of order 1.  Forces lack what the sparse points do not see."""
    potential = with_size(replace(model.potential_, approximation=approximation), 1000, 1000)
    exact = deviations(replace(potential), structures, "exact")
    sor = deviations(replace(potential, approximation="sor"), structures, "exact")
    fast = deviations(potential, structures, "fast")
    for kind in ("energy", "energies"):
        assert_allclose(fast[kind], exact[kind], rtol=1e-6, err_msg=kind)
    for kind in ("forces", "stress"):
        assert_allclose(fast[kind], sor[kind], rtol=0, atol=1e-8 * sor[kind].max(), err_msg=kind)


@pytest.mark.parametrize("approximation", ["dtc", "sor"])
def test_estimates_of_few_directions(model, structures, approximation):
    """Half of the directions: within a factor of 3 for every atom and total, though the sparse points see little of these."""
    potential = with_size(replace(model.potential_, approximation=approximation), 25, 4)
    exact, fast = (deviations(potential, structures, u) for u in ("exact", "fast"))
    for kind in ("energy", "energies"):
        assert np.abs(np.log(fast[kind] / exact[kind])).max() < np.log(3), kind


def test_committee_is_unbiased(model, structures, monkeypatch):
    """Mean of the variances of 100 committees of 4 against the exact ones; the error of the mean is 2.5 % a component."""
    sor = deviations(replace(model.potential_, approximation="sor"), structures, "exact")
    mean = {kind: 0.0 for kind in ("forces", "stress")}
    for seed in range(100):
        monkeypatch.setattr("gapkit.model.fast_posterior._SEED", seed)
        found = deviations(with_size(model.potential_, 1, 4), structures, "fast")
        for kind in mean:
            mean[kind] = mean[kind] + found[kind] ** 2 / 100
    for kind, value in mean.items():
        assert_allclose(np.mean(value / sor[kind] ** 2), 1.0, rtol=0.05, err_msg=kind)


def test_one_committee_for_a_model_and_its_file(model, structures, tmp_path):
    model.save(tmp_path / "m.gap")
    one, two = (
        deviations(model.potential_, structures, "fast"),
        deviations(load(tmp_path / "m.gap").potential_, structures, "fast"),
    )
    for kind in EVERY:
        assert_array_equal(one[kind], deviations(replace(model.potential_), structures, "fast")[kind])
        assert_allclose(one[kind], two[kind], rtol=1e-9, err_msg=kind)


def test_calculator_and_estimator(model, alloy):
    atoms = alloy[0].copy()
    atoms.calc = GAPCalculator(model, uncertainty="fast", std=("energies", "forces"))
    atoms.get_forces()
    (p,) = model.evaluate([atoms], uncertainty="fast", std=("energies", "forces"))
    assert_allclose(atoms.calc.prediction.energies_std, p.energies_std, rtol=1e-6)
    assert_allclose(atoms.calc.prediction.forces_std, p.forces_std, rtol=1e-6)
    assert p.energy_std is None


def test_needs_the_posterior(model, alloy, tmp_path):
    model.save(tmp_path / "m.gap", posterior=False)
    with pytest.raises(ValueError, match="`uncertainty` must be None or 'prior' for a model without posterior; got 'fast'"):
        load(tmp_path / "m.gap").evaluate(alloy, uncertainty="fast")
