"""Pictures of error bars: whether they are right, on average and one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray
from scipy.stats import norm

from ..gp.calibration import ErrorSample
from ..validation import uncertainty as metrics
from .plots import INK, MODEL, REFERENCE

__all__ = ["calibration_figure"]

Array = NDArray[np.float64]

_NAMES = {
    "forces": ("force components", "eV/Å"),
    "energy": ("energy per atom", "meV/atom"),
    "stress": ("stress components", "GPa"),
}
_FEW = 2000  # errors that are drawn one by one
_IN_BIN, _MOST_BINS = 15, 15
_Z_RANGE = 5.0


def calibration_figure(samples: Mapping[str, ErrorSample], *, n_draws: int = 200, random_state: int | None = 0) -> Figure:
    """Calibration curve, errors against standard deviations, and distribution of their ratio z; one row per kind of label.

    The grey band of the curve is what 95 % of perfectly calibrated models with as many structures would show.  Dots among the
    errors are root mean squares in bins of the standard deviation, with 95 % intervals from resampled structures: they lie on
    the line marked 1 where the standard deviation is right.

    Parameters
    ----------
    samples : mapping of str to ErrorSample
        From `gapkit.validation.error_samples`: forces in eV/Å, energies in meV/atom, stresses in GPa.
    n_draws : int, default 200
        Simulated and resampled sets.
    random_state : int, optional
        Seed of them.

    Returns
    -------
    matplotlib.figure.Figure
    """
    used = {kind: samples[kind].part(samples[kind].nonzero()) for kind in _NAMES if kind in samples}
    used = {kind: sample for kind, sample in used.items() if len(sample.std)}
    figure = Figure(figsize=(11.0, 3.5 * max(1, len(used))), layout="constrained")
    if not used:
        return figure
    axes = figure.subplots(len(used), 3, squeeze=False, width_ratios=[1.0, 1.25, 1.0])
    for row, (kind, sample) in zip(axes, used.items(), strict=True):
        name, unit = _NAMES[kind]
        rng = np.random.default_rng(random_state)
        _draw_curve(row[0], sample, n_draws, rng)
        _draw_errors(row[1], sample, unit, n_draws, random_state)
        _draw_ratios(row[2], sample)
        n = len(np.unique(sample.structure))
        row[0].set_title(f"{name}: {len(sample.std)} in {n} structures", loc="left", fontsize=10)
    axes[0, 1].legend(loc="lower right", framealpha=0.85, edgecolor="none", fontsize=8)
    axes[0, 2].legend(loc="upper right", frameon=False, fontsize=8)
    return figure


def _draw_curve(axes: Axes, sample: ErrorSample, n_draws: int, rng: np.random.Generator) -> None:
    r, s, structure = sample.residual, sample.std, sample.structure
    correlation = metrics.error_correlation(r, s, structure)
    curves, areas = [], []
    for _ in range(n_draws):
        perfect = metrics.perfect_errors(s, rng, structure=structure, correlation=correlation)
        curves.append(metrics.calibration_curve(perfect, s)[1])
        areas.append(metrics.miscalibration_area(perfect, s))
    expected, observed = metrics.calibration_curve(r, s)
    low, high = np.quantile(curves, [0.025, 0.975], axis=0)
    area, chance = metrics.miscalibration_area(r, s), np.quantile(areas, 0.95)
    label = f"perfect models, 95 %\n(area up to {chance:.3f})"
    axes.fill_between(expected, low, high, color=INK, alpha=0.15, lw=0, label=label)
    axes.plot([0, 1], [0, 1], color=INK, lw=0.8)
    axes.plot(expected, observed, color=MODEL, lw=1.8, label=f"this model\n(area {area:.3f})")
    axes.fill_between(expected, expected, observed, color=MODEL, alpha=0.2, lw=0)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="expected fraction within the interval", ylabel="observed fraction")
    axes.set_aspect("equal")
    axes.legend(loc="upper left" if np.mean(observed - expected) < 0.0 else "lower right", frameon=False, fontsize=8)


def _draw_errors(axes: Axes, sample: ErrorSample, unit: str, n_draws: int, seed: int | None) -> None:
    s, size = sample.std, np.abs(sample.residual)
    bottom = np.quantile(size[size > 0.0], 0.01) if size.any() else 1e-3 * s.min()  # the few smaller ones fall below the axis
    limits = (0.8 * s.min(), 1.25 * s.max()), (bottom, 2.0 * max(size.max(), 3.0 * s.max()))
    if len(s) > _FEW:
        seen = size >= bottom
        extent = (*np.log10(limits[0]), *np.log10(limits[1]))
        look: dict[str, Any] = {"gridsize": 45, "mincnt": 1, "lw": 0.1, "cmap": "Blues", "norm": LogNorm(vmin=0.3)}
        axes.hexbin(s[seen], size[seen], xscale="log", yscale="log", extent=extent, **look)
    else:
        axes.scatter(s, size, s=9, color=MODEL, alpha=0.5, linewidths=0)
    x = np.array(limits[0])
    for times, style in ((1, "-"), (2, "--"), (3, ":")):
        axes.plot(x, times * x, color=INK, lw=1.0, ls=style, label=f"|error| = {times} std")
    n_bins = min(_MOST_BINS, len(s) // _IN_BIN)
    if n_bins > 1:
        rms_std, rmse = metrics.rmse_by_std(sample.residual, s, n_bins)
        bars = np.array(
            [_interval(sample, part, n_draws, seed) for part in np.array_split(np.argsort(s, kind="stable"), n_bins)]
        )
        error = np.abs(bars.T - rmse)
        axes.errorbar(rms_std, rmse, error, fmt="o", color=REFERENCE, ms=4.5, lw=1.2, label="RMSE in bins", zorder=5)
    axes.set(xscale="log", yscale="log", xlim=limits[0], ylim=limits[1])
    axes.set(xlabel=f"standard deviation ({unit})", ylabel=f"|error| ({unit})")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0,) if np.ptp(np.log10(axis.get_view_interval())) > 2.2 else (1.0, 2.0, 5.0)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())


def _interval(sample: ErrorSample, part: NDArray[np.int64], n_draws: int, seed: int | None) -> tuple[float, float]:
    """95 % interval of the root mean square error of a bin."""
    return metrics.bootstrap_interval(
        lambda r, s: float(np.sqrt(np.mean(r**2))),
        sample.residual[part],
        sample.std[part],
        sample.structure[part],
        n_draws=n_draws,
        random_state=seed,
    )


def _draw_ratios(axes: Axes, sample: ErrorSample) -> None:
    z = sample.residual / sample.std
    edges = np.linspace(-_Z_RANGE, _Z_RANGE, 12 + 2 * min(14, len(z) // 40) + 1)
    counts = np.histogram(z, edges)[0]
    axes.stairs(counts / (len(z) * np.diff(edges)), edges, fill=True, color=MODEL, alpha=0.45, label="this model")
    grid = np.linspace(-_Z_RANGE, _Z_RANGE, 201)
    axes.plot(grid, norm.pdf(grid), color=INK, lw=1.2, label="Gaussian")
    outside = np.mean(np.abs(z) > _Z_RANGE)
    text = f"mean z² {metrics.zms(sample.residual, sample.std):.2f}"
    if outside > 0.0:
        text += f"\n{100 * outside:.2g} % outside"
    axes.text(0.03, 0.95, text, transform=axes.transAxes, va="top", fontsize=9)
    axes.set(yscale="log", xlim=(-_Z_RANGE, _Z_RANGE), ylim=(max(1e-4, 0.3 / len(z)), 2.0))
    axes.set(xlabel="z = error / standard deviation", ylabel="density")
