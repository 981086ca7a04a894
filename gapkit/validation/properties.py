"""Physical properties from a model: the equation of state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.eos import EquationOfState
from numpy.typing import NDArray

from ..model import GAPRegressor

__all__ = ["EOSCurve", "eos_parameters", "equation_of_state"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class EOSCurve:
    """Energy of a crystal against its volume.

    Attributes
    ----------
    volume : ndarray of shape (n,)
        Å³/atom.
    energy : ndarray of shape (n,)
        eV/atom.
    energy_std : ndarray of shape (n,)
        Standard deviation of the energy, eV/atom.
    """

    volume: Array
    energy: Array
    energy_std: Array


def equation_of_state(model: GAPRegressor, atoms: Atoms, volumes: Sequence[float] | Array) -> EOSCurve:
    """Energy of a structure scaled to given volumes per atom.

    Parameters
    ----------
    model : GAPRegressor
        Fitted, with its posterior.
    atoms : ase.Atoms
        Crystal; scaled isotropically, fractional coordinates kept.
    volumes : sequence of float
        Å³/atom.

    Returns
    -------
    EOSCurve
    """
    frames = []
    for volume in volumes:
        frame = atoms.copy()
        frame.set_cell(frame.cell * (volume * len(atoms) / atoms.get_volume()) ** (1 / 3), scale_atoms=True)
        frames.append(frame)
    energy, std = model.predict(frames, return_std=True)
    return EOSCurve(np.asarray(volumes, float), energy / len(atoms), std / len(atoms))


def eos_parameters(volume: Array, energy: Array) -> tuple[float, float]:
    """Equilibrium volume (Å³/atom) and bulk modulus (GPa) from a Birch-Murnaghan fit.

    Parameters
    ----------
    volume : ndarray of shape (n,)
        Å³/atom.
    energy : ndarray of shape (n,)
        eV/atom.

    Returns
    -------
    volume, bulk_modulus : float
    """
    equilibrium, _, modulus = EquationOfState(volume, energy, eos="birchmurnaghan").fit()
    return float(equilibrium), float(modulus / units.GPa)
