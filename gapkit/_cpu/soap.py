"""SOAP loops: density expansion, power spectrum, their adjoints, and the Jacobian per pair.

Array names end with their axes: e environment (a centre), p pair, s species, a lm = l*l + l + m, n radial index,
f feature, c Cartesian.  Coefficients are stored as c[e, s, lm, n], n fastest.  ``first`` holds the first pair of each
environment and, last, the end; pairs at ``reach`` or beyond are skipped.
"""

from __future__ import annotations

import numpy as np
from numba import prange
from numpy.typing import NDArray

from .._device.harmonics import harmonics, harmonics_gradient, polynomials
from .._device.pair import contract_gradient, project_gradient, radial_functions, radial_functions_slopes
from . import njit

__all__ = ["coefficient_gradient", "expand", "jacobian", "pair_gradient", "power_spectrum"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

_BLOCK = 16  # environments per parallel task: scratch arrays are allocated once per task


@njit(parallel=True)
def expand(
    first: Index,
    species_p: Index,
    vector_pc: Array,
    distance_p: Array,
    reach: float,
    segments: Array,
    table: Array,
    constants: Array,
    species_e: Index,
    central_n: Array,
    c_esan: Array,
) -> None:
    """Expansion coefficients: the central atom's own (l = 0) plus g_nl(r) Y_lm of every neighbour within ``reach``."""
    n_max = c_esan.shape[3]
    l_max = table.shape[2] // n_max - 1
    n_environments = first.size - 1
    for block in prange((n_environments + _BLOCK - 1) // _BLOCK):
        q = np.empty((l_max + 2, l_max + 2))
        c = np.empty(l_max + 1)
        s = np.empty(l_max + 1)
        y = np.empty((l_max + 1) * (l_max + 1))
        g = np.empty(table.shape[2])
        for e in range(block * _BLOCK, min(n_environments, (block + 1) * _BLOCK)):
            c_esan[e] = 0.0
            for n in range(n_max):
                c_esan[e, species_e[e], 0, n] = central_n[n]
            for p in range(first[e], first[e + 1]):
                r = distance_p[p]
                if r >= reach:
                    continue
                harmonics(vector_pc[p, 0] / r, vector_pc[p, 1] / r, vector_pc[p, 2] / r, l_max, constants, q, c, s, y)
                radial_functions(r, segments, table, g)
                c_an = c_esan[e, species_p[p]]
                for l in range(l_max + 1):
                    for a in range(l * l, (l + 1) * (l + 1)):
                        ya = y[a]
                        for n in range(n_max):
                            c_an[a, n] += ya * g[l * n_max + n]


@njit(parallel=True)
def power_spectrum(c_esan: Array, prefactor_l: Array, off_diagonal: float, p_ef: Array) -> None:
    """p = prefactor_l sum_m c_nlm c_n'lm, in dscribe's order: species pair, l, n, n' (n' >= n within one species).

    Elements that stand for two equal ones (n != n' of one species, every pair of unlike species) get ``off_diagonal``.
    """
    n_species, n_max = c_esan.shape[1], c_esan.shape[3]
    for e in prange(c_esan.shape[0]):
        w = np.empty((n_max, n_max))
        f = 0
        for s1 in range(n_species):
            for s2 in range(s1, n_species):
                for l in range(prefactor_l.size):
                    w[:] = 0.0
                    for a in range(l * l, (l + 1) * (l + 1)):
                        for n1 in range(n_max):
                            c1 = c_esan[e, s1, a, n1]
                            for n2 in range(n_max):
                                w[n1, n2] += c1 * c_esan[e, s2, a, n2]
                    for n1 in range(n_max):
                        for n2 in range(n1 if s1 == s2 else 0, n_max):
                            twice = s1 != s2 or n1 != n2
                            p_ef[e, f] = prefactor_l[l] * w[n1, n2] * (off_diagonal if twice else 1.0)
                            f += 1


@njit(parallel=True)
def coefficient_gradient(c_esan: Array, prefactor_l: Array, off_diagonal: float, g_ef: Array, g_esan: Array) -> None:
    """Adjoint of `power_spectrum`: dE/dc from dE/dp."""
    n_species, n_max = c_esan.shape[1], c_esan.shape[3]
    for e in prange(c_esan.shape[0]):
        w = np.empty((n_max, n_max))
        g_esan[e] = 0.0
        f = 0
        for s1 in range(n_species):
            for s2 in range(s1, n_species):
                for l in range(prefactor_l.size):
                    for n1 in range(n_max):
                        for n2 in range(n1 if s1 == s2 else 0, n_max):
                            g = prefactor_l[l] * g_ef[e, f]
                            f += 1
                            if s1 != s2:
                                w[n1, n2] = g * off_diagonal
                            elif n1 == n2:
                                w[n1, n1] = 2.0 * g
                            else:
                                w[n1, n2] = g * off_diagonal
                                w[n2, n1] = g * off_diagonal
                    for a in range(l * l, (l + 1) * (l + 1)):
                        for n1 in range(n_max):
                            total = 0.0
                            for n2 in range(n_max):
                                total += w[n1, n2] * c_esan[e, s2, a, n2]
                            g_esan[e, s1, a, n1] += total
                        if s1 != s2:
                            for n1 in range(n_max):
                                c1 = c_esan[e, s1, a, n1]
                                for n2 in range(n_max):
                                    g_esan[e, s2, a, n2] += w[n1, n2] * c1


@njit(parallel=True)
def pair_gradient(
    first: Index,
    species_p: Index,
    vector_pc: Array,
    distance_p: Array,
    reach: float,
    segments: Array,
    table: Array,
    constants: Array,
    g_esan: Array,
    gradient_pc: Array,
) -> None:
    """Adjoint of `expand`: dE/dD of every pair from dE/dc."""
    l_max = table.shape[2] // g_esan.shape[3] - 1
    n_environments = first.size - 1
    for block in prange((n_environments + _BLOCK - 1) // _BLOCK):
        q = np.empty((l_max + 2, l_max + 2))
        c = np.empty(l_max + 1)
        s = np.empty(l_max + 1)
        g = np.empty(table.shape[2])
        dg = np.empty(table.shape[2])
        for e in range(block * _BLOCK, min(n_environments, (block + 1) * _BLOCK)):
            for p in range(first[e], first[e + 1]):
                r = distance_p[p]
                if r >= reach:
                    gradient_pc[p] = 0.0
                    continue
                ux, uy, uz = vector_pc[p, 0] / r, vector_pc[p, 1] / r, vector_pc[p, 2] / r
                polynomials(ux, uy, uz, l_max, constants, q, c, s)
                radial_functions_slopes(r, segments, table, g, dg)
                fx, fy, fz = contract_gradient(ux, uy, uz, 1.0 / r, g_esan[e, species_p[p]], g, dg, constants, q, c, s)
                gradient_pc[p, 0] = fx
                gradient_pc[p, 1] = fy
                gradient_pc[p, 2] = fz


@njit(parallel=True)
def jacobian(
    first: Index,
    species_p: Index,
    vector_pc: Array,
    distance_p: Array,
    reach: float,
    segments: Array,
    table: Array,
    constants: Array,
    c_esan: Array,
    prefactor_l: Array,
    off_diagonal: float,
    x_ef: Array,
    norm_e: Array,
    jacobian_pcf: Array,
) -> None:
    """d x_f / d D_p of the environment that pair p belongs to.

    ``norm_e`` > 0: x is the power spectrum divided by that norm, dx = (dp - x (x . dp)) / norm; 0: x = 0, dx = 0;
    negative: x is the power spectrum itself.  Only blocks of the power spectrum with the neighbour's species change.
    """
    n_species, n_max = c_esan.shape[1], c_esan.shape[3]
    l_max = table.shape[2] // n_max - 1
    n_environments = first.size - 1
    for block in prange((n_environments + _BLOCK - 1) // _BLOCK):
        q = np.empty((l_max + 2, l_max + 2))
        c = np.empty(l_max + 1)
        s = np.empty(l_max + 1)
        y = np.empty((l_max + 1) * (l_max + 1))
        dy = np.empty((3, (l_max + 1) * (l_max + 1)))
        g = np.empty(table.shape[2])
        dg = np.empty(table.shape[2])
        dc = np.empty((3, (l_max + 1) * (l_max + 1), n_max))
        w = np.empty((n_max, n_max))
        for e in range(block * _BLOCK, min(n_environments, (block + 1) * _BLOCK)):
            for p in range(first[e], first[e + 1]):
                r = distance_p[p]
                jacobian_pcf[p] = 0.0
                if r >= reach or norm_e[e] == 0.0:
                    continue
                ux, uy, uz = vector_pc[p, 0] / r, vector_pc[p, 1] / r, vector_pc[p, 2] / r
                harmonics_gradient(ux, uy, uz, l_max, constants, q, c, s, y, dy)
                radial_functions_slopes(r, segments, table, g, dg)
                for l in range(l_max + 1):
                    for a in range(l * l, (l + 1) * (l + 1)):
                        for n in range(n_max):
                            value, slope = g[l * n_max + n], dg[l * n_max + n]
                            dc[0, a, n], dc[1, a, n], dc[2, a, n] = project_gradient(
                                ux, uy, uz, 1.0 / r, slope * y[a], value * dy[0, a], value * dy[1, a], value * dy[2, a]
                            )
                moved = species_p[p]
                for k in range(3):
                    f = 0
                    for s1 in range(n_species):
                        for s2 in range(s1, n_species):
                            if moved != s1 and moved != s2:
                                f += (l_max + 1) * (n_max * (n_max + 1) // 2 if s1 == s2 else n_max * n_max)
                                continue
                            other = s2 if moved == s1 else s1
                            for l in range(l_max + 1):
                                w[:] = 0.0
                                for a in range(l * l, (l + 1) * (l + 1)):
                                    for n1 in range(n_max):
                                        d = dc[k, a, n1]
                                        for n2 in range(n_max):
                                            w[n1, n2] += d * c_esan[e, other, a, n2]
                                if s1 == s2:
                                    for n1 in range(n_max):
                                        jacobian_pcf[p, k, f] = 2.0 * prefactor_l[l] * w[n1, n1]
                                        f += 1
                                        for n2 in range(n1 + 1, n_max):
                                            jacobian_pcf[p, k, f] = prefactor_l[l] * off_diagonal * (w[n1, n2] + w[n2, n1])
                                            f += 1
                                elif moved == s1:
                                    for n1 in range(n_max):
                                        for n2 in range(n_max):
                                            jacobian_pcf[p, k, f] = prefactor_l[l] * off_diagonal * w[n1, n2]
                                            f += 1
                                else:
                                    for n1 in range(n_max):
                                        for n2 in range(n_max):
                                            jacobian_pcf[p, k, f] = prefactor_l[l] * off_diagonal * w[n2, n1]
                                            f += 1
                    if norm_e[e] > 0.0:
                        along = 0.0
                        for f in range(x_ef.shape[1]):
                            along += x_ef[e, f] * jacobian_pcf[p, k, f]
                        for f in range(x_ef.shape[1]):
                            jacobian_pcf[p, k, f] = (jacobian_pcf[p, k, f] - x_ef[e, f] * along) / norm_e[e]
