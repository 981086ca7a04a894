"""Forces on a part of the atoms: which, is a matter of the seed and of each structure, and the rest costs nothing."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gapkit import RBF, SOAP, DotProduct, GAPRegressor, Noise, Term, TwoBody, load
from gapkit.cli.config import config_of, model_from_config, override
from gapkit.gp import design
from gapkit.gp.design import kernel_rows
from gapkit.gp.observations import labels_of
from gapkit.model import estimate_fit
from gapkit.model.left_out import rows_of_some
from gapkit.model.training import TrainingSet
from gapkit.neighbors import NeighborList
from tests.conftest import assert_equal_models, copies

NOISE = Noise(energy=0.01, forces=0.1, stress=0.02)


def model(**parameters):
    terms = [
        Term(SOAP(r_cut=4.0, n_max=2, l_max=2), DotProduct(3), n_sparse=20, selection="fps"),
        Term(TwoBody(4.0), RBF(0.3), n_sparse=10),
    ]
    return GAPRegressor(terms, noise=NOISE, e0={"Cu": 0.0, "Au": 0.0}, random_state=0, **parameters)


def labels(frames, fraction, seed=0):
    whole = TrainingSet(frames, [labels_of(atoms, k) for k, atoms in enumerate(frames)])
    return whole.with_force_fraction(fraction, seed).labels


def test_the_choice_hangs_on_seed_and_structure_alone(alloy):
    found = labels(alloy, 0.5)
    for one, two in zip(found, labels(alloy[::-1], 0.5)[::-1], strict=True):
        assert_array_equal(one.forces_sigma, two.forces_sigma)
    assert any(
        not np.array_equal(a.force_atoms(), b.force_atoms()) for a, b in zip(found, labels(alloy, 0.5, seed=1), strict=True)
    )
    for y in found:  # whole atoms
        assert set(np.isinf(y.forces_sigma).sum(axis=1)) <= {0, 3}


def test_the_fraction_is_right_on_average(alloy):
    """1000 seeds, 4 atoms or so a frame: the standard deviation of the mean of the rounding, at most ½, is 0.016 atoms."""
    y, n = labels_of(alloy[0], 0), len(alloy[0])
    for fraction in (0.1, 0.6):
        counts = [len(y.with_some_forces(fraction, np.random.default_rng(seed)).force_atoms()) for seed in range(1000)]
        assert set(counts) <= {int(fraction * n), int(fraction * n) + 1}
        assert_allclose(np.mean(counts), fraction * n, atol=0.05)  # three standard deviations


def test_rows_are_those_of_the_atoms_chosen(alloy):
    """The rows that are left equal the same rows among all, and their environments cost no more products than they need."""
    terms = model().fit(alloy[:4]).potential_.terms
    neighbors = NeighborList.from_atoms(alloy, 4.0)
    whole, some = labels(alloy, 1.0), labels(alloy, 0.4)
    rows, part = (kernel_rows(terms, neighbors, y) for y in (whole, some))
    kept = np.concatenate([np.repeat(np.isin(np.arange(len(a)), y.force_atoms()), 3) for a, y in zip(alloy, some, strict=True)])
    assert 0 < kept.sum() < len(kept)
    assert_allclose(part.forces, rows.forces[kept], rtol=0, atol=1e-12 * np.abs(rows.forces).max())
    assert_array_equal(part.energy, rows.energy)
    assert_allclose(part.stress, rows.stress, rtol=0, atol=1e-12 * np.abs(rows.stress).max())


def test_products_are_computed_only_for_forces_that_are_fitted(alloy, monkeypatch):
    terms, neighbors, sizes = model().fit(alloy[:4]).potential_.terms, NeighborList.from_atoms(alloy, 4.0), []
    of = design._Slopes.of

    def watched(*arguments):
        result = of(*arguments)
        sizes[-1] += len(result.pair)
        return result

    monkeypatch.setattr(design._Slopes, "of", staticmethod(watched))
    for fraction in (1.0, 0.5, 1e-9):
        sizes.append(0)
        kernel_rows(terms, neighbors, labels(alloy, fraction))
    assert sizes[0] > sizes[1] > sizes[2] == 0


@pytest.mark.parametrize("approximation", ["dtc", "fitc"])
def test_a_fit_equals_one_with_the_others_masked(alloy, approximation):
    one = model(force_fraction=0.5, approximation=approximation).fit(alloy)
    masked = copies(alloy)
    for atoms, y in zip(masked, labels(alloy, 0.5), strict=True):
        atoms.new_array("force_mask", ~np.isin(np.arange(len(atoms)), y.force_atoms()))
    two = model(approximation=approximation).fit(masked)
    assert one.n_labels_ == two.n_labels_
    assert 0.3 < one.n_labels_["forces"] / (3 * sum(map(len, alloy))) < 0.7
    assert_equal_models(one, two)


def test_chunks_threads_and_executors_do_not_change_it(alloy, monkeypatch):
    one = model(force_fraction=0.5).fit(alloy)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("forkserver")) as executor:
        assert_equal_models(one, model(force_fraction=0.5).fit(alloy, executor=executor))
    monkeypatch.setattr(TrainingSet.chunks, "__defaults__", (1,))
    assert_equal_models(one, model(force_fraction=0.5).fit(alloy))


def test_partial_fit_remember_and_leave_one_out(alloy, tmp_path):
    whole = model(force_fraction=0.5).fit(alloy)
    parts = model(force_fraction=0.5).fit(alloy[:6])
    parts.save(tmp_path / "half.gap")
    loaded = load(tmp_path / "half.gap")
    assert loaded.force_fraction == 0.5
    with pytest.raises(ValueError, match="must be the training set"):
        loaded.set_params(force_fraction=1.0).remember(alloy[:6])
    loaded.set_params(force_fraction=0.5).remember(alloy[:6])  # the same atoms again, by their count
    for fitted in (parts, loaded):
        assert fitted.partial_fit(alloy[6:]).n_labels_ == whole.n_labels_
    assert_equal_models(parts, loaded)
    assert parts.calibrate("loo").calibration_ is not None
    args = (whole.potential_.terms, whole.training_, whole.potential_.e0, NOISE, 100, 0)
    for rows in rows_of_some(*args):
        forces = alloy[rows.number].get_forces().ravel()
        of_forces = rows.kind == "forces"
        assert_array_equal(rows.target[of_forces], forces[rows.place[of_forces]])  # places are components of the structure


def test_memory_and_time_are_estimated_for_what_is_fitted(alloy):
    found = estimate_fit(model(force_fraction=0.5), alloy, timing=False)
    assert found.rows["forces:"] == model(force_fraction=0.5).fit(alloy).n_labels_["forces"]


def test_configuration(alloy):
    config = override(config_of(model()), ["force_fraction=0.25"])
    assert "force_fraction" not in config_of(model())
    again = model_from_config(config)
    assert again.force_fraction == again.explicit(alloy).force_fraction == 0.25
    assert config_of(again)["force_fraction"] == 0.25


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (0.0, ValueError, "`force_fraction` must be a number above 0 and at most 1; got 0.0"),
        (1.5, ValueError, "`force_fraction` must be a number above 0 and at most 1; got 1.5"),
        ("half", TypeError, "`force_fraction` must be a number above 0 and at most 1; got 'half'"),
    ],
)
def test_bad_fractions(alloy, value, error, message):
    with pytest.raises(error, match=message):
        model(force_fraction=value).fit(alloy)
