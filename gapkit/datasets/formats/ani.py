"""ANI-1, ANI-1x/ANI-1ccx and TorchANI data sets: HDF5 with one group per formula or molecule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from ..units import Units
from .base import FileFormat, RawFrames, labelled, missing

__all__ = ["ANI"]

_ENERGY = ("energies", "wb97x_dz.energy")
_FORCES = ("forces", "wb97x_dz.forces")


def _read(path: Path, species: Sequence[str] | None) -> RawFrames:
    try:
        import h5py
    except ImportError as error:
        raise missing("h5py", "Reading ANI data sets (HDF5)", error) from None
    frames: list[Atoms] = []
    levels: set[str] = set()
    with h5py.File(path, "r") as file:
        for group in _molecules(file, h5py):
            frames += _frames(group, levels)
    if not frames:
        raise ValueError(
            f"{path} must hold groups with `coordinates` and `species` or `atomic_numbers`, as ANI files do; it has none. "
            "DeePMD-kit's HDF5 is --format dpdata:deepmd/hdf5."
        )
    remarks = [f"energies and forces are those of wb97x_dz; also there, to be named as key: {', '.join(sorted(levels))}"]
    others = {key: "forces" if key.endswith("forces") else "energy" for key in levels}
    return RawFrames(frames, Units("Hartree", "Å"), remarks if levels else [], others)


def _molecules(group: Any, h5py: Any) -> Iterator[Any]:
    if "coordinates" in group:
        yield group
        return
    for name in group:
        if isinstance(group[name], h5py.Group):
            yield from _molecules(group[name], h5py)


def _frames(group: Any, levels: set[str]) -> list[Atoms]:
    positions = np.asarray(group["coordinates"], dtype=float)
    numbers = _numbers(group, positions.shape[:2])
    data = {key: np.asarray(group[key], dtype=float) for key in group if key.endswith(("energy", "energies", "forces"))}
    energy = next((data[key] for key in _ENERGY if key in data), None)
    forces = next((data[key] for key in _FORCES if key in data), None)
    others = {key: value for key, value in data.items() if key not in _ENERGY + _FORCES}
    levels |= set(others)
    frames = []
    for k in range(len(positions)):
        atoms = Atoms(numbers[k], positions[k])
        atoms.info["molecule"] = group.name.strip("/")
        for key, value in others.items():
            if not np.isnan(value[k]).any():  # NaN: not computed at this level
                (atoms.info if value[k].size == 1 else atoms.arrays)[key] = float(value[k]) if value[k].ndim == 0 else value[k]
        labels = {"energy": None if energy is None else float(energy[k]), "forces": None if forces is None else forces[k]}
        frames.append(labelled(atoms, **labels))
    return frames


def _numbers(group: Any, shape: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.int64]]:
    key = "atomic_numbers" if "atomic_numbers" in group else "species"
    if key not in group:
        raise ValueError(f"Group {group.name} must hold `species` or `atomic_numbers`; it has {', '.join(group)}.")
    values = np.asarray(group[key])
    if values.dtype.kind in "SO":
        values = np.array([atomic_numbers[v.decode() if isinstance(v, bytes) else str(v)] for v in values.ravel()])
    return np.broadcast_to(values.astype(np.int64), shape)


ANI = FileFormat("ani", "ANI HDF5", lambda path, head: head.startswith(b"\x89HDF\r\n"), _read)
