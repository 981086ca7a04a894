"""Pairs of atoms on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .launch import launch

__all__ = ["Geometry"]

Index = NDArray[np.int64]


@dataclass(frozen=True)
class Geometry:
    """All pairs of one structure; atoms in an order of their own, by species.  Arrays are CuPy's unless said otherwise.

    Attributes
    ----------
    skin : float
        Extra range, Å: pairs are all that can come within the range while no atom moves by more than half of it.
    atoms : array of shape (n_atoms,)
        Which atom was given at the place of each one here.
    species : array of shape (n_atoms,)
        Index of the species, ascending.
    first : array of shape (n_atoms + 1,)
        First pair of each atom and, last, the number of pairs.
    centers, neighbors : arrays of shape (n_pairs,)
        The two atoms of each pair; pairs of an atom are sorted by the species of the neighbour.
    shifts : array of shape (n_pairs, 3)
        Cell shift of the neighbour, for positions as given.
    reverse : array of shape (n_pairs,)
        Index of the pair (neighbour, centre, -shift).
    cell : array of shape (3, 3)
        Å.
    voigt : array of shape (6,)
        Places of xx yy zz yz xz xy in a 3 x 3 matrix.
    reference : array of shape (n_atoms, 3)
        Positions at which the pairs were found, Å.
    vectors : array of shape (n_pairs, 3)
        r_neighbor + shift @ cell - r_center, Å; written by `move`.
    distances : array of shape (n_pairs,)
        Å.
    host_first : ndarray of shape (n_atoms + 1,)
        ``first`` in NumPy.
    species_counts : ndarray of shape (n_species,)
        Number of atoms of each species, in NumPy.
    """

    skin: float
    atoms: Any
    species: Any
    first: Any
    centers: Any
    neighbors: Any
    shifts: Any
    reverse: Any
    cell: Any
    voigt: Any
    reference: Any
    vectors: Any
    distances: Any
    host_first: Index
    species_counts: Index

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.host_first) - 1

    @property
    def n_pairs(self) -> int:
        """Number of pairs, both directions counted."""
        return int(self.host_first[-1])

    def pairs_of(self, atoms: slice) -> slice:
        """Range of the pairs of a range of atoms."""
        return slice(int(self.host_first[atoms.start]), int(self.host_first[atoms.stop]))

    def virial(self, gradient: Any) -> Any:
        """dE/dstrain (6,), Voigt order, from dE/d(pair vector)."""
        virial = self.vectors.T @ gradient
        return (0.5 * (virial + virial.T)).ravel()[self.voigt]

    def move(self, positions: Any) -> Any:
        """Write vectors and distances for positions in the order in which they were given; return squares of displacements."""
        ordered = positions[self.atoms]
        moved = ordered[:, 0].copy()
        launch("displacement", self.n_atoms, ordered, self.reference, moved)
        launch(
            "move", self.n_pairs, ordered, self.cell, self.centers, self.neighbors, self.shifts, self.vectors, self.distances
        )
        return moved
