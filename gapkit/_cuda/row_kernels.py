"""The CUDA kernels of `gapkit._cuda.row_bodies`; see `gapkit._cuda.kernels`."""

from __future__ import annotations

from numba import cuda

from . import row_bodies

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

__all__ = ["centre_and_strain", "energy_row", "force_rows", "stress_row"]


def centre_and_strain(n, first, vector, jacobian, out):
    """Block of an environment, thread of a feature."""
    k = cuda.threadIdx.x
    while k < n:
        row_bodies.centre_and_strain(cuda.blockIdx.x, k, first, vector, jacobian, out)
        k += cuda.blockDim.x


def energy_row(n, column, first, environment, weight, value, row):
    """Block of a structure, thread of a sparse point."""
    k = cuda.threadIdx.x
    while k < n:
        row_bodies.energy_row(cuda.blockIdx.x, k, column, first, environment, weight, value, row)
        k += cuda.blockDim.x


def force_rows(
    n, column, row, entries, entry, environment, centres, centre, slope, pair, total, coefficient, vector, totals, force
):
    """Block of an atom, thread of a sparse point."""
    k = cuda.threadIdx.x
    while k < n:
        of_lists = row, entries, entry, environment, centres, centre
        row_bodies.force_rows(cuda.blockIdx.x, k, column, *of_lists, slope, pair, total, coefficient, vector, totals, force)
        k += cuda.blockDim.x


def stress_row(n, column, component, inverse, first, environment, slope, total, coefficient, totals, stress):
    """Block of a row, thread of a sparse point."""
    k = cuda.threadIdx.x
    while k < n:
        of_lists = component, inverse, first, environment
        row_bodies.stress_row(cuda.blockIdx.x, k, column, *of_lists, slope, total, coefficient, totals, stress)
        k += cuda.blockDim.x
