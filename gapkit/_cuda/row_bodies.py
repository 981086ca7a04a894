"""What one CUDA thread computes of the rows of a fit: one column of one row, or of the three of an atom.

Array names end with their axes: e environment, q entry (a pair of an environment), r row, m sparse point, f feature, c
Cartesian, v vector, k sum of `centre_and_strain`, n atom whose forces are labels, t place in a list.  The sums are those of
`gapkit._cpu.rows`; where loops there add to whichever row a pair belongs to, a thread here looks up what belongs to its row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .._device import device_function

__all__ = ["centre_and_strain", "energy_row", "force_rows", "stress_row"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

_ZERO = np.float64(0.0)
_HALF = np.float64(0.5)


@device_function
def centre_and_strain(e: int, f: int, first: Index, vector_qc: Array, jacobian_qcf: Array, out_ekf: Array) -> None:
    """Sums of the Jacobian over the pairs of an environment: by -r_centre, and by the strain (Voigt, symmetrised)."""
    x = _ZERO
    y = _ZERO
    z = _ZERO
    xx = _ZERO
    yy = _ZERO
    zz = _ZERO
    yz = _ZERO
    xz = _ZERO
    xy = _ZERO
    for q in range(first[e], first[e + 1]):
        jx = jacobian_qcf[q, 0, f]
        jy = jacobian_qcf[q, 1, f]
        jz = jacobian_qcf[q, 2, f]
        dx = vector_qc[q, 0]
        dy = vector_qc[q, 1]
        dz = vector_qc[q, 2]
        x += jx
        y += jy
        z += jz
        xx += dx * jx
        yy += dy * jy
        zz += dz * jz
        yz += _HALF * (dy * jz + dz * jy)
        xz += _HALF * (dx * jz + dz * jx)
        xy += _HALF * (dx * jy + dy * jx)
    out_ekf[e, 0, f] = x
    out_ekf[e, 1, f] = y
    out_ekf[e, 2, f] = z
    out_ekf[e, 3, f] = xx
    out_ekf[e, 4, f] = yy
    out_ekf[e, 5, f] = zz
    out_ekf[e, 6, f] = yz
    out_ekf[e, 7, f] = xz
    out_ekf[e, 8, f] = xy


@device_function
def energy_row(
    r: int, m: int, column: int, first_r: Index, environment_t: Index, weight_e: Array, value_em: Array, row_rm: Array
) -> None:
    """Add the kernels of the environments of a structure to the row of its energy."""
    total = _ZERO
    for t in range(first_r[r], first_r[r + 1]):
        e = environment_t[t]
        total += weight_e[e] * value_em[e, m]
    row_rm[r, column + m] += total


@device_function
def force_rows(
    n: int,
    m: int,
    column: int,
    row_n: Index,
    first_entry_n: Index,
    entry_t: Index,
    environment_q: Index,
    first_centre_n: Index,
    centre_t: Index,
    slope_em: Array,
    pair_qcm: Array,
    sum_ekm: Array,
    coefficient_vem: Array,
    vector_vqc: Array,
    sum_vek: Array,
    force_rm: Array,
) -> None:
    """Add -dk/dr of an atom to its three rows: of entries whose neighbour it is, and of environments whose centre it is."""
    x = _ZERO
    y = _ZERO
    z = _ZERO
    for t in range(first_entry_n[n], first_entry_n[n + 1]):
        q = entry_t[t]
        e = environment_q[q]
        slope = slope_em[e, m]
        x -= slope * pair_qcm[q, 0, m]
        y -= slope * pair_qcm[q, 1, m]
        z -= slope * pair_qcm[q, 2, m]
        for v in range(coefficient_vem.shape[0]):
            coefficient = coefficient_vem[v, e, m]
            x -= coefficient * vector_vqc[v, q, 0]
            y -= coefficient * vector_vqc[v, q, 1]
            z -= coefficient * vector_vqc[v, q, 2]
    for t in range(first_centre_n[n], first_centre_n[n + 1]):
        e = centre_t[t]
        slope = slope_em[e, m]
        x += slope * sum_ekm[e, 0, m]
        y += slope * sum_ekm[e, 1, m]
        z += slope * sum_ekm[e, 2, m]
        for v in range(coefficient_vem.shape[0]):
            coefficient = coefficient_vem[v, e, m]
            x += coefficient * sum_vek[v, e, 0]
            y += coefficient * sum_vek[v, e, 1]
            z += coefficient * sum_vek[v, e, 2]
    force_rm[row_n[n], column + m] += x
    force_rm[row_n[n] + 1, column + m] += y
    force_rm[row_n[n] + 2, column + m] += z


@device_function
def stress_row(
    r: int,
    m: int,
    column: int,
    component_r: Index,
    inverse_volume_r: Array,
    first_r: Index,
    environment_t: Index,
    slope_em: Array,
    sum_ekm: Array,
    coefficient_vem: Array,
    sum_vek: Array,
    stress_rm: Array,
) -> None:
    """Add dk/dstrain / V of a structure to one of its six rows."""
    k = 3 + component_r[r]
    total = _ZERO
    for t in range(first_r[r], first_r[r + 1]):
        e = environment_t[t]
        total += slope_em[e, m] * sum_ekm[e, k, m]
        for v in range(coefficient_vem.shape[0]):
            total += coefficient_vem[v, e, m] * sum_vek[v, e, k]
    stress_rm[r, column + m] += total * inverse_volume_r[r]
