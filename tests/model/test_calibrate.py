"""Calibration of a model: leave-one-out equals refits; what is learned is applied, stored, and helps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from numpy.testing import assert_allclose

from gapkit import RBF, SOAP, DotProduct, GAPCalculator, GAPRegressor, Noise, Term, load
from gapkit.exceptions import NumericalWarning
from gapkit.gp.calibration import Calibration
from gapkit.gp.sparse_term import SparseTerm
from gapkit.model.folding import fold_rows, solve
from gapkit.model.labelled_errors import labelled_errors
from gapkit.model.left_out import left_out, rows_of_some
from gapkit.model.training import SparseModel, TrainingSet
from tests.conftest import copper_gold, labelled

STD = ("energy", "energies", "forces", "stress")


def model(**parameters):
    terms = [
        ("long", Term(SOAP(r_cut=4.2, n_max=3, l_max=2), DotProduct(3), n_sparse=20)),
        ("short", Term(SOAP(r_cut=3.2, n_max=2, l_max=2), RBF(0.8), delta=0.3, n_sparse=12, selection="fps")),
    ]
    return GAPRegressor(terms, noise=Noise(1e-3, 0.02, 1e-3), e0={"Cu": 0.1, "Au": -0.2}, random_state=0, **parameters)


@pytest.fixture(scope="module")
def fitted(alloy):
    return model().fit(alloy)


@pytest.fixture(scope="module")
def others():
    return [labelled(copper_gold(seed, (True, True, True), n=8)) for seed in range(30, 40)]


def without_own(rows):
    return replace(rows, own_points=np.empty(0, np.int64))


@pytest.mark.parametrize("approximation", ["dtc", "sor", "vfe", "fitc"])
def test_left_out_errors_equal_those_of_fits_without_the_structure(alloy, approximation):
    """Same sparse points, one structure less: residuals and deviations, energy, forces and stress."""
    fitted = model(approximation=approximation).fit(alloy)
    sparse, potential = SparseModel(fitted.terms_, fitted.potential_.terms, fitted.noise_), fitted.potential_
    found = {
        rows.number: (rows, left_out(sparse, potential.posterior, without_own(rows), approximation))
        for rows in rows_of_some(
            sparse.sparse, fitted.training_, potential.e0, fitted.noise_, 100, 0, unexplained=approximation != "sor"
        )
    }
    for k in (0, 3, 8):
        kept = [i for i in range(len(alloy)) if i != k]
        chunks = fitted.training_.sample(kept).chunks(potential.e0, fitted.noise_)
        factors = fold_rows(sparse, chunks, approximation=approximation)
        posterior, coefficients = solve(sparse, factors)
        without = model(approximation=approximation).fit(alloy)
        without.potential_ = replace(potential, posterior=posterior, coefficients=coefficients)
        expected = labelled_errors([alloy[k]], without.evaluate([alloy[k]], uncertainty="exact", std=STD))
        rows, (residuals, deviations) = found[k]
        for kind, sample in expected.items():
            mine = rows.kind == kind
            scale = np.abs(sample.residual).max()
            assert_allclose(residuals[mine] * rows.divisor[mine], sample.residual, rtol=0, atol=1e-6 * scale, err_msg=kind)
            # the posterior of 32 points from 10 frames has a condition number of 1e8
            assert_allclose(deviations[mine] * rows.divisor[mine], sample.std, rtol=1e-4, atol=1e-9, err_msg=kind)


def test_deviations_do_without_the_sparse_points_of_the_structure(alloy):
    """As those of a model whose sparse points are those of the other structures; means need not be."""
    fitted = model().fit(alloy)
    sparse, potential = SparseModel(fitted.terms_, fitted.potential_.terms, fitted.noise_), fitted.potential_
    rows = {
        r.number: r
        for r in rows_of_some(sparse.sparse, fitted.training_, potential.e0, fitted.noise_, 100, 0, unexplained=True)
    }
    assert sum(len(r.own_points) for r in rows.values()) == fitted.n_sparse_  # every point comes from one structure here
    for k in (0, 3, 8):
        left, column = [], 0
        for term in potential.terms:
            own = [
                rows[k].own_points[(rows[k].own_points >= c.start) & (rows[k].own_points < c.stop)] - c.start
                for c in term.columns
            ]
            points = [np.delete(p, o, axis=0) for p, o in zip(term.points, own, strict=True)]
            built, _ = SparseTerm.build(term.descriptor, term.kernel, term.delta, points, column)
            column += built.n_points
            left.append(built)
        smaller = SparseModel(fitted.terms_, left, fitted.noise_)
        kept = [i for i in range(len(alloy)) if i != k]
        posterior, coefficients = solve(
            smaller, fold_rows(smaller, fitted.training_.sample(kept).chunks(potential.e0, fitted.noise_))
        )
        without = model().fit(alloy)
        without.potential_ = replace(potential, terms=left, posterior=posterior, coefficients=coefficients)
        expected = labelled_errors([alloy[k]], without.evaluate([alloy[k]], uncertainty="exact", std=STD))
        _, deviations = left_out(sparse, potential.posterior, rows[k])
        for kind, sample in expected.items():
            mine = rows[k].kind == kind
            # what the data say beyond the points is not quite the same: the others took a part of what these explain
            assert_allclose(deviations[mine] * rows[k].divisor[mine], sample.std, rtol=0.02, atol=1e-9, err_msg=kind)


@pytest.mark.parametrize("source", ["loo", "frames"])
@pytest.mark.parametrize("by", [None, "species", "config_type"])
def test_standard_deviations_are_calibrated(fitted, alloy, others, source, by, tmp_path):
    again = model().fit(alloy)
    raw = again.evaluate(others, uncertainty="exact", std=STD)
    again.calibrate("loo" if source == "loo" else others, method="scale", by=by)
    assert isinstance(again.calibration_, Calibration)
    assert again.calibration_.source == source
    new = again.evaluate(others, uncertainty="exact", std=STD)
    if by != "config_type":
        scale = again.calibration_.maps["energy"].scale
        assert_allclose([p.energy_std for p in new], [scale * p.energy_std for p in raw], rtol=1e-12)
        assert_allclose(new[0].energies_std, scale * raw[0].energies_std, rtol=1e-12)
        assert_allclose(new[0].stress_std, again.calibration_.maps["stress"].scale * raw[0].stress_std, rtol=1e-12)
    ratio = new[0].forces_std / raw[0].forces_std
    for symbol in ("Cu", "Au"):
        members = others[0].symbols == symbol
        assert_allclose(ratio[members], ratio[members][0, 0], rtol=1e-12)
    assert (np.ptp(ratio) > 1e-6) == (by == "species")
    if source == "frames":  # the map makes mean z² of its own structures 1
        errors = labelled_errors(others, new)["forces"]
        assert_allclose(np.mean((errors.residual / errors.std) ** 2), 1.0, atol=0.1 if by else 1e-9)
    for p, q in zip(raw, new, strict=True):  # means stay
        assert_allclose(p.energy, q.energy, rtol=0, atol=0)
    again.save(tmp_path / "model.gap")
    loaded = load(tmp_path / "model.gap")
    assert_allclose(loaded.evaluate(others, uncertainty="exact", std=STD)[1].forces_std, new[1].forces_std, rtol=1e-12)
    atoms = others[0].copy()
    atoms.calc = GAPCalculator(loaded, uncertainty="exact")
    atoms.get_potential_energy()
    assert_allclose(atoms.calc.prediction.energy_std, new[0].energy_std, rtol=1e-9)


def test_calibrating_again_starts_from_raw_values(alloy, others):
    one = model().fit(alloy).calibrate(others)
    scale = one.calibration_.maps["forces"].scale
    assert_allclose(one.calibrate(others).calibration_.maps["forces"].scale, scale, rtol=1e-12)
    assert one.fit(alloy).calibration_ is None


def test_misspecification_widens_until_the_next_fit(alloy, others, tmp_path):
    """Deviations grow, means and leave-one-out errors stay; calibrating again, or fitting, undoes it."""
    again = model().fit(alloy)
    raw = again.evaluate(others, uncertainty="exact", std=STD)
    narrow = again.calibrate(others).calibration_.maps["forces"]
    wide = again.calibrate(others, misspecification=True).calibration_.maps["forces"]
    assert wide.scale < narrow.scale
    with pytest.warns(NumericalWarning, match="is gone with it. Calibrate anew"):
        again.partial_fit(alloy[:1])
    assert again.calibration_ is None
    again.fit(alloy).calibrate(others, misspecification=True)
    again.calibration_ = None
    new = again.evaluate(others, uncertainty="exact", std=STD)
    for p, q in zip(raw, new, strict=True):
        assert_allclose(p.forces, q.forces, rtol=0, atol=0)
        assert (q.forces_std > p.forces_std * (1 - 1e-9)).all()
        assert q.energy_std > p.energy_std
    again.save(tmp_path / "model.gap")
    for one in (again, load(tmp_path / "model.gap")):
        with pytest.raises(ValueError, match="widened by misspecification; got 'fast'"):
            one.evaluate(others, uncertainty="fast")
    again.calibrate(others)
    assert_allclose(again.calibration_.maps["forces"].scale, narrow.scale, rtol=1e-9)
    with pytest.raises(ValueError, match="take its own part of the widening along"):
        again.calibrate("loo", misspecification=True)


def test_isotonic_maps_keep_the_order(alloy, others):
    again = model().fit(alloy)
    raw = np.concatenate([p.forces_std.ravel() for p in again.evaluate(others, uncertainty="exact", std=STD)])
    again.calibrate(others)
    new = np.concatenate([p.forces_std.ravel() for p in again.evaluate(others, uncertainty="exact", std=STD)])
    order = np.argsort(raw)
    assert (np.diff(new[order]) >= -1e-12).all()
    assert (new > 0).all()


def test_left_out_labels_do_not_count(alloy, others):
    masked = []
    for atoms in others:
        copy = atoms.copy()
        results = dict(atoms.calc.results)
        results["forces"] = results["forces"].copy()
        results["forces"][0] = 1e3
        copy.calc = SinglePointCalculator(copy, **results)
        copy.new_array("force_mask", np.arange(len(copy)) == 0)
        masked.append(copy)
    found = model().fit(alloy).calibrate(masked).calibration_.maps["forces"]
    assert found.n_values == 3 * sum(len(atoms) - 1 for atoms in others)
    assert found.scale < 100


def test_what_cannot_be_calibrated_is_explained(fitted, alloy, tmp_path):
    with pytest.raises(ValueError, match="at least 5 structures"):
        fitted.calibrate(alloy[:3])
    with pytest.raises(ValueError, match="`X` must be 'loo' or a list of structures"):
        fitted.calibrate("kfold")
    fitted.save(tmp_path / "model.gap")
    with pytest.raises(ValueError, match="needs the training set for 'loo' and misspecification"):
        load(tmp_path / "model.gap").calibrate()
    fitted.save(tmp_path / "small.gap", posterior=False)
    with pytest.raises(ValueError, match="needs a model with its posterior"):
        load(tmp_path / "small.gap").calibrate(alloy)
    assert TrainingSet is type(fitted.training_)
