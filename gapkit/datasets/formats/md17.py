"""MD17, rMD17 and sGDML: one molecule (or cell), NumPy .npz."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from ..units import Units
from .base import FileFormat, RawFrames, labelled

__all__ = ["MD17"]

_KEYS = {
    "numbers": ("nuclear_charges", "z", "atomic_numbers", "numbers"),
    "positions": ("coords", "R", "coordinates", "positions"),
    "energy": ("energies", "E", "energy"),
    "forces": ("forces", "F"),
}


def _read(path: Path, species: Sequence[str] | None) -> RawFrames:
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:  # a pickle could run code
        numbers, positions, energies, forces = (_array(archive, kind, path) for kind in _KEYS)
        units = Units(_text(archive, "e_unit") or "kcal/mol", _text(archive, "r_unit") or "Å")
        lattice = np.asarray(archive["lattice"], dtype=float).T if "lattice" in archive else None  # its columns are vectors
    if numbers is None or positions is None or positions.ndim != 3 or positions.shape[2] != 3:
        raise ValueError(
            f"{path} must hold nuclear charges ({', '.join(_KEYS['numbers'])}) and coordinates "
            f"({', '.join(_KEYS['positions'])}) of shape (frames, atoms, 3), as MD17, rMD17 and sGDML files do."
        )
    n_frames, n_atoms = positions.shape[:2]
    numbers = np.broadcast_to(numbers.astype(int), (n_frames, n_atoms))
    if forces is not None and forces.shape != positions.shape:
        raise ValueError(f"Forces in {path} must have the shape of the coordinates, {positions.shape}; got {forces.shape}.")
    if energies is not None and energies.size != n_frames:
        raise ValueError(f"{path} must hold one energy per frame, {n_frames}; got shape {energies.shape}.")
    energies = None if energies is None else energies.reshape(n_frames)
    frames = []
    for k in range(n_frames):
        atoms = Atoms(numbers[k], positions[k], cell=lattice, pbc=lattice is not None)
        energy = None if energies is None else float(energies[k])
        frames.append(labelled(atoms, energy=energy, forces=None if forces is None else forces[k]))
    return RawFrames(frames, units)


def _array(archive: Any, kind: str, path: Path) -> Any:
    for key in _KEYS[kind]:
        if key in archive:
            try:
                return np.asarray(archive[key], dtype=float)
            except ValueError as error:  # an array of objects
                raise ValueError(f"Array {key!r} of {path} must hold plain numbers; {error}.") from None
    return None


def _text(archive: Any, key: str) -> str:
    try:
        return str(archive[key]) if key in archive else ""
    except ValueError:  # an array of objects
        return ""


MD17 = FileFormat("md17", "MD17, rMD17 or sGDML .npz", lambda path, head: path.suffix == ".npz", _read)
