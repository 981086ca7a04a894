"""Conservation of energy in molecular dynamics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.md.velocitydistribution import Stationary, thermalize_momenta
from ase.md.verlet import VelocityVerlet
from numpy.typing import NDArray

__all__ = ["Drift", "nve_drift", "run_nve", "step_advice"]

Array = NDArray[np.float64]

_MOST_DRIFT = 1e-3  # eV a step of the whole cell


@dataclass(frozen=True)
class Drift:
    """A run at constant energy.

    Attributes
    ----------
    time : ndarray of shape (n_samples,)
        ps.
    total_energy : ndarray of shape (n_samples,)
        Potential plus kinetic energy per atom relative to the start, eV.
    temperature : ndarray of shape (n_samples,)
        K.
    """

    time: Array
    total_energy: Array
    temperature: Array

    @property
    def slope(self) -> float:
        """Drift: slope of the straight line through the total energy, eV/atom/ps."""
        return float(np.polyfit(self.time, self.total_energy, 1)[0])

    @property
    def fluctuation(self) -> float:
        """Root mean square deviation of the total energy from that line, eV/atom."""
        return float(np.std(self.total_energy - np.polyval(np.polyfit(self.time, self.total_energy, 1), self.time)))


def nve_drift(
    atoms: Atoms,
    *,
    temperature: float = 300.0,
    steps: int = 1000,
    timestep: float = 1.0,
    every: int = 10,
    random_state: int | None = 0,
) -> Drift:
    """Run velocity Verlet at constant energy and record the total energy.

    Parameters
    ----------
    atoms : ase.Atoms
        Structure with a calculator; it is moved.
    temperature : float, default 300
        After equipartition, K (velocities are drawn at twice this value, since the start is a minimum).
    steps : int, default 1000
        Number of steps.
    timestep : float, default 1.0
        fs.
    every : int, default 10
        Steps between samples.
    random_state : int, optional
        Seed of the velocities.

    Returns
    -------
    Drift
    """
    thermalize_momenta(atoms, temperature_K=2 * temperature, rng=np.random.default_rng(random_state))
    Stationary(atoms)
    return run_nve(atoms, steps=steps, timestep=timestep, every=every)[0]


def run_nve(atoms: Atoms, *, steps: int, timestep: float, every: int) -> tuple[Drift, list[Atoms]]:
    """Run velocity Verlet from the velocities that the atoms have.

    Parameters
    ----------
    atoms : ase.Atoms
        Structure with a calculator; it is moved.
    steps : int
        Number of steps.
    timestep : float
        fs.
    every : int
        Steps between samples.

    Returns
    -------
    drift : Drift
        Total energies.
    frames : list of ase.Atoms
        The structures that belong to them, positions not wrapped.
    """
    samples: list[tuple[float, float, float]] = []
    frames: list[Atoms] = []
    dynamics = VelocityVerlet(atoms, timestep * units.fs)

    def record() -> None:
        energy = (atoms.get_potential_energy() + atoms.get_kinetic_energy()) / len(atoms)
        samples.append((dynamics.get_time() / (1000 * units.fs), energy, atoms.get_temperature()))
        frames.append(Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc))

    dynamics.attach(record, interval=every)
    dynamics.run(steps)
    time, energy, kelvin = np.array(samples).T
    return Drift(time, energy - energy[0], kelvin), frames


def step_advice(drift_per_step: float, timestep: float) -> str | None:
    """What to do about a drift of the total energy.

    Parameters
    ----------
    drift_per_step : float
        Of the whole cell, eV a step; 1e-3 is the most that is tolerated.
    timestep : float
        fs, that it was measured at.

    Returns
    -------
    str or None
        A sentence; None where the drift is small.
    """
    if abs(drift_per_step) <= _MOST_DRIFT:
        return None
    shorter = min(0.5, timestep / 2)
    return (
        f"The energy drifts by {drift_per_step:+.1e} eV a step of {timestep:g} fs, more than {_MOST_DRIFT:g}. Take steps of "
        f"{shorter:g} fs, or a Langevin thermostat; if it drifts still, forces are not the derivative of the energy."
    )
