r"""Prior covariances between any labels of any structures: every label as a linear functional of the local energies.

A total or local energy is l(f) = Σ_i c_i f(x_i); a force or stress component is l(f) = Σ_i d_i · ∂f/∂x (x_i).  Then

.. math:: k(l, l') = \sum_{ij} \Big( c_i k c'_j + c_i \, \partial_s k \cdot d'_j + d_i \cdot \partial_x k \, c'_j
    + d_i^T \frac{\partial^2 k}{\partial x \partial s^T} d'_j \Big)

with the kernel taken at (x_i, x_j).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .._backend import row_ops
from ..descriptors import Features
from ..kernels import Kernel
from ..neighbors import NeighborList
from .observations import volumes
from .sparse_term import SparseTerm

__all__ = ["QUANTITIES", "prior_covariance", "sizes_of"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

QUANTITIES = ("energy", "energies", "forces", "stress")
"""What can be asked for, in the order in which the rows of a structure follow each other."""

_LARGEST = 4.0  # GiB


@dataclass(frozen=True)
class _Functionals:
    """The labels of one structure for one term; those without derivatives first.

    ``x`` (n_atoms, n_features), ``groups`` (n_atoms,), ``c`` (n_values, n_atoms), ``d`` (n_derivatives, n_atoms, n_features).
    """

    x: Array
    groups: Index
    c: Array
    d: Array


def sizes_of(neighbors: NeighborList, of: frozenset[str]) -> list[dict[str, int]]:
    """Number of rows of each quantity of each structure, in their order; no stress where it is not defined."""
    result = []
    for t, n in enumerate(np.diff(neighbors.first_atom).tolist()):
        sizes = {"energy": 1, "energies": n, "forces": 3 * n, "stress": 6 if neighbors.has_stress(t) else 0}
        result.append({name: sizes[name] for name in QUANTITIES if name in of})
    return result


def prior_covariance(term: SparseTerm, neighbors: NeighborList, of: frozenset[str]) -> Array:
    """Covariance before any data between all labels of all structures, at unit delta.

    Parameters
    ----------
    term : SparseTerm
        A term with one environment per atom.
    neighbors : NeighborList
        The structures.
    of : frozenset of {"energy", "energies", "forces", "stress"}
        Which labels: total energy, local energies, force components, stress components.

    Returns
    -------
    ndarray of shape (n_labels, n_labels)
        Structure by structure; within one, in the order of `QUANTITIES`.

    Raises
    ------
    MemoryError
        If the derivatives of the features by all atoms do not fit.
    """
    sizes = sizes_of(neighbors, of)
    n_derivatives = [s.get("forces", 0) + s.get("stress", 0) for s in sizes]
    size = 8.0 * float(np.dot(n_derivatives, np.diff(neighbors.first_atom))) * term.descriptor.n_features / 2**30
    if size > _LARGEST:
        raise MemoryError(
            f"The covariance of forces and stresses needs the derivatives of all features by all atoms, {size:.1f} GiB; the "
            f"limit is {_LARGEST:g}. Ask for fewer or smaller structures."
        )
    parts = [_functionals(term, neighbors, t, of) for t in range(neighbors.n_structures)]
    ends = np.cumsum([0, *(sum(s.values()) for s in sizes)])
    result: Array = np.empty((ends[-1], ends[-1]))
    for a, left in enumerate(parts):
        for b, right in enumerate(parts[: a + 1]):
            block = _covariance(term.kernel, left, right)
            result[ends[a] : ends[a + 1], ends[b] : ends[b + 1]] = block
            result[ends[b] : ends[b + 1], ends[a] : ends[a + 1]] = block.T
    return result


def _functionals(term: SparseTerm, neighbors: NeighborList, structure: int, of: frozenset[str]) -> _Functionals:
    atoms = slice(int(neighbors.first_atom[structure]), int(neighbors.first_atom[structure + 1]))
    n = atoms.stop - atoms.start
    with_derivatives = "forces" in of or ("stress" in of and neighbors.has_stress(structure))
    features = term.descriptor.compute(neighbors, jacobian=with_derivatives, centers=atoms)
    x = features.values.copy()
    for group in np.unique(features.groups):
        x[features.groups == group] = term.seen(int(group), x[features.groups == group])
    c = np.concatenate([np.ones((int("energy" in of), n)), np.eye(n) if "energies" in of else np.empty((0, n))])
    parts = [np.empty((0, n, x.shape[1]))]
    if "forces" in of:
        parts.append(-_by_positions(features, atoms))
    if with_derivatives and "stress" in of and neighbors.has_stress(structure):
        parts.append(_by_strain(features) / float(volumes(neighbors)[structure]))
    d = np.concatenate(parts)
    if term.scales is not None:
        d = d / np.array(term.scales)[features.groups]
    return _Functionals(x, features.groups, c, d)


def _by_positions(features: Features, atoms: slice) -> Array:
    """Derivatives of the features of all atoms of a structure by all its atoms, shape (3 n_atoms, n_atoms, n_features)."""
    n = atoms.stop - atoms.start
    neighbors, pairs = features.neighbors, features.pairs
    assert features.jacobian is not None  # noqa: S101 - for the type checker: asked for
    center, neighbor = neighbors.centers[pairs] - atoms.start, neighbors.neighbors[pairs] - atoms.start
    result = np.zeros((n, n, 3, features.values.shape[1]))
    np.add.at(result, (neighbor, center), features.jacobian)
    np.subtract.at(result, (center, center), features.jacobian)
    return np.ascontiguousarray(result.transpose(0, 2, 1, 3)).reshape(3 * n, n, -1)


def _by_strain(features: Features) -> Array:
    """Derivatives of the features by the six strains, shape (6, n_atoms, n_features)."""
    sums = np.empty((len(features.groups), 9, features.values.shape[1]))
    row_ops().centre_and_strain(features.first, features.neighbors.vectors[features.pairs], features.jacobian, sums)
    return sums[:, 3:].transpose(1, 0, 2)


def _covariance(kernel: Kernel, left: _Functionals, right: _Functionals) -> Array:
    """Covariance of the labels of two structures."""
    x, s = left.x, right.x
    products = x @ s.T, np.einsum("if,if->i", x, x)[:, None], np.einsum("jf,jf->j", s, s)[None, :]
    swapped = products[0].T, products[2].T, products[1].T
    same = (left.groups[:, None] == right.groups).astype(float)
    n_values, m_values = len(left.c), len(right.c)
    result = np.zeros((n_values + len(left.d), m_values + len(right.d)))
    k, a, b = kernel.slopes_of_products(*products)  # by x
    _, a_s, b_s = kernel.slopes_of_products(*swapped)  # by s
    d_s, own_left = left.d @ s.T, np.einsum("fid,id->fi", left.d, x)  # d_i . s_j, d_i . x_i
    d_x, own_right = (right.d @ x.T).transpose(0, 2, 1), np.einsum("gjd,jd->gj", right.d, s)  # d'_j . x_i [g, i, j]
    result[:n_values, :m_values] = left.c @ (k * same) @ right.c.T
    result[n_values:, :m_values] = _weighted(d_s, a * same, right.c) + _own(own_left, b, same, right.c)
    of_s = _weighted(d_x.transpose(0, 2, 1), a_s * same.T, left.c) + _own(own_right, b_s, same.T, left.c)
    result[:n_values, m_values:] = of_s.T
    if len(left.d) and len(right.d):
        c0, c1, c2, c3, c4 = (None if c is None else c * same for c in kernel.curvature_of_products(*products))
        block = result[n_values:, m_values:]
        flat_left, flat_right = d_s.reshape(len(d_s), -1), d_x.reshape(len(d_x), -1)
        if c0 is not None:
            block += np.matmul(c0.T, left.d).reshape(len(left.d), -1) @ right.d.reshape(len(right.d), -1).T
        if c1 is not None:  # d_i . s  x . d'_j
            block += (flat_left * c1.ravel()) @ flat_right.T
        if c2 is not None:  # d_i . s  s . d'_j
            block += np.einsum("fij,ij->fj", d_s, c2) @ own_right.T
        if c3 is not None:  # d_i . x  x . d'_j
            block += own_left @ np.einsum("gij,ij->gi", d_x, c3).T
        if c4 is not None:  # d_i . x  s . d'_j
            block += own_left @ c4 @ own_right.T
    return result


def _weighted(along: Array, weight: Array, c: Array) -> Array:
    """Sum over i, j of along[f, i, j] weight[i, j] c[g, j]."""
    result: Array = np.einsum("fij,ij->fj", along, weight) @ c.T
    return result


def _own(own: Array, weight: Array | None, same: Array, c: Array) -> Array | float:
    """Sum over i, j of own[f, i] weight[i, j] c[g, j]; 0 without a weight."""
    return 0.0 if weight is None else own @ (weight * same) @ c.T
