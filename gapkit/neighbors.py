"""Neighbour lists: one immutable record of all pairs of a batch of structures, made by vesin.

The list is full (both directions of every pair), sorted by centre, and each pair knows its reverse.  Periodic images are
pairs of their own, so cells smaller than the cutoff, partial periodicity and unwrapped positions need no special care.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from ase import Atoms
from ase.geometry import complete_cell
from numpy.typing import NDArray

from ._backend import pair_ops
from .exceptions import InvalidStructureError

__all__ = ["SHORTEST_DISTANCE", "NeighborList", "check_structures"]

SHORTEST_DISTANCE = 0.1
"""Atoms closer than this (Å) are taken for duplicates and refused."""


def check_structures(frames: Sequence[Atoms], *, name: str = "frames", first_frame: int = 0) -> list[Atoms]:
    """Return ``frames`` as a list of structures that a model can be evaluated on.

    ``first_frame`` is what messages call the first of them.

    Raises
    ------
    TypeError
        If ``frames`` is not a sequence of `ase.Atoms`.
    ValueError
        If it is empty.
    InvalidStructureError
        If a frame has no atoms, a position or cell that is not finite, or a periodic direction without a cell vector.
    """
    if isinstance(frames, Atoms):
        raise TypeError(f"`{name}` must be a list of ase.Atoms; got one Atoms object. Write [atoms].")
    frames = list(frames)
    if not frames:
        raise ValueError(f"`{name}` must hold at least one structure; got an empty list.")
    for k, atoms in enumerate(frames, start=first_frame):
        if not isinstance(atoms, Atoms):
            raise TypeError(f"`{name}` must be a list of ase.Atoms; got {type(atoms).__name__} in frame {k}.")
        if len(atoms) == 0:
            raise InvalidStructureError(f"A structure must have at least one atom; got none in frame {k}. Remove it.")
        if (atoms.numbers <= 0).any():
            raise InvalidStructureError(f"Atoms must be of an element; got a dummy atom X in frame {k}. Remove it.")
        if not np.isfinite(atoms.positions).all():
            raise InvalidStructureError(f"Positions must be finite; got NaN or inf in frame {k}. Remove the frame.")
        if not np.isfinite(atoms.cell.array).all():
            raise InvalidStructureError(f"The cell must be finite; got NaN or inf in frame {k}. Remove the frame.")
    # one call for all: each takes longer than the energy of an atom
    ranks = np.linalg.matrix_rank(np.array([atoms.cell.array * atoms.pbc[:, None] for atoms in frames]))
    for k, (atoms, rank) in enumerate(zip(frames, ranks, strict=True), start=first_frame):
        if rank < atoms.pbc.sum():
            raise InvalidStructureError(
                f"Periodic directions need independent cell vectors; got pbc {atoms.pbc.tolist()} with cell "
                f"{atoms.cell.array.tolist()} in frame {k}. Set the cell, or pbc to False."
            )
    return frames


@dataclass(frozen=True)
class NeighborList:
    """All pairs within a cutoff in a batch of structures; atoms are numbered through the batch.

    Attributes
    ----------
    cutoff : float
        Range of the list including the skin, Å.
    skin : float
        Extra range (Å) that lets `update` keep the pairs while no atom has moved more than half of it.
    numbers : ndarray of shape (n_atoms,)
        Atomic numbers.
    positions : ndarray of shape (n_atoms, 3)
        Å, as given (unwrapped).
    cells : ndarray of shape (n_structures, 3, 3)
        Cell vectors as rows, Å.
    pbc : ndarray of shape (n_structures, 3)
        Periodic directions.
    structure : ndarray of shape (n_atoms,)
        Structure that each atom belongs to.
    first_atom : ndarray of shape (n_structures + 1,)
        First atom of each structure and, last, the number of atoms.
    first : ndarray of shape (n_atoms + 1,)
        First pair of each atom and, last, the number of pairs.
    centers, neighbors : ndarray of shape (n_pairs,)
        The two atoms of each pair.
    shifts : ndarray of shape (n_pairs, 3)
        Cell shift of the neighbour.
    reverse : ndarray of shape (n_pairs,)
        Index of the pair (neighbour, centre, -shift).
    vectors : ndarray of shape (n_pairs, 3)
        r_neighbor + shift @ cell - r_center, Å.
    distances : ndarray of shape (n_pairs,)
        Length of the vectors, Å.
    reference : ndarray of shape (n_atoms, 3)
        Positions at which the pairs were found.
    first_frame : int
        What messages call the first structure.
    """

    cutoff: float
    skin: float
    numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    cells: NDArray[np.float64]
    pbc: NDArray[np.bool_]
    structure: NDArray[np.int64]
    first_atom: NDArray[np.int64]
    first: NDArray[np.int64]
    centers: NDArray[np.int64]
    neighbors: NDArray[np.int64]
    shifts: NDArray[np.int32]
    reverse: NDArray[np.int64]
    vectors: NDArray[np.float64]
    distances: NDArray[np.float64]
    reference: NDArray[np.float64]
    first_frame: int

    @classmethod
    def from_atoms(cls, structures: Sequence[Atoms], cutoff: float, *, skin: float = 0.0, first_frame: int = 0) -> NeighborList:
        """Find all pairs closer than ``cutoff + skin``.

        Parameters
        ----------
        structures : sequence of ase.Atoms
            Any mix of sizes, cells and periodicities.
        cutoff : float
            Largest distance that matters, Å.
        skin : float, default 0
            Extra range for molecular dynamics, Å.
        first_frame : int, default 0
            Number that error messages give to the first structure.

        Returns
        -------
        NeighborList

        Raises
        ------
        InvalidStructureError
            If a structure is invalid (see `check_structures`) or two of its atoms are closer than 0.1 Å.
        """
        from vesin import NeighborList as VesinList  # imports CuPy where it is installed

        structures = check_structures(structures, first_frame=first_frame)
        finder = VesinList(cutoff=cutoff + skin, full_list=False, n_threads=1)  # one thread: the order is reproducible
        sizes = np.array([len(atoms) for atoms in structures])
        first_atom = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        i_parts, j_parts, shift_parts = [], [], []
        cells = np.array([complete_cell(atoms.cell.array) for atoms in structures])
        for atoms, box, offset in zip(structures, cells, first_atom, strict=False):
            i, j, shift = finder.compute(
                points=np.ascontiguousarray(atoms.positions, float), box=box, periodic=atoms.pbc, quantities="ijS"
            )
            i_parts.append(i.astype(np.int64) + offset)
            j_parts.append(j.astype(np.int64) + offset)
            shift_parts.append(shift.astype(np.int32))
        first, centers, neighbors, shifts, reverse = pair_ops().full_from_half(
            int(first_atom[-1]), np.concatenate(i_parts), np.concatenate(j_parts), np.concatenate(shift_parts)
        )
        positions = np.concatenate([atoms.positions for atoms in structures]).astype(float)
        structure = np.repeat(np.arange(len(structures)), sizes)
        vectors, distances = _vectors(positions, cells, structure, first, neighbors, shifts)
        result = cls(
            cutoff=cutoff + skin,
            skin=skin,
            numbers=np.concatenate([atoms.numbers for atoms in structures]).astype(np.int64),
            positions=positions,
            cells=np.array([atoms.cell.array for atoms in structures]),
            pbc=np.array([atoms.pbc for atoms in structures]),
            structure=structure,
            first_atom=first_atom,
            first=first,
            centers=centers,
            neighbors=neighbors,
            shifts=shifts,
            reverse=reverse,
            vectors=vectors,
            distances=distances,
            reference=positions,
            first_frame=first_frame,
        )
        result._check_distances()
        return result

    @property
    def n_atoms(self) -> int:
        """Number of atoms of the batch."""
        return len(self.numbers)

    @property
    def n_structures(self) -> int:
        """Number of structures of the batch."""
        return len(self.cells)

    def update(self, atoms: Atoms) -> NeighborList:
        """Return the list for moved atoms; pairs are found anew only when the skin no longer covers the motion.

        Parameters
        ----------
        atoms : ase.Atoms
            The single structure of this list, with new positions.

        Returns
        -------
        NeighborList
        """
        same = (
            len(atoms) == self.n_atoms
            and np.array_equal(atoms.numbers, self.numbers)
            and np.array_equal(atoms.pbc, self.pbc[0])
            and np.array_equal(atoms.cell.array, self.cells[0])
        )
        if same:
            moved = np.sum((atoms.positions - self.reference) ** 2, axis=1).max()
            same = bool(moved <= (0.5 * self.skin) ** 2)  # False for NaN: from_atoms then names it
        if not same:
            return NeighborList.from_atoms([atoms], self.cutoff - self.skin, skin=self.skin)
        positions = atoms.positions.copy()
        cells = complete_cell(self.cells[0])[None]
        vectors, distances = _vectors(positions, cells, self.structure, self.first, self.neighbors, self.shifts)
        result = replace(self, positions=positions, vectors=vectors, distances=distances)
        result._check_distances()
        return result

    def has_stress(self, structure: int) -> bool:
        """Whether stress is defined for a structure: a cell of rank 3 and at least one periodic direction."""
        return bool(self._have_stress[structure])

    @cached_property
    def _have_stress(self) -> NDArray[np.bool_]:
        result: NDArray[np.bool_] = self.pbc.any(axis=1) & (np.linalg.matrix_rank(self.cells) == 3)
        return result

    def _check_distances(self) -> None:
        if len(self.distances) == 0:
            return
        p = int(np.argmin(self.distances))
        if self.distances[p] < SHORTEST_DISTANCE:
            frame = int(self.structure[self.centers[p]])
            i, j = int(self.centers[p] - self.first_atom[frame]), int(self.neighbors[p] - self.first_atom[frame])
            raise InvalidStructureError(
                f"Atoms must be at least {SHORTEST_DISTANCE} Å apart; got {self.distances[p]:.3g} Å between atoms {i} and {j} "
                f"in frame {frame + self.first_frame}. Remove the duplicate atom or check the cell."
            )


def _vectors(
    positions: NDArray[np.float64],
    cells: NDArray[np.float64],
    structure: NDArray[np.int64],
    first: NDArray[np.int64],
    neighbors: NDArray[np.int64],
    shifts: NDArray[np.int32],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    vectors, distances = np.empty((len(neighbors), 3)), np.empty(len(neighbors))
    pair_ops().move(positions, cells, structure, first, neighbors, shifts, vectors, distances)
    return vectors, distances
