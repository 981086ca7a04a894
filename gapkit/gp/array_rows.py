r"""Whitened rows of values and gradients at points given as arrays: what `gapkit.gp.design` does for structures.

Sparse variables are values, and gradients where the budget allows it, at sparse points.  With a kernel that has
:math:`\partial k/\partial x = A s + B x`, the covariances of values and gradients with them are

.. math::
    k, \qquad \frac{\partial k}{\partial x_c} = A s_c + B x_c, \qquad
    \frac{\partial^2 k}{\partial x_c \partial s_d} = C_0 \delta_{cd} + C_1 s_c x_d + C_2 s_c s_d + C_3 x_c x_d + C_4 x_c s_d

All of it at unit delta.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas, solve_triangular

from ..kernels import Kernel
from .posterior import RowFactor
from .sparse_term import pivoted_cholesky

__all__ = ["Basis", "Folded", "Observations", "fold", "parts"]

Array = NDArray[np.float64]

_ROWS = 768  # rows that are held at a time


def parts(n: int, rows_each: int = 1) -> Iterator[slice]:
    """Ranges of points whose rows are held together; a point has ``rows_each`` rows."""
    step = max(1, _ROWS // rows_each)
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


@dataclass(frozen=True)
class Basis:
    """Sparse variables of one kernel, with the factor that whitens.

    Attributes
    ----------
    kernel : Kernel
        Unit amplitude.
    centre : ndarray of shape (n_features,)
        Mean of the sparse points for stationary kernels, which lose digits where x and s are long and x - s short; else 0.
    points : ndarray of shape (n_points, n_features)
        Where values are sparse variables, less the centre.
    gradient_points : ndarray of shape (n_gradient_points, n_features)
        Where gradients are, less the centre.
    unit : ndarray of shape (n_points + n_gradient_points * n_features,)
        1 over the prior standard deviation of each variable; 0 if that is 0.
    kept : ndarray of int of shape (n_sparse,)
        Variables that the others do not determine to rounding.
    cholesky : ndarray of shape (n_sparse, n_sparse)
        Lower triangular factor of the correlations of the variables that were kept.
    """

    kernel: Kernel
    centre: Array
    points: Array
    gradient_points: Array
    unit: Array
    kept: NDArray[np.int64]
    cholesky: Array

    @classmethod
    def build(cls, kernel: Kernel, points: Array, gradient_points: Array) -> Basis:
        """Factorise K_uu and drop variables that the others determine."""
        n = len(points) + gradient_points.size
        centre = points.mean(axis=0) if kernel.is_stationary() else np.zeros(points.shape[1])
        every = cls(kernel, centre, points - centre, gradient_points - centre, np.ones(n), np.arange(n), np.empty((0, 0)))
        covariance = np.vstack([every._of_values(every.points), every._of_gradients(every.gradient_points)])
        deviation = np.sqrt(np.diag(covariance))
        unit = np.divide(1.0, deviation, out=np.zeros(n), where=deviation > 0.0)
        kept, cholesky = pivoted_cholesky(unit[:, None] * covariance * unit)
        return replace(every, unit=unit, kept=kept, cholesky=cholesky)

    def values(self, X: Array) -> tuple[Array, Array]:
        """Whitened rows (n, n_sparse) and prior variances (n,) of the values at X (n, n_features)."""
        x = X - self.centre
        return self._whitened(self._of_values(x)), self.kernel.diag(x)

    def gradients(self, X: Array) -> tuple[Array, Array]:
        """Whitened rows (n * n_features, n_sparse) and prior variances of the gradient components at X, point by point."""
        x = X - self.centre
        square = np.einsum("nf,nf->n", x, x)[:, None]
        c0, *others = self.kernel.curvature_of_products(square, square, square)
        prior = np.zeros_like(x) if c0 is None else np.broadcast_to(c0, x.shape)
        cross = sum((c for c in others if c is not None), np.zeros_like(square))
        return self._whitened(self._of_gradients(x)), (prior + cross * x**2).ravel()

    def mean(self, X: Array, weights: Array) -> Array:
        """Values at X of the function with the given weights of the whitened variables, shape (n,)."""
        return self._of_values(X - self.centre) @ self._coefficients(weights)

    def mean_gradient(self, X: Array, weights: Array) -> Array:
        """Gradients of `mean`, shape (n, n_features)."""
        result: Array = (self._of_gradients(X - self.centre) @ self._coefficients(weights)).reshape(X.shape)
        return result

    def _coefficients(self, weights: Array) -> Array:
        result = np.zeros(len(self.unit))
        if len(self.kept):
            result[self.kept] = solve_triangular(self.cholesky, weights, lower=True, trans="T")
        return result * self.unit

    def _whitened(self, rows: Array) -> Array:
        rows = rows[:, self.kept] * self.unit[self.kept]
        if not rows.size:
            return rows
        result: Array = blas.dtrsm(1.0, self.cholesky, rows.T, lower=1).T
        return result

    def _of_values(self, x: Array) -> Array:
        """Covariances of values with all sparse variables."""
        with_values = self.kernel(x, self.points)
        if not len(self.gradient_points):
            return np.asarray(with_values)
        with_gradients = _slopes(self.kernel, self.gradient_points, x).reshape(self.gradient_points.size, len(x)).T
        return np.hstack([with_values, with_gradients])

    def _of_gradients(self, x: Array) -> Array:
        """Covariances of gradients with all sparse variables."""
        with_values = _slopes(self.kernel, x, self.points).reshape(x.size, len(self.points))
        if not len(self.gradient_points):
            return with_values
        return np.hstack([with_values, _curvature(self.kernel, x, self.gradient_points)])


def _slopes(kernel: Kernel, x: Array, s: Array) -> Array:
    """∂k(x, s)/∂x of shape (n, n_features, m)."""
    _, slope, self_slope = kernel.value_and_slopes(x, s)
    result: Array = slope[:, None, :] * s.T
    return result if self_slope is None else result + self_slope[:, None, :] * x[:, :, None]


def _curvature(kernel: Kernel, x: Array, s: Array) -> Array:
    """∂²k(x, s)/∂x∂s of shape (n * n_features, m * n_features)."""
    c0, c1, c2, c3, c4 = (c[:, None, :, None] for c in kernel.curvature(x, s))
    x_left, s_left = x[:, :, None, None], s.T[None, :, :, None]
    x_right, s_right = x[:, None, None, :], s[None, None, :, :]
    result = s_left * (c1 * x_right + c2 * s_right) + x_left * (c3 * x_right + c4 * s_right)
    result += c0 * np.eye(x.shape[1])[None, :, None, :]
    return np.asarray(result.reshape(x.size, s.size))


@dataclass(frozen=True)
class Observations:
    """Values at points, and gradients at others with NaN for components that were not observed."""

    points: Array
    values: Array
    gradient_points: Array
    gradients: Array

    @property
    def n_rows(self) -> int:
        """Number of values and of observed gradient components."""
        return len(self.values) + int(np.count_nonzero(~np.isnan(self.gradients)))

    def sample(self, n_rows: int, rng: np.random.Generator) -> Observations:
        """About ``n_rows`` of the rows, at random, values and gradients in proportion; all if there are no more."""
        if self.n_rows <= n_rows:
            return self
        share = n_rows / self.n_rows
        lengths = len(self.points), len(self.gradient_points)
        some, others = (np.sort(rng.choice(n, int(np.ceil(share * n)), replace=False)) for n in lengths)
        return Observations(self.points[some], self.values[some], self.gradient_points[others], self.gradients[others])

    def rows(self, basis: Basis) -> Iterator[tuple[str, Array, Array, Array]]:
        """Kind ("values" or "gradients"), whitened rows, prior variances and targets, block by block."""
        for part in parts(len(self.points)):
            yield "values", *basis.values(self.points[part]), self.values[part]
        for part in parts(len(self.gradient_points), self.points.shape[1]):
            target = self.gradients[part].ravel()
            observed = ~np.isnan(target)
            if observed.any():
                phi, prior = basis.gradients(self.gradient_points[part])
                yield "gradients", phi[observed], prior[observed], target[observed]


@dataclass(frozen=True)
class Folded:
    """All rows in triangular factors.

    Attributes
    ----------
    factors : dict of str to RowFactor
        Of "values" and "gradients", as far as there are any.
    noise : dict of str to float
        Standard deviation of each: 1 where each row was divided by its own.
    missed : float
        The part of the prior variance of all rows that the sparse points miss, 0 to 1.
    """

    factors: dict[str, RowFactor]
    noise: dict[str, float]
    missed: float


def fold(basis: Basis, data: Observations, noise: Mapping[str, float], delta: float, approximation: str) -> Folded:
    """Fold all rows in O(n_sparse²) memory.

    Parameters
    ----------
    basis : Basis
        Sparse points.
    data : Observations
        Rows.
    noise : mapping of str to float
        Standard deviations of "values" and "gradients".
    delta : float
        Amplitude.
    approximation : {"sor", "dtc", "fitc", "vfe"}
        With "fitc", the variance that the sparse points miss adds to the noise of each row, which is then divided by it; with
        "vfe", the sum of it is kept for the evidence.

    Returns
    -------
    Folded
    """
    factors: dict[str, RowFactor] = {}
    all_missed = all_prior = 0.0
    for kind, phi, prior, target in data.rows(basis):
        missed = np.maximum(prior - np.einsum("nm,nm->n", phi, phi), 0.0)
        all_missed, all_prior = all_missed + float(missed.sum()), all_prior + float(prior.sum())
        divisors = np.sqrt(noise[kind] ** 2 + delta**2 * missed) if approximation == "fitc" else np.ones(len(phi))
        factors.setdefault(kind, RowFactor(phi.shape[1])).fold(
            phi / divisors[:, None],
            (target / divisors)[:, None],
            log_divisors=float(np.log(divisors).sum()),
            unexplained=float(missed.sum()) if approximation == "vfe" else 0.0,
        )
    own = {kind: 1.0 if approximation == "fitc" else noise[kind] for kind in factors}
    return Folded(factors, own, all_missed / all_prior if all_prior else 0.0)
