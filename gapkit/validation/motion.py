"""What a short run of molecular dynamics says: conservation of energy, structure, diffusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.analysis import DiffusionCoefficient
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import Stationary, thermalize_momenta
from matscipy.neighbours import neighbour_list
from numpy.typing import NDArray

from .._validation import check_integer, check_real
from .dynamics import run_nve
from .ensemble import Ensemble, Measured, propagate

__all__ = ["angles", "diffusion", "first_shell", "motion_properties", "radial_distribution"]

Array = NDArray[np.float64]

_FRICTION = 0.02  # 1/fs, while the run heats up
_LEAST_EDGE = 10.0  # Å
_RANGE = 8.0  # Å of the radial distribution function
_BINS = 160
_ANGLE_BINS = 90
_HOTTEST = 1e5  # K; beyond, the atoms fly apart


def motion_properties(
    starts: Sequence[Atoms | None],
    ensemble: Ensemble,
    *,
    temperature: float = 300.0,
    steps: int = 1000,
    timestep: float = 1.0,
    every: int = 10,
    random_state: int | None = 0,
    show: bool = False,
) -> dict[str, Measured]:
    """Dynamics at constant energy after a quarter as many steps with a thermostat, for each potential with the same velocities.

    Parameters
    ----------
    starts : sequence of ase.Atoms or None
        Where each potential starts.
    ensemble : Ensemble
        The potentials.
    temperature : float, default 300
        K, of the thermostat.
    steps : int, default 1000
        At constant energy.
    timestep : float, default 1.0
        fs.
    every : int, default 10
        Steps between samples.
    random_state : int, optional
        Seed of velocities and thermostat.
    show : bool, default False
        Whether to show a progress bar.

    Returns
    -------
    dict of str to Measured
        ``drift`` (eV/atom/ps), ``drift_per_step`` (eV/step, whole cell), ``fluctuation`` (eV/atom), ``temperature`` (K); curves
        ``time`` (ps), ``total_energy`` (eV/atom), ``temperatures`` (K).  Of structures that are periodic in three directions
        also ``rdf`` over ``rdf_r`` (Å), ``adf`` (1/degree) over ``adf_angle``, ``first_peak`` (Å), ``first_shell`` (Å),
        ``coordination`` and ``diffusion_X`` (cm²/s) for every species.  Spreads contain the noise of a finite run.

    Raises
    ------
    ValueError
        If the atoms fly apart.
    """
    check_real("temperature", temperature, above=0.0, remedy="It is in K.")
    check_real("timestep", timestep, above=0.0, at_most=20.0, remedy="It is in fs; 0.5 to 2 is usual.")
    check_integer("every", every, at_least=1)
    check_integer("steps", steps, at_least=10 * every, remedy="Ten samples are the least.")
    shell: list[float] = []  # of the model; angles of all are within it

    def measure(calculator: Any, atoms: Atoms) -> dict[str, Any]:
        atoms.calc = calculator
        rng = np.random.default_rng(random_state)
        thermalize_momenta(atoms, temperature_K=temperature, rng=rng)
        Stationary(atoms)
        heat = {"temperature_K": temperature, "friction": _FRICTION / units.fs, "rng": rng, "fixcm": False}
        Langevin(atoms, timestep * units.fs, **heat).run(steps // 4)
        Stationary(atoms)
        drift, frames = run_nve(atoms, steps=steps, timestep=timestep, every=every)
        if not np.isfinite(drift.total_energy).all() or drift.temperature.max() > _HOTTEST:
            raise ValueError(f"The run at {temperature:g} K left physics. Take shorter steps, or train on such structures.")
        result = {
            "drift": drift.slope,
            "drift_per_step": drift.slope * len(atoms) * timestep * 1e-3,
            "fluctuation": drift.fluctuation,
            "temperature": drift.temperature.mean(),
            "total_energy": drift.total_energy,
            "temperatures": drift.temperature,
            "time": drift.time,
        }
        if atoms.cell.rank < 3 or not atoms.pbc.all():
            return result
        r, g = radial_distribution(frames)
        density = len(atoms) / atoms.get_volume()
        peak, own = first_shell(r, g)
        if not shell:
            shell.append(own)
        angle, per_degree = angles(frames, shell[0])
        inside = r < shell[0]
        return {
            **result,
            "rdf_r": r,
            "rdf": g,
            "adf_angle": angle,
            "adf": per_degree,
            "first_peak": peak,
            "first_shell": shell[0],
            "coordination": float(np.sum(4 * np.pi * density * (r**2 * g)[inside]) * (r[1] - r[0])),
            **{f"diffusion_{symbol}": value for symbol, value in diffusion(frames, every * timestep).items()},
        }

    return propagate(measure, ensemble, starts, kind="forces", what="molecular dynamics", show=show)


def radial_distribution(frames: Sequence[Atoms], r_max: float = _RANGE, bins: int = _BINS) -> tuple[Array, Array]:
    """Radial distribution function of all pairs, averaged over frames.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Periodic in three directions.
    r_max : float, default 8
        Å.
    bins : int, default 160
        Their number.

    Returns
    -------
    r, g : ndarray of shape (bins,)
        Å; 1 where there is no order.
    """
    edges = np.linspace(0.0, r_max, bins + 1)
    volume = 4 / 3 * np.pi * np.diff(edges**3)
    total = np.zeros(bins)
    for atoms in frames:
        counts, _ = np.histogram(neighbour_list("d", atoms, r_max), edges)
        total += counts / (len(atoms) ** 2 / atoms.get_volume() * volume)
    return (edges[1:] + edges[:-1]) / 2, total / len(frames)


def first_shell(r: Array, g: Array) -> tuple[float, float]:
    """Place of the first peak of a radial distribution function and of the minimum behind it, Å.

    Parameters
    ----------
    r, g : ndarray of shape (n,)
        From `radial_distribution`.

    Returns
    -------
    peak, minimum : float
    """
    smooth = np.convolve(g, np.ones(5) / 5, mode="same")
    over = np.flatnonzero(smooth > 1.0)
    if len(over) == 0:
        return float("nan"), float(r[-1])
    falls = np.flatnonzero(smooth[over[0] :] < 1.0)
    end = over[0] + int(falls[0]) if len(falls) else len(r)
    top = int(over[0] + np.argmax(g[over[0] : end]))
    rises = np.flatnonzero(smooth[end:] > 1.0)
    until = end + int(rises[0]) if len(rises) else len(r)
    low = smooth[end:until]
    lowest = np.flatnonzero(low == low.min()) if len(low) else np.array([0])
    return float(np.average(r[max(top - 2, 0) : top + 3], weights=g[max(top - 2, 0) : top + 3])), float(
        r[min(end + int(lowest[len(lowest) // 2]), len(r) - 1)]
    )


def angles(frames: Sequence[Atoms], r_max: float, bins: int = _ANGLE_BINS) -> tuple[Array, Array]:
    """Distribution of the angles between neighbours within ``r_max``, averaged over frames.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Structures.
    r_max : float
        Å, e.g. from `first_shell`.
    bins : int, default 90
        Their number, from 0 to 180 degrees.

    Returns
    -------
    angle, density : ndarray of shape (bins,)
        Degrees; 1/degree, of integral 1.
    """
    edges = np.linspace(0.0, 180.0, bins + 1)
    total = np.zeros(bins)
    for atoms in frames:
        first, vector = neighbour_list("iD", atoms, r_max)
        unit = vector / np.linalg.norm(vector, axis=1)[:, None]
        for own in np.split(unit, np.flatnonzero(np.diff(first)) + 1):
            cosine = (own @ own.T)[np.triu_indices(len(own), 1)]
            total += np.histogram(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))), edges)[0]
    norm = total.sum() * (edges[1] - edges[0])
    return (edges[1:] + edges[:-1]) / 2, total / norm if norm else total


def diffusion(frames: Sequence[Atoms], interval: float) -> dict[str, float]:
    """Diffusion coefficient of each species from the mean square displacement (Einstein), by ASE.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Of one run, positions not wrapped.
    interval : float
        Time between frames, fs.

    Returns
    -------
    dict of str to float
        cm²/s.
    """
    analysis = DiffusionCoefficient(list(frames), interval * units.fs)
    analysis.calculate()
    slopes, _ = analysis.get_diffusion_coefficients()
    per_cm2_s = 1e-16 * 1e15 * units.fs  # Å² per unit of ASE's time
    return {symbol: float(slope) * per_cm2_s for symbol, slope in zip(analysis.types_of_atoms, slopes, strict=True)}
