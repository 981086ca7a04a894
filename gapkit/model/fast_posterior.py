"""What fast standard deviations need of a posterior: computed once, kept with the potential."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from ..gp.low_rank import LowRankVariance
from ..gp.posterior import SparsePosterior
from ..gp.sparse_term import SparseTerm, coefficients_from

__all__ = ["MEMBERS", "RANK", "FastPosterior"]

Array = NDArray[np.float64]

RANK = 128
"""Directions for the variance of energies: on mlearn Si with 2000 sparse points the deviations of nine in ten local energies
are within 0.8 to 1.3 times the exact ones."""

MEMBERS = 16
"""Potentials for the variance of forces and stresses: their deviations are good to 18 %."""

_SAMPLE = 500  # sparse points that the weight of the rest is learnt from
_EXACT = 512  # up to so many sparse points all directions are taken: few of them miss much
_SEED = 0  # a model has one committee: the same at every evaluation, and after load


@dataclass(frozen=True)
class FastPosterior:
    """Directions for energies and members for forces.

    Attributes
    ----------
    low_rank : LowRankVariance
        Variance of whitened rows.
    projection : ndarray of shape (n_sparse, rank)
        Maps kernels with the sparse points to components along the directions, amplitudes and whitening included.
    members : list of list of list of ndarray
        Deviations of the coefficients alpha of each member from their mean, per term and group; eV.
    """

    low_rank: LowRankVariance
    projection: Array
    members: list[list[list[Array]]]

    @classmethod
    def of(
        cls,
        terms: Sequence[SparseTerm],
        posterior: SparsePosterior,
        *,
        rank: int = RANK,
        n_members: int = MEMBERS,
    ) -> FastPosterior:
        """Compute directions and draw members.

        Parameters
        ----------
        terms : sequence of SparseTerm
            Terms of the model.
        posterior : SparsePosterior
            Of all sparse points.
        rank : int
            Number of directions; exact from the number of sparse points on.
        n_members : int
            Number of members; exact from the number of sparse points on.
        """
        n_sparse = len(posterior.weights)
        rank = n_sparse if n_sparse <= _EXACT else rank
        points = np.zeros((n_sparse, n_sparse))
        for term in terms:
            for factor, columns in zip(term.cholesky, term.columns, strict=True):
                points[columns, columns] = term.delta * factor
        low_rank = LowRankVariance.of(posterior, rank, points[:: max(1, n_sparse // _SAMPLE)])
        projection = np.zeros_like(low_rank.directions)
        for term in terms:
            for factor, columns in zip(term.cholesky, term.columns, strict=True):
                if factor.size:
                    projection[columns] = term.delta * solve_triangular(
                        factor, low_rank.directions[columns], lower=True, trans="T", check_finite=False
                    )
        return cls(low_rank, projection, _members(terms, posterior, min(n_members, n_sparse)))


def _members(terms: Sequence[SparseTerm], posterior: SparsePosterior, n: int) -> list[list[list[Array]]]:
    """Members whose mean square deviation estimates a variance without bias.

    R⁻¹ξ_k with the ξ_k random, orthogonal and of length √n_sparse: with as many members as sparse points the mean is exact.
    """
    n_sparse = len(posterior.weights)
    if n == 0:
        return []
    normal = np.random.default_rng(_SEED).standard_normal((n_sparse, n))
    orthogonal, _ = np.linalg.qr(normal)
    deviations = solve_triangular(posterior.factor, np.sqrt(n_sparse) * orthogonal, check_finite=False)
    return [coefficients_from(terms, deviation) for deviation in deviations.T]
