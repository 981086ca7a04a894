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
from scipy.linalg import blas, lapack

from .._backend import row_ops
from ..descriptors import Descriptor, Features
from ..kernels import Kernel
from ..neighbors import NeighborList
from .observations import Labels, volumes

__all__ = ["Rows", "SparseTerm", "blocks_of_centers", "kernel_rows", "pivoted_cholesky", "targets", "whiten"]

Array = NDArray[np.float64]

_BLOCK_BYTES = 48 * 2**20  # size of the largest temporary of a block (Jacobian, or its product with the sparse points)


@dataclass(frozen=True)
class SparseTerm:
    """One term of the model with its sparse points: all that is needed to compute kernels with them.

    Attributes
    ----------
    descriptor : Descriptor
        Fitted.
    kernel : Kernel
        Unit amplitude.
    delta : float
        Standard deviation of the energy of an environment, eV.
    points : list of ndarray of shape (n_points, n_features)
        Sparse points of each group; K_uu of a group is ``cholesky @ cholesky.T``.
    cholesky : list of ndarray of shape (n_points, n_points)
        Lower triangular factors.
    columns : list of slice
        Place of each group among all sparse points of the model.
    """

    descriptor: Descriptor
    kernel: Kernel
    delta: float
    points: list[Array]
    cholesky: list[Array]
    columns: list[slice]

    @classmethod
    def build(
        cls, descriptor: Descriptor, kernel: Kernel, delta: float, points: Sequence[Array], first_column: int
    ) -> tuple[SparseTerm, int]:
        """Factorise K_uu of each group, drop points that the others determine; return the term and how many were dropped."""
        kept, factors, columns, dropped = [], [], [], 0
        for candidates in points:
            index, factor = pivoted_cholesky(kernel(candidates)) if len(candidates) else (np.arange(0), np.empty((0, 0)))
            kept.append(np.ascontiguousarray(candidates[index]))
            factors.append(factor)
            columns.append(slice(first_column, first_column + len(index)))
            first_column += len(index)
            dropped += len(candidates) - len(index)
        return cls(descriptor, kernel, delta, kept, factors, columns), dropped

    @property
    def n_points(self) -> int:
        """Number of sparse points of all groups."""
        return sum(len(p) for p in self.points)


@dataclass(frozen=True)
class Rows:
    """Rows of some structures by kind of label, unit delta, with the targets they belong to.

    Attributes
    ----------
    energy : ndarray of shape (n_energies, n_sparse)
        Per total energy, divided by √N.
    forces : ndarray of shape (n_force_components, n_sparse)
        Atom by atom, x y z.
    stress : ndarray of shape (n_stress_components, n_sparse)
        Structure by structure, Voigt order.
    """

    energy: Array
    forces: Array
    stress: Array


def pivoted_cholesky(matrix: Array) -> tuple[NDArray[np.int64], Array]:
    """Cholesky factor of the best-conditioned principal submatrix (LAPACK dpstrf).

    A row is dropped when the others leave less than n ε of the largest diagonal element, which is rounding.

    Returns
    -------
    index : ndarray of shape (rank,)
        Rows that were kept, in pivot order.
    factor : ndarray of shape (rank, rank)
        Lower triangular, ``factor @ factor.T == matrix[index][:, index]``.
    """
    factor, pivots, rank, _ = lapack.dpstrf(matrix, lower=1, tol=-1.0)  # LAPACK's own tolerance, as above
    return pivots[:rank].astype(np.int64) - 1, np.asfortranarray(np.tril(factor[:rank, :rank]))


