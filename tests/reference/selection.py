"""The slow twin of the I-optimal batch: one dense covariance of all rows of the pool, conditioned explicitly."""

from __future__ import annotations

import numpy as np

from gapkit.gp.design import kernel_rows
from gapkit.gp.observations import Labels
from gapkit.neighbors import NeighborList


def plain_rows(terms, frames):
    """Rows K_fu of the energy (over √N) and the forces of each frame, unit delta."""
    result = []
    for atoms in frames:
        neighbors = NeighborList.from_atoms([atoms], max(t.descriptor.neighbor_range for t in terms))
        rows = kernel_rows(terms, neighbors, [Labels(0.0, np.zeros((len(atoms), 3)), None, "")])
        result.append(np.vstack([rows.energy, rows.forces]))
    return result


def explained(terms, rows):
    """delta² K_fu K_uu⁻¹ K_uf over all terms: the part of the prior covariance that these points see."""
    total = np.zeros((len(rows), len(rows)))
    for term in terms:
        for group, columns in enumerate(term.columns):
            if columns.stop > columns.start:
                points, weights = term.seen(group, term.points[group]), term.weights[group]
                kernel = weights[:, None] * term.kernel(points) * weights
                total += term.delta**2 * rows[:, columns] @ np.linalg.solve(kernel, rows[:, columns].T)
    return total


def whitened_dense(terms, rows):
    """delta K_fu L⁻ᵀ with the Cholesky factors of the model, which its posterior refers to."""
    phi = np.zeros_like(rows)
    for term in terms:
        for columns, lower in zip(term.columns, term.cholesky, strict=True):
            if len(lower):
                phi[:, columns] = term.delta * np.linalg.solve(lower, rows[:, columns].T).T
    return phi


def posterior_covariance(potential, enlarged_terms, frames):
    """Posterior covariance of all rows: what the sparse points know and the labels left, and what only new points see."""
    old = np.vstack(plain_rows(potential.terms, frames))
    new = np.vstack(plain_rows(enlarged_terms, frames))
    r = potential.posterior.factor
    phi = whitened_dense(potential.terms, old)
    return phi @ np.linalg.inv(r.T @ r) @ phi.T + explained(enlarged_terms, new) - explained(potential.terms, old)


def i_optimal(covariance, noise, structure, forces, n):
    """Greedy picks and their gains: by how much each lowers the mean variance of ``forces`` (rows); then condition on it."""
    covariance, picks, gains = covariance.copy(), [], []

    def reduction(own):
        block = covariance[np.ix_(own, own)] + np.diag(noise[own] ** 2)
        return covariance[:, own] @ np.linalg.solve(block, covariance[own])

    for _ in range(n):
        now = {}
        for k in sorted(set(structure) - set(picks)):
            now[k] = np.diag(reduction(np.flatnonzero(structure == k)))[forces].mean()
        best = max(now, key=now.get)
        picks.append(int(best))
        gains.append(float(now[best]))
        covariance -= reduction(np.flatnonzero(structure == best))
    return picks, gains
