"""Pictures of a learning run."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from .learning_data import LearningRun, Trajectory
from .plots import INK, MODEL, REFERENCE

__all__ = ["audit_figure", "error_bar_figure", "fits_figure", "learning_curve_figure", "time_figure", "trajectory_figure"]

Array = NDArray[np.float64]

GOOD, FAINT = "#2a7f4f", "#8c959f"
_MOST_POINTS = 1200  # of a line; more are drawn as the range within bins
_MOST_WALKERS = 6
_TIMES_TARGET = 5.0  # largest component error of an audited step that counts as missed


def learning_curve_figure(run: LearningRun) -> Figure:
    """True error of each label before it was learnt, and what the model expected, against the number of labels.

    Parameters
    ----------
    run : LearningRun
        With at least one label learnt.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(9.0, 4.6), layout="constrained")
    axes = figure.subplots()
    n, rmse = run.of_learnt("n_labels"), run.of_learnt("rmse")
    axes.plot(n, rmse, ls="", marker="o", ms=4.5, color=REFERENCE, mec="white", mew=0.4, alpha=0.8, label="true RMSE of a label before it was learnt")
    if len(n) >= 12:
        width = max(5, len(n) // 8)
        middle = np.array([np.nanmedian(rmse[max(0, k - width + 1) : k + 1]) for k in range(width - 1, len(n))])
        axes.plot(n[width - 1 :], middle, color=REFERENCE, lw=1.6, label=f"its median over the last {width}")
    levels = run.events("threshold")
    if levels:
        at = _labels_at(run, levels)
        for key, style in (
            ("predicted_rmse", {"color": MODEL, "lw": 1.8, "label": "predicted RMSE over the states visited"}),
            ("threshold", {"color": INK, "lw": 1.1, "ls": "--", "label": "threshold: a larger force std is labelled"}),
        ):
            values = [np.nan if event.get(key) is None else event[key] for event in levels]
            axes.plot([*at, max(n[-1], at[-1])], [*values, values[-1]], drawstyle="steps-post", **style)
    for event in run.events("verified")[-1:]:
        error = np.array([[event["rmse"] - event["low"]], [event["high"] - event["rmse"]]]).clip(min=0.0)
        style: dict[str, Any] = {"fmt": "s", "color": GOOD, "ms": 7, "capsize": 4, "lw": 1.6}
        axes.errorbar([n[-1] + 0.02 * np.ptp(n)], [event["rmse"]], error, label=f"verified on {event['n']} states visited", **style)
    if run.target is not None:
        axes.axhline(run.target, color=GOOD, lw=1.2, ls=":", label=f"target, {run.target:g} eV/Å")
    axes.set(yscale="log", xlabel="labels learnt", ylabel="force error (eV/Å)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _plain_log(axes, "y")
    _finish(axes)
    axes.legend(fontsize=8.5, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def error_bar_figure(run: LearningRun) -> Figure:
    """True errors of labels against the standard deviations that the model gave before, root mean squares and largest.

    Parameters
    ----------
    run : LearningRun
        With at least one label learnt.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(9.6, 4.7), layout="constrained")
    colors = run.of_learnt("n_labels")
    image = None
    for axes, (std, error, title) in zip(
        figure.subplots(1, 2),
        (("std_rms", "rmse", "root mean square over the components"), ("std_max", "max_error", "largest component")),
        strict=True,
    ):
        image = _scatter(axes, run.of_learnt(std), run.of_learnt(error), colors)
        axes.set_title(title, loc="left", fontsize=10)
        axes.set(xlabel="force std (eV/Å)", ylabel="true force error (eV/Å)")
        _finish(axes)
    figure.axes[0].legend(fontsize=8, frameon=False, loc="upper left")
    if image is not None and len(colors) > 1:
        figure.colorbar(image, ax=figure.axes, label="labels learnt before", shrink=0.85, ticks=MaxNLocator(5, integer=True))
    return figure


def trajectory_figure(run: LearningRun) -> Figure:
    """Temperature and largest force std along the way of each walker, with the threshold and the labels bought.

    Parameters
    ----------
    run : LearningRun
        With at least one visit.

    Returns
    -------
    matplotlib.figure.Figure
    """
    walkers = dict(list(run.trajectories.items())[:_MOST_WALKERS])
    warm = any(np.isfinite(t.temperature).any() for t in walkers.values())
    rows = 2 if warm else 1
    ratios = [1.0, 1.7] * len(walkers) if warm else [1.0] * len(walkers)
    figure = Figure(figsize=(10.0, (3.6 if warm else 2.6) * len(walkers) + 0.4), layout="constrained")
    panels = figure.subplots(rows * len(walkers), 1, squeeze=False, height_ratios=ratios)[:, 0]
    for k, (name, path) in enumerate(walkers.items()):
        top, bottom = panels[rows * k], panels[rows * k + rows - 1]
        if warm:
            _temperature(top, path)
            top.sharex(bottom)
            top.tick_params(labelbottom=False)
        _deviation(bottom, path)
        n = int(np.count_nonzero(path.action == "label"))
        top.set_title(f"walker {name}: {len(path.step):,} structures judged, {n} labels asked for", loc="left", fontsize=10)
        if k == 0:
            bottom.legend(fontsize=8, frameon=False, loc="upper left", ncols=4, bbox_to_anchor=(0.0, 1.14), borderaxespad=0.0)
    panels[-1].set_xlabel("step")
    return figure


def time_figure(run: LearningRun) -> Figure:
    """Labels against working time, and what each took.

    Parameters
    ----------
    run : LearningRun
        With at least one label done.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(9.6, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    hours = run.hours_of_labels()
    unit, scale = ("h", 1.0) if run.work.total > 1.0 else ("min", 60.0)
    end = max(run.work.total, hours[-1] if len(hours) else 0.0)
    left.step(scale * np.r_[0.0, hours, end], np.r_[0, np.arange(1, len(hours) + 1), len(hours)], where="post", color=MODEL)
    left.set(xlabel=f"working time ({unit})", ylabel="labels done", ylim=(0, None), xlim=(0, None))
    left.yaxis.set_major_locator(MaxNLocator(integer=True))
    for number, event in enumerate(run.events("resumed")):
        name = "started again" if number == 0 else None
        left.axvline(scale * run.work.hours(float(event["time"])), color=FAINT, ls=":", lw=1.2, label=name)
    if run.events("resumed"):
        left.legend(fontsize=8, frameon=False, loc="lower right")
    seconds = np.array([label.entry.seconds for label in run.labels if label.entry.state == "done" and label.entry.seconds > 0])
    if len(seconds):
        low, high = seconds.min() / 1.3, seconds.max() * 1.3
        right.hist(seconds, np.geomspace(low, high, 8 + min(22, len(seconds) // 5)), color=MODEL, alpha=0.6)
        right.axvline(np.median(seconds), color=REFERENCE, lw=1.5, label=f"median {np.median(seconds):.3g} s")
        right.set(xscale="log", xlabel="time of a label (s)", ylabel="labels")
        _plain_log(right, "x")
        right.yaxis.set_major_locator(MaxNLocator(integer=True))
        right.legend(fontsize=8, frameon=False)
    for axes in (left, right):
        _finish(axes)
    return figure


def fits_figure(run: LearningRun) -> Figure:
    """Sparse points, seconds and memory of the fits against the number of labels.

    Parameters
    ----------
    run : LearningRun
        With at least one fit.

    Returns
    -------
    matplotlib.figure.Figure
    """
    fits = run.events("fit")
    figure = Figure(figsize=(10.0, 3.0), layout="constrained")
    n = np.array([event["n_labels"] for event in fits], float)
    how = np.array([str(event.get("how", "")) for event in fits])
    kinds = (("full", "s", REFERENCE), ("grown", "D", GOOD), ("incremental", "o", MODEL), ("", "o", INK))
    for axes, (key, title) in zip(
        figure.subplots(1, 3),
        (("n_sparse", "sparse points"), ("seconds", "time of a fit (s)"), ("memory_mb", "memory (MB)")),
        strict=True,
    ):
        values = np.array([np.nan if event.get(key) is None else event[key] for event in fits], float)
        axes.plot(n, values, color=FAINT, lw=0.8, zorder=0)
        for name, marker, color in kinds:
            member = how == name
            if member.any():
                axes.plot(n[member], values[member], ls="", marker=marker, ms=3.5, color=color, label=name or "fit")
        axes.set(xlabel="labels", ylim=(0, None))
        axes.set_title(title, loc="left", fontsize=10)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        _finish(axes)
    figure.axes[1].legend(fontsize=8, frameon=False)
    return figure


def audit_figure(std_max: Array, max_error: Array, target: float) -> Figure:
    """Largest true error of steps that were not labelled, against the largest std.

    Parameters
    ----------
    std_max, max_error : ndarray of shape (n_steps,)
        eV/Å.
    target : float
        Force error that was asked for, eV/Å.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    axes = figure.subplots()
    use = (std_max > 0.0) & (max_error > 0.0)
    x, y = std_max[use], max_error[use]
    missed = y > _TIMES_TARGET * target
    size, alpha = (10, 0.7) if len(x) < 1000 else (4, 0.35)
    for member, color, name in ((~missed, MODEL, "steps"), (missed, REFERENCE, f"missed: {np.count_nonzero(missed)}")):
        axes.scatter(x[member], y[member], s=size, alpha=alpha, color=color, linewidths=0, label=f"{name} of {len(x):,}" if color == REFERENCE else None, rasterized=True)
    axes.axhline(_TIMES_TARGET * target, color=GOOD, lw=1.4, ls="--", label=f"5 × target, {_TIMES_TARGET * target:g} eV/Å")
    axes.axline((1.0, 1.0), (2.0, 2.0), color=INK, lw=0.9, label="error = std")
    limits = _limits(x, [*y, 6.0 * target])
    axes.set(xscale="log", yscale="log", xlim=limits[0], ylim=limits[1])
    axes.set(xlabel="largest force std of the step (eV/Å)", ylabel="largest true error of a component (eV/Å)")
    _plain_log(axes, "x", "y")
    _finish(axes)
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    return figure


def _labels_at(run: LearningRun, events: list[dict[str, Any]]) -> list[float]:
    """Number of labels that had been learnt when each event happened, by its place among the events."""
    seen, result = 0.0, []
    wanted = {id(event) for event in events}
    for event in run.state["events"]:
        if event["kind"] in ("labelled", "fit"):
            seen = max(seen, float(event["n_labels"]))
        if id(event) in wanted:
            result.append(seen)
    return result


def _scatter(axes: Axes, x: Array, y: Array, colors: Array) -> Any:
    use = (x > 0.0) & (y > 0.0)
    limits = _limits(np.r_[x[use], y[use]])[0]
    line = np.array(limits)
    for times, alpha, name in ((5.0, 0.10, "within a factor of 5"), (2.0, 0.18, "within a factor of 2")):
        axes.fill_between(line, line / times, line * times, color=INK, alpha=alpha, lw=0, label=name)
    axes.plot(line, line, color=INK, lw=1.0, label="error = std")
    look: dict[str, Any] = {"s": 26 if len(x) < 300 else 12, "edgecolors": "white", "linewidths": 0.4}
    image = axes.scatter(x[use], y[use], c=colors[use], cmap="viridis_r", zorder=3, **look)
    axes.set(xscale="log", yscale="log", xlim=limits, ylim=limits, aspect="equal")
    _plain_log(axes, "x", "y")
    return image


def _temperature(axes: Axes, path: Trajectory) -> None:
    step, low, middle, high = _thinned(path.step, path.temperature)
    if len(step) < len(path.step):
        axes.fill_between(step, low, high, color=REFERENCE, alpha=0.25, lw=0)
    axes.plot(step, middle, color=REFERENCE, lw=0.9)
    axes.set_ylabel("temperature (K)")
    _finish(axes)


def _deviation(axes: Axes, path: Trajectory) -> None:
    step, low, middle, high = _thinned(path.step, path.std_max)
    thinned = len(step) < len(path.step)
    if thinned:
        axes.fill_between(step, low, high, color=MODEL, alpha=0.3, lw=0, label="largest force std: range and median")
    axes.plot(step, middle, color=MODEL, lw=0.9, label=None if thinned else "largest force std")
    at, _, level, _ = _thinned(path.step, path.threshold)
    axes.plot(at, level, color=INK, lw=1.1, ls="--", label="threshold")
    styles = (("label", "v", REFERENCE, "labelled"), ("retreat", "x", GOOD, "retreat"))
    for action, marker, color, name in styles:
        member = (path.action == action) & (path.std_max > 0.0)
        if member.any():
            few = {"mec": "white", "mew": 0.4} if marker == "v" else {"mew": 1.6}
            axes.plot(path.step[member], path.std_max[member], ls="", marker=marker, ms=6, color=color, label=name, zorder=4, **few)
    axes.set(yscale="log", ylabel="force std (eV/Å)")
    _plain_log(axes, "y")
    _finish(axes)


def _thinned(x: Array, y: Array) -> tuple[Array, Array, Array, Array]:
    """Steps, lowest, median and highest value of bins of equal counts; a gap where a walker went back."""
    n = len(x)
    if n > _MOST_POINTS:
        bins = np.array_split(np.arange(n), _MOST_POINTS // 3)
        table = np.array([[np.median(x[b]), *_spread(y[b])] for b in bins])
    else:
        table = np.stack([x, y, y, y], axis=1)
    back = np.flatnonzero(np.diff(table[:, 0]) < 0.0) + 1
    table = np.insert(table, back, np.nan, axis=0)
    return table[:, 0], table[:, 1], table[:, 2], table[:, 3]


def _spread(values: Array) -> tuple[float, float, float]:
    known = values[np.isfinite(values)]
    return (known.min(), float(np.median(known)), known.max()) if len(known) else (np.nan, np.nan, np.nan)


def _limits(*values: Any) -> list[tuple[float, float]]:
    """Ranges of logarithmic axes with some air, at least a factor of 4 wide."""
    result = []
    for some in values:
        known = np.asarray(some, float)
        known = known[np.isfinite(known) & (known > 0.0)]
        low, high = (known.min() / 1.4, known.max() * 1.4) if len(known) else (0.01, 1.0)
        air = max(1.0, np.sqrt(4.0 * low / high))
        result.append((float(low / air), float(high * air)))
    return result


def _plain_log(axes: Axes, *which: str) -> None:
    """Ticks of logarithmic axes as plain numbers."""
    for name in which:
        axis = axes.xaxis if name == "x" else axes.yaxis
        low, high = axis.get_view_interval()
        axis.set_major_locator(LogLocator(subs=(1.0,) if high > 150.0 * low else (1.0, 2.0, 5.0)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())


def _finish(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, lw=0.6)
    axes.set_axisbelow(True)
