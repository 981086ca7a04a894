r"""Rows of combinations of the forces of a structure, without the rows of every component.

For a direction u of all coordinates, the row of :math:`\sum_a u_a F_a = -dE/du` needs one product of the sparse points with the
change of each environment along u; the rows of all components need one with the derivative by every neighbour of it.  Sixteen
directions of 64 atoms thus cost a tenth.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .._backend import row_ops
from ..descriptors import Features
from ..neighbors import NeighborList
from .design import blocks_of_centers
from .sparse_term import SparseTerm

__all__ = ["directional_rows"]

Array = NDArray[np.float64]

_BLOCK_BYTES = 32 * 2**20  # changes of the kernels of some environments along all directions


def directional_rows(terms: Sequence[SparseTerm], neighbors: NeighborList, directions: Array) -> tuple[Array, Array]:
    """Covariance of energies and of combinations of forces with all sparse points, at unit delta.

    Parameters
    ----------
    terms : sequence of SparseTerm
        Terms of the model.
    neighbors : NeighborList
        Pairs of the structures.
    directions : ndarray of shape (n_atoms, n_directions, 3)
        Coefficients of the force components of each atom.

    Returns
    -------
    energy : ndarray of shape (n_structures, n_sparse)
        Rows of the energies over √N, as those of `gapkit.gp.design.kernel_rows`.
    forces : ndarray of shape (n_structures, n_directions, n_sparse)
        Rows of the combinations.
    """
    n_sparse = sum(term.n_points for term in terms)
    energy = np.zeros((neighbors.n_structures, n_sparse))
    forces = np.zeros((neighbors.n_structures, directions.shape[1], n_sparse))
    for term in terms:
        entries = term.descriptor.entries_until(neighbors)
        for centers in blocks_of_centers(entries, 24 * max(term.descriptor.n_features, directions.shape[1])):
            features = term.descriptor.compute(neighbors, jacobian=True, centers=centers)
            _add(term, features, directions, energy, forces)
    for term in terms:
        for of_points, columns in zip(term.weights, term.columns, strict=True):
            energy[:, columns] *= of_points
            forces[:, :, columns] *= of_points
    return energy / np.sqrt(np.diff(neighbors.first_atom))[:, None], forces


def _add(term: SparseTerm, features: Features, directions: Array, energy: Array, forces: Array) -> None:
    """Add a block of environments of a term."""
    neighbors, n_directions = features.neighbors, directions.shape[1]
    centers = features.owners[:, 0]
    moves = directions[neighbors.neighbors[features.pairs]] - directions[np.repeat(centers, np.diff(features.first))]
    moved = _along(features.first, moves, features.jacobian)
    of_weight = None
    if features.weight_gradient is not None:
        of_weight = _along(features.first, moves, features.weight_gradient[:, :, None])[:, :, 0]
    structure = neighbors.structure[centers]
    weights = term.descriptor.multiplicity * features.weights_or_ones
    for group, columns in enumerate(term.columns):
        points = term.points[group]
        if not len(points):
            continue
        points = term.seen(group, points)
        inner = term.scaled(group, points)  # k depends on x / scale
        step = max(1, _BLOCK_BYTES // (8 * n_directions * len(points)))
        everyone = np.flatnonzero(features.groups == group)
        for start in range(0, len(everyone), step):
            members = everyone[start : start + step]
            x = term.seen(group, features.values[members])
            value, slope, self_slope = term.kernel.value_and_slopes(x, points)
            weight = weights[members, None]
            change = (moved[members].reshape(-1, x.shape[1]) @ inner.T).reshape(len(members), n_directions, -1)
            change *= (slope * weight)[:, None]
            if self_slope is not None:
                own = np.einsum("edf,ef->ed", moved[members], term.scaled(group, x))
                change += own[:, :, None] * (self_slope * weight)[:, None]
            if of_weight is not None:
                change += of_weight[members, :, None] * (value * term.descriptor.multiplicity)[:, None]
            starts = np.flatnonzero(np.diff(structure[members], prepend=-1))
            found = structure[members][starts]
            energy[found, columns] += np.add.reduceat(value * weight, starts, axis=0)
            forces[found, :, columns] -= np.add.reduceat(change, starts, axis=0)


def _along(first: NDArray[np.int64], moves: Array, jacobian: Array | None) -> Array:
    assert jacobian is not None  # noqa: S101 - for the type checker: it was asked for
    result = np.empty((len(first) - 1, moves.shape[1], jacobian.shape[2]))
    row_ops().along_moves(first, moves, np.ascontiguousarray(jacobian), result)
    return result
