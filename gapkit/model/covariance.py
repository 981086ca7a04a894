"""Posterior covariance of any set of predictions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from ..gp.design import kernel_rows
from ..gp.functionals import prior_covariance, sizes_of
from ..gp.observations import Labels
from ..neighbors import NeighborList
from .potential import Potential, posterior_of
from .spread import Spread, clipped, with_amplitudes

__all__ = ["posterior_covariance"]

Array = NDArray[np.float64]


def posterior_covariance(potential: Potential, neighbors: NeighborList, of: frozenset[str]) -> Array:
    """Covariance of the predictions of all structures, in the order of `gapkit.gp.functionals.prior_covariance`.

    Parameters
    ----------
    potential : Potential
        With its posterior.
    neighbors : NeighborList
        The structures.
    of : frozenset of {"energy", "energies", "forces", "stress"}
        Which predictions.

    Returns
    -------
    ndarray of shape (n, n)
        Products of eV, eV/Å and eV/Å³.
    """
    phi = _rows(potential, neighbors, of)
    scaled = solve_triangular(posterior_of(potential).factor, phi.T, trans="T", check_finite=False)
    unseen, prior = np.zeros((len(phi), len(phi))), np.zeros(len(phi))
    for term in potential.terms:
        if potential.is_open(term):
            own = phi[:, term.columns[0].start : term.columns[-1].stop]
            of_term = term.delta**2 * prior_covariance(term, neighbors, of)
            unseen += of_term - own @ own.T
            prior += np.diag(of_term)
    np.fill_diagonal(unseen, clipped(potential, np.diag(unseen), prior, "predictions"))
    result: Array = unseen + scaled.T @ scaled
    return result


def _rows(potential: Potential, neighbors: NeighborList, of: frozenset[str]) -> Array:
    """Whitened rows with their amplitudes."""
    local = _local_rows(potential, neighbors)
    derivatives = [
        Labels(
            None,
            np.zeros((int(n), 3)) if "forces" in of else None,
            np.zeros(6) if "stress" in of and neighbors.has_stress(t) else None,
            "",
        )
        for t, n in enumerate(np.diff(neighbors.first_atom))
    ]
    rows = kernel_rows(potential.terms, neighbors, derivatives)
    blocks = {
        "energy": np.add.reduceat(local, neighbors.first_atom[:-1], axis=0),
        "energies": local,
        "forces": with_amplitudes(potential.terms, rows.forces),
        "stress": with_amplitudes(potential.terms, rows.stress),
    }
    parts, next_row = [np.empty((0, potential.n_sparse))], dict.fromkeys(blocks, 0)
    for sizes in sizes_of(neighbors, of):
        for name, size in sizes.items():
            parts.append(blocks[name][next_row[name] : next_row[name] + size])
            next_row[name] += size
    return np.concatenate(parts)


def _local_rows(potential: Potential, neighbors: NeighborList) -> Array:
    """Rows of the local energies."""
    spread = Spread(potential, neighbors, frozenset())
    for t, term in enumerate(potential.terms):
        spread.add(t, term.descriptor.compute(neighbors), {})
    return spread.whitened()
