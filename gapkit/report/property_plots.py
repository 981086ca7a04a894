"""Pictures of physical properties: equation of state, phonons, structure in motion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..validation import BandPath, Contestant, Drift, Measured
from .plots import INK, MODEL, REFERENCE

__all__ = ["bands_figure", "contest_figure", "drift_of", "eos_curve_figure", "expansion_figure", "structure_figure"]

Array = NDArray[np.float64]


def eos_curve_figure(properties: Mapping[str, Measured]) -> Figure:
    """Energy against volume with a band of two deviations.

    Parameters
    ----------
    properties : mapping of str to Measured
        With ``eos_volume``, ``eos_energy``, ``volume``.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    energy = properties["eos_energy"]
    lowest = energy.value.min()
    _curve(axes, properties["eos_volume"].value, energy, 1e3, lowest, "model")
    axes.axvline(float(properties["volume"]), color=INK, lw=0.8, ls=":")
    axes.set(xlabel="volume (Å³/atom)", ylabel="energy above the lowest (meV/atom)", title="equation of state")
    axes.legend(frameon=False)
    return figure


def bands_figure(properties: Mapping[str, Measured], path: BandPath, reference: Mapping[str, float] | None = None) -> Figure:
    """Phonon bands and density of states with bands of two deviations.

    Parameters
    ----------
    properties : mapping of str to Measured
        With ``bands``, ``dos``, ``dos_frequency``.
    path : BandPath
        Where the bands are.
    reference : mapping of str to float, optional
        Frequencies named ``phonon_X_1`` ... become dots at the special points.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(9.0, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[3.2, 1])
    bands = properties["bands"]
    for k, band in enumerate(bands.value.T):
        std = None if bands.std is None else bands.std[:, k]
        _curve(left, path.distance, Measured(band, std), 1.0, 0.0, "model" if k == 0 else None)
    for tick in path.ticks:
        left.axvline(tick, color=INK, lw=0.5)
    names = [label.replace("G", "Γ") for label in path.labels]
    dots = [
        (tick, value)
        for tick, name in zip(path.ticks, names, strict=True)
        for key, value in (reference or {}).items()
        if key.startswith(f"phonon_{name}_")
    ]
    if dots:
        left.plot(*np.array(dots).T, ls="", marker="o", ms=5, color=REFERENCE, label="reference", zorder=5)
    if bands.value.min() < 0:
        left.axhline(0.0, color=INK, lw=0.5)
    merged: dict[float, str] = {}
    for tick, name in zip(path.ticks, names, strict=True):  # where the path jumps, two points share a place
        merged[tick] = f"{merged[tick]}|{name}" if tick in merged else name
    left.set(xticks=list(merged), xlim=(0.0, path.distance[-1]), ylabel="frequency (THz)", title="phonon bands")
    left.set_xticklabels(list(merged.values()))
    left.legend(fontsize=8, loc="lower right", framealpha=0.9, edgecolor="none")
    dos, grid = properties["dos"], properties["dos_frequency"].value
    right.plot(dos.value, grid, color=MODEL)
    if dos.std is not None:
        right.fill_betweenx(grid, dos.value - 2 * dos.std, dos.value + 2 * dos.std, color=MODEL, alpha=0.25, lw=0)
    right.set(xlabel="states/THz", title="density of states", xlim=(0.0, None))
    return figure


def expansion_figure(properties: Mapping[str, Measured]) -> Figure:
    """Thermal expansion against temperature with a band of two deviations.

    Parameters
    ----------
    properties : mapping of str to Measured
        With ``expansion``, ``expansion_temperature``.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    _curve(axes, properties["expansion_temperature"].value, properties["expansion"], 1.0, 0.0, "model")
    axes.axhline(0.0, color=INK, lw=0.5)
    axes.set(xlabel="temperature (K)", ylabel="(1/V) dV/dT (1e-6/K)", title="thermal expansion", xlim=(0.0, None))
    axes.legend(frameon=False)
    return figure


def structure_figure(properties: Mapping[str, Measured]) -> Figure:
    """Radial distribution function and distribution of angles, with bands of two deviations.

    Parameters
    ----------
    properties : mapping of str to Measured
        With ``rdf``, ``rdf_r``, ``adf``, ``adf_angle``, ``first_shell``.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    _curve(left, properties["rdf_r"].value, properties["rdf"], 1.0, 0.0, "model")
    left.axvline(float(properties["first_shell"]), color=INK, lw=0.8, ls=":")
    left.set(xlabel="r (Å)", ylabel="g(r)", title="radial distribution", ylim=(0.0, None))
    left.legend(frameon=False)
    _curve(right, properties["adf_angle"].value, properties["adf"], 1.0, 0.0, None)
    title = f"angles within {float(properties['first_shell']):.2f} Å"
    right.set(xlabel="angle (°)", ylabel="share per degree", title=title, ylim=(0.0, None))
    return figure


def drift_of(properties: Mapping[str, Measured]) -> Drift:
    """The run of the model itself, for `drift_figure`.

    Parameters
    ----------
    properties : mapping of str to Measured
        With ``time``, ``total_energy``, ``temperatures``.

    Returns
    -------
    Drift
    """
    return Drift(*(properties[name].value for name in ("time", "total_energy", "temperatures")))


def contest_figure(contestants: Sequence[Contestant]) -> Figure:
    """Errors of energies, forces and stresses against time, one dot per potential.

    Parameters
    ----------
    contestants : sequence of Contestant
        From `gapkit.validation.compare`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    kinds = {"energy_rmse": "energy RMSE (meV/atom)", "forces_rmse": "force RMSE (eV/Å)", "stress_rmse": "stress RMSE (GPa)"}
    kinds = {name: label for name, label in kinds.items() if any(getattr(c.errors, name) is not None for c in contestants)}
    figure = Figure(figsize=(4.2 * max(1, len(kinds)), 4.0), layout="constrained")
    for axes, (name, label) in zip(figure.subplots(1, max(1, len(kinds)), squeeze=False)[0], kinds.items(), strict=False):
        for k, one in enumerate(contestants):
            error = getattr(one.errors, name)
            if error is not None:
                axes.plot(one.speed.microseconds, error, marker="o", ls="", ms=8, color=f"C{k}", label=one.name)
        axes.set(xscale="log", yscale="log", xlabel="time (µs/atom)", ylabel=label)
        axes.grid(alpha=0.3, which="both")
    figure.axes[0].legend(frameon=False, fontsize=8)
    return figure


def _curve(axes: Axes, x: Array, y: Measured, scale: float, shift: float, label: str | None) -> None:
    value = scale * (y.value - shift)
    axes.plot(x, value, color=MODEL, label=label)
    if y.std is not None:
        band = "±2 standard deviations" if label else None
        axes.fill_between(x, value - 2 * scale * y.std, value + 2 * scale * y.std, color=MODEL, alpha=0.25, lw=0, label=band)
