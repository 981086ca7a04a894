"""What one CUDA thread computes of descriptors, kernels and forces: one output, or one row of outputs.

Array names end with their axes: i atom, e environment (a centre of the present chunk), p pair (of the whole structure),
q pair of the present chunk, a lm = l*l + l + m, f = l * n_max + n, n radial index, d density, s species, c Cartesian, m sparse
point, x feature.  Atom ``first_atom + e`` is environment e, pair ``first_pair + q`` is pair q.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import NDArray

from .._device import device_function
from .._device.harmonics import harmonics
from .._device.pair import contract_gradient, radial_function
from .._device.repulsion import switched_zbl

__all__ = [
    "add_row_sum",
    "add_rows",
    "adjoint",
    "angular",
    "expand",
    "gather_force",
    "move",
    "pair_gradient",
    "power",
    "powers",
    "radial",
    "repulsion",
]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

_ZERO = np.float64(0.0)
_ONE = np.float64(1.0)
_HALF = np.float64(0.5)


@device_function
def move(
    p: int,
    position_ic: Array,
    cell_cc: Array,
    centre_p: Index,
    neighbour_p: Index,
    shift_pc: Index,
    vector_pc: Array,
    distance_p: Array,
) -> None:
    """Vector r_j + S cell - r_i of a pair, and its length, as `gapkit._cpu.pairs.move`."""
    i = centre_p[p]
    j = neighbour_p[p]
    square = _ZERO
    for c in range(3):
        d = position_ic[j, c] - position_ic[i, c]
        d += shift_pc[p, 0] * cell_cc[0, c] + shift_pc[p, 1] * cell_cc[1, c] + shift_pc[p, 2] * cell_cc[2, c]
        vector_pc[p, c] = d
        square += d * d
    distance_p[p] = sqrt(square)


@device_function
def angular(
    q: int,
    first_pair: int,
    vector_pc: Array,
    distance_p: Array,
    reach: float,
    constants: Array,
    y_aq: Array,
) -> None:
    """Y_lm of a pair; nothing at ``reach`` and beyond.  Neighbouring threads write neighbouring numbers."""
    p = first_pair + q
    r = distance_p[p]
    if r < reach:
        harmonics(vector_pc[p, 0] / r, vector_pc[p, 1] / r, vector_pc[p, 2] / r, constants.shape[1] - 1, constants, y_aq[:, q])


@device_function
def radial(
    e: int,
    f: int,
    first_atom: int,
    first_pair: int,
    first: Index,
    distance_p: Array,
    reach: float,
    segments: Array,
    table: Array,
    g_qf: Array,
    dg_qf: Array,
) -> None:
    """One g_nl and dg_nl/dr of all pairs of a centre; nothing at ``reach`` and beyond."""
    i = first_atom + e
    for p in range(first[i], first[i + 1]):
        if distance_p[p] < reach:
            value, slope = radial_function(distance_p[p], segments, table, f)
            g_qf[p - first_pair, f] = value
            dg_qf[p - first_pair, f] = slope


@device_function
def expand(
    e: int,
    k: int,
    first_atom: int,
    first_pair: int,
    first: Index,
    species_i: Index,
    neighbour_p: Index,
    distance_p: Array,
    reach: float,
    y_aq: Array,
    g_qf: Array,
    density_s: Index,
    weight_s: Array,
    centre_sd: Array,
    central_n: Array,
    place_k5: Index,
    c_edan: Array,
) -> None:
    """Up to 4 x 2 expansion coefficients of every density; ``place_k5[k]`` = (first lm, last lm, f, n, next n or n).

    They share what is read of a pair.  Neighbours that are sorted by density cost one addition to memory a density.
    """
    i = first_atom + e
    a = place_k5[k, 0]
    last = place_k5[k, 1]
    n = place_k5[k, 3]
    m = place_k5[k, 4]
    for d in range(c_edan.shape[1]):
        for b in range(a, last + 1):
            c_edan[e, d, b, n] = centre_sd[species_i[i], d] * central_n[n] if b == 0 else _ZERO
            c_edan[e, d, b, m] = centre_sd[species_i[i], d] * central_n[m] if b == 0 else _ZERO
    # indices without sign, which cannot count from the end: a third of the time less
    a_0 = np.uint64(a)
    a_1 = np.uint64(min(a + 1, last))
    a_2 = np.uint64(min(a + 2, last))
    a_3 = np.uint64(min(a + 3, last))
    f_n = np.uint64(place_k5[k, 2])
    f_m = np.uint64(place_k5[k, 2] + m - n)
    density = -1
    n_0 = n_1 = n_2 = n_3 = _ZERO
    m_0 = m_1 = m_2 = m_3 = _ZERO
    for p in range(first[i], first[i + 1]):
        if distance_p[np.uint64(p)] < reach:
            q = np.uint64(p - first_pair)
            s = species_i[neighbour_p[np.uint64(p)]]
            if density_s[s] != density:
                if density >= 0:
                    _add_to_four(c_edan, e, density, a, last, n, n_0, n_1, n_2, n_3)
                    if m != n:
                        _add_to_four(c_edan, e, density, a, last, m, m_0, m_1, m_2, m_3)
                density = density_s[s]
                n_0 = n_1 = n_2 = n_3 = _ZERO
                m_0 = m_1 = m_2 = m_3 = _ZERO
            y_0 = y_aq[a_0, q]
            y_1 = y_aq[a_1, q]
            y_2 = y_aq[a_2, q]
            y_3 = y_aq[a_3, q]
            g = weight_s[s] * g_qf[q, f_n]
            n_0 += g * y_0
            n_1 += g * y_1
            n_2 += g * y_2
            n_3 += g * y_3
            g = weight_s[s] * g_qf[q, f_m]
            m_0 += g * y_0
            m_1 += g * y_1
            m_2 += g * y_2
            m_3 += g * y_3
    if density >= 0:
        _add_to_four(c_edan, e, density, a, last, n, n_0, n_1, n_2, n_3)
        if m != n:
            _add_to_four(c_edan, e, density, a, last, m, m_0, m_1, m_2, m_3)


@device_function
def _add_to_four(
    c_edan: Array, e: int, d: int, a: int, last: int, n: int, total_0: float, total_1: float, total_2: float, total_3: float
) -> None:
    """Add to the coefficients from ``a`` to ``last``; there are four at most."""
    c_edan[e, d, a, n] += total_0
    if a + 1 <= last:
        c_edan[e, d, a + 1, n] += total_1
    if a + 2 <= last:
        c_edan[e, d, a + 2, n] += total_2
    if a + 3 <= last:
        c_edan[e, d, a + 3, n] += total_3


@device_function
def power(e: int, x: int, left_edan: Array, right_edan: Array, element_x5: Index, factor_x: Array, p_ex: Array) -> None:
    """Element x of the power spectrum; ``element_x5[x]`` = (d, d of the other factor, l, n, n of the other factor)."""
    d = element_x5[x, 0]
    b = element_x5[x, 1]
    l = element_x5[x, 2]
    i = element_x5[x, 3]
    j = element_x5[x, 4]
    total = _ZERO
    for a in range(l * l, (l + 1) * (l + 1)):
        total += left_edan[e, d, a, i] * right_edan[e, b, a, j]
    p_ex[e, x] = factor_x[x] * total


@device_function
def adjoint(
    e: int,
    k: int,
    g_ex: Array,
    factor_x: Array,
    other_edan: Array,
    place_k4: Index,
    first_r: Index,
    element_t3: Index,
    g_edan: Array,
) -> None:
    """dE/d(one factor of the power spectrum) from dE/dp: a sum over the elements that contain it.

    ``place_k4[k]`` = (d, lm, n, r).  From ``first_r[r]`` to ``first_r[r + 1]``, ``element_t3`` has the elements x, and d and
    n of the other factor.
    """
    d = place_k4[k, 0]
    a = place_k4[k, 1]
    r = place_k4[k, 3]
    total = _ZERO
    for t in range(first_r[r], first_r[r + 1]):
        x = element_t3[t, 0]
        total += factor_x[x] * g_ex[e, x] * other_edan[e, element_t3[t, 1], a, element_t3[t, 2]]
    g_edan[e, d, a, place_k4[k, 2]] = total


@device_function
def pair_gradient(
    q: int,
    first_atom: int,
    first_pair: int,
    centre_p: Index,
    neighbour_p: Index,
    species_i: Index,
    vector_pc: Array,
    distance_p: Array,
    reach: float,
    constants: Array,
    density_s: Index,
    weight_s: Array,
    g_qf: Array,
    dg_qf: Array,
    g_edan: Array,
    gradient_pc: Array,
) -> None:
    """Add dE/dD of a pair from dE/dc of its centre."""
    p = first_pair + q
    r = distance_p[p]
    if r < reach:
        s = species_i[neighbour_p[p]]
        inverse = _ONE / r
        coefficients = g_edan[centre_p[p] - first_atom, density_s[s]]
        gx, gy, gz = contract_gradient(
            vector_pc[p, 0] * inverse,
            vector_pc[p, 1] * inverse,
            vector_pc[p, 2] * inverse,
            inverse,
            coefficients,
            g_qf[q],
            dg_qf[q],
            constants,
        )
        gradient_pc[p, 0] += weight_s[s] * gx
        gradient_pc[p, 1] += weight_s[s] * gy
        gradient_pc[p, 2] += weight_s[s] * gz


@device_function
def powers(e: int, k: int, zeta: int, alpha_m: Array, xs_em: Array, part_ek: Array) -> None:
    """Sum of alpha_m xs^zeta over every so-many-th m from k on; there xs becomes alpha_m zeta xs^(zeta - 1)."""
    total = _ZERO
    m = k
    while m < alpha_m.size:
        u = np.uint64(m)
        xs = xs_em[np.uint64(e), u]
        slope = alpha_m[u]
        for _ in range(zeta - 1):
            slope *= xs
        total += slope * xs
        xs_em[np.uint64(e), u] = zeta * slope
        m += part_ek.shape[1]
    part_ek[e, k] = total


@device_function
def repulsion(
    i: int,
    first: Index,
    neighbour_p: Index,
    species_i: Index,
    constant_ssk: Array,
    vector_pc: Array,
    distance_p: Array,
    energy_i: Array,
    gradient_pc: Array,
) -> None:
    """Half the energy of each pair of an atom, as `gapkit._cpu.repulsion.add_repulsion`."""
    total = _ZERO
    s = species_i[i]
    for p in range(first[i], first[i + 1]):
        t = species_i[neighbour_p[p]]
        r = distance_p[p]
        if r < constant_ssk[s, t, 3]:
            value, slope = switched_zbl(
                r, constant_ssk[s, t, 0], constant_ssk[s, t, 1], constant_ssk[s, t, 2], constant_ssk[s, t, 3]
            )
            total += _HALF * value
            for c in range(3):
                gradient_pc[p, c] += _HALF * slope * vector_pc[p, c] / r
    energy_i[i] += total


@device_function
def add_row_sum(i: int, start_i: Index, value_q: Array, total_i: Array) -> None:
    """Add what belongs to some pairs of an atom to what belongs to the atom."""
    total = _ZERO
    for q in range(start_i[i], start_i[i + 1]):
        total += value_q[q]
    total_i[i] += total


@device_function
def add_rows(i: int, m: int, column: int, start_i: Index, weight_q: Array, kernel_qm: Array, row_im: Array) -> None:
    """The same for rows of kernels with sparse points, each times a weight; they begin at a column of the rows of atoms."""
    total = _ZERO
    for q in range(start_i[i], start_i[i + 1]):
        total += weight_q[q] * kernel_qm[q, m]
    row_im[i, column + m] += total


@device_function
def gather_force(i: int, first: Index, reverse_p: Index, gradient_pc: Array, atom_i: Index, force_ic: Array) -> None:
    """F_i = sum over the pairs p of i of (g_p - g_reverse(p)), put where the atom was given: no scatter, hence no race."""
    for c in range(3):
        total = _ZERO
        for p in range(first[i], first[i + 1]):
            total += gradient_pc[p, c] - gradient_pc[reverse_p[p], c]
        force_ic[atom_i[i], c] = total