def blocks_of_centers(neighbors: NeighborList, bytes_per_pair: int) -> Iterator[slice]:
    """Contiguous ranges of atoms whose temporaries stay below a fixed size."""
    limit = max(1, _BLOCK_BYTES // bytes_per_pair)
    start = 0
    while start < neighbors.n_atoms:
        stop = int(np.searchsorted(neighbors.first, neighbors.first[start] + limit, side="right")) - 1
        stop = min(max(stop, start + 1), neighbors.n_atoms)
        yield slice(start, stop)
        start = stop


def targets(neighbors: NeighborList, labels: Sequence[Labels]) -> Rows:
    """The labels in the order of the rows, each as a column vector (energies divided by √N)."""
    sizes = np.diff(neighbors.first_atom)
    energy = [y.energy / np.sqrt(n) for y, n in zip(labels, sizes, strict=True) if y.energy is not None]
    forces = [y.forces.ravel() for y in labels if y.forces is not None]
    stress = [y.stress for y in labels if y.stress is not None]
    return Rows(
        np.array(energy).reshape(-1, 1),
        np.concatenate(forces or [np.empty(0)]).reshape(-1, 1),
        np.concatenate(stress or [np.empty(0)]).reshape(-1, 1),
    )


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
    n_sparse = sum(term.n_points for term in terms)
    sizes = np.diff(neighbors.first_atom)
    energy_row = _row_numbers([y.energy is not None for y in labels], 1)
    stress_row = _row_numbers([y.stress is not None for y in labels], 6)
    force_row = np.full(neighbors.n_atoms, -1)
    next_row = 0
    for t, y in enumerate(labels):
        if y.forces is not None:
            atoms = slice(neighbors.first_atom[t], neighbors.first_atom[t + 1])
            force_row[atoms] = next_row + 3 * np.arange(sizes[t])
            next_row += 3 * int(sizes[t])
    rows = Rows(
        np.zeros((int((energy_row >= 0).sum()), n_sparse)),
        np.zeros((next_row, n_sparse)),
        np.zeros((6 * int((stress_row >= 0).sum()), n_sparse)),
    )
    derivatives = next_row > 0 or len(rows.stress) > 0
    for term in terms:
        width = max([term.descriptor.n_features, *(len(p) for p in term.points)])
        for centers in blocks_of_centers(neighbors, 24 * width if derivatives else width):
            features = term.descriptor.compute(neighbors, jacobian=derivatives, centers=centers)
            for group, (points, columns) in enumerate(zip(term.points, term.columns, strict=True)):
                members = np.flatnonzero(features.groups == group)
                if len(members) == 0 or len(points) == 0:
                    continue
                if not derivatives:
                    value = term.kernel(features.values[members], points)
                else:
                    value, slope, self_slope = term.kernel.value_and_slopes(features.values[members], points)
                    _add_gradients(features, members, points, columns.start, slope, self_slope, force_row, stress_row, rows)
                _add_energies(energy_row[neighbors.structure[features.atoms[members]]], value, rows.energy[:, columns])
    rows.energy[:] /= np.sqrt(sizes[energy_row >= 0])[:, None]
    return rows


def _row_numbers(exists: Sequence[bool], rows_each: int) -> NDArray[np.int64]:
    """First row of each label, -1 where there is none."""
    present = np.asarray(exists, bool)
    return np.where(present, (np.cumsum(present) - 1) * rows_each, -1)


def _add_energies(row: NDArray[np.int64], value: Array, energy: Array) -> None:
    """Sum the kernels of the environments of each structure; ``row`` ascends along the environments, -1 for no label."""
    starts = np.flatnonzero(np.diff(row, prepend=-2))
    for k, total in zip(row[starts], np.add.reduceat(value, starts, axis=0), strict=True):
        if k >= 0:
            energy[k] += total


def _add_gradients(
    features: Features,
    members: NDArray[np.int64],
    points: Array,
    column: int,
    slope: Array,
    self_slope: Array | None,
    force_row: NDArray[np.int64],
    stress_row: NDArray[np.int64],
    rows: Rows,
) -> None:
    """Add the derivatives of the kernels of some environments with the sparse points of their group."""
    ops, neighbors, offset = row_ops(), features.neighbors, features.first[0]
    assert features.jacobian is not None  # noqa: S101 - for the type checker: the caller asked for it
    counts = np.diff(features.first)[members]
    first = np.concatenate([[0], np.cumsum(counts)])
    if len(members) == len(features.atoms):
        pairs = np.arange(features.first[0], features.first[-1])
        jacobian = features.jacobian
    else:
        pairs = np.repeat(features.first[members] - first[:-1], counts) + np.arange(first[-1])
        jacobian = features.jacobian[pairs - offset]
    n_features = points.shape[1]
    sums = np.empty((len(members), 9, n_features))
    ops.centre_and_strain(first, neighbors.vectors[pairs], jacobian, sums)
    if self_slope is None:
        self_slope, self_pair, self_sum = np.empty((0, 0)), np.empty((0, 3)), np.empty((0, 9))
    else:
        x = features.values[members]
        self_pair = np.einsum("pcf,pf->pc", jacobian, np.repeat(x, counts, axis=0))
        self_sum = np.einsum("ekf,ef->ek", sums, x)
    ops.add_gradient_rows(
        first,
        features.atoms[members],
        neighbors.neighbors[pairs],
        neighbors.structure,
        force_row,
        stress_row,
        volumes(neighbors),
        slope,
        self_slope,
        (jacobian.reshape(-1, n_features) @ points.T).reshape(-1, 3, len(points)),
        self_pair,
        (sums.reshape(-1, n_features) @ points.T).reshape(-1, 9, len(points)),
        self_sum,
        column,
        rows.forces,
        rows.stress,
    )


def whiten(terms: Sequence[SparseTerm], rows: Array) -> Array:
    """Φ = K_fu L^-T, group by group, in place; the columns of Φ are independent standard normal a priori.

    Parameters
    ----------
    terms : sequence of SparseTerm
        Terms of the model.
    rows : ndarray of shape (n_rows, n_sparse)
        C-ordered; overwritten.

    Returns
    -------
    ndarray of shape (n_rows, n_sparse)
        ``rows`` itself.
    """
    for term in terms:
        for factor, columns in zip(term.cholesky, term.columns, strict=True):
            if factor.size and len(rows):
                rows[:, columns] = blas.dtrsm(1.0, factor, rows[:, columns].T, lower=1).T
    return rows
