"""Loops over triplets of atoms: a centre i with an unordered pair (a, b) of its neighbours, images being distinct.

Array names end with their axes: i centre, p pair, t triplet, c Cartesian, x feature.  A triplet has two entries in its pair
list, 2 t (i to a) and 2 t + 1 (i to b).  Features are GAP's: r_a + r_b, (r_a - r_b)², r_ab.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import NDArray

from . import njit

__all__ = ["count_triplets", "triplet_jacobian", "triplet_pullback", "triplets"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]


@njit
def count_triplets(first: Index, distance_p: Array, r_cut: float) -> Index:
    """Number of triplets of all centres before each one."""
    until = np.zeros(first.size, np.int64)
    for i in range(first.size - 1):
        n = 0
        for p in range(first[i], first[i + 1]):
            if distance_p[p] < r_cut:
                n += 1
        until[i + 1] = until[i] + n * (n - 1) // 2
    return until


@njit
def triplets(
    first: Index,
    until: Index,
    species_p: Index,
    vector_pc: Array,
    distance_p: Array,
    cutoff_p: Array,
    r_cut: float,
    value_tx: Array,
    weight_t: Array,
    species_t: Index,
    pair_q: Index,
) -> None:
    """Fill features, weights, index of the unordered pair of neighbour species, and the two pairs of each triplet."""
    for i in range(first.size - 1):
        t = until[i]
        for a in range(first[i], first[i + 1]):
            if distance_p[a] >= r_cut:
                continue
            for b in range(a + 1, first[i + 1]):
                if distance_p[b] >= r_cut:
                    continue
                square = 0.0
                for c in range(3):
                    d = vector_pc[b, c] - vector_pc[a, c]
                    square += d * d
                difference = distance_p[a] - distance_p[b]
                value_tx[t, 0] = distance_p[a] + distance_p[b]
                value_tx[t, 1] = difference * difference
                value_tx[t, 2] = sqrt(square)
                weight_t[t] = cutoff_p[a] * cutoff_p[b]
                low = min(species_p[a], species_p[b])
                high = max(species_p[a], species_p[b])
                species_t[t] = high * (high + 1) // 2 + low
                pair_q[2 * t] = a
                pair_q[2 * t + 1] = b
                t += 1


@njit
def triplet_jacobian(
    vector_pc: Array,
    distance_p: Array,
    cutoff_p: Array,
    cutoff_slope_p: Array,
    pair_q: Index,
    value_tx: Array,
    jacobian_qcx: Array,
    weight_gradient_qc: Array,
) -> None:
    """Derivatives of features and weights with respect to both pair vectors of every triplet."""
    for t in range(value_tx.shape[0]):
        for side in range(2):
            p = pair_q[2 * t + side]
            o = pair_q[2 * t + 1 - side]
            for c in range(3):
                unit = vector_pc[p, c] / distance_p[p]
                jacobian_qcx[2 * t + side, c, 0] = unit
                jacobian_qcx[2 * t + side, c, 1] = 2.0 * (distance_p[p] - distance_p[o]) * unit
                jacobian_qcx[2 * t + side, c, 2] = (vector_pc[p, c] - vector_pc[o, c]) / value_tx[t, 2]
                weight_gradient_qc[2 * t + side, c] = cutoff_slope_p[p] * cutoff_p[o] * unit


@njit
def triplet_pullback(
    until: Index,
    vector_pc: Array,
    distance_p: Array,
    cutoff_p: Array,
    cutoff_slope_p: Array,
    pair_q: Index,
    value_tx: Array,
    dE_dx_tx: Array,
    dE_dw_t: Array,
    gradient_pc: Array,
) -> None:
    """Gradient of an energy with respect to pair vectors; the pairs of a centre belong to its triplets alone."""
    for i in range(until.size - 1):
        for t in range(until[i], until[i + 1]):
            a = pair_q[2 * t]
            b = pair_q[2 * t + 1]
            skew = 2.0 * (distance_p[a] - distance_p[b]) * dE_dx_tx[t, 1]
            of_a = (dE_dx_tx[t, 0] + skew + dE_dw_t[t] * cutoff_slope_p[a] * cutoff_p[b]) / distance_p[a]
            of_b = (dE_dx_tx[t, 0] - skew + dE_dw_t[t] * cutoff_slope_p[b] * cutoff_p[a]) / distance_p[b]
            across = dE_dx_tx[t, 2] / value_tx[t, 2]
            for c in range(3):
                difference = vector_pc[a, c] - vector_pc[b, c]
                gradient_pc[a, c] += of_a * vector_pc[a, c] + across * difference
                gradient_pc[b, c] += of_b * vector_pc[b, c] - across * difference
