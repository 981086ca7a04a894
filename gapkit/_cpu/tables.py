"""Look-up in a uniform three-dimensional cubic B-spline.

Array names end with their axes: e environment, x feature (of three), ijk grid.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import njit

__all__ = ["tricubic"]

Array = NDArray[np.float64]


@njit
def tricubic(coefficient_ijk: Array, low_x: Array, inverse_x: Array, at_ex: Array, value_e: Array, slope_ex: Array) -> None:
    """Value and gradient of sum_ijk c_ijk B(u - i) B(v - j) B(w - k), u = (x - low) / spacing, B the cubic B-spline."""
    for e in range(at_ex.shape[0]):
        cell = np.empty(3, np.int64)
        weight = np.empty((3, 4))
        slope = np.empty((3, 4))
        for d in range(3):
            u = (at_ex[e, d] - low_x[d]) * inverse_x[d]
            k = min(max(int(u), 1), coefficient_ijk.shape[d] - 3)
            t = u - k
            cell[d] = k - 1
            s = 1.0 - t
            weight[d, 0] = s * s * s / 6.0
            weight[d, 1] = (4.0 - 6.0 * t * t + 3.0 * t * t * t) / 6.0
            weight[d, 2] = (4.0 - 6.0 * s * s + 3.0 * s * s * s) / 6.0
            weight[d, 3] = t * t * t / 6.0
            slope[d, 0] = -0.5 * s * s * inverse_x[d]
            slope[d, 1] = (-2.0 * t + 1.5 * t * t) * inverse_x[d]
            slope[d, 2] = (2.0 * s - 1.5 * s * s) * inverse_x[d]
            slope[d, 3] = 0.5 * t * t * inverse_x[d]
        value = 0.0
        g0 = 0.0
        g1 = 0.0
        g2 = 0.0
        for i in range(4):
            for j in range(4):
                line = 0.0
                line_slope = 0.0
                for k in range(4):
                    c = coefficient_ijk[cell[0] + i, cell[1] + j, cell[2] + k]
                    line += c * weight[2, k]
                    line_slope += c * slope[2, k]
                value += weight[0, i] * weight[1, j] * line
                g0 += slope[0, i] * weight[1, j] * line
                g1 += weight[0, i] * slope[1, j] * line
                g2 += weight[0, i] * weight[1, j] * line_slope
        value_e[e] = value
        slope_ex[e, 0] = g0
        slope_ex[e, 1] = g1
        slope_ex[e, 2] = g2
