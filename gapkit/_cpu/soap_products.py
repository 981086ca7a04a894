"""The power spectrum and its adjoint.

The power spectrum is the product of two sets of channels, left[e, d, lm, n] and right[e, d, lm, n], in blocks:
``block_k3[k]`` holds d on the left, d on the right, and 1 for a triangle, where both are the same and only n' >= n is kept.
``factor_k`` multiplies the elements of the block (of a triangle: those off the diagonal).  Both sets are the coefficients
themselves or mixtures of them.

Channels fill lanes: [d, a, n] is stored in rows of eight (axes rm), those of all lm for the first eight n, those for the next,
and so on, filled up with zeros.  Arrays of rows are passed with the number of their first row, as taking parts of arrays
costs more than the arithmetic.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import inlined, njit
from .lanes import N_LANES, put, repeat, spread, take

__all__ = ["blocks_of", "coefficient_gradient", "into_rows", "outer", "places", "power_spectrum"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]


@inlined
def blocks_of(n: int) -> int:
    """How many times eight lanes hold n numbers."""
    return (n + N_LANES - 1) // N_LANES


@inlined
def into_rows(channels_edan: Array, e: int, out_rm: Array) -> None:
    """Copy the channels of an environment."""
    n_lm, n_channels = channels_edan.shape[2], channels_edan.shape[3]
    row = 0
    for d in range(channels_edan.shape[1]):
        for start in range(0, n_channels, N_LANES):
            for a in range(n_lm):
                if start + N_LANES <= n_channels:  # a loop of known length is one move
                    for m in range(N_LANES):
                        out_rm[row, m] = channels_edan[e, d, a, start + m]
                else:
                    for m in range(n_channels - start):
                        out_rm[row, m] = channels_edan[e, d, a, start + m]
                row += 1


@inlined
def outer(
    l: int,
    n_lm: int,
    n_rows: int,
    left_rm: Array,
    left_first: int,
    right_rm: Array,
    right_first: int,
    n_blocks: int,
    first_row: int,
    add: bool,
    w_rm: Array,
) -> None:
    """w[i, j] = (or +=) sum over the m of l of left[a, i] right[a, j].

    ``w`` has a row for each i and block of j, from ``first_row`` on.
    """
    for i in range(0, n_rows, 4):  # lanes that stand for nothing are zero
        left_row, k = left_first + i // N_LANES * n_lm, i % N_LANES
        for b in range(n_blocks):
            right_row = right_first + b * n_lm
            r0 = first_row + i * n_blocks + b
            r1, r2, r3 = r0 + n_blocks, r0 + 2 * n_blocks, r0 + 3 * n_blocks
            t0, t1, t2, t3 = spread(0.0), spread(0.0), spread(0.0), spread(0.0)
            if add:
                t0, t1, t2, t3 = take(w_rm, r0), take(w_rm, r1), take(w_rm, r2), take(w_rm, r3)
            for a in range(l * l, (l + 1) * (l + 1)):
                right = take(right_rm, right_row + a)
                t0 = t0 + repeat(left_rm, left_row + a, k) * right
                t1 = t1 + repeat(left_rm, left_row + a, k + 1) * right
                t2 = t2 + repeat(left_rm, left_row + a, k + 2) * right
                t3 = t3 + repeat(left_rm, left_row + a, k + 3) * right
            put(w_rm, r0, t0)
            put(w_rm, r1, t1)
            put(w_rm, r2, t2)
            put(w_rm, r3, t3)


@inlined
def places(rows: int, columns: int, triangle: bool, prefactor_l: Array) -> tuple[Index, Index, Array, Array]:
    """Where the features of a block are among the products [l, i, j] of all l and among [l, j, i], and their factors.

    These are own + other * the factor of the block.
    """
    n = prefactor_l.size * (rows * (rows + 1) // 2 if triangle else rows * columns)
    place_f, mirror_f, own_f, other_f = np.empty(n, np.int64), np.empty(n, np.int64), np.zeros(n), np.zeros(n)
    height, width = blocks_of(rows) * N_LANES, blocks_of(columns) * N_LANES
    f = 0
    for l in range(prefactor_l.size):
        for i in range(rows):
            for j in range(i if triangle else 0, columns):
                place_f[f] = (l * height + i) * width + j
                mirror_f[f] = (l * width + j) * height + i
                if triangle and i == j:
                    own_f[f] = prefactor_l[l]
                else:
                    other_f[f] = prefactor_l[l]
                f += 1
    return place_f, mirror_f, own_f, other_f


@njit
def power_spectrum(
    left_edan: Array, right_edan: Array, block_k3: Index, factor_k: Array, prefactor_l: Array, p_ef: Array
) -> None:
    """p = prefactor_l sum_m left_lmn right_lmn'; order: block, l, n, n'."""
    n_lm, rows, columns = left_edan.shape[2], left_edan.shape[3], right_edan.shape[3]
    row_blocks, column_blocks = blocks_of(rows), blocks_of(columns)
    left = np.zeros((left_edan.shape[1] * row_blocks * n_lm, N_LANES))
    right = np.zeros((right_edan.shape[1] * column_blocks * n_lm, N_LANES))
    w_rows = row_blocks * N_LANES * column_blocks
    w = np.empty((prefactor_l.size * w_rows, N_LANES))
    w_q = w.reshape(w.size)
    of_all, of_triangle = places(rows, columns, False, prefactor_l), places(rows, columns, True, prefactor_l)
    for e in range(left_edan.shape[0]):
        into_rows(left_edan, e, left)
        into_rows(right_edan, e, right)
        f = 0
        for k in range(block_k3.shape[0]):
            left_row, right_row = block_k3[k, 0] * row_blocks * n_lm, block_k3[k, 1] * column_blocks * n_lm
            for l in range(prefactor_l.size):
                outer(l, n_lm, rows, left, left_row, right, right_row, column_blocks, l * w_rows, False, w)
            place_f, _, own_f, other_f = of_triangle if block_k3[k, 2] == 1 else of_all
            for i in range(place_f.size):
                p_ef[e, f + i] = (own_f[i] + factor_k[k] * other_f[i]) * w_q[place_f[i]]
            f += place_f.size


@inlined
def _add_contracted(
    l_max: int,
    n_lm: int,
    n_columns: int,
    w_rm: Array,
    w_rows: int,
    n_blocks: int,
    with_rm: Array,
    with_row: int,
    out_rm: Array,
    out_row: int,
) -> None:
    """out[a, i] += sum over j of with[a, j] w[j, i] of the l of each a; ``w`` has a row for each j and block of i."""
    for b in range(n_blocks):
        for l in range(l_max + 1):
            for a in range(l * l, (l + 1) * (l + 1)):
                total = take(out_rm, out_row + b * n_lm + a)
                for j in range(n_columns):
                    value = repeat(with_rm, with_row + j // N_LANES * n_lm + a, j % N_LANES)
                    total = total + value * take(w_rm, l * w_rows + j * n_blocks + b)
                put(out_rm, out_row + b * n_lm + a, total)


@inlined
def _add_from_rows(rows_rm: Array, e: int, out_edan: Array) -> None:
    """Add the channels of an environment to where they belong."""
    n_lm, n_channels = out_edan.shape[2], out_edan.shape[3]
    row = 0
    for d in range(out_edan.shape[1]):
        for start in range(0, n_channels, N_LANES):
            for a in range(n_lm):
                if start + N_LANES <= n_channels:
                    for m in range(N_LANES):
                        out_edan[e, d, a, start + m] += rows_rm[row, m]
                else:
                    for m in range(n_channels - start):
                        out_edan[e, d, a, start + m] += rows_rm[row, m]
                row += 1


@njit
def coefficient_gradient(
    left_edan: Array,
    right_edan: Array,
    block_k3: Index,
    factor_k: Array,
    prefactor_l: Array,
    g_ef: Array,
    g_left_edan: Array,
    g_right_edan: Array,
) -> None:
    """Adjoint of `power_spectrum`: adds dE/d(left) and dE/d(right), which may be one array, from dE/dp.

    With w = dE/d(left right^T) of an l: dE/d(left) = w right, dE/d(right) = w^T left; of a triangle, w + w^T and once.
    """
    n_lm, rows, columns, l_max = left_edan.shape[2], left_edan.shape[3], right_edan.shape[3], prefactor_l.size - 1
    row_blocks, column_blocks = blocks_of(rows), blocks_of(columns)
    left = np.zeros((left_edan.shape[1] * row_blocks * n_lm, N_LANES))
    right = np.zeros((right_edan.shape[1] * column_blocks * n_lm, N_LANES))
    g_left, g_right = np.empty(left.shape), np.empty(right.shape)
    w = np.zeros((prefactor_l.size * row_blocks * N_LANES * column_blocks, N_LANES))
    transposed = np.zeros(w.shape)
    w_q, transposed_q = w.reshape(w.size), transposed.reshape(w.size)
    w_rows = row_blocks * N_LANES * column_blocks
    of_all, of_triangle = places(rows, columns, False, prefactor_l), places(rows, columns, True, prefactor_l)
    for e in range(left_edan.shape[0]):
        into_rows(left_edan, e, left)
        into_rows(right_edan, e, right)
        g_left[:] = 0.0
        g_right[:] = 0.0
        f = 0
        for k in range(block_k3.shape[0]):
            left_row, right_row = block_k3[k, 0] * row_blocks * n_lm, block_k3[k, 1] * column_blocks * n_lm
            triangle = block_k3[k, 2] == 1
            place_f, mirror_f, own_f, other_f = of_triangle if triangle else of_all
            in_order = transposed_q if triangle else w_q
            for i in range(place_f.size):
                value = g_ef[e, f + i] * (2.0 * own_f[i] + factor_k[k] * other_f[i])
                in_order[place_f[i]] = value
                transposed_q[mirror_f[i]] = value
            f += place_f.size
            _add_contracted(l_max, n_lm, columns, transposed, w_rows, row_blocks, right, right_row, g_left, left_row)
            if not triangle:
                _add_contracted(l_max, n_lm, rows, w, w_rows, column_blocks, left, left_row, g_right, right_row)
        _add_from_rows(g_left, e, g_left_edan)
        _add_from_rows(g_right, e, g_right_edan)
