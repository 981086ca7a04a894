from __future__ import annotations

from dataclasses import replace

import pytest

from gapkit.validation import ErrorRow, UncertaintyRow, judge

ROW = ErrorRow("all", 100, 0.5, 0.8, 0.02, 0.04, 0.05, 0.999, 0.995, 0.993)


def bars(kind: str, zms: float, group: str = "all") -> UncertaintyRow:
    return UncertaintyRow(
        kind, group, 100, 100, 0, 1.0, 1.0, 1.0, 0.5, zms, None, 0.1, 0.1, None, None, None, None, None, None, None, None
    )


@pytest.mark.parametrize(
    ("change", "zms", "mark", "said"),
    [
        ({}, 1.0, "good", "Every number below is better than its target."),
        ({"energy_rmse": 3.0}, 1.0, "fair", "short of the best: energy RMSE 3 meV/atom."),
        ({"energy_rmse": 5.1}, 1.0, "poor", "Outside the targets: energy RMSE 5.1 meV/atom."),
        ({"forces_rmse": 0.151}, 1.0, "poor", "Outside the targets: force RMSE 151 meV/Å."),
        ({"stress_rmse": 0.11}, 1.0, "poor", "stress RMSE 0.11 GPa"),
        ({"forces_r2": 0.98}, 1.0, "fair", "R² of forces 0.9800"),
        ({}, 9.0, "fair", "error bars of forces 3× too small"),
        ({}, 0.25, "fair", "error bars of forces 2× too large"),
    ],
)
def test_marks_follow_the_targets_of_the_issue(change, zms, mark, said):
    """Energy 1 to 5 meV/atom, force 50 to 150 meV/Å, stress 0.1 GPa, R² 0.99; error bars: sqrt(mean z²) is the factor."""
    verdict = judge([replace(ROW, **change)], [bars("forces", 100.0, "liquid"), bars("forces", zms)])
    assert (verdict.mark, said in verdict.text) == (mark, True), verdict.text
    assert len(verdict.judgements) == 7


def test_verdict_names_the_worst_type_and_small_sets():
    types = [replace(ROW, config_type="bulk"), replace(ROW, config_type="surface", forces_rmse=0.2)]
    verdict = judge([*types, replace(ROW, frames=12, forces_rmse=0.1)])
    assert "Worst on surface: force RMSE 200 meV/Å." in verdict.text
    assert "There are only 12 of them" in verdict.text


def test_errors_on_the_training_set_are_called_that():
    verdict = judge([ROW], [bars("forces", 50.0)], seen=True)
    assert verdict.title == "The fit meets the usual targets"
    assert "structures of the fit" in verdict.text
    assert not any("bars" in j.quantity for j in verdict.judgements)
    nothing = ErrorRow("all", 3, None, None, None, None, None)
    assert judge([nothing]).title == "Not judged"
