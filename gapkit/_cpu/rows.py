"""Loops that assemble the rows of a fit from blocks of environments.

Array names end with their axes: e environment, p pair, i atom, t structure, c Cartesian, f feature, m sparse
point, r row, q entry (a pair of an environment), v vector, k sum of `centre_and_strain`, d direction.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import njit

__all__ = [
    "add_energy_rows",
    "add_gradient_rows",
    "along_moves",
    "centre_and_strain",
    "columns_of_entries",
    "moved_features",
    "place_products",
]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

_COLUMNS = 64  # sparse points at a time: their columns of all rows of a chunk stay in the cache


@njit
def centre_and_strain(first: Index, vector_pc: Array, jacobian_pcf: Array, out_ekf: Array) -> None:
    """Sums of the Jacobian over the pairs of an environment.

    ``out[e, 0:3]``: dx/d(-r_centre); ``out[e, 3:9]``: dx/d(strain), Voigt order, symmetrised (D_a J_b + D_b J_a) / 2.
    """
    for e in range(first.size - 1):
        out_ekf[e] = 0.0
        for p in range(first[e], first[e + 1]):
            dx, dy, dz = vector_pc[p, 0], vector_pc[p, 1], vector_pc[p, 2]
            for f in range(jacobian_pcf.shape[2]):
                jx, jy, jz = jacobian_pcf[p, 0, f], jacobian_pcf[p, 1, f], jacobian_pcf[p, 2, f]
                out_ekf[e, 0, f] += jx
                out_ekf[e, 1, f] += jy
                out_ekf[e, 2, f] += jz
                out_ekf[e, 3, f] += dx * jx
                out_ekf[e, 4, f] += dy * jy
                out_ekf[e, 5, f] += dz * jz
                out_ekf[e, 6, f] += 0.5 * (dy * jz + dz * jy)
                out_ekf[e, 7, f] += 0.5 * (dx * jz + dz * jx)
                out_ekf[e, 8, f] += 0.5 * (dx * jy + dy * jx)


@njit
def add_energy_rows(row_e: Index, weight_e: Array, value_em: Array, column: int, energy_rm: Array) -> None:
    """Add the kernels of environments to the rows of their structures' energies; -1 for no row."""
    for e in range(row_e.size):
        if row_e[e] >= 0:
            for m in range(value_em.shape[1]):
                energy_rm[row_e[e], column + m] += weight_e[e] * value_em[e, m]


@njit
def add_gradient_rows(
    first: Index,
    atom_e: Index,
    neighbour_q: Index,
    structure_i: Index,
    force_row_i: Index,
    stress_row_t: Index,
    volume_t: Array,
    slope_em: Array,
    pair_qcm: Array,
    sum_ekm: Array,
    coefficient_vem: Array,
    vector_vqc: Array,
    sum_vek: Array,
    column: int,
    force_rm: Array,
    stress_rm: Array,
) -> None:
    """Add dk/d(...) of a block of environments to the force (-dE/dr) and stress (dE/dstrain / V) rows.

    The derivative by the pair vector of entry q is slope_em pair_qcm + the sum over v of coefficient_vem vector_vqc;
    sum_ekm and sum_vek are the sums of `centre_and_strain` of the same.  A row index of -1 means that there is no such label.
    """
    n_columns = slope_em.shape[1]
    n_vectors = coefficient_vem.shape[0]
    for start in range(0, n_columns, _COLUMNS):
        stop = min(n_columns, start + _COLUMNS)
        for e in range(first.size - 1):
            i = atom_e[e]
            for q in range(first[e], first[e + 1]):
                row = force_row_i[neighbour_q[q]]
                if row >= 0:
                    for m in range(start, stop):
                        slope = slope_em[e, m]
                        force_rm[row, column + m] -= slope * pair_qcm[q, 0, m]
                        force_rm[row + 1, column + m] -= slope * pair_qcm[q, 1, m]
                        force_rm[row + 2, column + m] -= slope * pair_qcm[q, 2, m]
                    for c in range(3):
                        for v in range(n_vectors):
                            for m in range(start, stop):
                                force_rm[row + c, column + m] -= coefficient_vem[v, e, m] * vector_vqc[v, q, c]
            row = force_row_i[i]
            if row >= 0:
                for c in range(3):
                    for m in range(start, stop):
                        force_rm[row + c, column + m] += slope_em[e, m] * sum_ekm[e, c, m]
                    for v in range(n_vectors):
                        for m in range(start, stop):
                            force_rm[row + c, column + m] += coefficient_vem[v, e, m] * sum_vek[v, e, c]
            t = structure_i[i]
            row = stress_row_t[t]
            if row >= 0:
                inverse = 1.0 / volume_t[t]
                for k in range(6):
                    for m in range(start, stop):
                        stress_rm[row + k, column + m] += slope_em[e, m] * sum_ekm[e, 3 + k, m] * inverse
                    for v in range(n_vectors):
                        for m in range(start, stop):
                            stress_rm[row + k, column + m] += coefficient_vem[v, e, m] * sum_vek[v, e, 3 + k] * inverse


