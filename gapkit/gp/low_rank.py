r"""Variances of a sparse Gaussian process from the directions that the data know best, with rigorous bounds.

Let S = A⁻¹ have eigenvectors v₁, v₂, … with eigenvalues s₁ ≤ s₂ ≤ …: v₁ is what the labels determine best.  With a whitened
row φ, a_i = v_i·φ, and its prior variance k ≥ |φ|², the variance k - |φ|² + φᵀSφ is

.. math:: \text{var} = \sum_{i \le r} s_i a_i^2 + w \, \Big( k - \sum_{i \le r} a_i^2 \Big), \qquad s_{r+1} \le w \le 1

for any r, because the rest of φ is multiplied by numbers between s_{r+1} and 1 and what the sparse points do not see by 1.
The weight w of the rest t = k - Σ a_i² is estimated, and the estimate never leaves the bounds:

* A few random directions p across the others measure what of the rest the sparse points do see, |φ|² - Σ a_i², to √(2 / n).
  What exceeds this by three times its error is unseen for certain: its weight is 1.
* The weight of what they see is learnt from the sparse points, w₀; from their t₀ on it follows a power law that reaches 1
  where nothing is known, w = w₀ (t / t₀ k)^γ with w = 1 at t = k.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh, svd

from .posterior import SparsePosterior

__all__ = ["LowRankVariance"]

Array = NDArray[np.float64]


_PROBES = 16  # random directions
_SEED = 0


@dataclass(frozen=True)
class LowRankVariance:
    """What the variances of any row need.

    Attributes
    ----------
    directions : ndarray of shape (n_sparse, rank + n_probes)
        The v_i and, after them, random directions across them, scaled so that the sum of the squares of the components of
        φ along them estimates ``φ·φ - Σ a_i²``; they are multiplied with whitened rows that have their amplitudes.
    eigenvalues : ndarray of shape (rank,)
        s_i, ascending.
    floor : float
        Lower bound s_{r+1} of the weight of the rest; 1 if there is no rest.
    near : float
        w₀, the weight of the rest near the data.
    onset : float
        t₀ over k: from where on the weight grows.
    """

    directions: Array
    eigenvalues: Array
    floor: float
    near: float
    onset: float

    @classmethod
    def of(cls, posterior: SparsePosterior, rank: int, points: Array) -> LowRankVariance:
        """Find the directions, and the weight of the rest from the sparse points.

        Parameters
        ----------
        posterior : SparsePosterior
            Of all sparse points.
        rank : int
            Number of directions.
        points : ndarray of shape (n, n_sparse)
            Whitened rows of sparse points, with their amplitudes.

        Returns
        -------
        LowRankVariance
        """
        n = len(posterior.weights)
        if posterior.is_widened:  # S has eigenvalues above 1, which the bounds of this form exclude
            raise ValueError(
                "`uncertainty` must be None or 'exact' for a posterior that was widened by misspecification; got 'fast'. "
                "Calibrate without misspecification, or ask for 'exact'."
            )
        if rank >= n:
            _, singular, directions = svd(posterior.factor)
            return cls(np.ascontiguousarray(directions.T), singular**-2.0, 1.0, 1.0, 1.0)
        information, vectors = eigh(posterior.factor.T @ posterior.factor, subset_by_index=[n - rank - 1, n - 1])
        eigenvalues, known = 1.0 / information[:0:-1], vectors[:, :0:-1]
        floor = 1.0 / max(1.0, float(information[0]))
        n_probes = min(_PROBES, n - rank)
        probes = np.random.default_rng(_SEED).standard_normal((n, n_probes))
        probes, _ = np.linalg.qr(probes - known @ (known.T @ probes))
        directions = np.ascontiguousarray(np.hstack([known, np.sqrt((n - rank) / n_probes) * probes]))
        square = np.einsum("nm,nm->n", points, points)
        along = (points @ known) ** 2
        rest = square - along.sum(axis=1)
        clear = rest > 1e-10 * square  # more than rounding
        if not clear.any():
            return cls(directions, eigenvalues, floor, 1.0, 1.0)
        rest, square = rest[clear], square[clear]
        weight = (posterior.data_variance(points[clear]) - along[clear] @ eigenvalues) / rest
        near, onset = float(np.clip(np.median(weight), floor, 1.0)), float(np.median(rest / square))
        return cls(directions, eigenvalues, floor, near, onset)

    @property
    def rank(self) -> int:
        """Number of directions that are not random."""
        return len(self.eigenvalues)

    def rest(self, along: Array, prior: Array) -> Array:
        """k - Σ a_i² of each row, which rounding may make negative; arguments as for `variances`."""
        known = along[:, : self.rank]
        result: Array = prior - np.einsum("nr,nr->n", known, known)
        return result

    def variances(self, along: Array, rest: Array, prior: Array) -> tuple[Array, Array, Array]:
        """Variances and their bounds.

        Parameters
        ----------
        along : ndarray of shape (n, rank + n_probes)
            Components of each row along the directions.
        rest : ndarray of shape (n,)
            From `rest`, clipped at 0.
        prior : ndarray of shape (n,)
            k of each row.

        Returns
        -------
        estimate, lower, upper : ndarray of shape (n,)
        """
        known = along[:, : self.rank] ** 2 @ self.eigenvalues
        return known + self._weight(along, rest, prior) * rest, known + self.floor * rest, known + rest

    def _weight(self, along: Array, rest: Array, prior: Array) -> Array:
        """Weight w of the rest."""
        probes = along[:, self.rank :]
        n_probes = probes.shape[1]
        if n_probes == 0:
            result: Array = np.ones_like(rest)
            return result
        seen = np.einsum("np,np->n", probes, probes) * (1.0 + 3.0 * np.sqrt(2.0 / n_probes))
        unseen = np.clip(1.0 - seen / np.where(rest > 0.0, rest, np.inf), 0.0, 1.0)
        of_seen = np.full_like(rest, self.near)  # on the GPU if the rest is
        if self.near < 1.0 and self.onset < 1.0:
            relative = np.clip(rest / np.where(prior > 0.0, prior, 1.0), self.onset, 1.0)
            of_seen *= (relative / self.onset) ** (np.log(self.near) / np.log(self.onset))
        result = np.maximum(unseen + (1.0 - unseen) * of_seen, self.floor)
        return result
