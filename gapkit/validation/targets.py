"""The usual targets of a potential, and a plain verdict: errors, R², error bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .metrics import ErrorRow
from .uncertainty_rows import UncertaintyRow

__all__ = ["Judgement", "Verdict", "judge"]

_ERRORS = (  # attribute, what, unit, times, good below, fair below
    ("energy_rmse", "energy RMSE", "meV/atom", 1.0, 1.0, 5.0),
    ("forces_rmse", "force RMSE", "meV/Å", 1e3, 50.0, 150.0),
    ("stress_rmse", "stress RMSE", "GPa", 1.0, 0.1, 0.1),
)
_R2 = (("energy_r2", "R² of energies"), ("forces_r2", "R² of forces"), ("stress_r2", "R² of stresses"))
_LEAST_R2 = 0.99
_GOOD_ZMS, _FAIR_ZMS = 2.0, 4.0  # mean z² within this factor of 1: error bars right within 1.4 or 2
_FEW = 20  # structures
_STANDS_OUT = 1.5  # times the error of all


@dataclass(frozen=True)
class Judgement:
    """One number against its target.

    Attributes
    ----------
    quantity : str
        What it is, e.g. "force RMSE".
    value, target : str
        In words, with units.
    mark : {"good", "fair", "poor"}
        Good: as published potentials are.  Fair: within the range of targets that people set.  Poor: outside.
    """

    quantity: str
    value: str
    target: str
    mark: str


@dataclass(frozen=True)
class Verdict:
    """What the numbers say together.

    Attributes
    ----------
    mark : {"good", "fair", "poor"}
        The worst of the errors; R² below target makes good fair, and so do error bars.
    title, text : str
        A few words, and a sentence or two.
    judgements : list of Judgement
        The numbers.
    """

    mark: str
    title: str
    text: str
    judgements: list[Judgement]


def judge(rows: Sequence[ErrorRow], bars: Sequence[UncertaintyRow] = (), *, seen: bool = False) -> Verdict:
    """Compare errors and error bars with the usual targets.

    Energies: RMSE below 1 (good) to 5 meV/atom (fair); forces: 50 to 150 meV/Å; stresses: 0.1 GPa; R² above 0.99; mean squared
    ratio of error and error bar within a factor of 2 (4) of 1.

    Parameters
    ----------
    rows : sequence of ErrorRow
        From `error_table`: by configuration type, the last over all structures.
    bars : sequence of UncertaintyRow
        Of the error bars; the rows over all structures count.
    seen : bool, default False
        Whether the structures are those of the fit.

    Returns
    -------
    Verdict
    """
    errors, of_errors, of_r2 = rows[-1], [], []
    for name, what, unit, times, good, fair in _ERRORS:
        value = getattr(errors, name)
        if value is not None:
            target = f"below {good:g}{f' to {fair:g}' if fair > good else ''} {unit}"
            of_errors.append(Judgement(what, f"{times * value:.3g} {unit}", target, _mark(times * value, good, fair)))
    for name, what in _R2:
        value = getattr(errors, name)
        if value is not None:
            of_r2.append(Judgement(what, f"{value:.4f}", f"above {_LEAST_R2}", "good" if value > _LEAST_R2 else "poor"))
    of_bars = [] if seen else [_of_bars(row) for row in bars if row.group == "all"]
    judgements = [*of_errors, *of_r2, *of_bars]
    if not of_errors:
        return Verdict("fair", "Not judged", "The structures have no labels to compare with.", judgements)
    mark = _worst(of_errors)
    if mark == "good" and _worst([*of_r2, *of_bars]) != "good":
        mark = "fair"
    return Verdict(mark, _title(mark, seen), _text(judgements, rows, seen), judgements)


def _mark(value: float, good: float, fair: float) -> str:
    return "good" if value < good else "fair" if value < fair else "poor"


def _worst(judgements: Sequence[Judgement]) -> str:
    marks = [j.mark for j in judgements]
    return next((mark for mark in ("poor", "fair") if mark in marks), "good")


def _of_bars(row: UncertaintyRow) -> Judgement:
    excess = max(row.zms, 1.0 / row.zms) if row.zms > 0.0 else float("inf")
    mark = "good" if excess < _GOOD_ZMS else "fair" if excess < _FAIR_ZMS else "poor"
    factor = row.zms**0.5
    said = "right within 20 %" if 1 / 1.2 < factor < 1.2 else f"{factor:.2g}× too small" if factor > 1 else _too_large(factor)
    kind = {"energy": "energies", "forces": "forces", "stress": "stresses"}[row.kind]
    return Judgement(f"error bars of {kind}", said, f"right within {_GOOD_ZMS**0.5:.1f}×", mark)


def _too_large(factor: float) -> str:
    return f"{1.0 / factor:.2g}× too large" if factor > 0.0 else "too large"


def _title(mark: str, seen: bool) -> str:
    if seen:
        return {
            "good": "The fit meets the usual targets",
            "fair": "The fit is within the usual range",
            "poor": "The fit misses the usual targets",
        }[mark]
    return {
        "good": "Meets the usual targets",
        "fair": "Within the usual range, not the best",
        "poor": "Misses the usual targets",
    }[mark]


def _text(judgements: Sequence[Judgement], rows: Sequence[ErrorRow], seen: bool) -> str:
    named = {mark: [f"{j.quantity} {j.value}" for j in judgements if j.mark == mark] for mark in ("poor", "fair")}
    parts = []
    if named["poor"]:
        parts.append("Outside the targets: " + ", ".join(named["poor"]) + ".")
    if named["fair"]:
        parts.append("Good enough for many uses, short of the best: " + ", ".join(named["fair"]) + ".")
    if not parts:
        parts.append("Every number below is better than its target.")
    parts += _worst_types(rows)
    if seen:
        parts.append("These are the structures of the fit: errors on others are larger. gapkit evaluate measures them.")
    else:
        parts.append("This holds for structures like those of the test set, and says nothing of others.")
        if rows[-1].frames < _FEW:
            parts.append(f"There are only {rows[-1].frames} of them: the numbers are rough.")
    return " ".join(parts)


def _worst_types(rows: Sequence[ErrorRow]) -> list[str]:
    """A sentence about the configuration type with the largest errors, where it stands out."""
    result = []
    for name, what, unit, times, _, _ in _ERRORS[:2]:
        found = [row for row in rows[:-1] if getattr(row, name) is not None]
        worst = max(found, key=lambda row: float(getattr(row, name)), default=None)
        if worst is not None and len(found) > 1 and getattr(worst, name) > _STANDS_OUT * getattr(rows[-1], name):
            kind = worst.config_type or "no configuration type"
            result.append(f"Worst on {kind}: {what} {times * getattr(worst, name):.3g} {unit}.")
    return result
