"""What one CUDA thread does to find the neighbours of an atom in a cell list.

Atoms are sorted by (species, bin); ``start_b`` holds the first atom of each species and bin, at ``species * n_bins + bin``,
and last the number of atoms.  Bins divide the box of fractional coordinates from ``low_c`` on, ``count_c`` along each axis; a
neighbour is at most ``range_c`` bins away.
"""

from __future__ import annotations

from math import floor

import numpy as np
from numpy.typing import NDArray

from .._device import device_function

__all__ = ["bin_of", "displacement", "reverse", "row"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

_ZERO = np.float64(0.0)


@device_function
def bin_of(
    i: int,
    position_ic: Array,
    inverse_cc: Array,
    periodic_c: Index,
    low_c: Array,
    scale_c: Array,
    count_c: Index,
    species_i: Index,
    bin_ic: Index,
    wrap_ic: Index,
    key_i: Index,
) -> None:
    """Bin of an atom, the cells that it is away from the first one, and (species, bin, atom) in one number to sort by."""
    b = species_i[i]
    for c in range(3):
        s = position_ic[i, 0] * inverse_cc[0, c] + position_ic[i, 1] * inverse_cc[1, c] + position_ic[i, 2] * inverse_cc[2, c]
        wrap = 0
        if periodic_c[c] == 1:
            wrap = floor(s)
            s -= wrap
        k = min(max(floor((s - low_c[c]) * scale_c[c]), 0), count_c[c] - 1)
        bin_ic[i, c] = k
        wrap_ic[i, c] = wrap
        b = b * count_c[c] + k
    key_i[i] = b * position_ic.shape[0] + i


@device_function
def row(
    i: int,
    write: int,
    square_of_cutoff: float,
    position_ic: Array,
    cell_cc: Array,
    periodic_c: Index,
    count_c: Index,
    range_c: Index,
    n_species: int,
    bin_ic: Index,
    wrap_ic: Index,
    start_b: Index,
    first: Index,
    n_i: Index,
    centre_p: Index,
    neighbour_p: Index,
    shift_pc: Index,
) -> None:
    """Count the neighbours of an atom or, with ``write`` = 1, list them from ``first[i]`` on, sorted by species."""
    n = 0
    nx, ny, nz = count_c[0], count_c[1], count_c[2]
    bx, by, bz = bin_ic[i, 0], bin_ic[i, 1], bin_ic[i, 2]
    for s in range(n_species):
        for ux in range(bx - range_c[0], bx + range_c[0] + 1):
            sx = ux // nx
            if sx != 0 and periodic_c[0] == 0:
                continue
            for uy in range(by - range_c[1], by + range_c[1] + 1):
                sy = uy // ny
                if sy != 0 and periodic_c[1] == 0:
                    continue
                for uz in range(bz - range_c[2], bz + range_c[2] + 1):
                    sz = uz // nz
                    if sz != 0 and periodic_c[2] == 0:
                        continue
                    b = ((s * nx + ux - sx * nx) * ny + uy - sy * ny) * nz + uz - sz * nz
                    for j in range(start_b[b], start_b[b + 1]):
                        kx = sx + wrap_ic[i, 0] - wrap_ic[j, 0]
                        ky = sy + wrap_ic[i, 1] - wrap_ic[j, 1]
                        kz = sz + wrap_ic[i, 2] - wrap_ic[j, 2]
                        if i == j and kx == 0 and ky == 0 and kz == 0:
                            continue
                        square = _ZERO
                        for c in range(3):
                            d = position_ic[j, c] - position_ic[i, c]
                            d += kx * cell_cc[0, c] + ky * cell_cc[1, c] + kz * cell_cc[2, c]
                            square += d * d
                        if square < square_of_cutoff:
                            if write == 1:
                                p = first[i] + n
                                centre_p[p] = i
                                neighbour_p[p] = j
                                shift_pc[p, 0] = kx
                                shift_pc[p, 1] = ky
                                shift_pc[p, 2] = kz
                            n += 1
    n_i[i] = n


@device_function
def reverse(p: int, first: Index, centre_p: Index, neighbour_p: Index, shift_pc: Index, reverse_p: Index) -> None:
    """Place of the pair (neighbour, centre, -shift); distances of both are the same bit for bit, so there always is one."""
    i = centre_p[p]
    j = neighbour_p[p]
    reverse_p[p] = p
    for k in range(first[j], first[j + 1]):
        if (
            neighbour_p[k] == i
            and shift_pc[k, 0] == -shift_pc[p, 0]
            and shift_pc[k, 1] == -shift_pc[p, 1]
            and shift_pc[k, 2] == -shift_pc[p, 2]
        ):
            reverse_p[p] = k


@device_function
def displacement(i: int, position_ic: Array, reference_ic: Array, square_i: Array) -> None:
    """Square of the way that an atom has gone."""
    total = _ZERO
    for c in range(3):
        d = position_ic[i, c] - reference_ic[i, c]
        total += d * d
    square_i[i] = total
