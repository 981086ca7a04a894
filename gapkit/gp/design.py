r"""Rows of the design matrix K_fu: the covariance of every label with every sparse point.

A label is a linear functional of the local energies, so its row is the same functional of k(x_e, s_m): the sum over the
environments of a structure (energy), minus its derivative with respect to an atom (force), its strain derivative over
the volume (stress).  Amplitude and noise are left out here: rows have unit delta, and only energies are divided by √N.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .._backend import beside, in_turn, is_on_gpu, row_ops
from ..descriptors import Features
from ..neighbors import NeighborList
from .moved import MovedPoints
from .observations import Labels, volumes
from .sparse_term import SparseTerm

__all__ = [
    "RowAssembly",
    "Rows",
    "blocks_of_centers",
    "kernel_rows",
    "own_noise",
    "targets",
]

Array = NDArray[np.float64]

_BLOCK_BYTES = 48 * 2**20  # of the Jacobian of a block: enough environments for many threads
_PRODUCT_BYTES = 12 * 2**20  # of its product with the sparse points, part by part: it stays in the cache until it is added
_PRODUCT_BYTES_ON_GPU = 512 * 2**20  # which has no such cache


@dataclass(frozen=True)
class Rows:
    """Rows of some structures by kind of label, unit delta, with the targets they belong to.

    Attributes
    ----------
    energy : ndarray of shape (n_energies, n_sparse)
        Per total energy, divided by √N.
    forces : ndarray of shape (n_force_components, n_sparse)
        Atom by atom, x y z; only `Labels.force_atoms`.
    stress : ndarray of shape (n_stress_components, n_sparse)
        Structure by structure, Voigt order.
    """

    energy: Array
    forces: Array
    stress: Array


def blocks_of_centers(
    entries_until: NDArray[np.int64], bytes_per_entry: int, max_atoms: int | None = None, *, block_bytes: int | None = None
) -> Iterator[slice]:
    """Contiguous ranges of atoms whose temporaries stay below a fixed size.

    Parameters
    ----------
    entries_until : ndarray of shape (n_atoms + 1,)
        From `Descriptor.entries_until`.
    bytes_per_entry : int
        Size of the temporaries of one entry.
    max_atoms : int, optional
        Largest number of atoms in a range.
    block_bytes : int, optional
        The fixed size; default: that of a block of Jacobians.
    """
    limit, n_atoms = max(1, (block_bytes or _BLOCK_BYTES) // bytes_per_entry), len(entries_until) - 1
    start = 0
    while start < n_atoms:
        stop = int(np.searchsorted(entries_until, entries_until[start] + limit, side="right")) - 1
        stop = min(max(stop, start + 1), n_atoms, start + (max_atoms or n_atoms))
        yield slice(start, stop)
        start = stop


def targets(neighbors: NeighborList, labels: Sequence[Labels]) -> Rows:
    """The labels in the order of the rows, each as a column vector (energies divided by √N)."""
    sizes = np.diff(neighbors.first_atom)
    energy = [y.energy / np.sqrt(n) for y, n in zip(labels, sizes, strict=True) if y.energy is not None]
    forces = [y.forces[y.force_atoms()].ravel() for y in labels if y.forces is not None]
    stress = [y.stress for y in labels if y.stress is not None]
    return Rows(
        np.array(energy).reshape(-1, 1),
        np.concatenate(forces or [np.empty(0)]).reshape(-1, 1),
        np.concatenate(stress or [np.empty(0)]).reshape(-1, 1),
    )


def own_noise(neighbors: NeighborList, labels: Sequence[Labels]) -> Rows:
    """Noise of the rows whose frame has its own, NaN for the others; vectors in the order and units of the rows."""
    sizes = np.diff(neighbors.first_atom)
    energy = [
        np.nan if y.energy_sigma is None else y.energy_sigma / np.sqrt(n)
        for y, n in zip(labels, sizes, strict=True)
        if y.energy is not None
    ]
    forces = [
        np.full(y.forces.size, np.nan) if y.forces_sigma is None else y.forces_sigma[y.force_atoms()].ravel()
        for y in labels
        if y.forces is not None
    ]
    stress = [np.full(6, np.nan) if y.stress_sigma is None else y.stress_sigma for y in labels if y.stress is not None]
    return Rows(np.array(energy), np.concatenate(forces or [np.empty(0)]), np.concatenate(stress or [np.empty(0)]))


def kernel_rows(terms: Sequence[SparseTerm], neighbors: NeighborList, labels: Sequence[Labels]) -> Rows:
    """Covariance of the labels of some structures with all sparse points, at unit delta.

    Parameters
    ----------
    terms : sequence of SparseTerm
        Terms of the model.
    neighbors : NeighborList
        Pairs of the structures.
    labels : sequence of Labels
        Which labels exist; one per structure.

    Returns
    -------
    Rows
    """
    assembly = RowAssembly(terms, neighbors, labels)
    for term in terms:
        for centers in assembly.blocks(term, term.descriptor.entries_until(neighbors)):
            assembly.add(term, term.descriptor.compute(neighbors, jacobian=assembly.derivatives, centers=centers))
    return assembly.finished()


class RowAssembly:
    """Rows of some structures while blocks of environments are added to them; parameters are those of `kernel_rows`.

    Attributes
    ----------
    derivatives : bool
        Whether any label needs the derivatives of the features.
    has_row : ndarray of bool of shape (n_atoms,)
        Whether the forces on an atom are labels.
    has_stress : bool
        Whether any structure has a stress.
    """

    def __init__(self, terms: Sequence[SparseTerm], neighbors: NeighborList, labels: Sequence[Labels]) -> None:
        self.terms, self.neighbors = terms, neighbors
        n_sparse = sum(term.n_points for term in terms)
        self._energy_row = _row_numbers([y.energy is not None for y in labels], 1)
        self._stress_row = _row_numbers([y.stress is not None for y in labels], 6)
        self._force_row = np.full(neighbors.n_atoms, -1)
        next_row = 0
        for start, y in zip(neighbors.first_atom[:-1], labels, strict=True):
            atoms = start + y.force_atoms()
            self._force_row[atoms] = next_row + 3 * np.arange(len(atoms))
            next_row += 3 * len(atoms)
        self._like = terms[0].points[0]  # all is done where the sparse points are
        n_rows = int((self._energy_row >= 0).sum()), next_row, 6 * int((self._stress_row >= 0).sum())
        self._rows = Rows(*(np.zeros_like(self._like, shape=(n, n_sparse)) for n in n_rows))
        self.has_row, self.has_stress = self._force_row >= 0, len(self._rows.stress) > 0
        self.derivatives = next_row > 0 or self.has_stress
        self._memory: Array = np.empty(0)
        self._moved: dict[int, MovedPoints | None] = {}

    def blocks(self, term: SparseTerm, entries_until: NDArray[np.int64]) -> Iterator[slice]:
        """Ranges of centres whose temporaries stay small."""
        width = term.descriptor.n_features
        return blocks_of_centers(entries_until, 24 * width if self.derivatives else width)

    def add(self, term: SparseTerm, features: Features) -> None:
        """Add environments of a term; `Features.jacobian` must be there if `derivatives`."""
        copied = 0 if term.descriptor.moved_features() else term.descriptor.n_features
        width = max([copied, *(len(p) for p in term.points)])
        at_most = _PRODUCT_BYTES_ON_GPU if is_on_gpu(self._like) else _PRODUCT_BYTES
        with in_turn(self._like):
            for part in blocks_of_centers(features.first, 24 * width, block_bytes=at_most):
                self._add(term, features.part(part))

    def _add(self, term: SparseTerm, features: Features) -> None:
        rows, neighbors = self._rows, self.neighbors
        weights = term.descriptor.multiplicity * features.weights_or_ones[:, None]
        for group, columns in enumerate(term.columns):
            members = np.flatnonzero(features.groups == group)
            if len(members) == 0 or len(term.points[group]) == 0:
                continue
            x, points = term.seen(group, beside(self._like, features.values[members])), term.seen(group, term.points[group])
            if not self.derivatives:
                value = term.kernel(x, points)
            else:
                kernel = value, _, _ = term.kernel.value_and_slopes(x, points)
                parts = _Slopes.of(self, term, group, features, members, x, points, beside(x, weights[members]), kernel)
                parts.add_to(rows, columns.start, neighbors, (self._force_row, self._stress_row))
            energy_of = self._energy_row[neighbors.structure[features.owners[members, 0]]]
            row_ops(value).add_energy_rows(energy_of, weights[members, 0], value, columns.start, rows.energy)

    def memory(self, n_entries: int, n_points: int) -> Array:
        """Array (n_entries, 3, n_points) for one part; the next takes it again, as new pages cost a third of the product."""
        size = 3 * n_entries * n_points
        if is_on_gpu(self._like):  # CuPy keeps what was freed
            return np.empty_like(self._like, shape=(n_entries, 3, n_points))
        if len(self._memory) < size:
            self._memory = np.empty(size)
        return self._memory[:size].reshape(n_entries, 3, n_points)

    def moved_points(self, term: SparseTerm, group: int) -> MovedPoints | None:
        """Sparse points by what neighbours move; None where these move most features."""
        key = term.columns[group].start
        if key not in self._moved:
            moved, points = term.descriptor.moved_features(), term.seen(group, term.points[group])
            moved = None if is_on_gpu(points) else moved
            self._moved[key] = None if moved is None else MovedPoints(moved, term.scaled(group, points))
        return self._moved[key]

    def finished(self) -> Rows:
        """The rows, once every environment of every term has been added; to be called once."""
        for term in self.terms:
            for of_points, columns in zip(term.weights, term.columns, strict=True):
                for block in (self._rows.energy, self._rows.forces, self._rows.stress):
                    block[:, columns] *= of_points
        divisor = np.sqrt(np.diff(self.neighbors.first_atom)[self._energy_row >= 0])[:, None]
        self._rows.energy[:] /= beside(self._like, divisor)
        return self._rows


@dataclass(frozen=True)
class _Slopes:
    """Derivative of w_e k(x_e, s_m) by each pair vector: slope_em (J_p s_m) + the sum over r of coefficient_rem vector_rpc.

    ``pairs[first[e]:first[e + 1]]`` are those of environment e, ``centers`` their common centre.
    """

    centers: NDArray[np.int64]
    first: NDArray[np.int64]
    pairs: NDArray[np.int64]
    slope: Array
    pair: Array
    sums: Array
    coefficients: Array
    pair_vectors: Array
    sum_vectors: Array

    @classmethod
    def of(
        cls,
        assembly: RowAssembly,
        term: SparseTerm,
        group: int,
        features: Features,
        members: NDArray[np.int64],
        x: Array,
        points: Array,
        weight: Array,
        kernel: tuple[Array, Array, Array | None],
    ) -> _Slopes:
        """Chain rule for some environments of a group: d(w k) = w (A J s + B J x) + k dw."""
        value, slope, self_slope = kernel
        jacobian, gradient, index, first = features.jacobian, features.weight_gradient, features.pairs, features.first
        assert jacobian is not None  # noqa: S101 - for the type checker: the caller asked for it
        entries: slice | NDArray[np.int64] = slice(None)
        if len(members) < len(features.groups):
            counts = np.diff(features.first)[members]
            first = np.concatenate([[0], np.cumsum(counts)])
            entries = np.repeat(features.first[members] - first[:-1], counts) + np.arange(first[-1])
            index = index[entries]
            gradient = None if gradient is None else gradient[entries]
        environment = np.repeat(np.arange(len(members)), np.diff(first))
        matters = np.flatnonzero(assembly.has_row[features.neighbors.neighbors[index]])
        everything = len(matters) == len(index)
        moved = assembly.moved_points(term, group)
        sum_products = everything and len(points) < points.shape[1]  # or products of the sums: whichever are shorter
        if moved is None or self_slope is not None or not sum_products:
            jacobian, entries = beside(points, jacobian[entries]), slice(None)
        vectors, loops = beside(points, features.neighbors.vectors[index]), row_ops(points)
        inner = term.scaled(group, points)  # k depends on x / scale
        coefficients, pair_vectors = [], []
        if self_slope is not None:
            outer = x if term.scales is None else x / term.scales[group]
            coefficients.append(self_slope * weight)
            pair_vectors.append(np.einsum("pcf,pf->pc", jacobian, outer[beside(points, environment)]))
        if gradient is not None:
            coefficients.append(value * term.descriptor.multiplicity)
            pair_vectors.append(beside(points, gradient))
        sum_vectors = np.empty_like(points, shape=(len(coefficients), len(members), 9, 1))
        for vector, target in zip(pair_vectors, sum_vectors, strict=True):
            loops.centre_and_strain(first, vectors, vector.astype(float, order="C", copy=False)[:, :, None], target)
        if not sum_products:
            sums = np.empty_like(points, shape=(len(members), 9, points.shape[1]))
            loops.centre_and_strain(first, vectors, jacobian, sums)
            sums = sums[:, : 9 if assembly.has_stress else 3] @ inner.T
        if not everything:  # products with the sparse points are most of the work of a fit
            first = np.searchsorted(matters, first)
            rest = beside(points, matters)
            jacobian, index, environment = jacobian[rest], index[matters], environment[matters]
            pair_vectors = [v[rest] for v in pair_vectors]
        pair = assembly.memory(len(index), len(points))
        if moved is None:
            np.matmul(jacobian.reshape(-1, points.shape[1]), inner.T, out=pair.reshape(-1, len(points)))
        else:
            species = term.descriptor.species_index(features.neighbors)[features.neighbors.neighbors[index]]
            wanted = np.arange(len(jacobian))[entries]
            moved.multiply(jacobian, wanted, features.values[members], environment, species, pair)
        if sum_products:
            sums = np.empty_like(points, shape=(len(members), 9, len(points)))
            loops.centre_and_strain(first, vectors, pair, sums)
        return cls(
            features.owners[members, 0],
            first,
            index,
            slope * weight,
            pair,
            sums,
            np.stack(coefficients) if coefficients else np.empty_like(points, shape=(0, *slope.shape)),
            np.stack(pair_vectors) if pair_vectors else np.empty_like(points, shape=(0, len(index), 3)),
            sum_vectors[:, :, :, 0],
        )

    def add_to(
        self, rows: Rows, column: int, neighbors: NeighborList, label_rows: tuple[NDArray[np.int64], NDArray[np.int64]]
    ) -> None:
        """Add to the force and stress rows, from ``column`` on; ``label_rows``: first row of each atom and structure."""
        row_ops(self.slope).add_gradient_rows(
            self.first,
            self.centers,
            neighbors.neighbors[self.pairs],
            neighbors.structure,
            *label_rows,
            volumes(neighbors),
            self.slope,
            self.pair,
            self.sums,
            self.coefficients,
            self.pair_vectors,
            self.sum_vectors,
            column,
            rows.forces,
            rows.stress,
        )


def _row_numbers(exists: Sequence[bool], rows_each: int) -> NDArray[np.int64]:
    """First row of each label, -1 where there is none."""
    present = np.asarray(exists, bool)
    return np.where(present, (np.cumsum(present) - 1) * rows_each, -1)
