"""What `gapkit._device` does for one pair of atoms, for several side by side, so that vector registers are full.

Array names end with their axes: m pair of a batch, a lm = l*l + l + m, n radial index, f = l * n_max + n, c Cartesian.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import inlined
from .lanes import put, spread, take

__all__ = ["gradients_of_lanes", "harmonics_of_batch"]

Array = NDArray[np.float64]


@inlined
def harmonics_of_batch(n_pairs: int, unit_cm: Array, weight_m: Array, constants: Array, q_lm: Array, y_am: Array) -> None:
    """Weight times Y_lm of a batch of unit vectors, as `harmonics`, with loops along the pairs.  ``q_lm`` is scratch space."""
    x_m, y_m, z_m = unit_cm[0], unit_cm[1], unit_cm[2]
    cosine_m, sine_m = q_lm[-2], q_lm[-1]
    for i in range(n_pairs):
        cosine_m[i] = weight_m[i]
        sine_m[i] = 0.0
    diagonal = 1.0
    for m in range(constants.shape[1]):
        if m > 0:
            diagonal *= 2 * m - 1
            for i in range(n_pairs):
                c, s = cosine_m[i], sine_m[i]
                cosine_m[i] = x_m[i] * c - y_m[i] * s
                sine_m[i] = x_m[i] * s + y_m[i] * c
        for l in range(m, constants.shape[1]):
            q = q_lm[l]
            if l == m:
                for i in range(n_pairs):
                    q[i] = diagonal
            elif l == m + 1:
                first = constants[0, l, m] * diagonal
                for i in range(n_pairs):
                    q[i] = first * z_m[i]
            else:
                first, second, q1, q2 = constants[0, l, m], constants[1, l, m], q_lm[l - 1], q_lm[l - 2]
                for i in range(n_pairs):
                    q[i] = first * z_m[i] * q1[i] + second * q2[i]
            norm, row = constants[2, l, m], y_am[l * l + l + m]
            for i in range(n_pairs):
                row[i] = norm * q[i] * cosine_m[i]
            if m > 0:
                row = y_am[l * l + l - m]
                for i in range(n_pairs):
                    row[i] = norm * q[i] * sine_m[i]


@inlined
def gradients_of_lanes(
    c_an: Array, constants: Array, g_fm: Array, dg_fm: Array, geometry_km: Array, gradient_cm: Array
) -> None:
    """Gradients of sum_lmn c[lm, n] g_nl(r) Y_lm with respect to eight pair vectors: `contract_gradient`, in lanes.

    ``geometry_km`` holds the unit vectors and 1 / r.  The derivative of Q_lm by z follows from that of its recursion.
    """
    n_max = c_an.shape[1]
    x, y, z, inverse_r = take(geometry_km, 0), take(geometry_km, 1), take(geometry_km, 2), take(geometry_km, 3)
    zero = spread(0.0)
    radial, gx, gy, gz = zero, zero, zero, zero
    cosine, sine, cosine_before, sine_before = spread(1.0), zero, zero, zero  # of m and of m - 1
    diagonal = 1.0
    for m in range(constants.shape[1]):
        if m > 0:
            cosine_before, sine_before = cosine, sine
            cosine, sine = x * cosine_before - y * sine_before, x * sine_before + y * cosine_before
            diagonal *= 2 * m - 1
        q, dq, q_before, dq_before = spread(diagonal), zero, zero, zero
        for l in range(m, constants.shape[1]):
            if l > m:
                first, second = spread(constants[0, l, m]), spread(constants[1, l, m])
                q, q_before, dq, dq_before = (
                    first * z * q + second * q_before,
                    q,
                    first * (q + z * dq) + second * dq_before,
                    dq,
                )
            plus, minus = l * l + l + m, l * l + l - m
            value_c, slope_c, value_s, slope_s = zero, zero, zero, zero
            for n in range(n_max):
                g, dg = take(g_fm, l * n_max + n), take(dg_fm, l * n_max + n)
                of_cosine = spread(c_an[plus, n])
                value_c = value_c + of_cosine * g
                slope_c = slope_c + of_cosine * dg
                if m > 0:
                    of_sine = spread(c_an[minus, n])
                    value_s = value_s + of_sine * g
                    slope_s = slope_s + of_sine * dg
            norm = spread(constants[2, l, m])
            nq, dnq = norm * q, norm * dq
            radial = radial + nq * (slope_c * cosine + slope_s * sine)
            gz = gz + dnq * (value_c * cosine + value_s * sine)
            if m > 0:
                mnq = spread(m) * nq
                gx = gx + mnq * (value_c * cosine_before + value_s * sine_before)
                gy = gy + mnq * (value_s * cosine_before - value_c * sine_before)
    along = gx * x + gy * y + gz * z
    put(gradient_cm, 0, radial * x + (gx - along * x) * inverse_r)
    put(gradient_cm, 1, radial * y + (gy - along * y) * inverse_r)
    put(gradient_cm, 2, radial * z + (gz - along * z) * inverse_r)
