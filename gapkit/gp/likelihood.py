r"""Log marginal likelihood (evidence) of the DTC model, from the factors of the row groups alone.

The labels are Gaussian with covariance :math:`\Lambda + \Phi D^2 \Phi^T`: noise, and whitened rows with the amplitude delta
of each column's term.  With the Gram matrices :math:`G_g = \Phi_g^T \Phi_g` of the groups of equal noise,

.. math::
    A = 1 + D \Big( \sum_g G_g / \sigma_g^2 \Big) D, \qquad
    -2 \log p(y) = \sum_g n_g \log \sigma_g^2 + \log\det A + \sum_g |y_g - \Phi_g D w|^2 / \sigma_g^2 + |w|^2 + n \log 2\pi

at the posterior mean w, so that noise and delta are searched without touching the data again.  Gradients by their logarithms
follow from the envelope theorem: w need not be differentiated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, lapack
from scipy.optimize import minimize

from .posterior import RowFactor

__all__ = ["Evidence", "maximize_evidence"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """Gram matrices of the row groups, accumulated once.

    Attributes
    ----------
    names : list of str
        Row groups.
    gram : ndarray of shape (n_groups, n_sparse + 1, n_sparse + 1)
        Of the rows with their targets as the last column.
    n_rows : ndarray of shape (n_groups,)
        Rows of each group.
    term_of_column : ndarray of shape (n_sparse,)
        Index of the term, and so of the delta, of each sparse point.
    """

    names: list[str]
    gram: Array
    n_rows: Array
    term_of_column: NDArray[np.int64]

    @classmethod
    def from_factors(cls, factors: Mapping[str, RowFactor], term_of_column: NDArray[np.int64]) -> Evidence:
        """Square the triangular factors of the row groups."""
        names = sorted(factors)
        triangles = [np.triu(factors[name].triangle) for name in names]
        n_rows = np.array([float(factors[name].n_rows) for name in names])
        return cls(names, np.array([t.T @ t for t in triangles]), n_rows, term_of_column)

    def value_and_gradient(self, log_sigma: Array, log_delta: Array) -> tuple[float, Array, Array]:
        """Log evidence and its derivatives by log sigma of the groups and log delta of the terms.

        Parameters
        ----------
        log_sigma : ndarray of shape (n_groups,)
            Logarithms of the noise of each group (energies: per atom).
        log_delta : ndarray of shape (n_terms,)
            Logarithms of the amplitudes.

        Returns
        -------
        float, ndarray of shape (n_groups,), ndarray of shape (n_terms,)
        """
        precision = np.exp(-2.0 * log_sigma)
        delta = np.exp(log_delta)[self.term_of_column]
        total = np.tensordot(precision, self.gram, axes=1)
        scaled = delta[:, None] * total[:-1, :-1] * delta
        n = len(delta)
        factor = cholesky(scaled + np.eye(n), lower=True, check_finite=False)
        w = cho_solve((factor, True), delta * total[:-1, -1], check_finite=False)
        inverse = _symmetric(lapack.dpotri(factor, lower=1)[0])
        solution = np.append(delta * w, -1.0)
        misfit = np.array([float(solution @ gram @ solution) for gram in self.gram])
        log_determinant = 2.0 * float(np.log(np.diag(factor)).sum())
        weighted = delta[:, None] * inverse * delta
        traces = np.array([float(np.sum(weighted * gram[:-1, :-1])) for gram in self.gram])
        value = -0.5 * (
            float(self.n_rows @ (2.0 * log_sigma + np.log(2.0 * np.pi)))
            + log_determinant
            + float(precision @ misfit)
            + float(w @ w)
        )
        by_sigma = -self.n_rows + precision * (traces + misfit)
        of_columns = w**2 - (1.0 - np.diag(inverse))
        by_delta = np.bincount(self.term_of_column, weights=of_columns, minlength=len(log_delta)).astype(float)
        return value, by_sigma, by_delta


def maximize_evidence(
    evidence: Evidence,
    log_sigma: Array,
    log_delta: Array,
    *,
    free_noise: bool,
    free_delta: bool,
    factor: float = 100.0,
    n_starts: int = 3,
) -> tuple[Array, Array, float]:
    """Search noise and delta for the largest evidence, within a factor of the given values.

    Parameters
    ----------
    evidence : Evidence
        Of the training rows.
    log_sigma, log_delta : ndarray
        Where to start.
    free_noise, free_delta : bool
        What is searched.
    factor : float, default 100
        Bounds: each value may change by this factor either way.
    n_starts : int, default 3
        The given values, and others with all noise 10 times smaller and larger.

    Returns
    -------
    log_sigma, log_delta : ndarray
    log_evidence : float
    """
    start = np.concatenate([log_sigma, log_delta])
    free = np.concatenate([np.full(len(log_sigma), free_noise), np.full(len(log_delta), free_delta)])
    best, best_value = start, evidence.value_and_gradient(log_sigma, log_delta)[0]

    def full(x: Array) -> tuple[Array, Array]:
        every = start.copy()
        every[free] = x
        return every[: len(log_sigma)], every[len(log_sigma) :]

    def objective(x: Array) -> tuple[float, Array]:
        value, by_sigma, by_delta = evidence.value_and_gradient(*full(x))
        return -value, -np.concatenate([by_sigma, by_delta])[free]

    bounds = [(v - np.log(factor), v + np.log(factor)) for v in start[free]]
    shifts: Sequence[float] = (0.0, -1.0, 1.0)[:n_starts] if free_noise else (0.0,)
    for shift in shifts:
        first = start.copy()
        first[: len(log_sigma)] += shift * np.log(10.0) * free_noise
        found = minimize(objective, first[free], jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60})
        if -found.fun > best_value:
            best_value = float(-found.fun)
            best = start.copy()
            best[free] = found.x
    return best[: len(log_sigma)], best[len(log_sigma) :], best_value


def _symmetric(lower: Array) -> Array:
    """Fill the upper triangle from the lower one."""
    result: Array = np.tril(lower) + np.tril(lower, -1).T
    return result
