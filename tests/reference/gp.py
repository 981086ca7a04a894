"""Gaussian processes as textbooks write them: dense, unstreamed, no QR, inverses in 60 digits."""

from __future__ import annotations

import mpmath
import numpy as np


def dense_gp(
    k_ll: np.ndarray, k_pl: np.ndarray, k_pp: np.ndarray, y: np.ndarray, sigma: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Posterior mean and variance of predictions p given labels l with noise sigma (Rasmussen & Williams, eq. 2.25-2.26)."""
    gain = k_pl @ np.linalg.inv(k_ll + np.diag(sigma**2))
    return gain @ y, k_pp - np.einsum("pl,pl->p", gain, k_pl)


def dtc(
    k_uu: np.ndarray, k_lu: np.ndarray, k_pu: np.ndarray, k_pp: np.ndarray, y: np.ndarray, sigma: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """DTC / projected process (Quiñonero-Candela & Rasmussen 2005, eq. 20)."""
    with mpmath.workdps(60):
        scaled = mpmath.matrix((k_lu / sigma[:, None]).tolist())
        target = mpmath.matrix((y / sigma).tolist())
        p = mpmath.matrix(k_pu.tolist())
        prior = mpmath.matrix(k_uu.tolist())
        information = mpmath.inverse(prior + scaled.T * scaled)
        mean = p * (information * (scaled.T * target))
        change = p * (mpmath.inverse(prior) - information)
        variance = [k - mpmath.fsum(change[i, m] * p[i, m] for m in range(p.cols)) for i, k in enumerate(k_pp)]
        return np.array([float(v) for v in mean]), np.array([float(v) for v in variance])
