"""What one CUDA thread computes of symmetry functions.

Array names end with their axes: i atom, e environment, p pair (of the whole structure), q pair of the present chunk, s species,
g pair function, t tabulated function of the distances of triplets, h triplet function, f feature, c Cartesian.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import NDArray

from .._device import device_function
from .._device.angular import angular_power
from .._device.pair import radial_function, radial_functions_slopes

__all__ = ["symmetry_basis", "symmetry_function", "symmetry_gradient"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

_ZERO = np.float64(0.0)
_ONE = np.float64(1.0)


@device_function
def _functions_within(r: float, reach: float, segments: Array, table: Array, values: Array, slopes: Array) -> None:
    """Tabulated functions of a distance and their slopes; zeros at ``reach`` and beyond."""
    if r < reach:
        radial_functions_slopes(r, segments, table, values, slopes)
    else:
        for f in range(values.size):
            values[f] = _ZERO
            slopes[f] = _ZERO


@device_function
def symmetry_basis(
    q: int,
    first_pair: int,
    distance_p: Array,
    reach: float,
    pair_segments: Array,
    pair_table: Array,
    triplet_segments: Array,
    triplet_table: Array,
    g_qg: Array,
    dg_qg: Array,
    g_qt: Array,
    dg_qt: Array,
) -> None:
    """Functions of the distance of a pair, and their slopes; zeros at ``reach`` and beyond."""
    r = distance_p[first_pair + q]
    _functions_within(r, reach, pair_segments, pair_table, g_qg[q], dg_qg[q])
    _functions_within(r, reach, triplet_segments, triplet_table, g_qt[q], dg_qt[q])


@device_function
def symmetry_function(
    e: int,
    f: int,
    first_atom: int,
    first_pair: int,
    first: Index,
    species_i: Index,
    neighbour_p: Index,
    vector_pc: Array,
    distance_p: Array,
    reach: float,
    place_f3: Index,
    n_narrow: int,
    eta_h: Index,
    zeta_h: Index,
    sign_h: Array,
    triplet_segments: Array,
    triplet_table: Array,
    g_qg: Array,
    g_qt: Array,
    value_ef: Array,
) -> None:
    """One feature; ``place_f3[f]`` = (species, -1, g) of a pair function, (higher, lower species, h) of a triplet function."""
    i = first_atom + e
    high = place_f3[f, 0]
    low = place_f3[f, 1]
    h = place_f3[f, 2]
    total = _ZERO
    for p in range(first[i], first[i + 1]):
        r = distance_p[p]
        if species_i[neighbour_p[p]] == high and r < reach:
            if low < 0:
                total += g_qg[p - first_pair, h]
            else:
                t = eta_h[h]
                for o in range(first[i], p if low == high else first[i + 1]):
                    ro = distance_p[o]
                    if species_i[neighbour_p[o]] == low and ro < reach:
                        dot = _ZERO
                        for c in range(3):
                            dot += vector_pc[p, c] * vector_pc[o, c]
                        square = max(r * r + ro * ro - 2 * dot, _ZERO)
                        factor = g_qt[p - first_pair, t] * g_qt[o - first_pair, t]
                        if h < n_narrow:
                            if square < reach * reach:
                                third, _ = radial_function(sqrt(square), triplet_segments, triplet_table, t)
                                factor *= third
                            else:
                                factor = _ZERO
                        angle, _ = angular_power(dot / (r * ro), zeta_h[h], sign_h[h])
                        total += factor * angle
    value_ef[e, f] = total


@device_function
def symmetry_gradient(
    q: int,
    first_atom: int,
    first_pair: int,
    first: Index,
    centre_p: Index,
    neighbour_p: Index,
    species_i: Index,
    vector_pc: Array,
    distance_p: Array,
    reach: float,
    start_ss: Index,
    n_narrow: int,
    eta_h: Index,
    zeta_h: Index,
    sign_h: Array,
    triplet_segments: Array,
    triplet_table: Array,
    dg_qg: Array,
    g_qt: Array,
    dg_qt: Array,
    weight_ef: Array,
    gradient_pc: Array,
) -> None:
    """Add dE/dD of a pair from dE/dG of its centre.

    ``start_ss[s, u]`` is the first triplet function of neighbour species s and u; its last row has the first pair functions.
    """
    p = first_pair + q
    r = distance_p[p]
    if r < reach:
        i = centre_p[p]
        e = i - first_atom
        s = species_i[neighbour_p[p]]
        along = _ZERO
        begin = start_ss[start_ss.shape[1], s]
        for g in range(dg_qg.shape[1]):
            along += weight_ef[e, begin + g] * dg_qg[q, g]
        gx = _ZERO
        gy = _ZERO
        gz = _ZERO
        for o in range(first[i], first[i + 1]):
            ro = distance_p[o]
            if o != p and ro < reach:
                dot = _ZERO
                for c in range(3):
                    dot += vector_pc[p, c] * vector_pc[o, c]
                square = max(r * r + ro * ro - 2 * dot, _ZERO)
                third = sqrt(square)
                cosine = dot / (r * ro)
                begin = start_ss[s, species_i[neighbour_p[o]]]
                by_r = _ZERO
                by_third = _ZERO
                by_cosine = _ZERO
                for h in range(0 if square < reach * reach else n_narrow, eta_h.size):
                    t = eta_h[h]
                    w = weight_ef[e, begin + h]
                    angle, turn = angular_power(cosine, zeta_h[h], sign_h[h])
                    x = g_qt[q, t]
                    y = w * g_qt[o - first_pair, t]
                    z: float = _ONE
                    if h < n_narrow:
                        z, slope = radial_function(third, triplet_segments, triplet_table, t)
                        by_third += angle * x * y * slope
                    by_r += angle * dg_qt[q, t] * y * z
                    by_cosine += turn * x * y * z
                # d cosine / dD = (v - cosine u) / r
                turn_r = by_cosine / r
                along += by_r - turn_r * cosine
                across = by_third / third if by_third != _ZERO else _ZERO
                toward = turn_r / ro
                gx += toward * vector_pc[o, 0] + across * (vector_pc[p, 0] - vector_pc[o, 0])
                gy += toward * vector_pc[o, 1] + across * (vector_pc[p, 1] - vector_pc[o, 1])
                gz += toward * vector_pc[o, 2] + across * (vector_pc[p, 2] - vector_pc[o, 2])
        along /= r
        gradient_pc[p, 0] += along * vector_pc[p, 0] + gx
        gradient_pc[p, 1] += along * vector_pc[p, 1] + gy
        gradient_pc[p, 2] += along * vector_pc[p, 2] + gz
