"""Pictures of a learning run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from .plots import INK, MODEL, REFERENCE

__all__ = ["error_bar_figure", "fits_figure", "labels_figure", "learning_curve_figure", "walk_figure"]

Array = NDArray[np.float64]
Event = Mapping[str, Any]

_MOST_POINTS = 4000  # of a line or cloud
_SHADE = "#9aa4b0"


def learning_curve_figure(events: Sequence[Event], target: float) -> Figure:
    """Error of each label before it was learnt, what the model had expected, and the threshold, against the number of labels.

    Parameters
    ----------
    events : sequence of mapping
        Of the run's state.
    target : float
        eV/Å.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    axes = figure.subplots()
    labelled = [e for e in events if e["kind"] == "labelled"]
    if labelled:
        x = [e["n_labels"] for e in labelled]
        axes.plot(
            x, [e["rmse"] for e in labelled], "o", color=MODEL, ms=4, alpha=0.7, label="error of a label before it was learnt"
        )
        axes.plot(
            x, [e["std_rms"] for e in labelled], "_", color=REFERENCE, ms=7, mew=1.5, label="error the model expected of it"
        )
    n_labels, levels = _levels(events)
    looks: list[tuple[str, str, dict[str, Any]]] = [
        ("threshold", "threshold of the largest component", {"color": _SHADE, "lw": 1.2}),
        ("predicted_rmse", "predicted over states visited", {"color": INK, "lw": 1.6, "alpha": 0.8}),
    ]
    for name, label, look in looks:
        steps = [(n, event[name]) for n, event in levels if event.get(name)]
        if steps:
            axes.step(*zip(*steps, (n_labels, steps[-1][1]), strict=True), where="post", label=label, **look)
    verified = [e for e in events if e["kind"] == "verified"]
    if verified:
        last = verified[-1]
        bars = [[last["rmse"] - last["low"]], [last["high"] - last["rmse"]]]
        axes.errorbar(
            [n_labels], [last["rmse"]], bars, fmt="D", color=INK, ms=6, capsize=4, label="verified over states visited"
        )
    axes.axhline(target, color=INK, lw=0.9, ls="--", label="target")
    _logarithmic(axes, "y")
    axes.set_xlabel("labels")
    axes.set_ylabel("force error (eV/Å), root mean square")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _plain(axes)
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _levels(events: Sequence[Event]) -> tuple[int, list[tuple[int, Event]]]:
    """Number of labels at the end, and events with a threshold or a predicted error with that of their time."""
    n_labels, found = 0, []
    for event in events:
        n_labels = event["n_labels"] if event["kind"] == "fit" else n_labels
        if event["kind"] in ("threshold", "predicted"):
            found.append((n_labels, event))
    return n_labels, found


