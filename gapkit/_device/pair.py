"""Bodies for one pair of atoms: what one (centre, neighbour) vector adds to a density, and the gradient through it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import device_function
from .radial import hermite_slopes, hermite_values, locate

__all__ = ["contract_gradient", "project_gradient", "radial_functions", "radial_functions_slopes"]

Array = NDArray[np.float64]

_ZERO = np.float64(0.0)


@device_function
def radial_functions(r: float, segments: Array, table: Array, values: Array) -> None:
    """Fill ``values[l * n_max + n]`` with the tabulated radial functions at distance ``r``."""
    k, u, _ = locate(r, segments)
    a0, a1, a2, b0, b1, b2 = hermite_values(u)
    for f in range(table.shape[2]):
        values[f] = (
            a0 * table[k, 0, f]
            + a1 * table[k, 1, f]
            + a2 * table[k, 2, f]
            + b0 * table[k + 1, 0, f]
            + b1 * table[k + 1, 1, f]
            + b2 * table[k + 1, 2, f]
        )


@device_function
def radial_functions_slopes(r: float, segments: Array, table: Array, values: Array, slopes: Array) -> None:
    """Fill ``values[l * n_max + n]`` and ``slopes``, their derivatives with respect to r."""
    k, u, inverse_spacing = locate(r, segments)
    a0, a1, a2, b0, b1, b2 = hermite_values(u)
    d0, d1, d2, e0, e1, e2 = hermite_slopes(u, inverse_spacing)
    for f in range(table.shape[2]):
        t0 = table[k, 0, f]
        t1 = table[k, 1, f]
        t2 = table[k, 2, f]
        v0 = table[k + 1, 0, f]
        v1 = table[k + 1, 1, f]
        v2 = table[k + 1, 2, f]
        values[f] = a0 * t0 + a1 * t1 + a2 * t2 + b0 * v0 + b1 * v1 + b2 * v2
        slopes[f] = d0 * t0 + d1 * t1 + d2 * t2 + e0 * v0 + e1 * v1 + e2 * v2


@device_function
def project_gradient(
    x: float, y: float, z: float, inverse_r: float, radial: float, gx: float, gy: float, gz: float
) -> tuple[float, float, float]:
    """Gradient of f(r) Y(unit vector): the radial part along the unit vector plus the tangential part of g, over r."""
    along = gx * x + gy * y + gz * z
    return (
        radial * x + (gx - along * x) * inverse_r,
        radial * y + (gy - along * y) * inverse_r,
        radial * z + (gz - along * z) * inverse_r,
    )


@device_function
def contract_gradient(
    x: float,
    y: float,
    z: float,
    inverse_r: float,
    coefficients: Array,
    values: Array,
    slopes: Array,
    constants: Array,
    q: Array,
    c: Array,
    s: Array,
) -> tuple[float, float, float]:
    """Gradient of sum_lmn coefficients[lm, n] g_nl(r) Y_lm(r^) with respect to the pair vector.

    ``q``, ``c`` and ``s`` are those of `gapkit._device.harmonics.polynomials`: neither Y_lm nor its gradient is stored.
    """
    n_max = coefficients.shape[1]
    radial = _ZERO
    gx = _ZERO
    gy = _ZERO
    gz = _ZERO
    for l in range(values.size // n_max):
        o = l * l + l
        first = l * n_max
        value = _ZERO
        slope = _ZERO
        for n in range(n_max):
            value += coefficients[o, n] * values[first + n]
            slope += coefficients[o, n] * slopes[first + n]
        norm = constants[2, l, 0]
        radial += slope * norm * q[l, 0]
        gz += value * norm * q[l, 1]
        for m in range(1, l + 1):
            value_c = _ZERO
            slope_c = _ZERO
            value_s = _ZERO
            slope_s = _ZERO
            for n in range(n_max):
                value_c += coefficients[o + m, n] * values[first + n]
                slope_c += coefficients[o + m, n] * slopes[first + n]
                value_s += coefficients[o - m, n] * values[first + n]
                slope_s += coefficients[o - m, n] * slopes[first + n]
            nq = constants[2, l, m] * q[l, m]
            dq = constants[2, l, m] * q[l, m + 1]
            radial += nq * (slope_c * c[m] + slope_s * s[m])
            gx += m * nq * (value_c * c[m - 1] + value_s * s[m - 1])
            gy += m * nq * (value_s * c[m - 1] - value_c * s[m - 1])
            gz += dq * (value_c * c[m] + value_s * s[m])
    return project_gradient(x, y, z, inverse_r, radial, gx, gy, gz)
