"""SOAP loops: density expansion and its adjoint; the power spectrum is in `soap_products`, the Jacobian in `soap_jacobian`.

Array names end with their axes: e environment (a centre), p pair, s species, a lm = l*l + l + m, n radial index,
d density (of one species, or of all), f feature, c Cartesian.  ``first`` holds the first pair of each environment and, last,
the end; pairs at ``reach`` or beyond are skipped.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .._device.pair import radial_functions, radial_functions_slopes
from . import inlined, njit
from .lanes import N_LANES
from .pair_batches import gradients_of_lanes, harmonics_of_batch
from .soap_jacobian import jacobian
from .soap_products import coefficient_gradient, power_spectrum

__all__ = ["coefficient_gradient", "expand", "jacobian", "pair_gradient", "power_spectrum"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

_BATCH = 32  # pairs whose products are summed together: sums along them fill vector registers, and all stays in the first cache
_FILL = 16  # batches are filled up to a multiple of it with pairs of no weight: loops along them then leave no remainder


@njit
def expand(
    first: Index,
    species_p: Index,
    vector_pc: Array,
    distance_p: Array,
    reach: float,
    segments: Array,
    table: Array,
    constants: Array,
    density_s: Index,
    weight_s: Array,
    species_e: Index,
    central_n: Array,
    c_edan: Array,
) -> None:
    """Expansion coefficients: the central atom's own (l = 0) plus g_nl(r) Y_lm of every neighbour within ``reach``."""
    n_max = central_n.size
    l_max = table.shape[2] // n_max - 1
    n_lm, n_functions = (l_max + 1) * (l_max + 1), table.shape[2]
    n_environments = first.size - 1
    g = np.empty(n_functions)
    g_fm = np.zeros((n_functions, _BATCH))
    y_am = np.empty((n_lm, _BATCH))
    q_lm = np.empty((l_max + 3, _BATCH))
    unit_cm = np.zeros((3, _BATCH))
    weight_m = np.empty(_BATCH)
    for e in range(n_environments):
        c_edan[e] = 0.0
        own = species_e[e]
        for n in range(n_max):
            c_edan[e, density_s[own], 0, n] = weight_s[own] * central_n[n]
        for d in range(c_edan.shape[1]):
            m = 0
            for p in range(first[e], first[e + 1]):
                r = distance_p[p]
                if density_s[species_p[p]] == d and r < reach:
                    for c in range(3):
                        unit_cm[c, m] = vector_pc[p, c] / r
                    weight_m[m] = weight_s[species_p[p]]
                    radial_functions(r, segments, table, g)
                    for f in range(n_functions):
                        g_fm[f, m] = g[f]
                    m += 1
                if m == _BATCH or (m > 0 and p == first[e + 1] - 1):
                    whole = (m + _FILL - 1) // _FILL * _FILL
                    weight_m[m:whole] = 0.0  # what an earlier batch left there adds nothing
                    harmonics_of_batch(whole, unit_cm, weight_m, constants, q_lm, y_am)
                    _add_products(whole, y_am, g_fm, c_edan[e, d])
                    m = 0


@inlined
def _add_products(n_pairs: int, y_am: Array, g_fm: Array, c_an: Array) -> None:
    """c_lmn += sum of Y_lm g_nl over a batch of pairs; sums run along the pairs, four n at a time."""
    n_max = c_an.shape[1]
    whole = n_max - n_max % 4
    for l in range(g_fm.shape[0] // n_max):
        for n in range(0, whole, 4):
            f = l * n_max + n
            g0, g1, g2, g3 = g_fm[f], g_fm[f + 1], g_fm[f + 2], g_fm[f + 3]
            for a in range(l * l, (l + 1) * (l + 1)):
                y_m = y_am[a]
                t0, t1, t2, t3 = 0.0, 0.0, 0.0, 0.0
                for m in range(n_pairs):
                    y = y_m[m]
                    t0 += y * g0[m]
                    t1 += y * g1[m]
                    t2 += y * g2[m]
                    t3 += y * g3[m]
                c_an[a, n] += t0
                c_an[a, n + 1] += t1
                c_an[a, n + 2] += t2
                c_an[a, n + 3] += t3
        for n in range(whole, n_max):
            g_m = g_fm[l * n_max + n]
            for a in range(l * l, (l + 1) * (l + 1)):
                y_m = y_am[a]
                total = 0.0
                for m in range(n_pairs):
                    total += y_m[m] * g_m[m]
                c_an[a, n] += total


@njit
def pair_gradient(
    first: Index,
    species_p: Index,
    vector_pc: Array,
    distance_p: Array,
    reach: float,
    segments: Array,
    table: Array,
    constants: Array,
    density_s: Index,
    weight_s: Array,
    g_edan: Array,
    gradient_pc: Array,
) -> None:
    """Adjoint of `expand`: dE/dD of every pair from dE/dc."""
    n_functions = table.shape[2]
    n_environments = first.size - 1
    g = np.empty(n_functions)
    dg = np.empty(n_functions)
    g_fm = np.zeros((n_functions, N_LANES))
    dg_fm = np.zeros((n_functions, N_LANES))
    geometry_km = np.zeros((4, N_LANES))
    gradient_cm = np.empty((3, N_LANES))
    pair_m = np.empty(N_LANES, np.int64)
    for e in range(n_environments):
        gradient_pc[first[e] : first[e + 1]] = 0.0
        for d in range(g_edan.shape[1]):
            m = 0
            for p in range(first[e], first[e + 1]):
                r = distance_p[p]
                if density_s[species_p[p]] == d and r < reach:
                    for c in range(3):
                        geometry_km[c, m] = vector_pc[p, c] / r
                    geometry_km[3, m] = 1.0 / r
                    pair_m[m] = p
                    radial_functions_slopes(r, segments, table, g, dg)
                    for f in range(n_functions):
                        g_fm[f, m] = g[f]
                        dg_fm[f, m] = dg[f]
                    m += 1
                if m == N_LANES or (m > 0 and p == first[e + 1] - 1):
                    gradients_of_lanes(g_edan[e, d], constants, g_fm, dg_fm, geometry_km, gradient_cm)
                    for i in range(m):
                        weight = weight_s[species_p[pair_m[i]]]
                        for c in range(3):
                            gradient_pc[pair_m[i], c] = weight * gradient_cm[c, i]
                    m = 0
