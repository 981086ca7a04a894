"""The screened Coulomb repulsion of two nuclei (Ziegler, Biersack, Littmark), switched off smoothly."""

from __future__ import annotations

from math import exp

import numpy as np

from . import device_function

__all__ = ["switched_zbl"]

_ONE = np.float64(1.0)


@device_function
def switched_zbl(r: float, charges: float, inverse_a: float, r_inner: float, r_outer: float) -> tuple[float, float]:
    """Energy of a pair closer than ``r_outer`` and its derivative with respect to r.

    ``charges`` = Z1 Z2 e² / (4 pi eps0), eV Å; ``inverse_a`` = 1 / screening length, 1/Å.
    """
    x = r * inverse_a
    # universal screening function of Ziegler, Biersack and Littmark (1985)
    e0 = 0.18175 * exp(-3.19980 * x)
    e1 = 0.50986 * exp(-0.94229 * x)
    e2 = 0.28022 * exp(-0.40290 * x)
    e3 = 0.02817 * exp(-0.20162 * x)
    coulomb = charges / r
    value = coulomb * (e0 + e1 + e2 + e3)
    slope = -value / r - coulomb * inverse_a * (3.19980 * e0 + 0.94229 * e1 + 0.40290 * e2 + 0.20162 * e3)
    if r <= r_inner:
        return value, slope
    # 1 at r_inner, 0 at r_outer, first and second derivatives 0 at both
    inverse_width = _ONE / (r_outer - r_inner)
    u = (r_outer - r) * inverse_width
    switch = u * u * u * (10.0 - 15.0 * u + 6.0 * u * u)
    switch_slope = -30.0 * u * u * (_ONE - u) * (_ONE - u) * inverse_width
    return switch * value, switch * slope + switch_slope * value
