"""Triplets of atoms as environments: GAP's angle_3b."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from .._backend import body_ops
from ..neighbors import NeighborList
from .base import Features
from .radial import falling_cosine
from .two_body import _Body, species_pairs

__all__ = ["ThreeBody"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]


class _State(NamedTuple):
    """What the adjoint needs again: triplets before each centre, cutoff function of the pairs of the block and its slope."""

    until: Index
    cutoff: Array
    cutoff_slope: Array


class ThreeBody(_Body):
    r"""Triplets of atoms, with a smooth weight: GAP's angle_3b.

    An environment is a centre i with an unordered pair (j, k) of neighbours closer than ``r_cut`` (periodic images are
    distinct).  Its features are

    .. math:: r_{ij} + r_{ik}, \quad (r_{ij} - r_{ik})^2, \quad r_{jk}

    its weight is f(r_ij) f(r_ik) with the cosine f of `TwoBody`, and its energy, which belongs to the centre, counts twice, as
    QUIP sums over both orders of j and k.  Every centre species with every unordered pair of neighbour species has kernels
    of its own.  Features differ in size: divide them by their spread (``Term(..., scale="std")``).

    Parameters
    ----------
    r_cut : float
        Range of both legs, Å; r_jk may reach twice as far.
    cutoff_width : float, default 1.0
        Å; QUIP's cutoff_transition_width.
    species : sequence of str or int, optional
        Species that may occur; default: those of the structures seen in `fit`.
    tabulate : bool, default False
        Replace the fitted sum over sparse points by a spline over the three distances for energies and forces, whose cost
        does not depend on their number.  The fit measures the error on the training set and warns above 1e-5 eV a triplet.

    Attributes
    ----------
    species_ : list of int
        Atomic numbers, ascending.

    Notes
    -----
    For unlike neighbour species the features cannot tell which distance belongs to which species.  This is GAP's choice, kept
    so that its potentials can be read and written.

    References
    ----------
    A. P. Bartók, G. Csányi, Int. J. Quantum Chem. 115, 1051 (2015).

    Examples
    --------
    >>> from ase.build import molecule
    >>> descriptor = ThreeBody(r_cut=1.2).fit([molecule("H2O")])
    >>> descriptor.transform([molecule("H2O")]).round(3).tolist()
    [[1.937, 0.0, 1.526]]
    >>> [name for name in descriptor.group_names_ if name[2] == "O"]
    ['H-O-H', 'H-O-O', 'O-O-O']
    """

    @property
    def n_features(self) -> int:
        """Three."""
        return 3

    @property
    def group_names_(self) -> list[str]:
        """Chemical symbols with the centre in the middle, such as "H-O-H"."""
        names = [pair.split("-") for pair in species_pairs(self.species_)]
        return [f"{low}-{chemical_symbols[z]}-{high}" for z in self.species_ for low, high in names]

    def entries_until(self, neighbors: NeighborList) -> Index:
        """Number of (triplet, pair) entries of all centres before each one, shape (n_atoms + 1,)."""
        until: Index = 2 * body_ops().count_triplets(neighbors.first, neighbors.distances, float(self.r_cut))
        return until

    def compute(self, neighbors: NeighborList, *, jacobian: bool = False, centers: slice | None = None) -> Features:
        """Features of the triplets of some centres; see `Descriptor.compute`."""
        ops, r_cut = body_ops(), float(self.r_cut)
        start, stop, _ = (centers or slice(None)).indices(neighbors.n_atoms)
        species = self.species_index(neighbors)
        first = neighbors.first[start : stop + 1]
        block = slice(int(first[0]), int(first[-1]))
        vectors, distances = neighbors.vectors[block], neighbors.distances[block]
        cutoff, cutoff_slope = falling_cosine(distances, r_cut, float(self.cutoff_width))
        until = ops.count_triplets(first - block.start, distances, r_cut)
        n = int(until[-1])
        values, weights = np.empty((n, 3)), np.empty(n)
        species_pair, pairs = np.empty(n, np.int64), np.empty(2 * n, np.int64)
        of_neighbors = species[neighbors.neighbors[block]]
        geometry = (vectors, distances)
        ops.triplets(first - block.start, until, of_neighbors, *geometry, cutoff, r_cut, values, weights, species_pair, pairs)
        gradient = weight_gradient = None
        if jacobian:
            gradient, weight_gradient = np.empty((2 * n, 3, 3)), np.empty((2 * n, 3))
            ops.triplet_jacobian(*geometry, cutoff, cutoff_slope, pairs, values, gradient, weight_gradient)
        centers_t = np.repeat(np.arange(start, stop), np.diff(until))
        n_pairs = len(self.species_) * (len(self.species_) + 1) // 2
        return Features(
            values=values,
            groups=species[centers_t] * n_pairs + species_pair,
            owners=centers_t[:, None],
            first=2 * np.arange(n + 1),
            pairs=pairs + block.start,
            block=block,
            neighbors=neighbors,
            jacobian=gradient,
            weights=weights,
            weight_gradient=weight_gradient,
            state=_State(until, cutoff, cutoff_slope),
        )

    def pullback(self, features: Features, dE_dx: Array, dE_dw: Array | None = None) -> Array:
        """Gradient of an energy with respect to pair vectors; see `Descriptor.pullback`."""
        state, block, neighbors = features.state, features.block, features.neighbors
        result = np.zeros((block.stop - block.start, 3))
        body_ops().triplet_pullback(
            state.until,
            neighbors.vectors[block],
            neighbors.distances[block],
            state.cutoff,
            state.cutoff_slope,
            features.pairs - block.start,
            features.values,
            np.ascontiguousarray(dE_dx, float),
            np.zeros(len(features.values)) if dE_dw is None else np.ascontiguousarray(dE_dw, float),
            result,
        )
        return result