@njit
def along_moves(first: Index, move_qdc: Array, jacobian_qcf: Array, out_edf: Array) -> None:
    """Change of the features of each environment when the vectors of its pairs change as ``move_qdc`` says."""
    for e in range(first.size - 1):
        out_edf[e] = 0.0
        for q in range(first[e], first[e + 1]):
            for d in range(move_qdc.shape[1]):
                dx, dy, dz = move_qdc[q, d, 0], move_qdc[q, d, 1], move_qdc[q, d, 2]
                for f in range(jacobian_qcf.shape[2]):
                    out_edf[e, d, f] += dx * jacobian_qcf[q, 0, f] + dy * jacobian_qcf[q, 1, f] + dz * jacobian_qcf[q, 2, f]


@njit
def moved_features(
    atom_n: Index, first: Index, neighbour_p: Index, reverse_p: Index, jacobian_pcf: Array, member_nm: Index, moved_ncmf: Array
) -> None:
    """Derivatives by the position of each of some atoms of the features of every environment that sees it.

    ``member_nm`` are these environments, the atom's own first, and -1 where there are no more (``moved_ncmf`` is 0 there);
    images of an atom count together.
    """
    for n in range(atom_n.size):
        i = atom_n[n]
        moved_ncmf[n] = 0.0
        member_nm[n] = -1
        member_nm[n, 0] = i
        n_members = 1
        for p in range(first[i], first[i + 1]):
            m = 0
            while m < n_members and member_nm[n, m] != neighbour_p[p]:
                m += 1
            if m == n_members:
                member_nm[n, m] = neighbour_p[p]
                n_members += 1
            q = reverse_p[p]
            for c in range(3):
                for f in range(jacobian_pcf.shape[2]):
                    moved_ncmf[n, c, m, f] += jacobian_pcf[q, c, f]
                    moved_ncmf[n, c, 0, f] -= jacobian_pcf[p, c, f]


@njit
def columns_of_entries(jacobian_qcf: Array, entry_p: Index, column_g: Index, out_pcg: Array) -> None:
    """Some columns of some entries of a Jacobian."""
    for p in range(entry_p.size):
        for c in range(3):
            for g in range(column_g.size):
                out_pcg[p, c, g] = jacobian_qcf[entry_p[p], c, column_g[g]]


@njit
def place_products(
    product_pcm: Array, rate_pc: Array, scaled_em: Array, environment_p: Index, place_p: Index, out_qcm: Array
) -> None:
    """``out[place_p] = product_p + rate_p scaled_e`` with the environment e of each pair."""
    for p in range(place_p.size):
        e, q = environment_p[p], place_p[p]
        for c in range(3):
            for m in range(scaled_em.shape[1]):
                out_qcm[q, c, m] = product_pcm[p, c, m] + rate_pc[p, c] * scaled_em[e, m]
