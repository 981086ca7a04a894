"""DeePMD-kit: folders of NumPy files (deepmd/npy and deepmd/npy/mixed), one folder or a tree of them.

dpdata reads them too, but sorts atoms and merges systems of one formula, so that trajectories are lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from ..units import Units
from .base import FileFormat, RawFrames, labelled, numbers_of_types

__all__ = ["DEEPMD"]

Array = np.ndarray[Any, np.dtype[Any]]


def _read(path: Path, species: Sequence[str] | None) -> RawFrames:
    systems = [path] if (path / "type.raw").exists() else sorted(file.parent for file in path.rglob("type.raw"))
    frames: list[Atoms] = []
    for system in systems:
        found = _system(system, species)
        if len(systems) > 1:
            for atoms in found:
                atoms.info["group"] = str(system.relative_to(path))
        frames += found
    return RawFrames(frames, Units("eV", "Å"))


def _system(folder: Path, species: Sequence[str] | None) -> list[Atoms]:
    types = np.loadtxt(folder / "type.raw", dtype=int, ndmin=1)
    names = (folder / "type_map.raw").read_text().split() if (folder / "type_map.raw").exists() else species
    periodic = not (folder / "nopbc").exists()
    frames: list[Atoms] = []
    for part in sorted(folder.glob("set.*")):
        positions = _array(part, "coord")
        if positions is None:
            raise ValueError(f"{part} must hold coord.npy; it does not.")
        n, n_atoms = len(positions), types.size
        data = {
            "coord": positions.reshape(n, n_atoms, 3),
            "box": _rows(part, "box", n, (3, 3)) if periodic else None,
            "energy": _rows(part, "energy", n, ()),
            "force": _rows(part, "force", n, (n_atoms, 3)),
            "virial": _rows(part, "virial", n, (3, 3)),
        }
        if periodic and data["box"] is None:
            raise ValueError(f"{part} must hold box.npy, or {folder} a file nopbc.")
        real = _rows(part, "real_atom_types", n, (n_atoms,))
        for k in range(n):
            row = types if real is None else real[k].astype(int)
            frames.append(_frame({key: None if v is None else v[k] for key, v in data.items()}, row, names, str(folder)))
    if not frames:
        raise ValueError(f"{folder} must hold folders set.000, set.001, ... with frames; got none.")
    return frames


def _frame(data: dict[str, Any], types: Array, names: Sequence[str] | None, where: str) -> Atoms:
    real = types >= 0  # -1: atoms that only fill up the array
    atoms = Atoms(numbers_of_types(types[real], names, where), data["coord"][real])
    if data["box"] is not None:
        atoms.set_cell(data["box"])
        atoms.pbc = True
    if data["virial"] is not None:
        atoms.info["virial"] = data["virial"]
    energy = None if data["energy"] is None else float(data["energy"])
    return labelled(atoms, energy=energy, forces=None if data["force"] is None else data["force"][real])


def _array(part: Path, name: str) -> Array | None:
    file = part / f"{name}.npy"
    return np.load(file, allow_pickle=False).astype(float) if file.exists() else None  # a pickle could run code


def _rows(part: Path, name: str, n: int, shape: tuple[int, ...]) -> Array | None:
    array = _array(part, name)
    if array is None:
        return None
    if array.size != n * int(np.prod(shape)):
        raise ValueError(f"{part / (name + '.npy')} must hold {n} frames of shape {shape}; got shape {array.shape}.")
    return array.reshape(n, *shape)


def _recognised(path: Path, head: bytes) -> bool:
    return path.is_dir() and any(True for _ in path.rglob("type.raw"))


DEEPMD = FileFormat("deepmd", "DeePMD-kit folder of npy files", _recognised, _read)
