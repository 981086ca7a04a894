"""Adding structures: the result of a full refit, at a cost that does not grow with what was seen."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gapkit import RBF, SOAP, DotProduct, GAPRegressor, Noise, Term, load
from gapkit.exceptions import InvalidStructureError, NumericalWarning
from gapkit.gp import posterior
from gapkit.gp.sparsify import greedy_cholesky
from gapkit.model.folding import fold_rows, solve
from gapkit.model.potential import Potential
from gapkit.model.training import SparseModel, TrainingSet
from tests.conftest import copper_gold, labelled


def model(**parameters):
    terms = [
        ("long", Term(SOAP(r_cut=4.2, n_max=3, l_max=2), DotProduct(3), n_sparse=20)),
        ("short", Term(SOAP(r_cut=3.2, n_max=2, l_max=2), RBF(0.8), delta=0.3, n_sparse=12, selection="fps")),
    ]
    e0 = {"Cu": 0.1, "Au": -0.2}
    return GAPRegressor(terms, noise=Noise(1e-3, 0.02, 1e-3), e0=e0, random_state=0, **parameters)


def refit(fitted, frames, reference):
    """A potential with the sparse points of ``fitted``, from all frames at once."""
    sparse = SparseModel(fitted.terms_, fitted.potential_.terms, fitted.noise_)
    training = TrainingSet(list(frames), reference.training_.labels)
    factors = fold_rows(sparse, training.chunks(fitted.potential_.e0, fitted.noise_), approximation=fitted.approximation)
    solved, coefficients = solve(sparse, factors)
    return Potential(sparse.sparse, fitted.potential_.e0, coefficients, solved, fitted.approximation)


def assert_same_predictions(one, two):
    test = [copper_gold(70, (True, True, False)), copper_gold(71, (True, True, True))]
    for p, q in zip(*(m.evaluate(test, uncertainty="exact") for m in (one, two)), strict=True):
        assert_allclose(p.energy, q.energy, rtol=0, atol=1e-8)
        assert_allclose(p.forces, q.forces, rtol=0, atol=1e-8)
        assert_allclose(p.stress, q.stress, rtol=0, atol=1e-8)
        assert_allclose(p.energies_std, q.energies_std, rtol=1e-6)


@pytest.mark.parametrize("approximation", ["dtc", "fitc", "vfe"])
def test_equals_a_full_refit(alloy, approximation):
    stepwise = model(approximation=approximation).fit(alloy[:6])
    for atoms in alloy[6:]:
        stepwise.partial_fit([atoms])
    again = model(approximation=approximation).fit(alloy[:6])
    again.potential_ = refit(again, alloy, stepwise)
    assert_same_predictions(stepwise, again)
    assert stepwise.n_labels_["energy"] == len(alloy) == len(stepwise.training_.frames)


def test_only_the_new_rows_are_folded(alloy, monkeypatch):
    """The work does not grow with the structures that were seen: no row of theirs is touched."""
    fitted = model().fit(alloy * 3)
    folded = []
    original = posterior.RowFactor.fold
    monkeypatch.setattr(
        posterior.RowFactor, "fold", lambda self, rows, *a, **k: (folded.append(len(rows)), original(self, rows, *a, **k))
    )
    new = labelled(copper_gold(40, (True, True, True)))
    fitted.partial_fit([new])
    assert sum(folded) == 1 + 3 * len(new) + 6


def test_unfitted_and_loaded_models(alloy, tmp_path):
    fresh = model().partial_fit(alloy[:6])
    assert fresh.n_labels_["energy"] == 6
    fresh.save(tmp_path / "model.gap")
    loaded = load(tmp_path / "model.gap").partial_fit(alloy[6:])
    assert_same_predictions(loaded, fresh.partial_fit(alloy[6:]))
    with pytest.raises(ValueError, match="add_sparse needs the structures of earlier fits"):
        loaded.partial_fit(alloy[:1], add_sparse=2)
    fresh.save(tmp_path / "small.gap", posterior=False)
    with pytest.raises(ValueError, match="partial_fit needs a model with its posterior"):
        load(tmp_path / "small.gap").partial_fit(alloy[:1])


def test_new_species_are_refused_and_nothing_changes(alloy):
    fitted = model().fit(alloy[:6])
    before = fitted.predict(alloy[:2])
    strange = copper_gold(3)
    strange.symbols[0] = "Ni"
    strange = labelled(strange)
    with pytest.raises(InvalidStructureError, match="got Ni in frame 0"):
        fitted.partial_fit([strange])
    assert_allclose(fitted.predict(alloy[:2]), before, rtol=0, atol=0)
    assert len(fitted.training_.frames) == 6


def test_sparse_points_are_added_where_the_prior_is_known_least(alloy):
    fitted = model().fit(alloy[:4])
    n = fitted.n_sparse_
    liquid = copper_gold(33, (True, True, True), n=8)
    liquid.rattle(0.5, seed=1)  # unlike anything before
    liquid = labelled(liquid)
    outside = model().fit(alloy[:4]).partial_fit([liquid])
    fitted.partial_fit([liquid], add_sparse=5)
    assert fitted.n_sparse_ == n + 5
    # the local energies of the new structure are known better than without
    std = [m.evaluate([liquid], uncertainty="exact", std=("energies",))[0].energies_std for m in (fitted, outside)]
    assert np.max(std[0]) < 0.7 * np.max(std[1])
    # and the rows of the old structures are there too: equal to a fold of everything
    again = model().fit(alloy[:4])
    again.terms_, again.potential_ = fitted.terms_, refit(fitted, [*alloy[:4], liquid], fitted)
    assert_same_predictions(fitted, again)


def test_greedy_choice_equals_the_dense_formula(alloy):
    """Each pick is the largest diagonal element of the covariance given all points before it."""
    fitted = model().fit(alloy[:4])
    term = fitted.potential_.terms[1]
    features = term.descriptor.transform(alloy[5:])
    numbers = np.concatenate([atoms.numbers for atoms in alloy[5:]])
    values = features[numbers == 29]
    points = term.points[0]
    known = np.linalg.solve(np.linalg.cholesky(term.kernel(points)), term.kernel(points, values))
    picked, _, variance = greedy_cholesky(term.kernel, values, 4, known=known)
    for step in range(4):
        given = np.vstack([points, values[picked[:step]]])
        known = term.kernel(values, given) @ np.linalg.solve(term.kernel(given), term.kernel(given, values))
        left = 1.0 - np.diag(known)
        assert picked[step] == np.argmax(left)
        assert_allclose(variance[step], left.max(), rtol=1e-6)  # condition number of the dense matrix


def test_points_that_tell_nothing_new_are_not_added(alloy):
    fitted = model().fit(alloy[:4])
    with pytest.warns(NumericalWarning, match="sparse points to be added"):
        fitted.partial_fit(alloy[:1], add_sparse=200)


def test_remembered_training_set(tmp_path):
    """A model from a file that is given its structures back goes on as the model that was saved; others are refused."""
    frames = [labelled(copper_gold(seed)) for seed in range(12)]
    first = model().fit(frames[:-2])
    first.save(tmp_path / "model.gap")
    again = load(tmp_path / "model.gap").remember(frames[:-2])
    for one in (first, again):
        one.partial_fit(frames[-2:], add_sparse=3).calibrate("loo")
    # the same operations in the same order, up to the memory order of factors that were read from a file
    assert_allclose(again.predict(frames), first.predict(frames), rtol=0, atol=1e-8)
    assert again.calibration_.maps["forces"].scale == pytest.approx(first.calibration_.maps["forces"].scale, rel=1e-5)
    with pytest.raises(ValueError, match=r"must be the training set, which had .* got"):
        load(tmp_path / "model.gap").remember(frames)
