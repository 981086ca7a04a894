"""Look-up of radial functions in a quintic Hermite table.

A table has segments of equally spaced knots.  Neighbouring segments share their end point, which both of them store, so
that a function may have a kink in its second derivative there (the start of a cutoff function) at no loss of accuracy.

``segments[s]`` = (start of segment, 1 / knot spacing, index of its first knot, number of its intervals)
``table[k, d, l * n_max + n]`` = spacing**d times the d-th derivative of function (n, l) at knot k, d = 0, 1, 2
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import device_function

__all__ = ["hermite_slopes", "hermite_values", "locate"]

_ONE = np.float64(1.0)
_HALF = np.float64(0.5)


@device_function
def locate(r: float, segments: NDArray[np.float64]) -> tuple[int, float, float]:
    """Return the knot left of ``r``, the fraction of the way to the next knot, and 1 / spacing."""
    s = 0
    while s + 1 < segments.shape[0] and r >= segments[s + 1, 0]:
        s += 1
    inverse_spacing = segments[s, 1]
    t = (r - segments[s, 0]) * inverse_spacing
    k = min(int(t), int(segments[s, 3]) - 1)
    return k + int(segments[s, 2]), t - k, inverse_spacing


@device_function
def hermite_values(u: float) -> tuple[float, float, float, float, float, float]:
    """Weights of (f, f', f'') at the left knot and (f, f', f'') at the right knot for the value at fraction ``u``."""
    u3 = u * u * u
    u4 = u3 * u
    u5 = u4 * u
    right = 10 * u3 - 15 * u4 + 6 * u5
    return (
        _ONE - right,
        u - 6 * u3 + 8 * u4 - 3 * u5,
        _HALF * (u * u - 3 * u3 + 3 * u4 - u5),
        right,
        -4 * u3 + 7 * u4 - 3 * u5,
        _HALF * (u3 - 2 * u4 + u5),
    )


@device_function
def hermite_slopes(u: float, inverse_spacing: float) -> tuple[float, float, float, float, float, float]:
    """Weights as in `hermite_values`, for the derivative with respect to r."""
    u2 = u * u
    u3 = u2 * u
    u4 = u3 * u
    right = (30 * u2 - 60 * u3 + 30 * u4) * inverse_spacing
    return (
        -right,
        (_ONE - 18 * u2 + 32 * u3 - 15 * u4) * inverse_spacing,
        _HALF * (2 * u - 9 * u2 + 12 * u3 - 5 * u4) * inverse_spacing,
        right,
        (-12 * u2 + 28 * u3 - 15 * u4) * inverse_spacing,
        _HALF * (3 * u2 - 8 * u3 + 5 * u4) * inverse_spacing,
    )
