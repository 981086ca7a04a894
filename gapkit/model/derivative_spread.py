r"""Standard deviations of forces and stresses from the posterior (DTC): exact, and as expensive as a row of the fit each.

A force or stress component is a linear functional l of the local energies.  With its row :math:`\varphi` of the whitened design
matrix its variance is :math:`k(l, l) - |\varphi|^2` plus what the data leave open of :math:`\varphi`, and

.. math:: k(l, l) = \delta^2 \sum_{ij} D_i^T \, \frac{\partial^2 k}{\partial x \partial s^T}(x_i, x_j) \, D_j

over the environments that the functional touches, :math:`D_i` being the derivative of the features of environment i.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..gp.design import SparseTerm, kernel_rows
from ..gp.observations import VOIGT, Labels, volumes
from ..gp.posterior import SparsePosterior
from ..kernels import Kernel
from ..neighbors import NeighborList
from .spread import deviations, with_amplitudes

__all__ = ["derivative_deviations"]

Array = NDArray[np.float64]

_LARGEST_JACOBIAN = 4.0  # GiB


def derivative_deviations(
    terms: Sequence[SparseTerm], posterior: SparsePosterior, neighbors: NeighborList, wanted: frozenset[str]
) -> tuple[Array | None, list[Array | None] | None]:
    """Standard deviations of force components (n_atoms, 3), eV/Å, and stresses (6,) per structure, eV/Å³; None if not wanted.

    Raises
    ------
    MemoryError
        If the derivatives of the features do not fit.
    """
    of_stress = [neighbors.has_stress(t) and "stress" in wanted for t in range(neighbors.n_structures)]
    labels = [
        Labels(None, np.zeros((int(n), 3)) if "forces" in wanted else None, np.zeros(6) if stress else None, "")
        for n, stress in zip(np.diff(neighbors.first_atom), of_stress, strict=True)
    ]
    rows = kernel_rows(terms, neighbors, labels)
    prior_forces, prior_stress = np.zeros((neighbors.n_atoms, 3)), np.zeros((neighbors.n_structures, 6))
    for term in terms:
        if not term.descriptor.one_per_atom:
            continue  # pairs and triplets: the part of the sparse points is all there is (see `Spread`)
        _add_priors(term, neighbors, "forces" in wanted, of_stress, prior_forces, prior_stress)
    forces = stresses = None
    if "forces" in wanted:
        phi = with_amplitudes(terms, rows.forces)
        forces = deviations(terms, posterior, prior_forces.ravel(), phi, "forces").reshape(-1, 3)
    if "stress" in wanted:
        phi = with_amplitudes(terms, rows.stress)
        found = iter(deviations(terms, posterior, prior_stress[of_stress].ravel(), phi, "stresses").reshape(-1, 6))
        stresses = [next(found) if stress else None for stress in of_stress]
    return forces, stresses


def _add_priors(
    term: SparseTerm,
    neighbors: NeighborList,
    with_forces: bool,
    of_stress: Sequence[bool],
    forces: Array,
    stress: Array,
) -> None:
    """Add k(l, l) of every force component and stress component."""
    size = 24.0 * len(neighbors.centers) * term.descriptor.n_features / 2**30
    if size > _LARGEST_JACOBIAN:
        raise MemoryError(
            f"Standard deviations of forces and stresses need the derivatives of all features, {size:.1f} GiB; the limit is "
            f"{_LARGEST_JACOBIAN:g}. Ask for std=('energy', 'energies'), or evaluate fewer atoms at a time."
        )
    features = term.descriptor.compute(neighbors, jacobian=True)
    assert features.jacobian is not None  # noqa: S101 - for the type checker
    x, jacobian = features.values.copy(), features.jacobian
    for group in np.unique(features.groups):
        members = features.groups == group
        x[members] = term.seen(int(group), x[members])
    if term.scales is not None:
        scales = np.array([term.scales[g] for g in features.groups])
        jacobian = jacobian / scales[neighbors.centers][:, None, :]
    variance = term.delta**2
    if with_forces:
        for atom in range(neighbors.n_atoms):
            pairs = neighbors.reverse[neighbors.first[atom] : neighbors.first[atom + 1]]  # those that end at the atom
            members, place = np.unique(np.append(neighbors.centers[pairs], atom), return_inverse=True)
            moved = np.zeros((len(members), 3, x.shape[1]))
            np.add.at(moved, place[:-1], jacobian[pairs])
            own = jacobian[neighbors.first[atom] : neighbors.first[atom + 1]]
            moved[place[-1]] -= own.sum(axis=0)
            forces[atom] += variance * _contracted(term.kernel, x[members], moved, features.groups[members])
    volume = volumes(neighbors)
    for t, wanted in enumerate(of_stress):
        if wanted:
            atoms = slice(neighbors.first_atom[t], neighbors.first_atom[t + 1])
            block = slice(int(neighbors.first[atoms.start]), int(neighbors.first[atoms.stop]))
            strained = np.zeros((atoms.stop - atoms.start, 6, x.shape[1]))
            vectors, of_pairs = neighbors.vectors[block], jacobian[block]
            for v, (a, b) in enumerate(VOIGT):
                change = 0.5 * (vectors[:, a, None] * of_pairs[:, b] + vectors[:, b, None] * of_pairs[:, a])
                np.add.at(strained[:, v], neighbors.centers[block] - atoms.start, change)
            groups = features.groups[atoms]
            stress[t] += variance / volume[t] ** 2 * _contracted(term.kernel, x[atoms], strained, groups)


def _contracted(kernel: Kernel, x: Array, d: Array, groups: NDArray[np.int64]) -> Array:
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
