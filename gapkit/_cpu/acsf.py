"""Symmetry-function loops: values, their adjoint, and the Jacobian per pair.

Array names end with their axes: e environment (a centre), p pair, f feature, i and k neighbours of one centre within reach,
m triplet of a batch, c Cartesian, t tabulated function of a distance, g pair function, h triplet function, a angular
factor, z 0 for G4 and 1 for G5.

``pair_table`` holds the pair functions, ``triplet_table`` exp(-eta r²) fc(r) of every eta of the triplet functions.  A triplet
function is the product of the factors ``eta_h`` of its two or three distances and of the angular factor ``angular_h``;
those below ``n_narrow`` (G4) have the third distance, the others (G5) not.  Features are ordered as dscribe's: pair
functions of each neighbour species, then triplet functions of each pair of species (0, 0), (1, 0), (1, 1), (2, 0) ...
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import NDArray

from .._device.angular import angular_power
from .._device.pair import radial_functions, radial_functions_slopes
from . import inlined, njit

__all__ = ["jacobian", "pullback", "values"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

_BATCH = 256  # triplets that are worked on together: operations along them fill vector registers


@inlined
def _most_neighbors(first: Index) -> int:
    most = 0
    for e in range(first.size - 1):
        most = max(most, first[e + 1] - first[e])
    return most


@inlined
def _first_feature(species_1: int, species_2: int, n_species: int, n_pair: int, n_triplet: int) -> int:
    """First triplet feature of a pair of neighbour species."""
    high, low = max(species_1, species_2), min(species_1, species_2)
    return n_species * n_pair + (high * (high + 1) // 2 + low) * n_triplet


@inlined
def _by_species(begin: int, end: int, species_p: Index, distance_p: Array, reach: float, first_s: Index, pair_k: Index) -> None:
    """List the pairs begin ... end within reach, species by species: ``pair_k[first_s[s]:first_s[s + 1]]``."""
    n = 0
    for s in range(first_s.size - 1):
        first_s[s] = n
        for p in range(begin, end):
            if species_p[p] == s and distance_p[p] < reach:
                pair_k[n] = p
                n += 1
    first_s[first_s.size - 1] = n


@inlined
def _powers(n: int, cosine_m: Array, zeta_a: Index, sign_a: Array, base: Array, power_am: Array, lower_am: Array) -> None:
    """`angular_power` of a batch, angle by angle: every operation runs along the triplets.

    ``lower_am`` is ((1 + sign cosine) / 2)^(zeta - 1): times zeta and sign it is the derivative by the cosine.
    """
    for a in range(zeta_a.size):
        power, lower = power_am[a], lower_am[a]
        for m in range(n):
            base[m] = max(0.5 * (1.0 + sign_a[a] * cosine_m[m]), 0.0)
            power[m] = 2.0 * base[m]
            lower[m] = 1.0
        exponent = zeta_a[a] - 1
        while exponent > 0:
            if exponent & 1:
                for m in range(n):
                    lower[m] *= base[m]
            exponent >>= 1
            if exponent > 0:
                for m in range(n):
                    base[m] *= base[m]
        for m in range(n):
            power[m] *= lower[m]


@inlined
def _next_triplets(
    i: int,
    k: int,
    low: int,
    high: int,
    end: int,
    unit_kc: Array,
    r_k: Array,
    reach: float,
    keep_all: bool,
    i_m: Index,
    k_m: Index,
    cosine_m: Array,
    third_m: Array,
) -> tuple[int, int, int]:
    """Fill a batch with triplets (i, k), k in low ... high and below i, i before ``end``; those beyond ``reach`` only if asked.

    Returns the size of the batch, and where to go on.
    """
    n = 0
    while i < end:
        last = min(high, i)
        while k < last:
            if n == i_m.size:
                return n, i, k
            c = unit_kc[i, 0] * unit_kc[k, 0] + unit_kc[i, 1] * unit_kc[k, 1] + unit_kc[i, 2] * unit_kc[k, 2]
            square = max(r_k[i] * r_k[i] + r_k[k] * r_k[k] - 2.0 * r_k[i] * r_k[k] * c, 0.0)
            i_m[n], k_m[n], cosine_m[n], third_m[n] = i, k, c, sqrt(square)
            if keep_all or square < reach * reach:
                n += 1
            k += 1
        i += 1
        k = low
    return n, i, k


@njit
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
    most = _most_neighbors(first)
    pair_g = np.empty(n_pair)
    first_s = np.empty(n_species + 1, np.int64)
    pair_k = np.empty(most, np.int64)
    unit_kc = np.empty((most, 3))
    r_k = np.empty(most)
    g_kt = np.empty((most, n_eta))
    third_t = np.empty(n_eta)
    i_m = np.empty(_BATCH, np.int64)
    k_m = np.empty(_BATCH, np.int64)
    cosine_m = np.empty(_BATCH)
    third_m = np.empty(_BATCH)
    base_m = np.empty(_BATCH)
    power_am = np.empty((n_angular, _BATCH))
    lower_am = np.empty((n_angular, _BATCH))
    wide_tm = np.empty((n_eta, _BATCH))
    narrow_tm = np.empty((n_eta, _BATCH))
    for e in range(n_environments):
        value_ef[e] = 0.0
        _by_species(first[e], first[e + 1], species_p, distance_p, reach, first_s, pair_k)
        for k in range(first_s[n_species]):
            p = pair_k[k]
            r_k[k] = distance_p[p]
            for c in range(3):
                unit_kc[k, c] = vector_pc[p, c] / distance_p[p]
            radial_functions(r_k[k], pair_segments, pair_table, pair_g)
            f = species_p[p] * n_pair
            for g in range(n_pair):
                value_ef[e, f + g] += pair_g[g]
            if n_triplet > 0:
                radial_functions(r_k[k], triplet_segments, triplet_table, g_kt[k])
        for one in range(n_species if n_triplet > 0 else 0):
            for other in range(one + 1):
                h = _first_feature(one, other, n_species, n_pair, n_triplet)
                i, end, low, high = first_s[one], first_s[one + 1], first_s[other], first_s[other + 1]
                k = low
                while i < end:
                    n, i, k = _next_triplets(
                        i, k, low, high, end, unit_kc, r_k, reach, n_narrow < n_triplet, i_m, k_m, cosine_m, third_m
                    )
                    _powers(n, cosine_m, zeta_a, sign_a, base_m, power_am, lower_am)
                    for m in range(n):
                        inside = n_narrow > 0 and third_m[m] < reach
                        if inside:
                            radial_functions(third_m[m], triplet_segments, triplet_table, third_t)
                        for t in range(n_eta):
                            x = g_kt[i_m[m], t] * g_kt[k_m[m], t]
                            wide_tm[t, m] = x
                            narrow_tm[t, m] = x * third_t[t] if inside else 0.0
                    for q in range(n_triplet):
                        factor = narrow_tm[eta_h[q]] if q < n_narrow else wide_tm[eta_h[q]]
                        power = power_am[angular_h[q]]
                        total = 0.0
                        for m in range(n):
                            total += factor[m] * power[m]
                        value_ef[e, h + q] += total


@njit
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
    most = _most_neighbors(first)
    pair_g = np.empty(n_pair)
    d_pair_g = np.empty(n_pair)
    first_s = np.empty(n_species + 1, np.int64)
    pair_k = np.empty(most, np.int64)
    unit_kc = np.empty((most, 3))
    r_k = np.empty(most)
    g_kt = np.empty((most, n_eta))
    d_kt = np.empty((most, n_eta))
    third_t = np.empty(n_eta)
    d_third_t = np.empty(n_eta)
    i_m = np.empty(_BATCH, np.int64)
    k_m = np.empty(_BATCH, np.int64)
    cosine_m = np.empty(_BATCH)
    third_m = np.empty(_BATCH)
    base_m = np.empty(_BATCH)
    power_am = np.empty((n_angular, _BATCH))
    lower_am = np.empty((n_angular, _BATCH))
    # of weight x angular factor, and of weight x its slope, by eta: for G4 and for G5
    sum_ztm = np.empty((2, n_eta, _BATCH))
    turn_ztm = np.empty((2, n_eta, _BATCH))
    for e in range(n_environments):
        for p in range(first[e], first[e + 1]):
            gradient_pc[p] = 0.0
        _by_species(first[e], first[e + 1], species_p, distance_p, reach, first_s, pair_k)
        for k in range(first_s[n_species]):
            p = pair_k[k]
            r_k[k] = distance_p[p]
            radial_functions_slopes(r_k[k], pair_segments, pair_table, pair_g, d_pair_g)
            f = species_p[p] * n_pair
            along = 0.0
            for g in range(n_pair):
                along += weight_ef[e, f + g] * d_pair_g[g]
            for c in range(3):
                unit_kc[k, c] = vector_pc[p, c] / distance_p[p]
                gradient_pc[p, c] = along * unit_kc[k, c]
            if n_triplet > 0:
                radial_functions_slopes(r_k[k], triplet_segments, triplet_table, g_kt[k], d_kt[k])
        for one in range(n_species if n_triplet > 0 else 0):
            for other in range(one + 1):
                h = _first_feature(one, other, n_species, n_pair, n_triplet)
                i, end, low, high = first_s[one], first_s[one + 1], first_s[other], first_s[other + 1]
                k = low
                while i < end:
                    n, i, k = _next_triplets(
                        i, k, low, high, end, unit_kc, r_k, reach, n_narrow < n_triplet, i_m, k_m, cosine_m, third_m
                    )
                    _powers(n, cosine_m, zeta_a, sign_a, base_m, power_am, lower_am)
                    for z in range(0 if n_narrow > 0 else 1, 2 if n_narrow < n_triplet else 1):
                        for t in range(n_eta):
                            sum_ztm[z, t, :n] = 0.0
                            turn_ztm[z, t, :n] = 0.0
                    for q in range(n_triplet):
                        w, z = weight_ef[e, h + q], 0 if q < n_narrow else 1
                        power, lower = power_am[angular_h[q]], lower_am[angular_h[q]]
                        w_slope = w * zeta_a[angular_h[q]] * sign_a[angular_h[q]]
                        total, turn = sum_ztm[z, eta_h[q]], turn_ztm[z, eta_h[q]]
                        for m in range(n):
                            total[m] += w * power[m]
                            turn[m] += w_slope * lower[m]
                    for m in range(n):
                        a, b, third, cosine = i_m[m], k_m[m], third_m[m], cosine_m[m]
                        by_a, by_b, by_third, by_cosine = 0.0, 0.0, 0.0, 0.0
                        if n_narrow > 0 and third < reach:
                            radial_functions_slopes(third, triplet_segments, triplet_table, third_t, d_third_t)
                            for t in range(n_eta):
                                x, y, z = g_kt[a, t], g_kt[b, t], third_t[t]
                                total = sum_ztm[0, t, m]
                                by_cosine += turn_ztm[0, t, m] * x * y * z
                                by_a += total * d_kt[a, t] * y * z
                                by_b += total * x * d_kt[b, t] * z
                                by_third += total * x * y * d_third_t[t]
                            by_third /= third
                        if n_narrow < n_triplet:
                            for t in range(n_eta):
                                x, y, total = g_kt[a, t], g_kt[b, t], sum_ztm[1, t, m]
                                by_cosine += turn_ztm[1, t, m] * x * y
                                by_a += total * d_kt[a, t] * y
                                by_b += total * x * d_kt[b, t]
                        # d cosine / d D_a = (v - cosine u) / r_a; the third vector is D_a - D_b
                        turn_a, turn_b = by_cosine / r_k[a], by_cosine / r_k[b]
                        of_a, of_b = by_a - turn_a * cosine + by_third * r_k[a], by_b - turn_b * cosine + by_third * r_k[b]
                        cross_a, cross_b = turn_a - by_third * r_k[b], turn_b - by_third * r_k[a]
                        for c in range(3):
                            u, v = unit_kc[a, c], unit_kc[b, c]
                            gradient_pc[pair_k[a], c] += of_a * u + cross_a * v
                            gradient_pc[pair_k[b], c] += of_b * v + cross_b * u


@njit
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
    most = _most_neighbors(first)
    pair_g = np.empty(n_pair)
    d_pair_g = np.empty(n_pair)
    g_kt = np.empty((most, n_eta))
    d_kt = np.empty((most, n_eta))
    third_t = np.empty(n_eta)
    d_third_t = np.empty(n_eta)
    power_a = np.empty(n_angular)
    slope_a = np.empty(n_angular)
    for e in range(n_environments):
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
                        jacobian_pcf[other, c, h + k] += (angle * od_t[t] * v + turn * y * turn_v) * x * z - angle * x * y * dz
