"""Clusters of like atoms as environments: GAP's distance_Nb, for reading its models."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations, permutations
from math import comb
from typing import ClassVar, NamedTuple

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from .._validation import check_integer, check_real
from ..neighbors import NeighborList
from .base import Features
from .radial import falling_cosine
from .two_body import _Body

__all__ = ["DistanceNb", "contracted_points", "distance_permutations", "expanded_points"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

_LARGEST_ORDER = 4  # 24 permutations of 6 distances


class _State(NamedTuple):
    """What the adjoint needs again: unit vectors along the distances, and slopes of the weights by the distances."""

    units_edc: Array
    weight_slopes_ed: Array


class DistanceNb(_Body):
    r"""Distances within clusters of like atoms: GAP's distance_Nb of order 3 and 4, to run QUIP's models with.

    An environment is a centre with a set of N - 1 neighbours of its own species closer than ``r_cut`` (periodic images are
    distinct).  Its features are all N (N - 1) / 2 distances over theta, first those from the centre; the order of the
    neighbours has no meaning.  Its energy belongs to all N atoms in equal parts.  QUIP's kernel of two such x and s is
    summed over the permutations P of the atoms, and normalised,

    .. math::
        k(x, s) = \frac{q(x, s)}{\sqrt{q(x, x) \, q(s, s)}}, \qquad q(x, s) = \sum_P e^{-|P x - s|^2 / 2},

    times cutoff functions of the distances from the centre.  Here 1 / √q(x, x) is part of the weight, and every sparse point
    stands for all its permutations (`expanded_points`), so that RBF(1.0) makes the same energies.

    Models cannot be fitted with it: a sparse point would count once instead of once for each permutation.  Clusters of unlike
    atoms are no environments: QUIP's permutations then depend on how the atoms are numbered (libAtoms/QUIP issue 669).

    Parameters
    ----------
    r_cut : float
        Range of the distances from the centre, Å; those between neighbours may reach twice as far.
    order : int, default 3
        Atoms of a cluster, 3 or 4.  QUIP's order 2 is `TwoBody`.
    cutoff_width : float, default 1.0
        Å; QUIP's cutoff_transition_width.
    theta : float, default 1.0
        Length scale of the kernel, Å.
    species : sequence of str or int, optional
        Species that may occur; default: those of the structures seen in `fit`.

    Attributes
    ----------
    species_ : list of int
        Atomic numbers, ascending.

    Examples
    --------
    >>> from ase import Atoms
    >>> angle = Atoms("Si3", [[0, 0, 0], [2, 0, 0], [0, 2, 0]])
    >>> DistanceNb(r_cut=2.5, theta=0.5).fit_transform([angle]).round(2).tolist()
    [[4.0, 4.0, 5.66]]
    """

    multiplicity: ClassVar[int] = 1
    predict_only: ClassVar[bool] = True

    def __init__(
        self,
        r_cut: float,
        *,
        order: int = 3,
        cutoff_width: float = 1.0,
        theta: float = 1.0,
        species: Sequence[int | str] | None = None,
    ) -> None:
        super().__init__(r_cut, cutoff_width=cutoff_width, species=species)
        self.order = order
        self.theta = theta

    def check_parameters(self) -> None:
        """Raise ValueError or TypeError if a parameter is out of its range."""
        super().check_parameters()
        check_integer("order", self.order, at_least=3, at_most=_LARGEST_ORDER, remedy="Clusters of two atoms are TwoBody.")
        check_real("theta", self.theta, above=0.0, remedy="It is in Å.")

    @property
    def n_features(self) -> int:
        """The number of pairs of atoms in a cluster."""
        return comb(int(self.order), 2)

    @property
    def permutations(self) -> Index:
        """Orders of the features that mean the same, shape (order!, n_features): those of the atoms."""
        return distance_permutations(int(self.order))

    @property
    def group_names_(self) -> list[str]:
        """Chemical symbols, such as "Si-Si-Si"."""
        return ["-".join([chemical_symbols[z]] * int(self.order)) for z in self.species_]

    def entries_until(self, neighbors: NeighborList) -> Index:
        """Number of (cluster, pair) entries of all centres before each one, shape (n_atoms + 1,)."""
        near = self._near(neighbors, slice(0, len(neighbors.centers)), self.species_index(neighbors))
        counts = np.bincount(neighbors.centers[near], minlength=neighbors.n_atoms)
        n_others = int(self.order) - 1
        until = np.zeros(neighbors.n_atoms + 1, np.int64)
        until[1:] = np.cumsum([n_others * comb(int(n), n_others) for n in counts])
        return until

    def compute(self, neighbors: NeighborList, *, jacobian: bool = False, centers: slice | None = None) -> Features:
        """Features of the clusters of some centres; see `Descriptor.compute`."""
        start, stop, _ = (centers or slice(None)).indices(neighbors.n_atoms)
        species, n_others, theta = self.species_index(neighbors), int(self.order) - 1, float(self.theta)
        block = slice(int(neighbors.first[start]), int(neighbors.first[stop]))
        near = self._near(neighbors, block, species)
        counts = np.bincount(neighbors.centers[near] - start, minlength=stop - start)
        pairs_en = near[_sets(counts, n_others)]
        ends_enc = neighbors.vectors[pairs_en]
        across = np.array(list(combinations(range(n_others), 2))).T
        vectors_edc = np.concatenate([ends_enc, ends_enc[:, across[1]] - ends_enc[:, across[0]]], axis=1)
        r_ed = np.linalg.norm(vectors_edc, axis=2)
        x = r_ed / theta
        own, own_gradient = _own_sum(x, self.permutations)
        cutoff, cutoff_slopes_en = _product(*falling_cosine(r_ed[:, :n_others], float(self.r_cut), float(self.cutoff_width)))
        weights = cutoff / np.sqrt(own)
        slopes_ed = -0.5 * (weights / own)[:, None] * own_gradient / theta
        slopes_ed[:, :n_others] += cutoff_slopes_en / np.sqrt(own)[:, None]
        state = _State(vectors_edc / r_ed[:, :, None], slopes_ed)
        of_pairs = _to_pairs(n_others)
        gradient = weight_gradient = None
        if jacobian:
            gradient = np.einsum("dn,edc->encd", of_pairs, state.units_edc).reshape(-1, 3, x.shape[1]) / theta
            weight_gradient = np.einsum("dn,ed,edc->enc", of_pairs, slopes_ed, state.units_edc).reshape(-1, 3)
        centers_e = neighbors.centers[pairs_en[:, 0]]
        return Features(
            values=x,
            groups=species[centers_e],
            owners=np.column_stack([centers_e, neighbors.neighbors[pairs_en]]),
            first=n_others * np.arange(len(x) + 1),
            pairs=pairs_en.ravel(),
            block=block,
            neighbors=neighbors,
            jacobian=gradient,
            weights=weights,
            weight_gradient=weight_gradient,
            state=state,
        )

    def pullback(self, features: Features, dE_dx: Array, dE_dw: Array | None = None) -> Array:
        """Gradient of an energy with respect to pair vectors; see `Descriptor.pullback`."""
        state, block = features.state, features.block
        slopes_ed = dE_dx / float(self.theta)
        if dE_dw is not None:
            slopes_ed = slopes_ed + dE_dw[:, None] * state.weight_slopes_ed
        along_edc = slopes_ed[:, :, None] * state.units_edc
        entries = np.einsum("dn,edc->enc", _to_pairs(int(self.order) - 1), along_edc).reshape(-1, 3)
        index, n_pairs = features.pairs - block.start, block.stop - block.start
        return np.column_stack([np.bincount(index, weights=entries[:, c], minlength=n_pairs) for c in range(3)])

    def _near(self, neighbors: NeighborList, block: slice, species: Index) -> Index:
        """Pairs of like atoms within the range."""
        index = np.arange(block.start, block.stop)
        alike = species[neighbors.centers[block]] == species[neighbors.neighbors[block]]
        near: Index = index[alike & (neighbors.distances[block] < self.r_cut)]
        return near


def expanded_points(points: Array, cutoffs: Array, theta: float, permutations: Index) -> tuple[Array, Array]:
    """Sparse points of QUIP's distance_Nb as those of a `gapkit.gp.sparse_term.SparseTerm` with RBF(1.0).

    Parameters
    ----------
    points : ndarray of shape (n_points, n_distances)
        Distances, Å.
    cutoffs : ndarray of shape (n_points,)
        Cutoff functions of the points, QUIP's sparseCutoff.
    theta : float
        Length scale, Å.
    permutations : ndarray of int of shape (n_permutations, n_distances)
        Of the distances, counted from 0; see `distance_permutations`.

    Returns
    -------
    points : ndarray of shape (n_points * n_permutations, n_distances)
        Every permutation of each point, divided by theta.  All have the coefficient of the point.
    weights : ndarray of shape (n_points * n_permutations,)
        Their weights.
    """
    scaled = points / theta
    own, _ = _own_sum(scaled, permutations)
    expanded = scaled[:, permutations].reshape(-1, points.shape[1])
    return expanded, np.repeat(cutoffs / np.sqrt(own), len(permutations))


def contracted_points(points: Array, weights: Array, theta: float, permutations: Index) -> tuple[Array, Array]:
    """Inverse of `expanded_points`: distances (Å) and cutoff functions, if the first permutation is the identity."""
    scaled = points[:: len(permutations)]
    own, _ = _own_sum(scaled, permutations)
    return scaled * theta, weights[:: len(permutations)] * np.sqrt(own)


@lru_cache
def distance_permutations(order: int) -> Index:
    """What permutations of the atoms of a cluster make of its distances.

    Parameters
    ----------
    order : int
        Number of atoms.

    Returns
    -------
    ndarray of int of shape (order!, order * (order - 1) / 2)
        Row P: the permuted distances are ``distances[P]``.  Read-only.
    """
    edges = list(combinations(range(order), 2))
    place = {edge: k for k, edge in enumerate(edges)}
    result = np.array([[place[min(p[a], p[b]), max(p[a], p[b])] for a, b in edges] for p in permutations(range(order))])
    result.setflags(write=False)
    return result


def _product(factors_en: Array, slopes_en: Array) -> tuple[Array, Array]:
    """Product over the last axis and its derivatives by what each factor depends on."""
    others = [np.delete(factors_en, k, axis=1).prod(axis=1) for k in range(factors_en.shape[1])]
    return factors_en.prod(axis=1), slopes_en * np.column_stack(others)


def _own_sum(x: Array, permutations: Index) -> tuple[Array, Array]:
    """q(x, x), the sum over permutations of exp(-|P x - x|² / 2), and its gradient; the permutations are a group."""
    value, gradient = np.zeros(len(x)), np.zeros_like(x)
    for permutation in permutations:
        step = x[:, permutation] - x
        term = np.exp(-0.5 * np.einsum("ef,ef->e", step, step))
        value += term
        gradient += 2.0 * term[:, None] * step  # the inverse of P gives the other half
    return value, gradient


@lru_cache
def _subsets(n: int, size: int) -> Index:
    """All subsets of 0 ... n - 1 of one size, as rows."""
    return np.array(list(combinations(range(n), size)), np.int64).reshape(-1, size)


def _sets(counts: Index, size: int) -> Index:
    """Subsets of each run of ``counts`` consecutive indices, run by run, as rows."""
    starts = np.cumsum(counts) - counts
    sets = [start + _subsets(int(n), size) for start, n in zip(starts, counts, strict=True) if n >= size]
    return np.concatenate(sets) if sets else np.empty((0, size), np.int64)


@lru_cache
def _to_pairs(n_others: int) -> Array:
    """Derivative of the vector along each distance by each vector from the centre, shape (n_distances, n_others)."""
    result = np.zeros((comb(n_others + 1, 2), n_others))
    result[:n_others] = np.eye(n_others)
    for row, (a, b) in enumerate(combinations(range(n_others), 2), n_others):
        result[row, a], result[row, b] = -1.0, 1.0
    result.setflags(write=False)
    return result
