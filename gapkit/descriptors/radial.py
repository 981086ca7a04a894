"""Radial functions of SOAP as a table that the loops look up: basis, cutoff function, Gaussian smearing, all in one.

The Gaussian-type basis is dscribe's (Himanen et al., Comput. Phys. Commun. 247, 106949 (2020)):

    phi_kl(r) = r^l exp(-alpha_kl r^2), alpha_kl = (ln 1000 + l ln a_k) / a_k^2, a_k equally spaced from 1 Å to r_cut
    S_kk' = integral of phi_k phi_k' r^2 dr over [0, inf) = Gamma(l + 3/2) / 2 (alpha_k + alpha_k')^-(l + 3/2)
    g_nl = sum_k beta_nk phi_kl with beta = S^(-1/2) (Löwdin)

A neighbour at distance r is the Gaussian exp(-eta |r' - r|^2), eta = 1 / (2 sigma^2), whose expansion coefficient is
g_nl(r) Y_lm(r^) with the smeared function

    g_nl(r) = (pi / eta)^(3/2) sum_k beta_nk (eta / (eta + alpha))^(l + 3/2) r^l exp(-alpha eta / (alpha + eta) r^2)

S is close to singular: in double precision S^(-1/2) loses all digits for n_max >= 12 (dscribe raises there), so it is
computed with mpmath and the sum is taken in extended precision, once per table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import log, sqrt

import numpy as np
from numpy.typing import NDArray

__all__ = ["KNOTS_PER_WIDTH", "Profile", "RadialTable", "cosine_cutoff", "gto_table", "hard_reach", "product", "tabulate"]

Array = NDArray[np.float64]
Extended = NDArray[np.longdouble]
Profile = tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]
"""Value, slope and curvature of functions of the distance, each of shape (n_distances, n_functions)."""

KNOTS_PER_WIDTH = (
    25  # per sigma of a Gaussian; quintic Hermite: errors below 2e-11 of the largest value and 1e-9 of the largest slope
)


@dataclass(frozen=True)
class RadialTable:
    """Knots of all radial functions; see `gapkit._device.radial` for the layout.

    Attributes
    ----------
    segments : ndarray of shape (n_segments, 4)
        Start (Å), inverse spacing (1/Å), first knot, number of intervals.
    table : ndarray of shape (n_knots, 3, (l_max + 1) * n_max)
        Values, slopes times spacing, second derivatives times spacing squared; n fastest.
    central : ndarray of shape (n_max,)
        What an atom at the centre adds to the coefficients of l = 0.
    reach : float
        Distance (Å) at which neighbours stop to count.
    """

    segments: Array
    table: Array
    central: Array
    reach: float


def hard_reach(r_cut: float, sigma: float) -> float:
    """Return dscribe's neighbour distance: the Gaussian of an atom beyond it is below 1e-3 everywhere inside r_cut."""
    return r_cut + sigma * sqrt(2.0 * log(1000.0))


@lru_cache(maxsize=64)
def _loewdin(r_cut: float, n_max: int, l: int) -> tuple[Extended, Extended]:
    """Exponents alpha_k and the matrix beta = S^(-1/2), correct in every digit of the extended type."""
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
        values, vectors = mpmath.eigsy(overlap)
        beta = vectors * mpmath.diag([1 / mpmath.sqrt(v) for v in values]) * vectors.T

        def extended(x: object) -> np.longdouble:
            return np.longdouble(mpmath.nstr(x, 25))

        return (
            np.array([extended(a) for a in alpha]),
            np.array([[extended(beta[n, k]) for k in range(n_max)] for n in range(n_max)]),
        )


def _smeared_gto(r: Array, r_cut: float, n_max: int, l: int, sigma: float) -> Profile:
    """g_nl(r) and its first two derivatives, each of shape (len(r), n_max), in extended precision."""
    alpha, beta = _loewdin(r_cut, n_max, l)
    eta = np.longdouble(0.5) / np.longdouble(sigma) ** 2
    q = alpha * eta / (alpha + eta)
    scale = (np.longdouble(np.pi) / eta) ** 1.5 * (eta / (eta + alpha)) ** (l + np.longdouble(1.5))
    x = r.astype(np.longdouble)[:, None]
    e = scale * np.exp(-q * x**2)
    value = x**l * e
    slope = (l * x ** max(l - 1, 0) - 2 * q * x ** (l + 1)) * e
    curvature = (l * (l - 1) * x ** max(l - 2, 0) - 2 * q * (2 * l + 1) * x**l + 4 * q**2 * x ** (l + 2)) * e
    return value @ beta.T, slope @ beta.T, curvature @ beta.T