def error_bar_figure(events: Sequence[Event], target: float, audit: Mapping[str, Any] | None) -> Figure:
    """Errors against standard deviations: root mean squares and largest components of the labels, and of an audit.

    Parameters
    ----------
    events : sequence of mapping
        Of the run's state.
    target : float
        eV/Å.
    audit : mapping or None
        What `gapkit.active_learning.audit_run` found.

    Returns
    -------
    matplotlib.figure.Figure
    """
    labelled = [e for e in events if e["kind"] == "labelled"]
    figure = Figure(figsize=(9.0, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    _against(
        left, [e["std_rms"] for e in labelled], [e["rmse"] for e in labelled], "labels, before they were learnt", MODEL, 14
    )
    left.set_title("root mean square of a structure", fontsize=10)
    if audit:
        x, y = _thinned(np.array(audit["std_max"]), np.array(audit["max_error"]))
        _against(right, x, y, "audit: states not labelled", _SHADE, 5)
        right.axhline(5.0 * target, color=REFERENCE, lw=0.9, ls="--", label="5 x target")
    _against(
        right,
        [e["std_max"] for e in labelled],
        [e["max_error"] for e in labelled],
        "labels, before they were learnt",
        MODEL,
        14,
    )
    right.set_title("largest component of a structure", fontsize=10)
    for axes in (left, right):
        axes.set_xlabel("standard deviation (eV/Å)")
        axes.set_ylabel("error (eV/Å)")
        _diagonal(axes)
        _plain(axes)
        axes.legend(frameon=False, fontsize=8, loc="upper left")
    return figure


def walk_figure(frames: Sequence[Mapping[str, Any]], target: float) -> Figure:
    """Temperature and largest standard deviation along a walk, with the labels that were bought.

    Parameters
    ----------
    frames : sequence of mapping
        ``info`` of the structures judged of one walker, in order.
    target : float
        eV/Å.

    Returns
    -------
    matplotlib.figure.Figure
    """
    warm = any("temperature" in info for info in frames)
    figure = Figure(figsize=(9.0, 4.6 if warm else 3.2), layout="constrained")
    axes = figure.subplots(2 if warm else 1, 1, sharex=True, squeeze=False, height_ratios=[1, 1.6] if warm else [1])[:, 0]
    step = np.array([info["step"] for info in frames], float)
    std = np.array([info["std_max"] for info in frames])
    bought = np.array([info["action"] == "label" for info in frames])
    useless = np.array([info["action"] == "no gain" for info in frames])
    if warm:
        axes[0].plot(
            *_thinned(step, np.array([info.get("temperature", np.nan) for info in frames], float)), color=REFERENCE, lw=0.8
        )
        axes[0].set_ylabel("temperature (K)")
    lower = axes[-1]
    lower.plot(*_thinned(step, std), color=MODEL, lw=0.6, alpha=0.8)
    lower.plot(*_thinned(step, np.array([info["threshold"] for info in frames])), color=INK, lw=1.0, label="threshold")
    lower.plot(step[bought], std[bought], "o", color=REFERENCE, ms=4, label=f"{int(bought.sum())} labels")
    if useless.any():
        lower.plot(step[useless], std[useless], "x", color=_SHADE, ms=4, label="a label would not move the model")
    lower.axhline(target, color=INK, lw=0.7, ls=":", label="target (root mean square)")
    _logarithmic(lower, "y")
    lower.set_xlabel("step")
    lower.set_ylabel("largest force std (eV/Å)")
    for panel in axes:
        _plain(panel)
    lower.legend(frameon=False, fontsize=8, ncols=4, loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.0)
    return figure


def labels_figure(hours: Sequence[float], seconds: Sequence[float]) -> Figure:
    """Labels done against hours of work, and how long labels took.

    Parameters
    ----------
    hours : sequence of float
        When each label was done, in order.
    seconds : sequence of float
        What each took.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(9.0, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    short = max(hours, default=0.0) < 1.0
    left.step([60.0 * h for h in hours] if short else list(hours), np.arange(1, len(hours) + 1), where="post", color=MODEL)
    left.set_xlabel("minutes of work" if short else "hours of work")
    left.set_ylabel("labels done")
    left.set(xlim=(0.0, None), ylim=(0.0, None))
    right.hist(list(seconds), bins=min(30, max(5, len(seconds) // 4)), color=MODEL, alpha=0.7)
    right.axvline(float(np.median(seconds)), color=REFERENCE, lw=1.4, label=f"median {np.median(seconds):.3g} s")
    right.set_xlabel("time of a label (s)")
    right.set_ylabel("labels")
    right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        _plain(axes)
    return figure


def fits_figure(fits: Sequence[Event]) -> Figure:
    """Sparse points, time and memory of the fits against the number of labels.

    Parameters
    ----------
    fits : sequence of mapping
        Events of fits, at least one.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(9.6, 2.9), layout="constrained")
    for axes, (key, title) in zip(
        figure.subplots(1, 3),
        (("n_sparse", "sparse points"), ("seconds", "time of a fit (s)"), ("memory_mb", "memory of the process (MB)")),
        strict=True,
    ):
        axes.plot([e["n_labels"] for e in fits], [e[key] for e in fits], color=_SHADE, lw=0.8, zorder=0)
        for how, marker, color in (("full", "s", REFERENCE), ("grown", "D", INK), ("incremental", "o", MODEL)):
            some = [(e["n_labels"], e[key]) for e in fits if e["how"] == how]
            if some:
                axes.plot(*zip(*some, strict=True), ls="", marker=marker, ms=4, color=color, label=how)
        axes.set(xlabel="labels", ylim=(0.0, 1.1 * max(e[key] for e in fits) or 1.0))
        axes.set_title(title, loc="left", fontsize=10)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        _plain(axes)
    figure.axes[1].legend(frameon=False, fontsize=8)
    return figure


def _plain(axes: Axes) -> None:
    """A frame of two sides, and a grid that does not shout."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, lw=0.6)
    axes.set_axisbelow(True)


def _against(axes: Axes, x: Sequence[float] | Array, y: Sequence[float] | Array, label: str, color: str, size: float) -> None:
    if len(x):
        axes.scatter(x, y, s=size, color=color, alpha=0.7, linewidths=0, label=label)


def _diagonal(axes: Axes) -> None:
    """Logarithmic axes of one range, the diagonal, and bands of factors two and five."""
    values = [np.asarray(cloud.get_offsets(), float).reshape(-1, 2) for cloud in axes.collections]
    positive = np.concatenate([v[(v > 0.0).all(axis=1)] for v in values]) if values else np.empty((0, 2))
    if not len(positive):
        return
    low, high = positive.min() / 1.6, positive.max() * 1.6
    line = np.array([low, high])
    for factor, shade in ((5.0, 0.06), (2.0, 0.10)):
        axes.fill_between(line, line / factor, line * factor, color=INK, alpha=shade, lw=0, zorder=0)
    axes.plot(line, line, color=INK, lw=0.8, zorder=0)
    axes.set(xlim=(low, high), ylim=(low, high))
    _logarithmic(axes, "both")


def _logarithmic(axes: Axes, which: str) -> None:
    """Logarithmic axes with 0.1, 0.2, 0.5, 1, ... in plain numbers."""
    for name in ("x", "y") if which == "both" else (which,):
        axes.set(**{f"{name}scale": "log"})
        axis = getattr(axes, f"{name}axis")
        low, high = axis.get_view_interval()
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 200.0 * low else (1.0,)))
        axis.set_major_formatter(FormatStrFormatter("%g"))
        axis.set_minor_formatter(NullFormatter())


def _thinned(x: Array, y: Array) -> tuple[Array, Array]:
    """At most some thousand points: of each bin of a long series that with the largest value."""
    if len(x) <= _MOST_POINTS:
        return x, y
    edges = np.linspace(0, len(x), _MOST_POINTS + 1).astype(int)
    keep = [a + int(np.argmax(y[a:b])) for a, b in pairwise(edges.tolist())]
    return x[keep], y[keep]
