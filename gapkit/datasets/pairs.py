"""How far two frames of the same atoms are apart: what unit checks and splits look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from ..gp.observations import config_type_of

__all__ = ["displacement", "distance", "runs_of_equal_atoms", "same_cell"]

Array = NDArray[np.float64]


def runs_of_equal_atoms(frames: Sequence[Atoms]) -> list[list[int]]:
    """Numbers of the frames that have the same atoms in the same order, periodicity and configuration type, in file order."""
    groups: dict[tuple[bytes, bytes, str], list[int]] = {}
    for k, atoms in enumerate(frames):
        key = (atoms.numbers.tobytes(), atoms.pbc.tobytes(), config_type_of(atoms))
        groups.setdefault(key, []).append(k)
    return list(groups.values())


def same_cell(first: Atoms, second: Atoms) -> bool:
    """Whether both have one cell, to 1e-6 of its size."""
    a, b = first.cell.array, second.cell.array
    return bool(np.abs(a - b).max() <= 1e-6 * max(np.abs(a).max(), 1e-300))


def displacement(first: Atoms, second: Atoms) -> tuple[Array, Array]:
    """How the atoms of ``second`` moved, after the translation (and in vacuum the rotation) that brings it closest.

    Parameters
    ----------
    first, second : ase.Atoms
        The same atoms in the same order.

    Returns
    -------
    moved : ndarray of shape (n_atoms, 3)
        Å; nearest images where periodic, strain left out.
    rotation : ndarray of shape (3, 3)
        Vectors of ``second``, as rows, times this matrix are in the frame of ``first``.
    """
    if first.pbc.any() or len(first) < 2:
        if first.cell.rank < 3:
            moved = second.positions - first.positions
        else:
            scaled = second.cell.scaled_positions(second.positions) - first.cell.scaled_positions(first.positions)
            scaled -= np.where(first.pbc, np.round(scaled), 0.0)
            moved = scaled @ first.cell.array
        return moved - moved.mean(axis=0), np.eye(3)
    a = first.positions - first.positions.mean(axis=0)
    b = second.positions - second.positions.mean(axis=0)
    left, _, right = np.linalg.svd(b.T @ a)  # Kabsch
    left[:, -1] *= np.sign(np.linalg.det(left @ right))
    rotation = left @ right
    return b @ rotation - a, rotation


def distance(first: Atoms, second: Atoms) -> float:
    """Root mean square of `displacement`, Å, plus what the cells differ by."""
    moved, _ = displacement(first, second)
    return float(np.sqrt((moved**2).sum(axis=1).mean())) + float(np.abs(second.cell.array - first.cell.array).max())
