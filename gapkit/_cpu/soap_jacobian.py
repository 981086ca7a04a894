"""The derivative of every SOAP feature by every pair vector, which a fit needs: most of the work of its features.

Array names end with their axes, as in `gapkit._cpu.soap`; arrays in lanes (axes rm) are explained in `soap_products`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .._device.harmonics import harmonics_gradient
from .._device.pair import radial_functions_slopes
from . import inlined, njit
from .lanes import N_LANES, put, repeat, spread, take
from .soap_products import blocks_of, into_rows, outer, places

__all__ = ["jacobian"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]


@inlined
def _coefficient_slopes(
    l_max: int, u: Array, inverse_r: float, weight: float, g_rm: Array, dg_rm: Array, y_a: Array, dy_ca: Array, dc_rm: Array
) -> None:
    """d(g_nl(r) Y_lm)/dD: the slope of g along the unit vector, and g / r times the tangential part of the gradient of Y."""
    n_lm = (l_max + 1) * (l_max + 1)
    n_blocks = dc_rm.shape[0] // (3 * n_lm)
    for l in range(l_max + 1):
        for a in range(l * l, (l + 1) * (l + 1)):
            y = weight * y_a[a]
            along = dy_ca[0, a] * u[0] + dy_ca[1, a] * u[1] + dy_ca[2, a] * u[2]
            for c in range(3):
                radial, tangential = spread(y * u[c]), spread(weight * inverse_r * (dy_ca[c, a] - along * u[c]))
                for b in range(n_blocks):
                    row = l * n_blocks + b
                    put(dc_rm, (c * n_blocks + b) * n_lm + a, take(dg_rm, row) * radial + take(g_rm, row) * tangential)


@inlined
def _mixed(n_lm: int, dc_rm: Array, mixing_sndm: Array, s: int, mixing_rm: Array, out_rm: Array) -> None:
    """Derivatives of the mixed channels, rows (d, c, block, a), from those of the radial functions of the moved density s."""
    n_max, n_densities, n_channels = mixing_sndm.shape[1], mixing_sndm.shape[2], mixing_sndm.shape[3]
    n_blocks, n_radial_blocks = blocks_of(n_channels), blocks_of(n_max)
    for n in range(n_max):
        for d in range(n_densities):
            for m in range(n_channels):
                mixing_rm[(n * n_densities + d) * n_blocks + m // N_LANES, m % N_LANES] = mixing_sndm[s, n, d, m]
    for d in range(n_densities):
        for c in range(3):
            for b in range(n_blocks):
                for a in range(n_lm):
                    total = spread(0.0)
                    for n in range(n_max):
                        value = repeat(dc_rm, (c * n_radial_blocks + n // N_LANES) * n_lm + a, n % N_LANES)
                        total = total + value * take(mixing_rm, (n * n_densities + d) * n_blocks + b)
                    put(out_rm, ((d * 3 + c) * n_blocks + b) * n_lm + a, total)


@njit
def jacobian(
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
    n_max: int,
    mix_left_sndm: Array,
    mix_right_sndm: Array,
    left_edan: Array,
    right_edan: Array,
    block_k3: Index,
    factor_k: Array,
    prefactor_l: Array,
    x_ef: Array,
    norm_e: Array,
    jacobian_pcf: Array,
) -> None:
    """d x_f / d D_p of the environment that pair p belongs to.

    ``norm_e`` > 0: x is the power spectrum divided by that norm, dx = (dp - x (x . dp)) / norm; 0: x = 0, dx = 0;
    negative: x is the power spectrum itself.  An empty mixing matrix means the coefficients themselves, of which only those
    of the neighbour's density change.
    """
    l_max = table.shape[2] // n_max - 1
    n_lm, n_left, n_right = (l_max + 1) * (l_max + 1), left_edan.shape[1], right_edan.shape[1]
    rows, columns = left_edan.shape[3], right_edan.shape[3]
    radial_blocks, row_blocks, column_blocks = blocks_of(n_max), blocks_of(rows), blocks_of(columns)
    left_mixed, right_mixed = mix_left_sndm.size > 0, mix_right_sndm.size > 0
    q = np.empty((l_max + 2, l_max + 2))
    c = np.empty(l_max + 1)
    s = np.empty(l_max + 1)
    y = np.empty(n_lm)
    dy = np.empty((3, n_lm))
    g = np.empty(table.shape[2])
    dg = np.empty(table.shape[2])
    unit = np.empty(3)
    g_rm = np.zeros(((l_max + 1) * radial_blocks, N_LANES))
    dg_rm = np.zeros(((l_max + 1) * radial_blocks, N_LANES))
    dc = np.empty((3 * radial_blocks * n_lm, N_LANES))
    left = np.zeros((n_left * row_blocks * n_lm, N_LANES))
    right = np.zeros((n_right * column_blocks * n_lm, N_LANES))
    d_left = np.empty((n_left * 3 * row_blocks * n_lm, N_LANES)) if left_mixed else dc
    d_right = np.empty((n_right * 3 * column_blocks * n_lm, N_LANES)) if right_mixed else dc
    mixing = np.zeros((n_max * max(n_left * row_blocks, n_right * column_blocks), N_LANES))
    w_rows = row_blocks * N_LANES * column_blocks
    w = np.empty(((l_max + 1) * w_rows, N_LANES))
    w_q = w.reshape(w.size)
    of_all, of_triangle = places(rows, columns, False, prefactor_l), places(rows, columns, True, prefactor_l)
    for e in range(first.size - 1):
        into_rows(left_edan, e, left)
        into_rows(right_edan, e, right)
        for p in range(first[e], first[e + 1]):
            r = distance_p[p]
            jacobian_pcf[p] = 0.0
            if r >= reach or norm_e[e] == 0.0:
                continue
            for k in range(3):
                unit[k] = vector_pc[p, k] / r
            harmonics_gradient(unit[0], unit[1], unit[2], l_max, constants, q, c, s, y, dy)
            radial_functions_slopes(r, segments, table, g, dg)
            for l in range(l_max + 1):
                for n in range(n_max):
                    g_rm[l * radial_blocks + n // N_LANES, n % N_LANES] = g[l * n_max + n]
                    dg_rm[l * radial_blocks + n // N_LANES, n % N_LANES] = dg[l * n_max + n]
            moved = density_s[species_p[p]]
            _coefficient_slopes(l_max, unit, 1.0 / r, weight_s[species_p[p]], g_rm, dg_rm, y, dy, dc)
            if left_mixed:
                _mixed(n_lm, dc, mix_left_sndm, moved, mixing, d_left)
            if right_mixed:
                _mixed(n_lm, dc, mix_right_sndm, moved, mixing, d_right)
            for k in range(3):
                f = 0
                for b in range(block_k3.shape[0]):
                    d1, d2, triangle = block_k3[b, 0], block_k3[b, 1], block_k3[b, 2] == 1
                    by_left, by_right = left_mixed or moved == d1, right_mixed or moved == d2
                    n_features = (of_triangle if triangle else of_all)[0].size
                    if not (by_left or by_right):
                        f += n_features
                        continue
                    of_left = ((d1 * 3 if left_mixed else 0) + k) * row_blocks * n_lm
                    of_right = ((d2 * 3 if right_mixed else 0) + k) * column_blocks * n_lm
                    left_row, right_row = d1 * row_blocks * n_lm, d2 * column_blocks * n_lm
                    for l in range(l_max + 1):
                        row = l * w_rows
                        if by_left:
                            outer(l, n_lm, rows, d_left, of_left, right, right_row, column_blocks, row, False, w)
                        if by_right:
                            outer(l, n_lm, rows, left, left_row, d_right, of_right, column_blocks, row, by_left, w)
                    place_f, _, own_f, other_f = of_triangle if triangle else of_all
                    for i in range(n_features):
                        jacobian_pcf[p, k, f + i] = (own_f[i] + factor_k[b] * other_f[i]) * w_q[place_f[i]]
                    f += n_features
                if norm_e[e] > 0.0:
                    along = 0.0
                    for f in range(x_ef.shape[1]):
                        along += x_ef[e, f] * jacobian_pcf[p, k, f]
                    for f in range(x_ef.shape[1]):
                        jacobian_pcf[p, k, f] = (jacobian_pcf[p, k, f] - x_ef[e, f] * along) / norm_e[e]
