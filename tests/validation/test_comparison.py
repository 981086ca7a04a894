"""Kinds of error bars beside each other: made-up predictors whose quality is known."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from gapkit import Prediction
from gapkit.validation import compare_error_bars


@pytest.fixture(scope="module")
def frames():
    """Zero energies and forces: predictions are errors."""
    result = []
    for _ in range(100):
        atoms = Atoms("Cu5", positions=np.arange(15.0).reshape(5, 3))
        atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((5, 3)))
        result.append(atoms)
    return result


def predictor(factor, informed):
    """Errors from N(0, s²); deviations are ``factor`` times s, or a shuffled s that knows nothing."""

    def predict(some):
        rng = np.random.default_rng(0)
        found = []
        for _ in some:
            s = rng.lognormal(-3.0, 1.0, (5, 3))
            errors = s * rng.standard_normal((5, 3))
            std = factor * (s if informed else rng.permutation(s.ravel()).reshape(5, 3))
            e = 0.5 * rng.standard_normal()
            found.append(
                Prediction(energy=e, energies=np.full(5, e / 5), forces=errors, energy_std=factor * 0.5, forces_std=std)
            )
        return found

    return predict


def test_it_tells_good_from_bad(frames):
    makers = {"right": predictor(1.0, True), "short": predictor(0.25, True), "blind": predictor(1.0, False)}
    rows = compare_error_bars(frames, makers, fit_seconds={"right": 3.0})
    assert [(row.kind, row.name) for row in rows] == [(k, n) for k in ("energy", "forces") for n in makers]
    right, short, blind = rows[3:]
    assert (right.n_structures, right.n_values, right.fit_seconds, short.fit_seconds) == (100, 1500, 3.0, None)
    assert right.scale == pytest.approx(1.0, abs=0.06)  # 1500 values: 1 ± 1 / sqrt(3000), three times that
    assert short.scale == pytest.approx(4.0 * right.scale, rel=1e-12)
    assert right.miscalibration < 0.03 < 0.2 < short.miscalibration
    assert short.miscalibration_scaled == pytest.approx(right.miscalibration_scaled, abs=1e-12)  # one factor mends it
    assert right.rank_correlation == pytest.approx(short.rank_correlation, abs=1e-12)
    assert right.rank_correlation > 0.5 > 0.1 > abs(blind.rank_correlation)
    assert right.auroc > 0.85 > 0.6 > blind.auroc
    assert rows[0].rmse == pytest.approx(100.0, abs=25.0)  # 0.5 eV of five atoms, in meV/atom; 100 values: 3.5 sigma
    assert rows[0].rank_correlation is None  # all deviations are equal
    assert all(row.evaluate_seconds > 0.0 for row in rows)


def test_one_structure_has_no_other_half(frames):
    rows = compare_error_bars(frames[:1], {"right": predictor(1.0, True)})
    assert [row.miscalibration_scaled for row in rows] == [None, None]
    assert [row.auroc for row in rows] == [None, None]
