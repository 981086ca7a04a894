r"""Gradient of the standard deviations of local energies by positions and strain: for dynamics that seek the unknown.

With the whitened row φ of an atom, its variance is k - φ·φ + φᵀSφ, so that for weights a of the atoms

.. math:: \mathrm{d} \sum_i a_i \sigma_i = \sum_i \frac{a_i}{2 \sigma_i}
    \left( \mathrm{d} k_i - 2 (\phi_i - S \phi_i)^T \mathrm{d} \phi_i \right)

which is one adjoint with coefficients of its own for every environment: no Jacobian is built.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from ..descriptors import Features
from ..gp.design import blocks_of_centers
from ..gp.observations import forces_and_stresses
from ..gp.sparse_term import SparseTerm
from ..neighbors import NeighborList
from .potential import Potential, posterior_of
from .spread import Spread, clipped, known_variance

__all__ = ["StdGradient", "blocks", "std_gradients"]

Array = NDArray[np.float64]

_BLOCK = 256  # atoms whose kernels are held at a time


@dataclass(frozen=True)
class StdGradient:
    """The weighted sum of the standard deviations of the local energies of a structure, as if it were an energy.

    Attributes
    ----------
    value : float
        Sum of weight times standard deviation, eV.
    energies_std : ndarray of shape (n_atoms,)
        Standard deviations, eV.
    forces : ndarray of shape (n_atoms, 3)
        Minus the gradient of ``value`` by positions, eV/Å.  For the potential energy E - τ value of biased dynamics the forces
        are those of E minus τ times these.
    stress : ndarray of shape (6,) or None
        Derivative of ``value`` by strain over the volume, eV/Å³, Voigt order; None where a structure has no stress.
    """

    value: float
    energies_std: Array
    forces: Array
    stress: Array | None


def std_gradients(potential: Potential, neighbors: NeighborList, weights: Array) -> list[StdGradient]:
    """Weighted sums of exact local standard deviations and their gradients, for each structure.

    Parameters
    ----------
    potential : Potential
        With its posterior.
    neighbors : NeighborList
        The structures.
    weights : ndarray of shape (n_atoms,)
        Of each atom of the batch.

    Returns
    -------
    list of StdGradient
    """
    spread = Spread(potential, neighbors, frozenset({"energies"}))
    for t, term in enumerate(potential.terms):
        for features in blocks(term, neighbors):
            spread.add(t, features, {})
    phi = spread.whitened()
    factor = posterior_of(potential).factor
    scaled = solve_triangular(factor, phi.T, trans="T", check_finite=False)
    unseen = clipped(potential, spread.prior - known_variance(potential, phi), spread.prior, "local energies")
    std = np.sqrt(unseen + np.einsum("mn,mn->n", scaled, scaled))
    half = weights / np.where(std > 0.0, 2.0 * std, np.inf)  # a / 2σ; where nothing is open, the gradient is taken as 0
    by_phi = 2.0 * solve_triangular(factor, scaled, check_finite=False).T
    for term in potential.terms:
        if potential.is_open(term):
            for columns in term.columns:
                by_phi[:, columns] -= 2.0 * phi[:, columns] * (unseen > 0.0)[:, None]
    by_phi *= half[:, None]
    gradient = np.zeros((len(neighbors.centers), 3))
    of_prior = half * (unseen > 0.0)
    for term in potential.terms:
        coefficients = [
            term.delta * solve_triangular(cholesky, by_phi[:, columns].T, lower=True, trans="T", check_finite=False).T
            for cholesky, columns in zip(term.cholesky, term.columns, strict=True)
        ]
        for features in blocks(term, neighbors):
            _add_gradient(term, features, coefficients, of_prior if potential.is_open(term) else None, gradient)
    forces, stresses = forces_and_stresses(neighbors, gradient)
    result = []
    for s, stress in enumerate(stresses):
        atoms = slice(neighbors.first_atom[s], neighbors.first_atom[s + 1])
        result.append(StdGradient(float(weights[atoms] @ std[atoms]), std[atoms].copy(), forces[atoms].copy(), stress))
    return result


def blocks(term: SparseTerm, neighbors: NeighborList) -> Iterator[Features]:
    """Environments of all atoms of a batch, a few atoms at a time."""
    widest = max([1, *(len(points) for points in term.points)])
    for centers in blocks_of_centers(term.descriptor.entries_until(neighbors), 8 * widest, _BLOCK):
        yield term.descriptor.compute(neighbors, centers=centers)


def _add_gradient(
    term: SparseTerm, features: Features, coefficients: Sequence[Array], of_prior: Array | None, gradient: Array
) -> None:
    """Add d/d(pair vector) of the kernels of a block of environments times the coefficients of the atoms that own them.

    ``coefficients[group]`` (n_atoms, n_points); ``of_prior`` (n_atoms,) multiplies the prior variance of the environment.
    """
    share = term.descriptor.multiplicity / features.owners.shape[1]
    by_weight, slope = np.zeros(len(features.groups)), np.zeros_like(features.values)
    for group, (of_atoms, of_points) in enumerate(zip(coefficients, term.weights, strict=True)):
        members = np.flatnonzero(features.groups == group)
        if len(members) == 0:
            continue
        x, owners = term.seen(group, features.values[members]), features.owners[members]
        direct = np.zeros_like(x)
        if len(of_points):
            points = term.seen(group, term.points[group])
            kernel, a, b = term.kernel.value_and_slopes(x, points)
            c = share * of_points * of_atoms[owners].sum(axis=1)
            by_weight[members] = np.einsum("em,em->e", kernel, c)
            direct += (a * c) @ points
            if b is not None:
                direct += np.einsum("em,em->e", b, c)[:, None] * x
        if of_prior is not None:
            direct += (term.delta**2 * of_prior[owners[:, 0]] * term.kernel.diag_slopes(x))[:, None] * x
        slope[members] = term.scaled(group, direct)
    slope *= features.weights_or_ones[:, None]
    gradient[features.block] += term.descriptor.pullback(features, slope, None if features.weights is None else by_weight)
