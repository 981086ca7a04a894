"""Bodies for one triplet of atoms: a centre and two of its neighbours."""

from __future__ import annotations

import numpy as np

from . import device_function

__all__ = ["angular_power", "integer_power"]

_ZERO = np.float64(0.0)
_ONE = np.float64(1.0)
_HALF = np.float64(0.5)


@device_function
def integer_power(base: float, exponent: int) -> float:
    """Return base**exponent by repeated squaring; 1 for exponent 0."""
    result = _ONE
    while exponent > 0:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result


@device_function
def angular_power(cosine: float, zeta: int, sign: float) -> tuple[float, float]:
    """2^(1 - zeta) (1 + sign cosine)^zeta and its derivative with respect to the cosine.

    Rounding may take 1 + sign cosine below 0 for atoms in a row; it is 0 there.
    """
    half = max(_HALF * (_ONE + sign * cosine), _ZERO)
    lower = integer_power(half, zeta - 1)
    return 2 * half * lower, zeta * sign * lower
