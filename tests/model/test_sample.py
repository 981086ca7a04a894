"""Potentials drawn from the posterior."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase.calculators.fd import calculate_numerical_forces
from numpy.testing import assert_allclose, assert_array_equal

from gapkit import RBF, SOAP, DotProduct, GAPCalculator, GAPRegressor, Noise, Term, TwoBody, load
from gapkit.model.prediction import predict
from gapkit.neighbors import NeighborList
from tests.conftest import copper_gold


@pytest.fixture(scope="module")
def model(alloy):
    terms = [
        Term(SOAP(4.2, 3, 2), DotProduct(3), n_sparse=24),
        Term(TwoBody(4.0, tabulate=True), RBF(0.8), delta=0.3, n_sparse=10),
    ]
    return GAPRegressor(terms, noise=Noise(1e-2, 0.1, 1e-2), random_state=0).fit(alloy)


def test_each_conserves_its_energy(model):
    """Step 1e-3 Å and tolerance as for the mean; they differ from it and from each other."""
    atoms = copper_gold(50, (True, True, False))
    forces = []
    for member in model.sample(2, random_state=0):
        atoms.calc = GAPCalculator(member)
        forces.append(atoms.get_forces())
        assert_allclose(forces[-1], calculate_numerical_forces(atoms, eps=1e-3), rtol=0, atol=1e-5)
    mean = model.evaluate([atoms])[0].forces
    assert min(np.abs(forces[0] - mean).max(), np.abs(forces[0] - forces[1]).max()) > 1e-3


def test_mean_and_covariance_are_those_of_the_posterior(model):
    """400 samples: the mean to 4 of its standard errors, variances to 4 times their 7 %, and a correlation."""
    atoms = copper_gold(51, (True, True, True))
    neighbors = NeighborList.from_atoms([atoms], 4.2)
    sor = replace(model.potential_, approximation="sor")
    (exact,) = predict(sor, neighbors, uncertainty="exact", std=("energy", "forces", "stress"))
    found = [m.evaluate([atoms])[0] for m in model.sample(400, random_state=1)]
    for kind in ("energy", "forces", "stress"):
        values = np.array([np.ravel(getattr(p, kind)) for p in found])
        mean, std = np.ravel(getattr(exact, kind)), np.ravel(getattr(exact, f"{kind}_std"))
        assert (np.abs(values.mean(axis=0) - mean) < 4 * std / np.sqrt(400)).all(), kind
        assert_allclose(values.var(axis=0), std**2, rtol=4 * np.sqrt(2 / 400), err_msg=kind)


def test_seeds_and_what_a_sample_is(model, alloy, tmp_path):
    one, two = (model.sample(2, random_state=3) for _ in range(2))
    assert_array_equal(one[1].predict(alloy), two[1].predict(alloy))
    assert not np.array_equal(one[0].predict(alloy), one[1].predict(alloy))
    assert one[0].potential_.terms is model.potential_.terms
    assert model.potential_.posterior is not None
    one[0].save(tmp_path / "sample.gap")
    assert_array_equal(load(tmp_path / "sample.gap").predict(alloy), one[0].predict(alloy))
    model.save(tmp_path / "model.gap")
    assert_array_equal(load(tmp_path / "model.gap").sample(1, 3)[0].predict(alloy), model.sample(1, 3)[0].predict(alloy))


def test_bad_input(model, alloy):
    with pytest.raises(ValueError, match="`n` must be an integer of at least 1; got 0"):
        model.sample(0)
    (member,) = model.sample(1, random_state=0)
    with pytest.raises(ValueError, match=r"must have its posterior for this; got one without"):
        member.sample(1)
    with pytest.raises(ValueError, match="`uncertainty` must be None or 'prior' for a model without posterior"):
        member.evaluate(alloy, uncertainty="exact")