def cosine_cutoff(r: Array, r_cut: float, width: float) -> Profile:
    """(1 + cos(pi (r - r_cut + width) / width)) / 2, continued on both sides, as a column."""
    k = np.pi / width
    phase = k * (r - r_cut + width)
    value, slope, curvature = (1 + np.cos(phase)) / 2, -k / 2 * np.sin(phase), -(k**2) / 2 * np.cos(phase)
    return value[:, None], slope[:, None], curvature[:, None]


def product(f: Profile, g: Profile) -> Profile:
    """Value, slope and curvature of a product."""
    return f[0] * g[0], f[1] * g[0] + f[0] * g[1], f[2] * g[0] + 2 * f[1] * g[1] + f[0] * g[2]


def tabulate(breaks: Sequence[float], spacing: float, profile: Callable[[Array, float], Profile]) -> tuple[Array, Array]:
    """Return knots of some functions, as `gapkit._device.radial` reads them.

    Parameters
    ----------
    breaks : sequence of float
        Ends of the segments, ascending from 0, Å; curvatures may jump there.
    spacing : float
        Largest distance between knots, Å.
    profile : callable
        ``profile(r, start)`` gives value, slope and curvature at ``r`` in the segment that begins at ``start``.

    Returns
    -------
    segments : ndarray of shape (n_segments, 4)
    table : ndarray of shape (n_knots, 3, n_functions)
        Both read-only.
    """
    segments, blocks, first = [], [], 0
    for start, end in pairwise(breaks):
        intervals = max(4, int(np.ceil((end - start) / spacing)))
        h = (end - start) / intervals
        value, slope, curvature = profile(np.linspace(start, end, intervals + 1), start)
        blocks.append(np.stack([value, slope * h, curvature * h**2], axis=1).astype(float))
        segments.append([start, 1.0 / h, float(first), float(intervals)])
        first += intervals + 1
    result = np.array(segments), np.concatenate(blocks)
    for array in result:
        array.setflags(write=False)
    return result


@lru_cache(maxsize=8)
def gto_table(r_cut: float, n_max: int, l_max: int, sigma: float, cutoff_width: float | None) -> RadialTable:
    """Tabulate the smeared Gaussian-type basis times the cutoff function.

    Parameters
    ----------
    r_cut : float
        Range of the basis, Å.
    n_max, l_max : int
        Number of radial functions, largest angular momentum.
    sigma : float
        Width of the atomic Gaussians, Å.
    cutoff_width : float or None
        The cosine cutoff falls from 1 at ``r_cut - cutoff_width`` to 0 at ``r_cut``.  None: no cutoff function,
        neighbours count up to `hard_reach`.

    Returns
    -------
    RadialTable
    """
    reach = hard_reach(r_cut, sigma) if cutoff_width is None else r_cut
    breaks = [0.0, reach] if cutoff_width is None or cutoff_width >= r_cut else [0.0, r_cut - cutoff_width, reach]

    def profile(r: Array, start: float) -> Profile:
        basis = [_smeared_gto(r, r_cut, n_max, l, sigma) for l in range(l_max + 1)]
        value, slope, curvature = (np.concatenate([g[d] for g in basis], axis=1) for d in range(3))
        smeared = value, slope, curvature
        if cutoff_width is None or start < r_cut - cutoff_width:
            return smeared
        return product(smeared, cosine_cutoff(r, r_cut, cutoff_width))

    segments, table = tabulate(breaks, sigma / KNOTS_PER_WIDTH, profile)
    y_00 = 0.5 / np.sqrt(np.pi)
    central = _smeared_gto(np.zeros(1), r_cut, n_max, 0, sigma)[0][0].astype(float) * y_00
    if cutoff_width is not None and cutoff_width > r_cut:
        central = central * cosine_cutoff(np.zeros(1), r_cut, cutoff_width)[0][0]
    central.setflags(write=False)
    return RadialTable(segments, table, central, reach)
