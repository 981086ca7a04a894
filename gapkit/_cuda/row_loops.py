"""Loops that assemble the rows of a fit: those of `gapkit._cpu.rows`, of CuPy's arrays.

Lists of what belongs to a row are made here, with NumPy: indices come from the host, numbers are on the device.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .launch import launch

__all__ = ["add_energy_rows", "add_gradient_rows", "centre_and_strain"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]


def centre_and_strain(first: Index, vector_qc: Any, jacobian_qcf: Any, out_ekf: Any) -> None:
    """Sums of the Jacobian over the pairs of an environment."""
    (of_pairs,) = _put(first)
    launch("centre_and_strain", out_ekf.shape[2], of_pairs, vector_qc, jacobian_qcf, out_ekf, environments=out_ekf.shape[0])


def add_energy_rows(row_e: Index, weight_e: Array, value_em: Any, column: int, energy_rm: Any) -> None:
    """Add the kernels of environments to the rows of their structures' energies; -1 for no row."""
    n = len(energy_rm)
    first, environment, weight = _put(*_lists(row_e, np.arange(n)), weight_e)
    launch("energy_row", value_em.shape[1], column, first, environment, weight, value_em, energy_rm, environments=n)


def add_gradient_rows(
    first: Index,
    atom_e: Index,
    neighbour_q: Index,
    structure_i: Index,
    force_row_i: Index,
    stress_row_t: Index,
    volume_t: Array,
    slope_em: Any,
    pair_qcm: Any,
    sum_ekm: Any,
    coefficient_vem: Any,
    vector_vqc: Any,
    sum_vek: Any,
    column: int,
    force_rm: Any,
    stress_rm: Any,
) -> None:
    """Add dk/d(...) of a block of environments to the force and stress rows."""
    n_points = slope_em.shape[1]
    atoms = np.flatnonzero(force_row_i >= 0)
    environment = np.repeat(np.arange(len(atom_e)), np.diff(first))
    lists = force_row_i[atoms], *_lists(neighbour_q, atoms), environment, *_lists(atom_e, atoms)
    of_entries = slope_em, pair_qcm, sum_ekm, coefficient_vem, vector_vqc, sum_vek
    launch("force_rows", n_points, column, *_put(*lists), *of_entries, force_rm, environments=len(atoms))
    structures = np.flatnonzero(stress_row_t >= 0)
    component, structure = np.tile(np.arange(6), len(structures)), np.repeat(structures, 6)
    of_rows = component, 1.0 / volume_t[structure], *_lists(structure_i[atom_e], structure)
    of_environments = slope_em, sum_ekm, coefficient_vem, sum_vek
    launch("stress_row", n_points, column, *_put(*of_rows), *of_environments, stress_rm, environments=len(structure))


def _lists(key_t: Index, wanted: Index) -> tuple[Index, Index]:
    """Where each of ``wanted`` (ascending; may repeat) stands in ``key_t``: first of each and, last, their number; places."""
    order = np.argsort(key_t, kind="stable")
    begin, end = (np.searchsorted(key_t[order], wanted, side=side) for side in ("left", "right"))
    first = np.concatenate([[0], np.cumsum(end - begin)])
    return first, order[np.repeat(begin - first[:-1], end - begin) + np.arange(first[-1])]


def _put(*arrays: NDArray[Any]) -> tuple[Any, ...]:
    import cupy

    return tuple(cupy.asarray(np.ascontiguousarray(a)) for a in arrays)
