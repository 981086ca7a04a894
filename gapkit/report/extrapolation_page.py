"""How errors and error bars behave outside the training set, as a section of a page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ..gp.calibration import ErrorSample
from ..validation import GroupTest
from ..validation import uncertainty as metrics
from .page import Section, Table
from .plots import INK, MODEL, REFERENCE

__all__ = ["EXTRAPOLATION_HEADER", "extrapolation_figure", "extrapolation_rows", "extrapolation_section"]

EXTRAPOLATION_HEADER = (
    "left out",
    "tested on",
    "frames",
    "energy RMSE (meV/atom)",
    "its std",
    "mean z²",
    "force RMSE (eV/Å)",
    "its std",
    "mean z²",
)
"""Column titles of a table of groups."""

_KINDS = {"energy": "energy (meV/atom)", "forces": "force (eV/Å)"}


def extrapolation_rows(tests: Sequence[GroupTest]) -> list[list[str]]:
    """Format errors and standard deviations by group, under `EXTRAPOLATION_HEADER`; for pages and terminals."""
    rows = []
    for test in tests:
        cells = [", ".join(name or "(none)" for name in test.left_out), test.group or "(none)", str(test.n_frames)]
        for kind in _KINDS:
            values = (test.rmse(kind), test.std(kind), test.zms(kind))
            cells += ["-" if value is None else f"{value:.3g}" for value in values]
        rows.append(cells)
    return rows


def extrapolation_section(tests: Sequence[GroupTest]) -> Section:
    """Errors and error bars on groups that fits had nothing of, beside those on groups that they knew.

    Parameters
    ----------
    tests : sequence of GroupTest
        From `gapkit.validation.extrapolation`.

    Returns
    -------
    Section
    """
    lines = [_line(test, tests) for test in tests if test.outside and "forces" in test.samples]
    text = (
        "Fits with the settings of this model that had nothing of some configuration types, and of the others four fifths. "
        "Bars: errors on what the fit has not seen; orange: of types that were left out. Black: what the error bars promise; "
        "they do their work where they grow as the errors do. Right: share of force errors within the intervals, against "
        "what is promised. " + " ".join(lines)
    )
    table = Table(EXTRAPOLATION_HEADER, extrapolation_rows(tests), words=(0, 1), sums=False)
    return Section("Extrapolation", text, figure=extrapolation_figure(tests), table=table)


def _line(test: GroupTest, tests: Sequence[GroupTest]) -> str:
    """A sentence on one group that was left out."""
    inside = [other for other in tests if other.left_out == test.left_out and not other.outside and "forces" in other.samples]
    error, bar = test.rmse("forces") or 0.0, test.std("forces") or 0.0
    text = f"{test.group or '(none)'}: force errors {error:.3g} eV/Å"
    if inside:
        pooled = np.concatenate([other.samples["forces"].residual for other in inside])
        usual = float(np.sqrt(np.mean(pooled**2)))
        text += f" ({error / usual:.1f} times those on known types)" if usual > 0.0 else ""
    return f"{text}, error bars {bar:.3g}: " + ("they warn." if test.warns("forces") else "far too short.")


def extrapolation_figure(tests: Sequence[GroupTest]) -> Figure:
    """Errors (bars) and standard deviations (dots) by group, and calibration curves of the forces.

    Parameters
    ----------
    tests : sequence of GroupTest
        From `gapkit.validation.extrapolation`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(12.0, max(3.8, 1.2 + 0.26 * len(tests))), layout="constrained")
    grid = figure.add_gridspec(1, 3, width_ratios=[1.0, 1.0, 0.9])
    left = figure.add_subplot(grid[0])
    middle = figure.add_subplot(grid[1], sharey=left)
    place = np.arange(len(tests))
    several = len({test.left_out for test in tests}) > 1
    for axes, (kind, label) in zip((left, middle), _KINDS.items(), strict=True):
        colors = [REFERENCE if test.outside else MODEL for test in tests]
        axes.barh(place, [test.rmse(kind) or 0.0 for test in tests], color=colors, height=0.65)
        known = [(test.std(kind), k) for k, test in enumerate(tests) if test.std(kind) is not None]
        if known:
            axes.plot(*np.array(known, float).T, "o", color=INK, ms=4, label="standard deviation")
        axes.set_xlabel(f"RMSE of {label}")
        axes.spines[["top", "right"]].set_visible(False)
        for k in range(1, len(tests)):
            if tests[k].left_out != tests[k - 1].left_out:
                axes.axhline(k - 0.5, color=INK, lw=0.5, alpha=0.5)
    left.set_yticks(place, [_label(test, several) for test in tests], fontsize=8)
    left.invert_yaxis()
    middle.tick_params(labelleft=False)
    middle.legend(fontsize=8, frameon=False, loc="lower right")
    _draw_curves(figure, grid[2], tests)
    return figure


def _label(test: GroupTest, several: bool) -> str:
    name = test.group or "(none)"
    return f"{name}, left out" if test.outside and several else name


def _draw_curves(figure: Figure, place: object, tests: Sequence[GroupTest]) -> None:
    axes = figure.add_subplot(place)  # type: ignore[call-overload]
    axes.plot([0, 1], [0, 1], color=INK, lw=0.8)
    inside = [test.samples["forces"] for test in tests if not test.outside and "forces" in test.samples]
    if inside:
        axes.plot(*_curve(inside), color=MODEL, lw=1.8, label="known types")
    for k, test in enumerate(t for t in tests if t.outside and "forces" in t.samples):
        axes.plot(*_curve([test.samples["forces"]]), color=f"C{(k + 1) % 10}", lw=1.3, label=test.group or "(none)")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="expected fraction within the interval", ylabel="observed fraction (forces)")
    axes.set_aspect("equal", anchor="N")
    axes.legend(fontsize=8, frameon=False)


def _curve(samples: Sequence[ErrorSample]) -> tuple[np.ndarray, np.ndarray]:
    return metrics.calibration_curve(
        np.concatenate([sample.residual for sample in samples]), np.concatenate([sample.std for sample in samples])
    )
