r"""Radial basis functions of SOAP, smeared by the Gaussian of a neighbour: value, slope and curvature at any distance.

Gaussian-type orbitals (dscribe's, L. Himanen et al., Comput. Phys. Commun. 247, 106949 (2020)):

    phi_kl(r) = r^l exp(-alpha_kl r^2), alpha_kl = (ln 1000 + l ln a_k) / a_k^2, a_k equally spaced from 1 Å to r_cut
    S_kk' = integral of phi_k phi_k' r^2 dr over [0, inf) = Gamma(l + 3/2) / 2 (alpha_k + alpha_k')^-(l + 3/2)

Polynomials (the same paper; they vanish at r_cut, with two derivatives):

    phi_k(r) = (r_cut - r)^(k + 2), k = 1 ... n_max, the same for every l
    S_kk' = integral of phi_k phi_k' r^2 dr over [0, r_cut] = 2 r_cut^(7 + k + k') / ((5 + k + k') (6 + k + k') (7 + k + k'))

Both are orthonormalised, g_n = sum_k beta_nk phi_k with beta = S^(-1/2) (Löwdin).  A neighbour at distance R is the
Gaussian exp(-eta |r - R|^2), eta = 1 / (2 sigma^2), whose expansion coefficient is g_nl(R) Y_lm(R^) with the smeared function

    g_nl(R) = 4 pi integral of r^2 g_n(r) exp(-eta (r^2 + R^2)) i_l(2 eta r R) dr     (i_l: modified spherical Bessel function)
            = (pi / eta)^(3/2) sum_k beta_nk (eta / (eta + alpha))^(l + 3/2) R^l exp(-alpha eta / (alpha + eta) R^2) (orbitals)

S is close to singular: in double precision S^(-1/2) loses all digits for n_max >= 12 (dscribe raises there), so it is
computed with mpmath and the sum over k is taken in extended precision, once per table.
"""

from __future__ import annotations

from functools import lru_cache
from math import factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ive

from .radial import Array, Profile

__all__ = ["RADIAL_BASES", "gaussian_on_spheres", "scaled_bessel", "smeared_basis"]

Extended = NDArray[np.longdouble]

RADIAL_BASES = ("gto", "polynomial")


def smeared_basis(rbf: str, r: Array, r_cut: float, n_max: int, l_max: int, sigma: float) -> Profile:
    """Smeared radial functions at distances ``r``.

    Parameters
    ----------
    rbf : {"gto", "polynomial"}
        Kind of basis.
    r : ndarray of shape (n_distances,)
        Å.
    r_cut, n_max, l_max, sigma
        As in `SOAP`.

    Returns
    -------
    tuple of three ndarray of shape (n_distances, (l_max + 1) * n_max)
        Value, slope and curvature; n fastest.
    """
    if rbf == "gto":
        blocks = [_smeared_gto(r, r_cut, n_max, l, sigma) for l in range(l_max + 1)]
    else:
        blocks = _smeared_polynomials(r, r_cut, n_max, l_max, sigma)
    value, slope, curvature = (np.concatenate([block[d] for block in blocks], axis=1) for d in range(3))
    return value, slope, curvature


def _inverse_root(overlap: Any) -> Extended:
    """S^(-1/2) of an mpmath matrix, correct in every digit of the extended type."""
    import mpmath

    values, vectors = mpmath.eigsy(overlap)
    beta = vectors * mpmath.diag([1 / mpmath.sqrt(v) for v in values]) * vectors.T
    return np.array([[_extended(beta[n, k]) for k in range(overlap.cols)] for n in range(overlap.rows)])


def _extended(x: Any) -> np.longdouble:
    import mpmath

    return np.longdouble(mpmath.nstr(x, 25))


@lru_cache(maxsize=64)
def _orbitals(r_cut: float, n_max: int, l: int) -> tuple[Extended, Extended]:
    """Exponents alpha_k and the matrix beta of the Gaussian-type orbitals."""
    import mpmath

    with mpmath.workdps(30 + 3 * n_max):
        step = (mpmath.mpf(r_cut) - 1) / (n_max - 1) if n_max > 1 else mpmath.mpf(0)
        radii = [1 + step * k for k in range(n_max)]
        alpha = [(mpmath.log(1000) + l * mpmath.log(a)) / a**2 for a in radii]
        power = mpmath.mpf(2 * l + 3) / 2
        overlap = mpmath.matrix(n_max, n_max)
        for k in range(n_max):
            for m in range(n_max):
                overlap[k, m] = mpmath.gamma(power) / 2 * (alpha[k] + alpha[m]) ** -power
        return np.array([_extended(a) for a in alpha]), _inverse_root(overlap)


