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

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..kernels import Kernel
from ..neighbors import NeighborList
from .design import Rows, SparseTerm
from .observations import VOIGT, Labels, volumes

__all__ = ["prior_of_structures", "prior_variances"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

_LARGEST_JACOBIAN = 4.0  # GiB
_BLOCK = 1024  # environments whose kernels with all others are held at a time


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
        If the derivatives of the features do not fit.
    """
    with_energy = np.array([y.energy is not None for y in labels], bool)
    with_forces = np.repeat([y.forces is not None for y in labels], np.diff(neighbors.first_atom))
    with_stress = [y.stress is not None for y in labels]
    derivatives = bool(with_forces.any() or any(with_stress))
    size = 24.0 * len(neighbors.centers) * term.descriptor.n_features / 2**30
    if derivatives and size > _LARGEST_JACOBIAN:
        raise MemoryError(
            f"Standard deviations of forces and stresses need the derivatives of all features, {size:.1f} GiB; the limit is "
            f"{_LARGEST_JACOBIAN:g}. Ask for std=('energy', 'energies'), or evaluate fewer atoms at a time."
        )
    features = term.descriptor.compute(neighbors, jacobian=derivatives)
    energy = np.empty(0)
    if with_energy.any():
        energy = prior_of_structures(term, neighbors, features.values, features.groups)[with_energy]
        energy = energy / np.diff(neighbors.first_atom)[with_energy]
    if features.jacobian is None:
        return Rows(energy, np.empty(0), np.empty(0))
    x, jacobian = features.values.copy(), features.jacobian
    for group in np.unique(features.groups):
        members = features.groups == group
        x[members] = term.seen(int(group), x[members])
    if term.scales is not None:
        scales = np.array([term.scales[g] for g in features.groups])
        jacobian = jacobian / scales[neighbors.centers][:, None, :]
    forces = [_of_force(term.kernel, neighbors, x, jacobian, features.groups, int(i)) for i in np.flatnonzero(with_forces)]
    stress = [_of_stress(term.kernel, neighbors, x, jacobian, features.groups, t) for t, y in enumerate(with_stress) if y]
    return Rows(energy, np.concatenate(forces or [np.empty(0)]), np.concatenate(stress or [np.empty(0)]))


def prior_of_structures(term: SparseTerm, neighbors: NeighborList, values: Array, groups: Index) -> Array:
    """Prior variance of each total energy at unit delta: a double sum over the atoms of a structure."""
    first = neighbors.first_atom
    result = np.zeros(neighbors.n_structures)
    for s in range(len(result)):
        atoms = slice(first[s], first[s + 1])
        for group in np.unique(groups[atoms]):
            x = term.seen(int(group), values[atoms][groups[atoms] == group])
            for start in range(0, len(x), _BLOCK):
                result[s] += float(term.kernel(x[start : start + _BLOCK], x).sum())
    return result


def _of_force(kernel: Kernel, neighbors: NeighborList, x: Array, jacobian: Array, groups: Index, atom: int) -> Array:
    """Of the three force components of an atom."""
    own = slice(neighbors.first[atom], neighbors.first[atom + 1])
    pairs = neighbors.reverse[own]  # those that end at the atom
    members, place = np.unique(np.append(neighbors.centers[pairs], atom), return_inverse=True)
    moved = np.zeros((len(members), 3, x.shape[1]))
    np.add.at(moved, place[:-1], jacobian[pairs])
    moved[place[-1]] -= jacobian[own].sum(axis=0)
    return _contracted(kernel, x[members], moved, groups[members])


def _of_stress(kernel: Kernel, neighbors: NeighborList, x: Array, jacobian: Array, groups: Index, structure: int) -> Array:
    """Of the six stress components of a structure."""
    atoms = slice(neighbors.first_atom[structure], neighbors.first_atom[structure + 1])
    block = slice(int(neighbors.first[atoms.start]), int(neighbors.first[atoms.stop]))
    strained = np.zeros((atoms.stop - atoms.start, 6, x.shape[1]))
    vectors, of_pairs = neighbors.vectors[block], jacobian[block]
    for v, (a, b) in enumerate(VOIGT):
        change = 0.5 * (vectors[:, a, None] * of_pairs[:, b] + vectors[:, b, None] * of_pairs[:, a])
        np.add.at(strained[:, v], neighbors.centers[block] - atoms.start, change)
    return _contracted(kernel, x[atoms], strained, groups[atoms]) / float(volumes(neighbors)[structure]) ** 2


def _contracted(kernel: Kernel, x: Array, d: Array, groups: Index) -> Array:
    """sum_ij D_ic ∂²k/∂x∂s (x_i, x_j) D_jc for each component c; ``d`` of shape (n, n_components, n_features)."""
    result = np.zeros(d.shape[1])
    for group in np.unique(groups):
        members = groups == group
        points, change = x[members], d[members]
        c0, c1, c2, c3, c4 = kernel.curvature(points, points)
        for c in range(d.shape[1]):
            along = np.ascontiguousarray(change[:, c])
            across = along @ points.T  # D_i . x_j
            own = np.diag(across)
            result[c] += np.sum(
                c0 * (along @ along.T)
                + c1 * across * across.T  # D_i.s  x.D_j
                + c2 * across * own[None, :]  # D_i.s  s.D_j
                + c3 * own[:, None] * across.T  # D_i.x  x.D_j
                + c4 * np.outer(own, own)  # D_i.x  s.D_j
            )
    return result
