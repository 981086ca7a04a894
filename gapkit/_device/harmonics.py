"""Real orthonormal spherical harmonics of a unit vector and their gradients.

Y_lm with m < 0 holds the sine, m > 0 the cosine, at index l*l + l + m.  They are computed as solid harmonics on the unit
sphere: Y_lm = N_lm Q_lm(z) Re or Im (x + i y)^|m|, with the polynomial Q_lm = P_lm(z) / (1 - z^2)^(m/2) from

    Q_mm = (2m - 1)!!,  Q_(m+1)m = (2m + 1) z Q_mm,  (l - m) Q_lm = (2l - 1) z Q_(l-1)m - (l + m - 1) Q_(l-2)m

(Limpanuparb & Milthorpe, arXiv:1410.1748; DLMF 14.10.3), so that there is no trigonometry and no pole.
With Q a polynomial of z alone, d Q_lm / dz = Q_l(m+1) (DLMF 14.7.10).
"""

from __future__ import annotations

from math import factorial, pi, sqrt

import numpy as np
from numpy.typing import NDArray

from . import device_function

__all__ = ["harmonic_constants", "harmonics", "harmonics_gradient", "polynomials"]

_ONE = np.float64(1.0)
_ZERO = np.float64(0.0)

Array = NDArray[np.float64]


def harmonic_constants(l_max: int) -> Array:
    """Recursion factors and norms: an array (3, l_max + 1, l_max + 1) of a_lm, b_lm, N_lm for the functions below."""
    constants = np.zeros((3, l_max + 1, l_max + 1))
    for l in range(l_max + 1):
        for m in range(l + 1):
            norm = (2 * l + 1) / (4 * pi) * factorial(l - m) / factorial(l + m)
            constants[2, l, m] = sqrt(norm if m == 0 else 2 * norm)
            if l > m:
                constants[0, l, m] = (2 * l - 1) / (l - m)
                constants[1, l, m] = -(l + m - 1) / (l - m)
    return constants


@device_function
def polynomials(x: float, y: float, z: float, l_max: int, constants: Array, q: Array, c: Array, s: Array) -> None:
    """Fill q[l, m] = Q_lm(z) (zero at m = l + 1), c[m] + i s[m] = (x + i y)^m."""
    c[0] = _ONE
    s[0] = _ZERO
    for m in range(1, l_max + 1):
        c[m] = x * c[m - 1] - y * s[m - 1]
        s[m] = x * s[m - 1] + y * c[m - 1]
    diagonal = _ONE
    for m in range(l_max + 1):
        if m > 0:
            diagonal *= 2 * m - 1
        q[m, m] = diagonal
        q[m, m + 1] = _ZERO
        if m < l_max:
            q[m + 1, m] = (2 * m + 1) * z * diagonal
        for l in range(m + 2, l_max + 1):
            q[l, m] = constants[0, l, m] * z * q[l - 1, m] + constants[1, l, m] * q[l - 2, m]


@device_function
def harmonics(x: float, y: float, z: float, l_max: int, constants: Array, values: Array) -> None:
    """Fill ``values[(l_max + 1)**2]``; the recursions run in registers, one chain per m."""
    cosine = _ONE
    sine = _ZERO
    diagonal = _ONE
    for m in range(l_max + 1):
        if m > 0:
            cosine, sine = x * cosine - y * sine, x * sine + y * cosine
            diagonal *= 2 * m - 1
        before = _ZERO
        current = diagonal
        for l in range(m, l_max + 1):
            if l > m:
                before, current = current, constants[0, l, m] * z * current + constants[1, l, m] * before
            o = l * l + l
            nq = constants[2, l, m] * current
            values[o + m] = nq * cosine
            if m > 0:
                values[o - m] = nq * sine


@device_function
def harmonics_gradient(
    x: float, y: float, z: float, l_max: int, constants: Array, q: Array, c: Array, s: Array, values: Array, gradient: Array
) -> None:
    """Fill values and ``gradient[3, (l_max + 1)**2]`` = d Y / d(x, y, z) with x, y, z taken as independent.

    The gradient on the sphere is its tangential part: the caller projects the radial part out, once, after contraction.
    """
    polynomials(x, y, z, l_max, constants, q, c, s)
    for l in range(l_max + 1):
        o = l * l + l
        values[o] = constants[2, l, 0] * q[l, 0]
        gradient[0, o] = _ZERO
        gradient[1, o] = _ZERO
        gradient[2, o] = constants[2, l, 0] * q[l, 1]
        for m in range(1, l + 1):
            nq = constants[2, l, m] * q[l, m]
            dq = constants[2, l, m] * q[l, m + 1]
            values[o + m] = nq * c[m]
            values[o - m] = nq * s[m]
            gradient[0, o + m] = m * nq * c[m - 1]
            gradient[0, o - m] = m * nq * s[m - 1]
            gradient[1, o + m] = -m * nq * s[m - 1]
            gradient[1, o - m] = m * nq * c[m - 1]
            gradient[2, o + m] = dq * c[m]
            gradient[2, o - m] = dq * s[m]
