r"""Uncertainty of a model that cannot be right: pointwise optimal parameters (POPS).

With labels free of noise and a fixed set of sparse points, the posterior covariance S falls as 1/N with the number of rows,
while the errors stay.  What then spreads is the weights that would make single rows exact.  For row i with residual r_i and
noise σ_i the smallest such change, in the metric of the posterior, is

.. math:: \delta w_i = \frac{S \phi_i \, r_i}{\phi_i^T S \phi_i}

Each row counts by its leverage :math:`h_i = \phi_i^T S \phi_i / \sigma_i^2`: those of low leverage are made exact only by
changes that no other row supports.

.. math:: C = \sum_i h_i \, \delta w_i \, \delta w_i^T
    = R^{-1} \Big( \sum_i \frac{r_i^2}{\sigma_i^2} \, \hat z_i \hat z_i^T \Big) R^{-T},
    \qquad \hat z_i = \frac{R^{-T} \phi_i}{|R^{-T} \phi_i|}

is a covariance of the weights that does not vanish with N; with its factor F it adds :math:`|F^T \phi|^2` to a variance.  It is
the sum and not the mean, so that the errors of the training rows are explained: over them, the average of
:math:`|F^T \phi_i|^2 / \sigma_i^2` is that of :math:`r_i^2 / \sigma_i^2`, up to what the prior takes.

T. D. Swinburne, D. Perez, Mach. Learn.: Sci. Technol. 6, 015008 (2025), arXiv:2402.01810, who take the envelope of the
:math:`\delta w_i` of rows of high leverage where we take a covariance.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, eigh, qr, solve_triangular

from .posterior import SparsePosterior

__all__ = ["misspecification_factor", "widened"]

Array = NDArray[np.float64]


def misspecification_factor(posterior: SparsePosterior, blocks: Iterable[tuple[Array, Array, Array]]) -> Array:
    """Factor of the covariance of pointwise optimal weights, from one pass over the training rows.

    Parameters
    ----------
    posterior : SparsePosterior
        Of the weights, given these rows.
    blocks : iterable of (phi, residual, sigma)
        Whitened rows with their amplitudes, shape (n, n_sparse); label minus prediction, shape (n,); noise, shape (n,) or
        a number.

    Returns
    -------
    ndarray of shape (n_sparse, rank)
        F, with C = F Fᵀ; no columns if no row has leverage.
    """
    n_sparse = len(posterior.weights)
    gram = np.zeros((n_sparse, n_sparse))
    for phi, residual, sigma in blocks:
        scaled = solve_triangular(posterior.factor, phi.T, trans="T", check_finite=False)
        square = np.einsum("mn,mn->n", scaled, scaled)
        known = np.flatnonzero(square > 0.0)
        noise = np.broadcast_to(np.asarray(sigma, float), residual.shape)[known]
        rows = scaled[:, known] * (residual[known] / noise / np.sqrt(square[known]))
        gram += rows @ rows.T
    values, vectors = eigh(gram)
    kept = values > n_sparse * np.finfo(float).eps * values[-1]
    result: Array = solve_triangular(posterior.factor, vectors[:, kept] * np.sqrt(values[kept]), check_finite=False)
    return result


def widened(posterior: SparsePosterior, factor: Array) -> SparsePosterior:
    """The posterior with F Fᵀ added to the covariance of its weights; their mean stays.

    With F = R⁻¹ Q, S + F Fᵀ = R⁻¹ (1 + Q Qᵀ) R⁻ᵀ; from 1 + Q Qᵀ = C Cᵀ the new factor is that of C⁻¹ R.
    """
    along = posterior.factor @ factor
    lower = cholesky(np.eye(len(along)) + along @ along.T, lower=True, check_finite=False)
    triangle = qr(solve_triangular(lower, posterior.factor, lower=True, check_finite=False), mode="r")[0]
    triangle = np.triu(triangle) * np.where(np.diag(triangle) < 0.0, -1.0, 1.0)[:, None]
    return replace(posterior, factor=np.ascontiguousarray(triangle), is_widened=True)
