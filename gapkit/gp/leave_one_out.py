r"""Leave one structure out, in closed form.

Let a structure have rows :math:`\Phi_b` (amplitudes included), noise :math:`\Lambda_b` and residuals
:math:`r_b = y_b - \Phi_b w`, and let S be the posterior covariance and
:math:`\hat H = \Lambda_b^{-1/2} \Phi_b S \Phi_b^T \Lambda_b^{-1/2}`.  Without this structure

.. math::
    \Lambda_b^{-1/2} r_b^{\mathrm{loo}} = (1 - \hat H)^{-1} \Lambda_b^{-1/2} r_b, \qquad
    \Lambda_b^{-1/2} \Phi_b S_{-b} \Phi_b^T \Lambda_b^{-1/2} = (1 - \hat H)^{-1} - 1

by the Woodbury identity.

The sparse points stay, those that are environments of the structure itself too.  What they alone make known of a prediction
is its projection on the directions :math:`L^{-1} e_m` of these points m; with an orthonormal basis Q of them, a model
without these points has :math:`|Q^T \phi|^2` more of the prior variance, and its data know only :math:`\phi - Q Q^T \phi`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from .posterior import SparsePosterior

__all__ = ["leave_one_out"]

Array = NDArray[np.float64]


def leave_one_out(
    posterior: SparsePosterior, phi: Array, target: Array, sigma: Array, own: Array | None = None
) -> tuple[Array, Array]:
    """Residuals (label - prediction) of a structure predicted without it, and the standard deviations of those predictions.

    Parameters
    ----------
    posterior : SparsePosterior
        Of all structures, this one included.
    phi : ndarray of shape (n_rows, n_sparse)
        Whitened rows times delta.
    target : ndarray of shape (n_rows,)
        Labels.
    sigma : ndarray of shape (n_rows,)
        Their noise.
    own : ndarray of shape (n_sparse, n_own), optional
        Orthonormal directions that only sparse points of this structure make known; deviations are then those of a model
        without these points.

    Returns
    -------
    residuals, deviations : ndarray of shape (n_rows,)
        Deviations are those of the sparse points (SoR): what the data leave open.
    """
    half = solve_triangular(posterior.factor, phi.T / sigma, trans="T", check_finite=False)
    remaining = np.eye(len(phi)) - half.T @ half
    # rounding can take an eigenvalue of 1 - H to 0 where a label alone determines a direction; its noise keeps it above
    factor = cho_factor(remaining + 1e-12 * np.eye(len(phi)), lower=True, check_finite=False)
    inverse = cho_solve(factor, np.eye(len(phi)), check_finite=False)
    residual = (target - phi @ posterior.weights) / sigma
    variance = np.maximum(np.diag(inverse) - 1.0, 0.0)
    if own is not None and own.shape[1]:
        along = phi @ own
        rest = solve_triangular(posterior.factor, ((phi - along @ own.T) / sigma[:, None]).T, trans="T", check_finite=False)
        mixed = half.T @ rest
        # S without the structure = S + S φᵀ Λ^-1/2 (1 - H)⁻¹ Λ^-1/2 φ S, all terms sums of squares
        variance = np.sum(rest**2, axis=0) + np.einsum("ij,ij->j", mixed, inverse @ mixed)
        variance += np.sum((along / sigma[:, None]) ** 2, axis=1)
    return sigma * (inverse @ residual), sigma * np.sqrt(variance)
