"""Symmetry-function loops: values, their adjoint, and the Jacobian per pair.

Array names end with their axes: e environment (a centre), p pair, f feature, k neighbour of one centre, c Cartesian,
t tabulated function of a distance, g pair function, h triplet function, a angular factor.

``pair_table`` holds the pair functions, ``triplet_table`` exp(-eta r²) fc(r) of every eta of the triplet functions.  A triplet
function is the product of the factors ``eta_h`` of its two or three distances and of the angular factor ``angular_h``;
those below ``n_narrow`` (G4) have the third distance, the others (G5) not.  Features are ordered as dscribe's: pair
functions of each neighbour species, then triplet functions of each pair of species (0, 0), (1, 0), (1, 1), (2, 0) ...
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from numba import prange
from numpy.typing import NDArray

from .._device.angular import angular_power
from .._device.pair import radial_functions, radial_functions_slopes
from . import njit

__all__ = ["jacobian", "pullback", "values"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

_BLOCK = 8  # environments per parallel task: scratch arrays are allocated once per task


@njit()
def _most_neighbors(first: Index, start: int, stop: int) -> int:
    most = 0
    for e in range(start, stop):
        most = max(most, first[e + 1] - first[e])
    return most


@njit()
def _first_feature(species_1: int, species_2: int, n_species: int, n_pair: int, n_triplet: int) -> int:
    """First triplet feature of a pair of neighbour species."""
    high, low = max(species_1, species_2), min(species_1, species_2)
    return n_species * n_pair + (high * (high + 1) // 2 + low) * n_triplet


@njit(parallel=True)
def values(
    first: Index,
    species_p: Index,
    vector_pc: Array,
    distance_p: Array,
    reach: float,
    pair_segments: Array,
    pair_table: Array,
    triplet_segments: Array,
    triplet_table: Array,
    n_species: int,
    n_narrow: int,
    eta_h: Index,
    angular_h: Index,
    zeta_a: Index,
    sign_a: Array,
    value_ef: Array,
) -> None:
    """Symmetry functions of every environment."""
    n_pair, n_eta, n_triplet, n_angular = pair_table.shape[2], triplet_table.shape[2], eta_h.size, zeta_a.size
    n_environments = first.size - 1
    for block in prange((n_environments + _BLOCK - 1) // _BLOCK):
        start, stop = block * _BLOCK, min(n_environments, (block + 1) * _BLOCK)
        pair_g = np.empty(n_pair)
        g_kt = np.empty((_most_neighbors(first, start, stop), n_eta))
        third_t = np.empty(n_eta)
        power_a = np.empty(n_angular)
        wide_t = np.empty(n_eta)
        narrow_t = np.empty(n_eta)
        for e in range(start, stop):
            value_ef[e] = 0.0
            for p in range(first[e], first[e + 1]):
                r = distance_p[p]
                if r >= reach:
                    continue
                radial_functions(r, pair_segments, pair_table, pair_g)
                f = species_p[p] * n_pair
                for g in range(n_pair):
                    value_ef[e, f + g] += pair_g[g]
                if n_triplet == 0:
                    continue
                g_t = g_kt[p - first[e]]
                radial_functions(r, triplet_segments, triplet_table, g_t)
                for other in range(first[e], p):
                    ro = distance_p[other]
                    if ro >= reach:
                        continue
                    dot = 0.0
                    for c in range(3):
                        dot += vector_pc[p, c] * vector_pc[other, c]
                    third = sqrt(max(r * r + ro * ro - 2.0 * dot, 0.0))
                    narrow = third < reach
                    if n_narrow == n_triplet and not narrow:
                        continue
                    for a in range(n_angular):
                        power_a[a] = angular_power(dot / (r * ro), zeta_a[a], sign_a[a])[0]
                    o_t = g_kt[other - first[e]]
                    for t in range(n_eta):
                        wide_t[t] = g_t[t] * o_t[t]
                    h = _first_feature(species_p[p], species_p[other], n_species, n_pair, n_triplet)
                    if narrow and n_narrow > 0:
                        radial_functions(third, triplet_segments, triplet_table, third_t)
                        for t in range(n_eta):
                            narrow_t[t] = wide_t[t] * third_t[t]
                        for k in range(n_narrow):
                            value_ef[e, h + k] += power_a[angular_h[k]] * narrow_t[eta_h[k]]
                    for k in range(n_narrow, n_triplet):
                        value_ef[e, h + k] += power_a[angular_h[k]] * wide_t[eta_h[k]]


@njit(parallel=True)
def pullback(
    first: Index,
    species_p: Index,
    vector_pc: Array,
    distance_p: Array,
    reach: float,
    pair_segments: Array,
    pair_table: Array,
    triplet_segments: Array,
    triplet_table: Array,
    n_species: int,
    n_narrow: int,
    eta_h: Index,
    angular_h: Index,
    zeta_a: Index,
    sign_a: Array,
    weight_ef: Array,
    gradient_pc: Array,
) -> None:
    """dE/dD of every pair from dE/dG; per triplet only the derivatives by r, r', r'' and the cosine are summed."""
    n_pair, n_eta, n_triplet, n_angular = pair_table.shape[2], triplet_table.shape[2], eta_h.size, zeta_a.size
    n_environments = first.size - 1
    for block in prange((n_environments + _BLOCK - 1) // _BLOCK):
        start, stop = block * _BLOCK, min(n_environments, (block + 1) * _BLOCK)
        most = _most_neighbors(first, start, stop)
        pair_g = np.empty(n_pair)
        d_pair_g = np.empty(n_pair)
        g_kt = np.empty((most, n_eta))
        d_kt = np.empty((most, n_eta))
        third_t = np.empty(n_eta)
        d_third_t = np.empty(n_eta)
        power_a = np.empty(n_angular)
        slope_a = np.empty(n_angular)
        sum_t = np.empty(n_eta)  # of weight x angular factor, by eta: the two kinds of triplet functions
        turn_t = np.empty(n_eta)  # of weight x slope of the angular factor
        for e in range(start, stop):
            for p in range(first[e], first[e + 1]):
                gradient_pc[p] = 0.0
                r = distance_p[p]
                if r >= reach:
                    continue
                radial_functions_slopes(r, pair_segments, pair_table, pair_g, d_pair_g)
                f = species_p[p] * n_pair
                along = 0.0
                for g in range(n_pair):
                    along += weight_ef[e, f + g] * d_pair_g[g]
                for c in range(3):
                    gradient_pc[p, c] += along * vector_pc[p, c] / r
                if n_triplet == 0:
                    continue
                g_t, d_t = g_kt[p - first[e]], d_kt[p - first[e]]
                radial_functions_slopes(r, triplet_segments, triplet_table, g_t, d_t)
                for other in range(first[e], p):
                    ro = distance_p[other]
                    if ro >= reach:
                        continue
                    dot = 0.0
                    for c in range(3):
                        dot += vector_pc[p, c] * vector_pc[other, c]
                    third = sqrt(max(r * r + ro * ro - 2.0 * dot, 0.0))
                    narrow = third < reach and n_narrow > 0
                    if n_narrow == n_triplet and not narrow:
                        continue
                    cosine = dot / (r * ro)
                    for a in range(n_angular):
                        power_a[a], slope_a[a] = angular_power(cosine, zeta_a[a], sign_a[a])
                    o_t, od_t = g_kt[other - first[e]], d_kt[other - first[e]]
                    h = _first_feature(species_p[p], species_p[other], n_species, n_pair, n_triplet)
                    by_r, by_ro, by_third, by_cosine = 0.0, 0.0, 0.0, 0.0
                    if narrow:
                        radial_functions_slopes(third, triplet_segments, triplet_table, third_t, d_third_t)
                        sum_t[:] = 0.0
                        turn_t[:] = 0.0
                        for k in range(n_narrow):
                            w = weight_ef[e, h + k]
                            sum_t[eta_h[k]] += w * power_a[angular_h[k]]
                            turn_t[eta_h[k]] += w * slope_a[angular_h[k]]
                        for t in range(n_eta):
                            x, y, z = g_t[t], o_t[t], third_t[t]
                            by_cosine += turn_t[t] * x * y * z
                            by_r += sum_t[t] * d_t[t] * y * z
                            by_ro += sum_t[t] * x * od_t[t] * z
                            by_third += sum_t[t] * x * y * d_third_t[t]
                    if n_narrow < n_triplet:
                        sum_t[:] = 0.0
                        turn_t[:] = 0.0
                        for k in range(n_narrow, n_triplet):
                            w = weight_ef[e, h + k]
                            sum_t[eta_h[k]] += w * power_a[angular_h[k]]
                            turn_t[eta_h[k]] += w * slope_a[angular_h[k]]
                        for t in range(n_eta):
                            x, y = g_t[t], o_t[t]
                            by_cosine += turn_t[t] * x * y
                            by_r += sum_t[t] * d_t[t] * y
                            by_ro += sum_t[t] * x * od_t[t]
                    for c in range(3):
                        u, v = vector_pc[p, c] / r, vector_pc[other, c] / ro
                        across = by_third * (vector_pc[p, c] - vector_pc[other, c]) / third if narrow else 0.0
                        gradient_pc[p, c] += by_r * u + by_cosine * (v - cosine * u) / r + across
                        gradient_pc[other, c] += by_ro * v + by_cosine * (u - cosine * v) / ro - across


@njit(parallel=True)
def jacobian(
    first: Index,
    species_p: Index,
    vector_pc: Array,
    distance_p: Array,
    reach: float,
    pair_segments: Array,
    pair_table: Array,
    triplet_segments: Array,
    triplet_table: Array,
    n_species: int,
    n_narrow: int,
    eta_h: Index,
    angular_h: Index,
    zeta_a: Index,
    sign_a: Array,
    jacobian_pcf: Array,
) -> None:
    """dG/dD of the environment that each pair belongs to."""
    n_pair, n_eta, n_triplet, n_angular = pair_table.shape[2], triplet_table.shape[2], eta_h.size, zeta_a.size
    n_environments = first.size - 1
    for block in prange((n_environments + _BLOCK - 1) // _BLOCK):
        start, stop = block * _BLOCK, min(n_environments, (block + 1) * _BLOCK)
        most = _most_neighbors(first, start, stop)
        pair_g = np.empty(n_pair)
        d_pair_g = np.empty(n_pair)
        g_kt = np.empty((most, n_eta))
        d_kt = np.empty((most, n_eta))
        third_t = np.empty(n_eta)
        d_third_t = np.empty(n_eta)
        power_a = np.empty(n_angular)
        slope_a = np.empty(n_angular)
        for e in range(start, stop):
            for p in range(first[e], first[e + 1]):
                jacobian_pcf[p] = 0.0
                r = distance_p[p]
                if r >= reach:
                    continue
                radial_functions_slopes(r, pair_segments, pair_table, pair_g, d_pair_g)
                f = species_p[p] * n_pair
                for c in range(3):
                    for g in range(n_pair):
                        jacobian_pcf[p, c, f + g] += d_pair_g[g] * vector_pc[p, c] / r
                if n_triplet == 0:
                    continue
                g_t, d_t = g_kt[p - first[e]], d_kt[p - first[e]]
                radial_functions_slopes(r, triplet_segments, triplet_table, g_t, d_t)
                for other in range(first[e], p):
                    ro = distance_p[other]
                    if ro >= reach:
                        continue
                    dot = 0.0
                    for c in range(3):
                        dot += vector_pc[p, c] * vector_pc[other, c]
                    third = sqrt(max(r * r + ro * ro - 2.0 * dot, 0.0))
                    narrow = third < reach and n_narrow > 0
                    if n_narrow == n_triplet and not narrow:
                        continue
                    cosine = dot / (r * ro)
                    for a in range(n_angular):
                        power_a[a], slope_a[a] = angular_power(cosine, zeta_a[a], sign_a[a])
                    o_t, od_t = g_kt[other - first[e]], d_kt[other - first[e]]
                    if narrow:
                        radial_functions_slopes(third, triplet_segments, triplet_table, third_t, d_third_t)
                    h = _first_feature(species_p[p], species_p[other], n_species, n_pair, n_triplet)
                    for c in range(3):
                        u, v = vector_pc[p, c] / r, vector_pc[other, c] / ro
                        turn_u, turn_v = (v - cosine * u) / r, (u - cosine * v) / ro
                        across = (vector_pc[p, c] - vector_pc[other, c]) / third if narrow else 0.0
                        for k in range(0 if narrow else n_narrow, n_triplet):
                            t = eta_h[k]
                            angle, turn = power_a[angular_h[k]], slope_a[angular_h[k]]
                            x, y = g_t[t], o_t[t]
                            z, dz = (third_t[t], d_third_t[t] * across) if k < n_narrow else (1.0, 0.0)
                            jacobian_pcf[p, c, h + k] += (angle * d_t[t] * u + turn * x * turn_u) * y * z + angle * x * y * dz
                            jacobian_pcf[other, c, h + k] += (
                                angle * od_t[t] * v + turn * y * turn_v
                            ) * x * z - angle * x * y * dz
