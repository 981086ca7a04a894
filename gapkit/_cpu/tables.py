"""Look-up in a uniform three-dimensional cubic B-spline.

Array names end with their axes: e environment, x feature (of three), ijk grid.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .._device import spline
from . import njit

__all__ = ["tricubic"]

Array = NDArray[np.float64]


@njit
def tricubic(coefficient_ijk: Array, low_x: Array, inverse_x: Array, at_ex: Array, value_e: Array, slope_ex: Array) -> None:
    """Value and gradient of the spline, `gapkit._device.spline.tricubic`, at every point."""
    for e in range(at_ex.shape[0]):
        value_e[e], slope_ex[e, 0], slope_ex[e, 1], slope_ex[e, 2] = spline.tricubic(
            coefficient_ijk, low_x, inverse_x, at_ex[e, 0], at_ex[e, 1], at_ex[e, 2]
        )
