"""Defects of elemental crystals: vacancy and surfaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from ..datasets.generate.base import supercell
from ..datasets.generate.planes import make_slab
from .crystal import Crystal, relax
from .ensemble import Ensemble, Measured, propagate

__all__ = ["make_slab", "surface_properties", "vacancy_properties"]

Array = NDArray[np.float64]

_LEAST_EDGE = 10.0  # Å of the cell with a vacancy
_FORCE = 0.01  # eV/Å: the energy is stationary, so that the rest of it is below 1 meV
_RATTLE = 0.02  # Å, so that a saddle is left


def vacancy_properties(
    crystal: Crystal, relaxed: Sequence[Atoms | None], ensemble: Ensemble, *, show: bool = False
) -> dict[str, Measured]:
    """Energy to take one atom out of an elemental crystal into the bulk: E(N - 1) - (N - 1)/N E(N), atoms relaxed.

    Parameters
    ----------
    crystal : Crystal
        From `find_crystal`, of one species.
    relaxed : sequence of ase.Atoms or None
        From `relaxed_crystals`.
    ensemble : Ensemble
        The potentials.
    show : bool, default False
        Whether to show a progress bar.

    Returns
    -------
    dict of str to Measured
        ``vacancy_energy``, eV, in a cell with edges of at least 10 Å that stays as it is.
    """
    places: list[Array] = []  # where the model's own relaxation ends: the samples start there, in the same basin

    def measure(calculator: Any, atoms: Atoms) -> dict[str, Any]:
        per_atom = _energy(atoms, calculator) / len(atoms)
        cell = supercell(crystal.conventional(atoms), _LEAST_EDGE)
        del cell[0]
        if places:
            cell.set_scaled_positions(places[0])
        else:
            cell.rattle(_RATTLE, seed=0)
        cell = relax(cell, calculator, force=_FORCE)
        places.append(cell.get_scaled_positions(wrap=False))
        return {"vacancy_energy": _energy(cell, calculator) - len(cell) * per_atom}

    return propagate(measure, ensemble, relaxed, kind="energy", what="vacancy", show=show)


def surface_properties(
    crystal: Crystal,
    relaxed: Sequence[Atoms | None],
    ensemble: Ensemble,
    faces: Sequence[tuple[int, int, int]] = ((1, 0, 0), (1, 1, 1)),
    *,
    show: bool = False,
) -> dict[str, Measured]:
    """Energies of surfaces of an elemental cubic crystal, relaxed from where the bulk is cut, without reconstruction.

    Parameters
    ----------
    crystal, relaxed, ensemble, show
        As for `vacancy_properties`.
    faces : sequence of (h, k, l)
        Miller indices in the conventional cell.

    Returns
    -------
    dict of str to Measured
        ``surface_energy_100``, ... in J/m².
    """
    places: dict[tuple[int, int, int], Array] = {}

    def measure(calculator: Any, atoms: Atoms) -> dict[str, Any]:
        per_atom, result = _energy(atoms, calculator) / len(atoms), {}
        for face in faces:
            slab = make_slab(crystal.conventional(atoms), face)
            if face in places:
                slab.set_scaled_positions(places[face])
            else:
                slab.rattle(_RATTLE, seed=0)
            slab = relax(slab, calculator, force=_FORCE)
            places.setdefault(face, slab.get_scaled_positions(wrap=False))
            area = np.linalg.norm(np.cross(slab.cell[0], slab.cell[1]))
            energy = (_energy(slab, calculator) - len(slab) * per_atom) / (2 * area)
            result["surface_energy_" + "".join(map(str, face))] = energy / (units.J / units.m**2)
        return result

    return propagate(measure, ensemble, relaxed, kind="energy", what="surfaces", show=show)


def _energy(atoms: Atoms, calculator: Any) -> float:
    atoms = atoms.copy()
    atoms.calc = calculator
    return float(atoms.get_potential_energy())
