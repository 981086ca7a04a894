"""Splines with equally spaced knots, for one environment: of a distance, and a B-spline of three distances."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import device_function

__all__ = ["cubic", "tricubic"]

Array = NDArray[np.float64]

_ONE = np.float64(1.0)
_HALF = np.float64(0.5)
_SIXTH = np.float64(1.0) / 6


@device_function
def cubic(r: float, low: float, inverse: float, knot_k: Array, piece_k4: Array) -> tuple[float, float]:
    """Value and slope of a piecewise cubic; ``piece_k4[k]`` are its coefficients after knot k, the highest power first."""
    k = min(max(int((r - low) * inverse), 0), piece_k4.shape[0] - 1)
    t = r - knot_k[k]
    a = piece_k4[k, 0]
    b = piece_k4[k, 1]
    c = piece_k4[k, 2]
    return ((a * t + b) * t + c) * t + piece_k4[k, 3], (3 * a * t + 2 * b) * t + c


@device_function
def _cell(x: float, low: float, inverse: float, n: int) -> tuple[int, float]:
    """First of the four coefficients that count, and the fraction of the way to the next cell."""
    u = (x - low) * inverse
    k = min(max(int(u), 1), n - 3)
    return k - 1, u - k


@device_function
def _values(t: float) -> tuple[float, float, float, float]:
    """Weights of the four coefficients."""
    s = _ONE - t
    return (
        s * s * s * _SIXTH,
        (4 - 6 * t * t + 3 * t * t * t) * _SIXTH,
        (4 - 6 * s * s + 3 * s * s * s) * _SIXTH,
        t * t * t * _SIXTH,
    )


@device_function
def _slopes(t: float, inverse: float) -> tuple[float, float, float, float]:
    """The same for the derivative."""
    s = _ONE - t
    h = _HALF * inverse
    return -h * s * s, h * t * (3 * t - 4), h * s * (4 - 3 * s), h * t * t


@device_function
def _plane(
    c_jk: Array,
    j: int,
    k: int,
    y0: float,
    y1: float,
    y2: float,
    y3: float,
    dy0: float,
    dy1: float,
    dy2: float,
    dy3: float,
    z0: float,
    z1: float,
    z2: float,
    z3: float,
    dz0: float,
    dz1: float,
    dz2: float,
    dz3: float,
) -> tuple[float, float, float]:
    """Value and derivatives by the second and third coordinate, of one plane of coefficients."""
    l0 = c_jk[j, k] * z0 + c_jk[j, k + 1] * z1 + c_jk[j, k + 2] * z2 + c_jk[j, k + 3] * z3
    l1 = c_jk[j + 1, k] * z0 + c_jk[j + 1, k + 1] * z1 + c_jk[j + 1, k + 2] * z2 + c_jk[j + 1, k + 3] * z3
    l2 = c_jk[j + 2, k] * z0 + c_jk[j + 2, k + 1] * z1 + c_jk[j + 2, k + 2] * z2 + c_jk[j + 2, k + 3] * z3
    l3 = c_jk[j + 3, k] * z0 + c_jk[j + 3, k + 1] * z1 + c_jk[j + 3, k + 2] * z2 + c_jk[j + 3, k + 3] * z3
    s0 = c_jk[j, k] * dz0 + c_jk[j, k + 1] * dz1 + c_jk[j, k + 2] * dz2 + c_jk[j, k + 3] * dz3
    s1 = c_jk[j + 1, k] * dz0 + c_jk[j + 1, k + 1] * dz1 + c_jk[j + 1, k + 2] * dz2 + c_jk[j + 1, k + 3] * dz3
    s2 = c_jk[j + 2, k] * dz0 + c_jk[j + 2, k + 1] * dz1 + c_jk[j + 2, k + 2] * dz2 + c_jk[j + 2, k + 3] * dz3
    s3 = c_jk[j + 3, k] * dz0 + c_jk[j + 3, k + 1] * dz1 + c_jk[j + 3, k + 2] * dz2 + c_jk[j + 3, k + 3] * dz3
    return (
        y0 * l0 + y1 * l1 + y2 * l2 + y3 * l3,
        dy0 * l0 + dy1 * l1 + dy2 * l2 + dy3 * l3,
        y0 * s0 + y1 * s1 + y2 * s2 + y3 * s3,
    )


@device_function
def tricubic(c_ijk: Array, low_x: Array, inverse_x: Array, x: float, y: float, z: float) -> tuple[float, float, float, float]:
    """Value and gradient of sum_ijk c_ijk B(u - i) B(v - j) B(w - k), u = (x - low) / spacing, B the cubic B-spline."""
    i, tx = _cell(x, low_x[0], inverse_x[0], c_ijk.shape[0])
    j, ty = _cell(y, low_x[1], inverse_x[1], c_ijk.shape[1])
    k, tz = _cell(z, low_x[2], inverse_x[2], c_ijk.shape[2])
    x0, x1, x2, x3 = _values(tx)
    dx0, dx1, dx2, dx3 = _slopes(tx, inverse_x[0])
    y0, y1, y2, y3 = _values(ty)
    dy0, dy1, dy2, dy3 = _slopes(ty, inverse_x[1])
    z0, z1, z2, z3 = _values(tz)
    dz0, dz1, dz2, dz3 = _slopes(tz, inverse_x[2])
    a0, b0, c0 = _plane(c_ijk[i], j, k, y0, y1, y2, y3, dy0, dy1, dy2, dy3, z0, z1, z2, z3, dz0, dz1, dz2, dz3)
    a1, b1, c1 = _plane(c_ijk[i + 1], j, k, y0, y1, y2, y3, dy0, dy1, dy2, dy3, z0, z1, z2, z3, dz0, dz1, dz2, dz3)
    a2, b2, c2 = _plane(c_ijk[i + 2], j, k, y0, y1, y2, y3, dy0, dy1, dy2, dy3, z0, z1, z2, z3, dz0, dz1, dz2, dz3)
    a3, b3, c3 = _plane(c_ijk[i + 3], j, k, y0, y1, y2, y3, dy0, dy1, dy2, dy3, z0, z1, z2, z3, dz0, dz1, dz2, dz3)
    return (
        x0 * a0 + x1 * a1 + x2 * a2 + x3 * a3,
        dx0 * a0 + dx1 * a1 + dx2 * a2 + dx3 * a3,
        x0 * b0 + x1 * b1 + x2 * b2 + x3 * b3,
        x0 * c0 + x1 * c1 + x2 * c2 + x3 * c3,
    )
