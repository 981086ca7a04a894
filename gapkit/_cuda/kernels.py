"""The CUDA kernels: one call of a body for each thread, and what is promised of the machine code.

Two kinds.  *Per item*: thread t computes item t, of ``n``.  *Per environment*: block e has the ``n`` outputs of environment e,
which its threads share out.  No barrier, no atomic operation: every output has one thread that adds in a fixed order, so that
two runs are equal bit by bit.  Sizes are arguments: one compiled kernel serves all of them, and no index is divided by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from numba import cuda, types

from . import acsf_bodies, bodies, neighbor_bodies, row_bodies, row_kernels, triplet_bodies

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

__all__ = ["KERNELS", "Kernel", "signature"]


class Kernel(NamedTuple):
    """A kernel and what goes with it.

    ``function``: not compiled yet; ``body``: what it calls; ``arguments``: types in the code of `signature`; ``block``: threads
    of a block; ``registers``: budget of a thread; ``per_environment``: which of the two kinds.
    """

    function: Callable[..., None]
    body: Any
    arguments: str
    block: int
    registers: int
    per_environment: bool = False


def signature(arguments: str) -> tuple[Any, ...]:
    """Types of "i" and "f" (scalars), "i2" and "f4" (C-contiguous arrays of so many dimensions), of 64 bits all."""
    result = []
    for code in arguments.split():
        kind = {"i": types.int64, "f": types.float64}[code[0]]
        result.append(kind if len(code) == 1 else types.Array(kind, int(code[1:]), "C"))
    return tuple(result)


def _move(n, position, cell, centre, near, shift, vector, distance):
    t = cuda.grid(1)
    if t < n:
        bodies.move(t, position, cell, centre, near, shift, vector, distance)


def _angular(n, p0, vector, distance, reach, constants, y):
    t = cuda.grid(1)
    if t < n:
        bodies.angular(t, p0, vector, distance, reach, constants, y)


def _radial(n, i0, p0, first, distance, reach, segments, table, g, dg):
    k = cuda.threadIdx.x
    while k < n:
        bodies.radial(cuda.blockIdx.x, k, i0, p0, first, distance, reach, segments, table, g, dg)
        k += cuda.blockDim.x


def _expand(n, i0, p0, first, species, near, distance, reach, y, g, density, weight, centre, central, place, c):
    k = cuda.threadIdx.x
    while k < n:
        bodies.expand(
            cuda.blockIdx.x,
            k,
            i0,
            p0,
            first,
            species,
            near,
            distance,
            reach,
            y,
            g,
            density,
            weight,
            centre,
            central,
            place,
            c,
        )
        k += cuda.blockDim.x


def _power(n, left, right, element, factor, p):
    k = cuda.threadIdx.x
    while k < n:
        bodies.power(cuda.blockIdx.x, k, left, right, element, factor, p)
        k += cuda.blockDim.x


def _adjoint(n, g, factor, other, place, first, element, out):
    k = cuda.threadIdx.x
    while k < n:
        bodies.adjoint(cuda.blockIdx.x, k, g, factor, other, place, first, element, out)
        k += cuda.blockDim.x


def _pair_gradient(n, i0, p0, centre, near, species, vector, distance, reach, constants, density, weight, g, dg, gc, out):
    t = cuda.grid(1)
    if t < n:
        bodies.pair_gradient(
            t,
            i0,
            p0,
            centre,
            near,
            species,
            vector,
            distance,
            reach,
            constants,
            density,
            weight,
            g,
            dg,
            gc,
            out,
        )


def _powers(n, zeta, alpha, xs, part):
    k = cuda.threadIdx.x
    while k < n:
        bodies.powers(cuda.blockIdx.x, k, zeta, alpha, xs, part)
        k += cuda.blockDim.x


def _repulsion(n, first, near, species, constant, vector, distance, energy, gradient):
    t = cuda.grid(1)
    if t < n:
        bodies.repulsion(t, first, near, species, constant, vector, distance, energy, gradient)


def _add_row_sum(n, start, value, total):
    t = cuda.grid(1)
    if t < n:
        bodies.add_row_sum(t, start, value, total)


def _add_rows(n, column, start, weight, kernel, rows):
    k = cuda.threadIdx.x
    while k < n:
        bodies.add_rows(cuda.blockIdx.x, k, column, start, weight, kernel, rows)
        k += cuda.blockDim.x


def _gather_force(n, first, reverse, gradient, atom, force):
    t = cuda.grid(1)
    if t < n:
        bodies.gather_force(t, first, reverse, gradient, atom, force)


def _triplet(n, pair_a, pair_b, vector, distance, cutoff, value, weight):
    t = cuda.grid(1)
    if t < n:
        triplet_bodies.triplet(t, pair_a, pair_b, vector, distance, cutoff, value, weight)


def _triplet_gradient(
    n, pair, first, entry, pair_a, pair_b, vector, distance, cutoff, cutoff_slope, value, weight, dE_dx, dE_dw, gradient
):
    t = cuda.grid(1)
    if t < n:
        triplet_bodies.triplet_gradient(
            t, pair, first, entry, pair_a, pair_b, vector, distance, cutoff, cutoff_slope, value, weight, dE_dx, dE_dw, gradient
        )


def _cubic(n, low, inverse, knot, piece, at, value, slope):
    t = cuda.grid(1)
    if t < n:
        triplet_bodies.cubic(t, low, inverse, knot, piece, at, value, slope)


def _tricubic(n, coefficient, low, inverse, at, value, slope):
    t = cuda.grid(1)
    if t < n:
        triplet_bodies.tricubic(t, coefficient, low, inverse, at, value, slope)


def _symmetry_basis(
    n, first_pair, distance_p, reach, pair_segments, pair_table, triplet_segments, triplet_table, g_qg, dg_qg, g_qt, dg_qt
):
    t = cuda.grid(1)
    if t < n:
        acsf_bodies.symmetry_basis(
            t,
            first_pair,
            distance_p,
            reach,
            pair_segments,
            pair_table,
            triplet_segments,
            triplet_table,
            g_qg,
            dg_qg,
            g_qt,
            dg_qt,
        )


def _symmetry_function(
    n,
    first_atom,
    first_pair,
    first,
    species_i,
    neighbour_p,
    vector_pc,
    distance_p,
    reach,
    place_f3,
    n_narrow,
    eta_h,
    zeta_h,
    sign_h,
    triplet_segments,
    triplet_table,
    g_qg,
    g_qt,
    value_ef,
):
    k = cuda.threadIdx.x
    while k < n:
        acsf_bodies.symmetry_function(
            cuda.blockIdx.x,
            k,
            first_atom,
            first_pair,
            first,
            species_i,
            neighbour_p,
            vector_pc,
            distance_p,
            reach,
            place_f3,
            n_narrow,
            eta_h,
            zeta_h,
            sign_h,
            triplet_segments,
            triplet_table,
            g_qg,
            g_qt,
            value_ef,
        )
        k += cuda.blockDim.x


def _symmetry_gradient(
    n,
    first_atom,
    first_pair,
    first,
    centre_p,
    neighbour_p,
    species_i,
    vector_pc,
    distance_p,
    reach,
    start_ss,
    n_narrow,
    eta_h,
    zeta_h,
    sign_h,
    triplet_segments,
    triplet_table,
    dg_qg,
    g_qt,
    dg_qt,
    weight_ef,
    gradient_pc,
):
    t = cuda.grid(1)
    if t < n:
        acsf_bodies.symmetry_gradient(
            t,
            first_atom,
            first_pair,
            first,
            centre_p,
            neighbour_p,
            species_i,
            vector_pc,
            distance_p,
            reach,
            start_ss,
            n_narrow,
            eta_h,
            zeta_h,
            sign_h,
            triplet_segments,
            triplet_table,
            dg_qg,
            g_qt,
            dg_qt,
            weight_ef,
            gradient_pc,
        )


def _bin_of(n, position, inverse, periodic, low, scale, count, species, bins, wraps, key):
    t = cuda.grid(1)
    if t < n:
        neighbor_bodies.bin_of(t, position, inverse, periodic, low, scale, count, species, bins, wraps, key)


def _row(
    n,
    write,
    square,
    position,
    cell,
    periodic,
    count,
    reach,
    n_species,
    bins,
    wraps,
    start,
    first,
    n_row,
    centre,
    near,
    shift,
):
    t = cuda.grid(1)
    if t < n:
        neighbor_bodies.row(
            t,
            write,
            square,
            position,
            cell,
            periodic,
            count,
            reach,
            n_species,
            bins,
            wraps,
            start,
            first,
            n_row,
            centre,
            near,
            shift,
        )


def _reverse(n, first, centre, near, shift, reverse):
    t = cuda.grid(1)
    if t < n:
        neighbor_bodies.reverse(t, first, centre, near, shift, reverse)


def _displacement(n, position, reference, square):
    t = cuda.grid(1)
    if t < n:
        neighbor_bodies.displacement(t, position, reference, square)


KERNELS = {
    "move": Kernel(_move, bodies.move, "i f2 f2 i1 i1 i2 f2 f1", 128, 40),
    "angular": Kernel(_angular, bodies.angular, "i i f2 f1 f f3 f2", 128, 80),
    "radial": Kernel(_radial, bodies.radial, "i i i i1 f1 f f2 f3 f2 f2", 64, 96, True),
    "expand": Kernel(_expand, bodies.expand, "i i i i1 i1 i1 f1 f f2 f2 i1 f1 f2 f1 i2 f4", 64, 128, True),
    "power": Kernel(_power, bodies.power, "i f4 f4 i2 f1 f2", 128, 64, True),
    "adjoint": Kernel(_adjoint, bodies.adjoint, "i f2 f1 f4 i2 i1 i2 f4", 128, 64, True),
    "pair_gradient": Kernel(_pair_gradient, bodies.pair_gradient, "i i i i1 i1 i1 f2 f1 f f3 i1 f1 f2 f2 f4 f2", 128, 128),
    "powers": Kernel(_powers, bodies.powers, "i i f1 f2 f2", 64, 48, True),
    "repulsion": Kernel(_repulsion, bodies.repulsion, "i i1 i1 i1 f3 f2 f1 f1 f2", 128, 96),
    "add_row_sum": Kernel(_add_row_sum, bodies.add_row_sum, "i i1 f1 f1", 128, 40),
    "add_rows": Kernel(_add_rows, bodies.add_rows, "i i i1 f1 f2 f2", 128, 48, True),
    "gather_force": Kernel(_gather_force, bodies.gather_force, "i i1 i1 f2 i1 f2", 128, 40),
    "triplet": Kernel(_triplet, triplet_bodies.triplet, "i i1 i1 f2 f1 f1 f2 f1", 128, 48),
    "triplet_gradient": Kernel(
        _triplet_gradient, triplet_bodies.triplet_gradient, "i i1 i1 i1 i1 i1 f2 f1 f1 f1 f2 f1 f2 f1 f2", 128, 80
    ),
    "cubic": Kernel(_cubic, triplet_bodies.cubic, "i f f f1 f2 f2 f1 f2", 128, 48),
    "tricubic": Kernel(_tricubic, triplet_bodies.tricubic, "i f3 f1 f1 f2 f1 f2", 128, 128),
    "symmetry_basis": Kernel(_symmetry_basis, acsf_bodies.symmetry_basis, "i i f1 f f2 f3 f2 f3 f2 f2 f2 f2", 128, 96),
    "symmetry_function": Kernel(
        _symmetry_function,
        acsf_bodies.symmetry_function,
        "i i i i1 i1 i1 f2 f1 f i2 i i1 i1 f1 f2 f3 f2 f2 f2",
        64,
        128,
        True,
    ),
    "symmetry_gradient": Kernel(
        _symmetry_gradient,
        acsf_bodies.symmetry_gradient,
        "i i i i1 i1 i1 i1 f2 f1 f i2 i i1 i1 f1 f2 f3 f2 f2 f2 f2 f2",
        128,
        168,
    ),
    "bin_of": Kernel(_bin_of, neighbor_bodies.bin_of, "i f2 f2 i1 f1 f1 i1 i1 i2 i2 i1", 128, 64),
    "row": Kernel(_row, neighbor_bodies.row, "i i f f2 f2 i1 i1 i1 i i2 i2 i1 i1 i1 i1 i1 i2", 128, 128),
    "reverse": Kernel(_reverse, neighbor_bodies.reverse, "i i1 i1 i1 i2 i1", 128, 40),
    "displacement": Kernel(_displacement, neighbor_bodies.displacement, "i f2 f2 f1", 128, 32),
    "centre_and_strain": Kernel(row_kernels.centre_and_strain, row_bodies.centre_and_strain, "i i1 f2 f3 f3", 128, 64, True),
    "energy_row": Kernel(row_kernels.energy_row, row_bodies.energy_row, "i i i1 i1 f1 f2 f2", 128, 40, True),
    "force_rows": Kernel(
        row_kernels.force_rows, row_bodies.force_rows, "i i i1 i1 i1 i1 i1 i1 f2 f3 f3 f3 f3 f3 f2", 128, 80, True
    ),
    "stress_row": Kernel(row_kernels.stress_row, row_bodies.stress_row, "i i i1 f1 i1 i1 f2 f3 f3 f3 f2", 128, 64, True),
}
"""All of them, by name."""
