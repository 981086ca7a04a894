r"""The posterior of a sparse Gaussian process as one triangular factor, built from streamed rows.

With K_uu = L Lᵀ and whitened rows Φ = K_fu L⁻ᵀ, a sparse GP is a Bayesian linear model with weights w ~ N(0, 1):

.. math:: y = \Phi w + \text{noise}, \qquad
    A = 1 + \Phi^T \Lambda^{-1} \Phi = R^T R, \qquad
    w = A^{-1} \Phi^T \Lambda^{-1} y

Rows are folded, as they come, into one triangular factor [R_g, z_g; 0, ρ_g] per row group, where R_gᵀR_g = Φ_gᵀΦ_g,
z_g = Q_gᵀy and ρ_g² = y_gᵀy_g - z_gᵀz_g, at unit noise and unit delta.  Noise and delta are scalings of these factors, so
that changing them, adding rows and merging two fits need no row again.  R is the QR factor of the scaled stack over the
identity: the smallest singular value is 1, and no step forms ΦᵀΦ.

Variances are sums of squares: with φ the whitened row of a prediction and k its prior variance,

.. math:: \text{var} = \max(0, k - |\phi|^2) + |R^{-T} \phi|^2 \qquad \text{(DTC)}

J. Quiñonero-Candela, C. E. Rasmussen, J. Mach. Learn. Res. 6, 1939 (2005), section 5; L. Foster et al.,
J. Mach. Learn. Res. 10, 857 (2009) for the QR form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack, solve_triangular

from .._backend import beside, is_on_gpu, on_host, solve_transposed_upper, triangular_factor

__all__ = ["RowFactor", "SparsePosterior"]

Array = NDArray[np.float64]

_PANEL = 32  # columns per Householder panel of LAPACK's tpqrt
_BLOCK = 768  # rows per call: a panel (200 kB) then stays in the second-level cache; measured in benchmarks/bench_posterior.py


class RowFactor:
    """Triangular factor of the whitened rows and targets of one row group.

    Parameters
    ----------
    n_sparse : int
        Number of columns of Φ.

    Attributes
    ----------
    triangle : ndarray of shape (n_sparse + 1, n_sparse + 1)
        Upper triangular with nonnegative diagonal, Fortran order; its last column belongs to the targets.  (Which sign a
        Householder reflection gives to a row may hang on the last bit, and so on the number of threads.)
    n_rows : int
        Rows folded in so far.
    log_divisors : float
        Sum of the logarithms of what the labels were divided by before they were folded (√N, a noise of their own): the
        density of the labels themselves needs it.
    unexplained : ndarray of shape (n_terms,) or float
        Sum over the rows of the prior variance that the sparse points of each term do not explain, at unit delta; 0 where
        nobody needs it (all approximations but VFE).
    """

    def __init__(self, n_sparse: int) -> None:
        self.triangle: Array = np.zeros((n_sparse + 1, n_sparse + 1), order="F")
        self.n_rows = 0
        self.log_divisors = 0.0
        self.unexplained: Array | float = 0.0

    @classmethod
    def from_triangle(
        cls, triangle: Array, n_rows: int, log_divisors: float = 0.0, unexplained: Array | float = 0.0
    ) -> RowFactor:
        """Wrap a triangle that is known already, e.g. from a file."""
        factor = cls(len(triangle) - 1)
        factor.triangle = np.asfortranarray(triangle)
        factor.n_rows = n_rows
        factor.log_divisors, factor.unexplained = log_divisors, unexplained
        return factor

    def fold(self, rows: Array, target: Array, *, log_divisors: float = 0.0, unexplained: Array | float = 0.0) -> None:
        """Add rows: ``rows`` of shape (n, n_sparse) and ``target`` of shape (n, 1); the rest as the attributes.

        Where the rows are on a GPU, the triangle goes there too; `to_host` brings it back.
        """
        if is_on_gpu(rows):
            block = np.concatenate([rows, beside(rows, target)], axis=1)
            self.triangle = triangular_factor(np.concatenate([beside(rows, self.triangle), block]))
            self._finish(len(rows), log_divisors, unexplained)
            return
        for start in range(0, len(rows), _BLOCK):
            part = slice(start, start + _BLOCK)
            block = np.empty((len(target[part]), len(self.triangle)), order="F")
            block[:, :-1], block[:, -1:] = rows[part], target[part]
            self._absorb(block, triangular=False)
        self._finish(len(rows), log_divisors, unexplained)

    def to_host(self) -> None:
        """Bring the triangle back from where the rows were."""
        self.triangle = np.asfortranarray(on_host(self.triangle))

    def merge(self, other: RowFactor) -> None:
        """Add the rows of another factor."""
        if other.n_rows:
            self._absorb(other.triangle.copy(order="F"), triangular=True)
            self._finish(other.n_rows, other.log_divisors, other.unexplained)

    def _finish(self, n_rows: int, log_divisors: float, unexplained: Array | float) -> None:
        self.triangle *= np.where(np.diagonal(self.triangle) < 0.0, -1.0, 1.0)[:, None]
        self.n_rows += n_rows
        self.log_divisors += log_divisors
        self.unexplained = self.unexplained + unexplained

    def _absorb(self, block: Array, *, triangular: bool) -> None:
        size = self.triangle.shape[0]
        self.triangle, _, _, _ = lapack.dtpqrt(
            size if triangular else 0, min(_PANEL, size), self.triangle, block, overwrite_a=1, overwrite_b=1
        )


@dataclass(frozen=True)
class SparsePosterior:
    """Posterior of the weights w of the whitened, delta-scaled features.

    Attributes
    ----------
    factor : ndarray of shape (n_sparse, n_sparse)
        R, upper triangular with positive diagonal; the covariance of w is (RᵀR)⁻¹.
    weights : ndarray of shape (n_sparse,)
        Mean of w.
    misfit : float
        yᵀΛ⁻¹y - |R w|², the part of the scaled targets that the weights do not explain; 1.
    is_widened : bool
        Whether misspecification was added to the covariance (`gapkit.gp.misspecification.widened`).
    """

    factor: Array
    weights: Array
    misfit: float
    is_widened: bool = False

    @classmethod
    def from_factors(cls, factors: Mapping[str, RowFactor], noise: Mapping[str, float], column_scale: Array) -> SparsePosterior:
        """Scale the factors by noise and delta, stack them over the identity, and solve.

        Parameters
        ----------
        factors : mapping of str to RowFactor
            One per row group.
        noise : mapping of str to float
            Standard deviation of each row group.
        column_scale : ndarray of shape (n_sparse,)
            delta of the term that each column belongs to.

        Returns
        -------
        SparsePosterior
        """
        n_sparse = len(column_scale)
        stack = RowFactor(n_sparse)
        stack.triangle[np.arange(n_sparse), np.arange(n_sparse)] = 1.0
        scale = np.append(column_scale, 1.0)
        for name in sorted(factors):
            stack.merge(RowFactor.from_triangle(factors[name].triangle * (scale / noise[name]), factors[name].n_rows))
        triangle = np.triu(stack.triangle)
        factor = np.ascontiguousarray(triangle[:n_sparse, :n_sparse])
        weights = solve_triangular(factor, triangle[:n_sparse, n_sparse]) if n_sparse else np.empty(0)
        return cls(factor, weights, float(triangle[n_sparse, n_sparse] ** 2))

    def data_variance(self, phi: Array) -> Array:
        """|R⁻ᵀφ|² of each row of ``phi`` (n, n_sparse): what the labels leave of the variance at the sparse points."""
        if phi.shape[1] == 0:
            return np.zeros_like(phi, shape=len(phi))
        scaled = solve_transposed_upper(self.factor, phi.T)
        result: Array = np.einsum("mn,mn->n", scaled, scaled)
        return result

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draw weights, shape (n, n_sparse): w + R⁻¹ξ with ξ standard normal."""
        normal = rng.standard_normal((len(self.weights), n))
        deviation = solve_triangular(self.factor, normal, check_finite=False) if len(self.weights) else normal
        result: Array = self.weights + deviation.T
        return result
