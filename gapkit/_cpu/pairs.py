"""Loops over pairs of atoms: full list from half list, moved atoms, and gathering pair gradients.

Array names end with their axes: p pair, h half-list pair, i atom, t structure, c Cartesian.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import NDArray

from . import njit

__all__ = ["full_from_half", "gather_forces", "gather_virials", "move"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Shift = NDArray[np.int32]


@njit
def full_from_half(n_atoms: int, i_h: Index, j_h: Index, shift_hc: Shift) -> tuple[Index, Index, Index, Shift, Index]:
    """Return (first, centre, neighbour, shift, reverse) of the full list; both directions of a pair know each other."""
    first = np.zeros(n_atoms + 1, np.int64)
    for h in range(i_h.size):
        first[i_h[h] + 1] += 1
        first[j_h[h] + 1] += 1
    for i in range(n_atoms):
        first[i + 1] += first[i]
    fill = first[:-1].copy()
    n_pairs = 2 * i_h.size
    centre = np.empty(n_pairs, np.int64)
    neighbour = np.empty(n_pairs, np.int64)
    shift_pc = np.empty((n_pairs, 3), np.int32)
    reverse = np.empty(n_pairs, np.int64)
    for h in range(i_h.size):
        i = i_h[h]
        j = j_h[h]
        p = fill[i]
        fill[i] += 1
        q = fill[j]
        fill[j] += 1
        centre[p] = i
        neighbour[p] = j
        centre[q] = j
        neighbour[q] = i
        reverse[p] = q
        reverse[q] = p
        for c in range(3):
            shift_pc[p, c] = shift_hc[h, c]
            shift_pc[q, c] = -shift_hc[h, c]
    return first, centre, neighbour, shift_pc, reverse


@njit
def move(
    position_ic: Array,
    cell_tcc: Array,
    structure_i: Index,
    first: Index,
    neighbour: Index,
    shift_pc: Shift,
    vector_pc: Array,
    distance_p: Array,
) -> None:
    """Fill pair vectors r_j + S cell - r_i and their lengths."""
    for i in range(first.size - 1):
        cell = cell_tcc[structure_i[i]]
        for p in range(first[i], first[i + 1]):
            j = neighbour[p]
            square = 0.0
            for c in range(3):
                d = position_ic[j, c] - position_ic[i, c]
                d += shift_pc[p, 0] * cell[0, c] + shift_pc[p, 1] * cell[1, c] + shift_pc[p, 2] * cell[2, c]
                vector_pc[p, c] = d
                square += d * d
            distance_p[p] = sqrt(square)


@njit
def gather_forces(first: Index, reverse: Index, gradient_pc: Array, force_ic: Array) -> None:
    """F_i = sum over the pairs p of i of (g_p - g_reverse(p)), with g_p = dE/dD_p: no scatter, hence no race."""
    for i in range(first.size - 1):
        for c in range(3):
            total = 0.0
            for p in range(first[i], first[i + 1]):
                total += gradient_pc[p, c] - gradient_pc[reverse[p], c]
            force_ic[i, c] = total


@njit
def gather_virials(first: Index, structure_i: Index, vector_pc: Array, gradient_pc: Array, virial_tcc: Array) -> None:
    """dE/d strain_ab of each structure = sum over its pairs of D_a g_b, added in the order of the pairs."""
    for i in range(first.size - 1):
        t = structure_i[i]
        for p in range(first[i], first[i + 1]):
            for a in range(3):
                for b in range(3):
                    virial_tcc[t, a, b] += vector_pc[p, a] * gradient_pc[p, b]
