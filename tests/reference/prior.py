"""Prior variances of force and stress components, one atom or structure and one component at a time."""

from __future__ import annotations

import numpy as np

from gapkit.gp.observations import VOIGT, volumes
from gapkit.kernels import Kernel
from gapkit.neighbors import NeighborList


def of_force(
    kernel: Kernel, neighbors: NeighborList, x: np.ndarray, jacobian: np.ndarray, groups: np.ndarray, atom: int
) -> np.ndarray:
    """Of the three force components of an atom."""
    own = slice(neighbors.first[atom], neighbors.first[atom + 1])
    pairs = neighbors.reverse[own]  # those that end at the atom
    members, place = np.unique(np.append(neighbors.centers[pairs], atom), return_inverse=True)
    moved = np.zeros((len(members), 3, x.shape[1]))
    np.add.at(moved, place[:-1], jacobian[pairs])
    moved[place[-1]] -= jacobian[own].sum(axis=0)
    return contracted(kernel, x[members], moved, groups[members])


def of_stress(
    kernel: Kernel, neighbors: NeighborList, x: np.ndarray, jacobian: np.ndarray, groups: np.ndarray, structure: int
) -> np.ndarray:
    """Of the six stress components of a structure."""
    atoms = slice(neighbors.first_atom[structure], neighbors.first_atom[structure + 1])
    block = slice(int(neighbors.first[atoms.start]), int(neighbors.first[atoms.stop]))
    strained = np.zeros((atoms.stop - atoms.start, 6, x.shape[1]))
    vectors, of_pairs = neighbors.vectors[block], jacobian[block]
    for v, (a, b) in enumerate(VOIGT):
        change = 0.5 * (vectors[:, a, None] * of_pairs[:, b] + vectors[:, b, None] * of_pairs[:, a])
        np.add.at(strained[:, v], neighbors.centers[block] - atoms.start, change)
    return contracted(kernel, x[atoms], strained, groups[atoms]) / float(volumes(neighbors)[structure]) ** 2


def contracted(kernel: Kernel, x: np.ndarray, d: np.ndarray, groups: np.ndarray) -> np.ndarray:
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
