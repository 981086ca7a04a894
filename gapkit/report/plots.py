"""Pictures for reports: matplotlib figures, without pyplot's global state."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from ..validation import Drift, EOSCurve, Residuals

__all__ = ["drift_figure", "eos_figure", "parity_figure", "to_data_uri"]

Array = NDArray[np.float64]

INK, MODEL, REFERENCE = "#333333", "#1f5fa8", "#c8501e"
_SEEN: dict[str, Any] = {"ls": "", "marker": "o", "color": INK, "ms": 5, "mfc": "none"}
_UNSEEN: dict[str, Any] = {"ls": "", "marker": "s", "color": REFERENCE, "ms": 6}


def parity_figure(parts: Mapping[str, Residuals]) -> Figure:
    """Predicted against reference energies (with error bars), forces and stresses.

    Parameters
    ----------
    parts : mapping of str to Residuals
        Name (e.g. "train", "test") -> labels and predictions; later ones are drawn on top.

    Returns
    -------
    matplotlib.figure.Figure
    """
    kinds = [
        ("energy", "energy (eV/atom)", [r.energy for r in parts.values()]),
        ("forces", "force component (eV/Å)", [r.forces for r in parts.values()]),
        ("stress", "stress component (GPa)", [r.stress for r in parts.values()]),
    ]
    kinds = [kind for kind in kinds if any(len(values) for values in kind[2])]
    figure = Figure(figsize=(4.4 * len(kinds), 5.4), layout="constrained")
    axes = figure.subplots(2, len(kinds), squeeze=False, height_ratios=[3, 1.2], sharex="col")
    colors = [MODEL, REFERENCE] if len(parts) == 2 else [REFERENCE] * len(parts)
    for (kind, label, values), top, bottom in zip(kinds, axes[0], axes[1], strict=True):
        everything = np.concatenate(values)
        low, high = everything.min(), everything.max()
        margin = 0.04 * (high - low) + 1e-9
        limits = (low - margin, high + margin)
        top.plot(limits, limits, color=INK, lw=0.8, zorder=0)
        bottom.axhline(0.0, color=INK, lw=0.8, zorder=0)
        scale, unit = {"energy": (1e3, "meV/atom"), "forces": (1.0, "eV/Å"), "stress": (1.0, "GPa")}[kind]
        for (name, r), color in zip(parts.items(), colors, strict=True):
            x, y = getattr(r, kind), getattr(r, f"{kind}_predicted")
            size, alpha = (9, 0.9) if len(x) < 500 else (3, 0.35)
            style = {"s": size, "alpha": alpha, "color": color, "linewidths": 0}
            top.scatter(x, y, label=f"{name}, RMSE {scale * np.sqrt(np.mean((y - x) ** 2)):.3g} {unit}", **style)
            bottom.scatter(x, scale * (y - x), **style)
            if kind == "energy" and r.energy_std is not None:
                bottom.errorbar(x, scale * (y - x), scale * r.energy_std, fmt="none", ecolor=color, elinewidth=0.7, alpha=0.6)
        top.set(xlim=limits, ylim=limits, ylabel=f"predicted {label}", title=kind)
        bottom.set(xlabel=f"DFT {label}", ylabel=f"error ({unit})")
        top.legend(fontsize=8, frameon=False, loc="upper left")
    return figure


def drift_figure(drift: Drift) -> Figure:
    """Total energy and temperature of a run at constant energy.

    Parameters
    ----------
    drift : Drift
        The run.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(7.5, 4.6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    top.plot(drift.time, 1e6 * drift.total_energy, color=MODEL, lw=1)
    line = np.polyval(np.polyfit(drift.time, drift.total_energy, 1), drift.time)
    top.plot(drift.time, 1e6 * line, color=REFERENCE, lw=1.5, label=f"drift {1e6 * drift.slope:+.2g} µeV/atom/ps")
    top.set(ylabel="total energy (µeV/atom)", title="molecular dynamics at constant energy")
    top.legend(frameon=False)
    bottom.plot(drift.time, drift.temperature, color=MODEL, lw=1)
    bottom.set(xlabel="time (ps)", ylabel="temperature (K)")
    return figure


def eos_figure(curve: EOSCurve, train: tuple[Array, Array], test: tuple[Array, Array]) -> Figure:
    """Energy against volume, and below the difference of the DFT points to the model with its band of two deviations.

    Parameters
    ----------
    curve : EOSCurve
        The model.
    train, test : (volume, energy), ndarrays
        DFT points that the model has and has not seen, Å³/atom and eV/atom.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(7.5, 5.8), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[2.2, 1])
    model = CubicSpline(curve.volume, curve.energy)
    bottom.fill_between(
        curve.volume,
        -2e3 * curve.energy_std,
        2e3 * curve.energy_std,
        color=MODEL,
        alpha=0.25,
        lw=0,
        label="±2 standard deviations",
    )
    top.plot(curve.volume, curve.energy, color=MODEL, label="gapkit")
    bottom.axhline(0.0, color=MODEL)
    for (volume, energy), style, label in ((train, _SEEN, "DFT, in the training set"), (test, _UNSEEN, "DFT, not seen")):
        top.plot(volume, energy, label=label, **style)
        bottom.plot(volume, 1e3 * (energy - model(volume)), **style)
    top.set(ylabel="energy (eV/atom)", title="equation of state")
    bottom.set(xlabel="volume (Å³/atom)", ylabel="DFT - model\n(meV/atom)")
    top.legend(frameon=False)
    bottom.legend(frameon=False, fontsize=8)
    return figure


def to_data_uri(figure: Figure, *, dpi: int = 110) -> str:
    """PNG of a figure as text that stands inside an HTML page.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        The picture.
    dpi : int, default 110
        Resolution.

    Returns
    -------
    str
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
