r"""Prior variances of labels: the covariance of a row of the design matrix with itself.

A label is a linear functional l of the local energies; before any data its variance is, for a total energy,

.. math:: k(l, l) = \sum_{ij} k(x_i, x_j)

over the environments of the structure, and for a force or stress component

.. math:: k(l, l) = \sum_{ij} D_i^T \, \frac{\partial^2 k}{\partial x \partial s^T}(x_i, x_j) \, D_j

over the environments that the component touches, :math:`D_i` being the derivative of the features of environment i.

For terms with many environments per atom (pairs, triplets) these would be sums over 1e8 pairs of environments.  Their few
features are covered by the sparse points, so that k(l, l) - φ·φ, which is rounding, is taken as 0 (subset of regressors).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .._backend import row_ops
from ..descriptors import Features
from ..kernels import Kernel
from ..neighbors import NeighborList
from .design import RowAssembly, Rows, blocks_of_centers
from .observations import Labels, volumes
from .sparse_term import SparseTerm

__all__ = ["prior_of_structures", "prior_variances", "rows_and_priors"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

_LARGEST_JACOBIAN = 4.0  # GiB
_BLOCK = 1024  # environments whose kernels with all others are held at a time
_BLOCK_BYTES = 16 * 2**20  # of the derivatives by the atoms of a block


def prior_variances(term: SparseTerm, neighbors: NeighborList, labels: Sequence[Labels]) -> Rows:
    """k(l, l) of each label, at unit delta, in the order of the rows of `kernel_rows` and in their units (energies by √N).

    Parameters
    ----------
    term : SparseTerm
        A term with one environment per atom.
    neighbors : NeighborList
        Pairs of the structures.
    labels : sequence of Labels
        Which labels exist; one per structure.

    Returns
    -------
    Rows
        Vectors instead of matrices.

    Raises
    ------
    MemoryError
        If the derivatives of the features of a structure do not fit.
    """
    return _joined([_variances(term, labels[s], s, features) for s, features in _by_structures(term, neighbors, labels)])


def rows_and_priors(
    terms: Sequence[SparseTerm], neighbors: NeighborList, labels: Sequence[Labels], priors_of: Sequence[SparseTerm | None]
) -> tuple[Rows, list[Rows | None]]:
    """`kernel_rows` of all terms and `prior_variances` of some of them, from one computation of the features.

    Parameters
    ----------
    terms, neighbors, labels
        As for `kernel_rows`.
    priors_of : sequence of (SparseTerm or None)
        The terms whose prior variances are wanted, with NumPy's arrays, None for the others; they have one environment per
        atom.

    Returns
    -------
    rows : Rows
    priors : list of (Rows or None)
        One per term.
    """
    assembly, priors = RowAssembly(terms, neighbors, labels), list[Rows | None]()
    for term, here in zip(terms, priors_of, strict=True):
        entries_until = term.descriptor.entries_until(neighbors)
        if here is None:
            for centers in assembly.blocks(term, entries_until):
                assembly.add(term, term.descriptor.compute(neighbors, jacobian=assembly.derivatives, centers=centers))
            priors.append(None)
            continue
        parts = []
        for structures, features in _by_structures(term, neighbors, labels):
            parts.append(_variances(here, labels[structures], structures, features))
            start, stop = neighbors.first_atom[[structures.start, structures.stop]]
            for environments in assembly.blocks(term, entries_until[start : stop + 1]):
                assembly.add(term, features.part(environments))
        priors.append(_joined(parts))
    return assembly.finished(), priors


def prior_of_structures(term: SparseTerm, neighbors: NeighborList, values: Array, groups: Index) -> Array:
    """Prior variance of each total energy at unit delta: a double sum over the atoms of a structure."""
    first = neighbors.first_atom
    return np.array([_of_energy(term, values[i:j], groups[i:j]) for i, j in pairwise(first)])


def _by_structures(term: SparseTerm, neighbors: NeighborList, labels: Sequence[Labels]) -> Iterator[tuple[slice, Features]]:
    """A few structures at a time and their environments, with derivatives if a label needs them."""
    derivatives = any(y.forces is not None or y.stress is not None for y in labels)
    pairs_until, bytes_per_pair = neighbors.first[neighbors.first_atom], 24 * term.descriptor.n_features
    size = bytes_per_pair * float(np.diff(pairs_until).max()) / 2**30
    if derivatives and size > _LARGEST_JACOBIAN:
        raise MemoryError(
            f"Standard deviations of forces and stresses need the derivatives of all features of a structure, {size:.1f} GiB; "
            f"the limit is {_LARGEST_JACOBIAN:g}. Ask for std=('energy', 'energies')."
        )
    for structures in blocks_of_centers(pairs_until, bytes_per_pair):
        centers = slice(*neighbors.first_atom[[structures.start, structures.stop]])
        yield structures, term.descriptor.compute(neighbors, jacobian=derivatives, centers=centers)


def _joined(parts: Sequence[Rows]) -> Rows:
    energy, forces, stress = (np.concatenate([getattr(p, kind) for p in parts]) for kind in ("energy", "forces", "stress"))
    return Rows(energy, forces, stress)


def _variances(term: SparseTerm, labels: Sequence[Labels], structures: slice, features: Features) -> Rows:
    """Prior variances of the labels of consecutive structures from their environments."""
    neighbors, groups = features.neighbors, features.groups
    until = neighbors.first_atom[structures.start : structures.stop + 1] - neighbors.first_atom[structures.start]
    energy = [
        _of_energy(term, features.values[i:j], groups[i:j]) / (j - i)
        for y, i, j in zip(labels, until[:-1], until[1:], strict=True)
        if y.energy is not None
    ]
    if features.jacobian is None:
        return Rows(np.array(energy), np.empty(0), np.empty(0))
    x, jacobian = features.values.copy(), features.jacobian
    for group in np.unique(groups):
        x[groups == group] = term.seen(int(group), x[groups == group])
    if term.scales is not None:
        scales = np.repeat(np.array(term.scales)[groups], np.diff(features.first), axis=0)
        jacobian = jacobian / scales[:, None, :]
    with_forces = np.concatenate([i + y.force_atoms() for y, i in zip(labels, until[:-1], strict=True)])
    forces = _of_forces(term.kernel, features, x, jacobian, with_forces, int(np.diff(until).max()))
    stress = [
        _of_stress(term.kernel, features, x, jacobian, slice(i, j)) / float(volumes(neighbors)[t]) ** 2
        for t, (y, i, j) in enumerate(zip(labels, until[:-1], until[1:], strict=True), structures.start)
        if y.stress is not None
    ]
    return Rows(np.array(energy), forces, np.concatenate([np.empty(0), *stress]))


def _of_energy(term: SparseTerm, values: Array, groups: Index) -> float:
    """Of the total energy of the atoms of a structure."""
    result = 0.0
    for group in np.unique(groups):
        x = term.seen(int(group), values[groups == group])
        for start in range(0, len(x), _BLOCK):
            result += float(term.kernel(x[start : start + _BLOCK], x).sum())
    return result


def _of_forces(kernel: Kernel, features: Features, x: Array, jacobian: Array, atoms: Index, largest: int) -> Array:
    """Of the three force components of some atoms of the structures; ``largest``: atoms of the largest structure."""
    neighbors, block = features.neighbors, features.block
    n_members = min(int(np.diff(features.first).max()) + 1, largest)
    step = max(1, _BLOCK_BYTES // (24 * n_members * x.shape[1]))
    neighbor = neighbors.neighbors[block] - features.owners[0, 0]
    result: Array = np.empty((len(atoms), 3))
    for start in range(0, len(atoms), step):
        chosen = atoms[start : start + step]
        members = np.empty((len(chosen), n_members), np.int64)
        moved = np.empty((len(chosen), 3, n_members, x.shape[1]))
        row_ops().moved_features(
            chosen, features.first, neighbor, neighbors.reverse[block] - block.start, jacobian, members, moved
        )
        groups = np.where(members < 0, -1, features.groups[members])
        result[start : start + step] = _contracted(kernel, x[members], moved, groups)
    return np.ravel(result)


def _of_stress(kernel: Kernel, features: Features, x: Array, jacobian: Array, own: slice) -> Array:
    """Of the six strain derivatives of the energy of the atoms ``own``."""
    first = features.first[own.start : own.stop + 1]
    pairs = slice(first[0], first[-1])
    sums = np.empty((own.stop - own.start, 9, x.shape[1]))
    row_ops().centre_and_strain(first - first[0], features.neighbors.vectors[features.block][pairs], jacobian[pairs], sums)
    strained = np.ascontiguousarray(sums[:, 3:].transpose(1, 0, 2))
    result: Array = _contracted(kernel, x[None, own], strained[None], features.groups[None, own])[0]
    return result


def _contracted(kernel: Kernel, x: Array, d: Array, groups: Index) -> Array:
    """sum_ij D_ci ∂²k/∂x∂s (x_i, x_j) D_cj for each component c of each row of environments.

    Parameters
    ----------
    kernel : Kernel
        Unit amplitude.
    x : ndarray of shape (n_rows, n_members, n_features)
        Features as the kernel sees them.
    d : ndarray of shape (n_rows, n_components, n_members, n_features)
        Their derivatives.
    groups : ndarray of shape (n_rows, n_members)
        Kernels between groups are 0.

    Returns
    -------
    ndarray of shape (n_rows, n_components)
    """
    transposed = x.transpose(0, 2, 1)
    products = x @ transposed
    squares = np.einsum("nii->ni", products)
    pairs = products.shape
    xx, ss = np.broadcast_to(squares[:, :, None], pairs), np.broadcast_to(squares[:, None, :], pairs)
    found = kernel.curvature_of_products(*(p.reshape(-1, 1) for p in (products, xx, ss)))  # element by element
    same = groups[:, :, None] == groups[:, None, :]
    c0, c1, c2, c3, c4 = (None if c is None else np.where(same, c.reshape(pairs), 0.0) for c in found)
    result = np.zeros(d.shape[:2])
    for c in range(d.shape[1]):
        along = d[:, c]
        across = along @ transposed  # D_i . x_j
        swapped = across.transpose(0, 2, 1)  # x_i . D_j
        own = np.einsum("nii->ni", across)
        if c0 is not None:
            result[:, c] += np.einsum("nij,nij->n", c0, along @ along.transpose(0, 2, 1))
        if c1 is not None:  # D_i.s  x.D_j
            result[:, c] += np.einsum("nij,nij,nij->n", c1, across, swapped)
        if c2 is not None:  # D_i.s  s.D_j
            result[:, c] += np.einsum("nij,nij,nj->n", c2, across, own)
        if c3 is not None:  # D_i.x  x.D_j
            result[:, c] += np.einsum("nij,ni,nij->n", c3, own, swapped)
        if c4 is not None:  # D_i.x  s.D_j
            result[:, c] += np.einsum("nij,ni,nj->n", c4, own, own)
    return result
