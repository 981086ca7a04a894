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


def sparse_gp(
    approximation: str, k_uu: np.ndarray, k_lu: np.ndarray, k_pu: np.ndarray, prior: tuple[np.ndarray, np.ndarray],
    y: np.ndarray, sigma: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, float]:  # fmt: skip
    """Mean, variance and log marginal likelihood of SoR, DTC, FITC and VFE (Quiñonero-Candela & Rasmussen 2005, Titsias 2009).

    ``prior``: variances of the labels and of the predictions.
    """
    inverse = np.linalg.inv(k_uu)
    q_ll, q_pl, q_pp = k_lu @ inverse @ k_lu.T, k_pu @ inverse @ k_lu.T, np.diag(k_pu @ inverse @ k_pu.T)
    missed = prior[0] - np.diag(q_ll)
    covariance = q_ll + np.diag(sigma**2 + (missed if approximation == "fitc" else 0.0))
    gain = q_pl @ np.linalg.inv(covariance)
    variance = (q_pp if approximation == "sor" else prior[1]) - np.einsum("pl,pl->p", gain, q_pl)
    _, log_determinant = np.linalg.slogdet(covariance)
    value = -0.5 * (y @ np.linalg.solve(covariance, y) + log_determinant + len(y) * np.log(2 * np.pi))
    return gain @ y, variance, value - (0.5 * np.sum(missed / sigma**2) if approximation == "vfe" else 0.0)


def rbf_joint(x: np.ndarray, dx: np.ndarray, s: np.ndarray, ds: np.ndarray, length: float) -> np.ndarray:
    """Covariances of values at x and gradients at dx with values at s and gradients at ds, k = exp(-|x - s|²/2l²), by loops.

    Rasmussen & Williams, eq. 9.1.
    """
    left = [(p, None) for p in x] + [(p, c) for p in dx for c in range(len(p))]
    right = [(p, None) for p in s] + [(p, c) for p in ds for c in range(len(p))]
    result = np.empty((len(left), len(right)))
    for i, (p, c) in enumerate(left):
        for j, (q, d) in enumerate(right):
            r = (p - q) / length**2
            factor = 1.0 if c is None else -r[c]
            factor *= 1.0 if d is None else r[d]
            if c is not None and d is not None and c == d:
                factor += 1.0 / length**2
            result[i, j] = factor * np.exp(-np.sum((p - q) ** 2) / (2 * length**2))
    return result
