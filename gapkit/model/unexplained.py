"""What the sparse points miss of pairs and triplets, whose part of the prior variance is left out of standard deviations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from scipy.linalg import solve_triangular

from ..gp.sparse_term import SparseTerm
from ..neighbors import NeighborList

__all__ = ["largest_unexplained"]

_FRAMES = 20  # evenly spaced ones are looked at


def largest_unexplained(term: SparseTerm, frames: Sequence[Atoms]) -> float:
    """Largest standard deviation of the energy of an environment given the values at all sparse points, eV.

    Standard deviations of predictions leave this part out (subset of regressors) for terms with many environments per atom;
    it should be far below the noise.

    Parameters
    ----------
    term : SparseTerm
        With its sparse points.
    frames : sequence of ase.Atoms
        Structures, of which 20 at most are looked at.

    Returns
    -------
    float
    """
    largest = 0.0
    for atoms in frames[:: max(1, len(frames) // _FRAMES)]:
        features = term.descriptor.compute(NeighborList.from_atoms([atoms], term.descriptor.neighbor_range))
        for group, points in enumerate(term.points):
            members = np.flatnonzero(features.groups == group)
            if not len(members) or not len(points):
                continue
            x, weights = term.seen(group, features.values[members]), features.weights_or_ones[members]
            covariance = term.weights[group][:, None] * term.kernel(term.seen(group, points), x) * weights
            known = solve_triangular(term.cholesky[group], covariance, lower=True)
            left = weights**2 * term.kernel.diag(x) - np.einsum("mn,mn->n", known, known)
            largest = max(largest, float(left.max()))
    return term.delta * term.descriptor.multiplicity * float(np.sqrt(largest))
