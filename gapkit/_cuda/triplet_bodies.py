"""What one CUDA thread computes of triplets: a centre with the pairs a and b to two of its neighbours.

Array names end with their axes: t triplet, p pair (of the whole structure), m pair that has triplets, q entry of such a pair
(2 for each triplet), e environment, c Cartesian, x feature, ijk grid.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import NDArray

from .._device import device_function, spline

__all__ = ["cubic", "tricubic", "triplet", "triplet_gradient"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

_ZERO = np.float64(0.0)


@device_function
def triplet(
    t: int,
    pair_a_t: Index,
    pair_b_t: Index,
    vector_pc: Array,
    distance_p: Array,
    cutoff_p: Array,
    value_tx: Array,
    weight_t: Array,
) -> None:
    """Features and weight, as `gapkit._cpu.bodies.triplets`; zeros where the weight is zero."""
    a = pair_a_t[t]
    b = pair_b_t[t]
    weight = cutoff_p[a] * cutoff_p[b]
    weight_t[t] = weight
    if weight == _ZERO:
        for x in range(3):
            value_tx[t, x] = _ZERO
    else:
        square = _ZERO
        for c in range(3):
            d = vector_pc[b, c] - vector_pc[a, c]
            square += d * d
        difference = distance_p[a] - distance_p[b]
        value_tx[t, 0] = distance_p[a] + distance_p[b]
        value_tx[t, 1] = difference * difference
        value_tx[t, 2] = sqrt(square)


@device_function
def triplet_gradient(
    m: int,
    pair_m: Index,
    first_m: Index,
    entry_q: Index,
    pair_a_t: Index,
    pair_b_t: Index,
    vector_pc: Array,
    distance_p: Array,
    cutoff_p: Array,
    cutoff_slope_p: Array,
    value_tx: Array,
    weight_t: Array,
    dE_dx_tx: Array,
    dE_dw_t: Array,
    gradient_pc: Array,
) -> None:
    """Add dE/dD of a pair: a sum over its triplets; entry q is pair a of triplet q, or pair b of triplet q - n_triplets."""
    p = pair_m[m]
    r = distance_p[p]
    along = _ZERO  # the pair vector
    gx = _ZERO
    gy = _ZERO
    gz = _ZERO
    for k in range(first_m[m], first_m[m + 1]):
        t = entry_q[k]
        o = pair_b_t[t] if t < weight_t.size else pair_a_t[t - weight_t.size]
        if t >= weight_t.size:
            t -= weight_t.size
        if weight_t[t] != _ZERO:
            along += dE_dx_tx[t, 0] + 2 * (r - distance_p[o]) * dE_dx_tx[t, 1] + dE_dw_t[t] * cutoff_slope_p[p] * cutoff_p[o]
            across = dE_dx_tx[t, 2] / value_tx[t, 2]
            gx += across * (vector_pc[p, 0] - vector_pc[o, 0])
            gy += across * (vector_pc[p, 1] - vector_pc[o, 1])
            gz += across * (vector_pc[p, 2] - vector_pc[o, 2])
    along /= r
    gradient_pc[p, 0] += along * vector_pc[p, 0] + gx
    gradient_pc[p, 1] += along * vector_pc[p, 1] + gy
    gradient_pc[p, 2] += along * vector_pc[p, 2] + gz


@device_function
def cubic(
    e: int, low: float, inverse: float, knot_k: Array, piece_k4: Array, at_e1: Array, value_e: Array, slope_e1: Array
) -> None:
    """Value and slope of a spline of one distance."""
    value, slope = spline.cubic(at_e1[e, 0], low, inverse, knot_k, piece_k4)
    value_e[e] = value
    slope_e1[e, 0] = slope


@device_function
def tricubic(
    e: int, coefficient_ijk: Array, low_x: Array, inverse_x: Array, at_ex: Array, value_e: Array, slope_ex: Array
) -> None:
    """Value and gradient of a spline, as `gapkit._cpu.tables.tricubic`."""
    value, g0, g1, g2 = spline.tricubic(coefficient_ijk, low_x, inverse_x, at_ex[e, 0], at_ex[e, 1], at_ex[e, 2])
    value_e[e] = value
    slope_ex[e, 0] = g0
    slope_ex[e, 1] = g1
    slope_ex[e, 2] = g2
