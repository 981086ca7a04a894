"""Loops over kernels of environments with sparse points.

Array names end with their axes: e environment, m sparse point.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import njit

__all__ = ["powers"]

Array = NDArray[np.float64]

_BATCH = 256  # points whose powers are taken together, in the first-level cache


@njit
def powers(zeta: int, alpha_m: Array, xs_em: Array, value_e: Array) -> None:
    """value_e = sum_m alpha_m xs^zeta; xs becomes alpha_m zeta xs^(zeta - 1)."""
    n_points = alpha_m.size
    for e in range(xs_em.shape[0]):
        power = np.empty(_BATCH)
        total = 0.0
        for start in range(0, n_points, _BATCH):
            alpha = alpha_m[start : start + _BATCH]
            xs = xs_em[e, start : start + _BATCH]
            for m in range(alpha.size):
                power[m] = alpha[m]
            for _ in range(zeta - 1):
                for m in range(alpha.size):
                    power[m] *= xs[m]
            for m in range(alpha.size):
                total += power[m] * xs[m]
                xs[m] = zeta * power[m]
        value_e[e] = total
