"""Bodies for one pair of atoms: what one (centre, neighbour) vector adds to a density, and the gradient through it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import device_function
from .radial import hermite_slopes, hermite_values, locate

__all__ = ["contract_gradient", "project_gradient", "radial_function", "radial_functions", "radial_functions_slopes"]

Array = NDArray[np.float64]

_ZERO = np.float64(0.0)
_ONE = np.float64(1.0)


@device_function
def radial_function(r: float, segments: Array, table: Array, f: int) -> tuple[float, float]:
    """One of the tabulated functions at distance ``r``, and its slope."""
    k, u, inverse_spacing = locate(r, segments)
    a0, a1, a2, b0, b1, b2 = hermite_values(u)
    d0, d1, d2, e0, e1, e2 = hermite_slopes(u, inverse_spacing)
    t0 = table[k, 0, f]
    t1 = table[k, 1, f]
    t2 = table[k, 2, f]
    v0 = table[k + 1, 0, f]
    v1 = table[k + 1, 1, f]
    v2 = table[k + 1, 2, f]
    return (
        a0 * t0 + a1 * t1 + a2 * t2 + b0 * v0 + b1 * v1 + b2 * v2,
        d0 * t0 + d1 * t1 + d2 * t2 + e0 * v0 + e1 * v1 + e2 * v2,
    )


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
) -> tuple[float, float, float]:
    """Gradient of sum_lmn coefficients[lm, n] g_nl(r) Y_lm(r^) with respect to the pair vector.

    Neither Y_lm nor its gradient is stored: the recursions of `gapkit._device.harmonics` run in registers, one chain per m,
    and the derivative of Q_lm by z follows from that of its recursion.
    """
    n_max = coefficients.shape[1]
    radial = _ZERO
    gx = _ZERO
    gy = _ZERO
    gz = _ZERO
    cosine = _ONE
    sine = _ZERO
    cosine_before = _ZERO  # of m - 1
    sine_before = _ZERO
    diagonal = _ONE
    for m in range(constants.shape[1]):
        if m > 0:
            cosine_before = cosine
            sine_before = sine
            cosine = x * cosine_before - y * sine_before
            sine = x * sine_before + y * cosine_before
            diagonal *= 2 * m - 1
        q = diagonal
        dq = _ZERO
        q_before = _ZERO
        dq_before = _ZERO
        for l in range(m, constants.shape[1]):
            if l > m:
                a = constants[0, l, m]
                b = constants[1, l, m]
                q_next = a * z * q + b * q_before
                dq_next = a * (q + z * dq) + b * dq_before
                q_before = q
                dq_before = dq
                q = q_next
                dq = dq_next
            o = l * l + l
            value_c = _ZERO
            slope_c = _ZERO
            value_s = _ZERO
            slope_s = _ZERO
            for n in range(n_max):
                g = values[l * n_max + n]
                dg = slopes[l * n_max + n]
                value_c += coefficients[o + m, n] * g
                slope_c += coefficients[o + m, n] * dg
                if m > 0:
                    value_s += coefficients[o - m, n] * g
                    slope_s += coefficients[o - m, n] * dg
            norm = constants[2, l, m]
            nq = norm * q
            radial += nq * (slope_c * cosine + slope_s * sine)
            gz += norm * dq * (value_c * cosine + value_s * sine)
            if m > 0:
                gx += m * nq * (value_c * cosine_before + value_s * sine_before)
                gy += m * nq * (value_s * cosine_before - value_c * sine_before)
    return project_gradient(x, y, z, inverse_r, radial, gx, gy, gz)