@lru_cache(maxsize=16)
def _polynomials(r_cut: float, n_max: int) -> Extended:
    """The matrix beta of the polynomials."""
    import mpmath

    with mpmath.workdps(30 + 4 * n_max):
        overlap = mpmath.matrix(n_max, n_max)
        for k in range(1, n_max + 1):
            for m in range(1, n_max + 1):
                size = mpmath.mpf(2) * mpmath.mpf(r_cut) ** (7 + k + m)
                overlap[k - 1, m - 1] = size / ((5 + k + m) * (6 + k + m) * (7 + k + m))
        return _inverse_root(overlap)


def _smeared_gto(r: Array, r_cut: float, n_max: int, l: int, sigma: float) -> Profile:
    """Closed form, in extended precision."""
    alpha, beta = _orbitals(r_cut, n_max, l)
    eta = np.longdouble(0.5) / np.longdouble(sigma) ** 2
    q = alpha * eta / (alpha + eta)
    scale = (np.longdouble(np.pi) / eta) ** 1.5 * (eta / (eta + alpha)) ** (l + np.longdouble(1.5))
    x = r.astype(np.longdouble)[:, None]
    e = scale * np.exp(-q * x**2)
    value = x**l * e
    slope = (l * x ** max(l - 1, 0) - 2 * q * x ** (l + 1)) * e
    curvature = (l * (l - 1) * x ** max(l - 2, 0) - 2 * q * (2 * l + 1) * x**l + 4 * q**2 * x ** (l + 2)) * e
    return value @ beta.T, slope @ beta.T, curvature @ beta.T


def _smeared_polynomials(r: Array, r_cut: float, n_max: int, l_max: int, sigma: float) -> list[Profile]:
    """Gauss-Legendre quadrature over the orthonormal functions, which are of order 1: nothing is lost in the sum."""
    beta = _polynomials(r_cut, n_max)
    nodes, weights = np.polynomial.legendre.leggauss(max(100, int(np.ceil(20 * r_cut / sigma))))
    t = r_cut * (nodes + 1) / 2
    inside = np.longdouble(r_cut) - t.astype(np.longdouble)
    g = beta @ np.array([inside ** (k + 2) for k in range(1, n_max + 1)])
    measure = (4 * np.pi * r_cut / 2 * weights * t**2 * g).astype(float)  # (n_max, n_nodes)
    eta = 0.5 / sigma**2
    blocks = []
    for l in range(l_max + 1):
        value, slope, curvature = gaussian_on_spheres(l, r, t, eta)
        blocks.append((value @ measure.T, slope @ measure.T, curvature @ measure.T))
    return blocks


def gaussian_on_spheres(l: int, r: Array, radii: Array, eta: float) -> tuple[Array, Array, Array]:
    """exp(-eta (r² + t²)) i_l(2 eta r t) on spheres of radius t, and its derivatives by the distance r of the Gaussian."""
    a = 2 * eta * radii[None, :]
    gaussian = np.exp(-eta * (radii[None, :] - r[:, None]) ** 2)  # the Bessel functions are scaled by exp(-2 eta r t)
    i0, i1, i2 = scaled_bessel(l, a * r[:, None])
    shift = -2 * eta * r[:, None]
    value = gaussian * i0
    slope = gaussian * (shift * i0 + a * i1)
    return value, slope, gaussian * ((shift**2 - 2 * eta) * i0 + 2 * shift * a * i1 + a**2 * i2)


def scaled_bessel(l: int, x: Array) -> tuple[Array, Array, Array]:
    """exp(-x) times the modified spherical Bessel function i_l(x) and its first two derivatives (those of i_l)."""

    def scaled(order: int) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            large = np.sqrt(np.pi / (2 * x)) * ive(order + 0.5, x)
        double_factorial = factorial(2 * order + 1) / (2**order * factorial(order))
        small = np.exp(-x) * x**order / double_factorial * (1 + x**2 / (2 * (2 * order + 3)))
        result: Array = np.where(x > 1e-3, large, small)
        return result

    # i_l' = (l i_(l-1) + (l+1) i_(l+1)) / (2l+1), twice
    down = {order: scaled(order) for order in range(max(l - 2, 0), l + 3)}

    def derivative(order: int, of: dict[int, Array]) -> Array:
        result: Array = (order * of.get(order - 1, 0.0) + (order + 1) * of[order + 1]) / (2 * order + 1)
        return result

    first = {order: derivative(order, down) for order in range(max(l - 1, 0), l + 2)}
    return down[l], first[l], derivative(l, first)
