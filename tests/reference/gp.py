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


def sparse_gp(
    k_uu: np.ndarray,
    k_lu: np.ndarray,
    k_pu: np.ndarray,
    k_ll: np.ndarray,
    k_pp: np.ndarray,
    y: np.ndarray,
    sigma: np.ndarray,
    approximation: str,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean, variance and evidence (VFE: its bound) of a sparse Gaussian process; ``k_ll`` and ``k_pp``: prior variances.

    Quiñonero-Candela & Rasmussen (2005), eq. 16-17 (SoR), 20 (DTC), 24 (FITC); Titsias (2009), eq. 9 (VFE).
    """
    with mpmath.workdps(60):
        prior = mpmath.matrix(k_uu.tolist())
        inverse = mpmath.inverse(prior)
        rows, p = mpmath.matrix(k_lu.tolist()), mpmath.matrix(k_pu.tolist())
        missed = [k - (rows[i, :] * inverse * rows[i, :].T)[0] for i, k in enumerate(k_ll)]
        noise = [s**2 + (m if approximation == "fitc" else 0) for s, m in zip(sigma, missed, strict=True)]
        weighted = mpmath.matrix([[rows[i, m] / noise[i] for m in range(rows.cols)] for i in range(rows.rows)])
        target = mpmath.matrix(y.tolist())
        information = mpmath.inverse(prior + weighted.T * rows)
        mean = p * (information * (weighted.T * target))
        change = information if approximation == "sor" else information - inverse
        variance = [
            (0 if approximation == "sor" else k) + mpmath.fsum((p[i, :] * change)[m] * p[i, m] for m in range(p.cols))
            for i, k in enumerate(k_pp)
        ]
        # the same in the space of labels would need a 300 x 300 determinant in 60 digits: Sylvester's identity
        log_determinant = mpmath.log(mpmath.det(prior + weighted.T * rows)) - mpmath.log(mpmath.det(prior))
        log_determinant += mpmath.fsum(mpmath.log(2 * mpmath.pi * n) for n in noise)
        right = weighted.T * target
        fit = mpmath.fsum(t**2 / n for t, n in zip(target, noise, strict=True)) - (right.T * information * right)[0]
        evidence = -(log_determinant + fit) / 2
        if approximation == "vfe":
            evidence -= mpmath.fsum(m / n for m, n in zip(missed, noise, strict=True)) / 2
        return np.array([float(v) for v in mean]), np.array([float(v) for v in variance]), float(evidence)


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
