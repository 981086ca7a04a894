"""Functions of a distance and their tables, which the loops look up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["KNOTS_PER_WIDTH", "Array", "Profile", "cosine_cutoff", "falling_cosine", "product", "tabulate"]

Array = NDArray[np.float64]
Profile = tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]
"""Value, slope and curvature of functions of the distance, each of shape (n_distances, n_functions)."""

KNOTS_PER_WIDTH = 25
"""Per sigma of a Gaussian: errors of the quintic interpolation are 2e-11 of the largest value, 1e-9 of the largest slope."""


def cosine_cutoff(r: Array, r_cut: float, width: float) -> Profile:
    """(1 + cos(pi (r - r_cut + width) / width)) / 2, continued on both sides, as a column."""
    k = np.pi / width
    phase = k * (r - r_cut + width)
    value, slope, curvature = (1 + np.cos(phase)) / 2, -k / 2 * np.sin(phase), -(k**2) / 2 * np.cos(phase)
    return value[:, None], slope[:, None], curvature[:, None]


def falling_cosine(r: Array, r_cut: float, width: float) -> tuple[Array, Array]:
    """Cutoff function and its slope at any distance: 1 up to ``r_cut - width``, then `cosine_cutoff`, 0 beyond ``r_cut``."""
    value, slope, _ = cosine_cutoff(np.clip(r, r_cut - width, r_cut), r_cut, width)
    return value[:, 0].astype(float), slope[:, 0].astype(float)


def product(f: Profile, g: Profile) -> Profile:
    """Value, slope and curvature of a product."""
    return f[0] * g[0], f[1] * g[0] + f[0] * g[1], f[2] * g[0] + 2 * f[1] * g[1] + f[0] * g[2]


def tabulate(breaks: Sequence[float], spacing: float, profile: Callable[[Array, float], Profile]) -> tuple[Array, Array]:
    """Return knots of some functions, as `gapkit._device.radial` reads them.

    Parameters
    ----------
    breaks : sequence of float
        Ends of the segments, ascending from 0, Å; curvatures may jump there.
    spacing : float
        Largest distance between knots, Å.
    profile : callable
        ``profile(r, start)`` gives value, slope and curvature at ``r`` in the segment that begins at ``start``.

    Returns
    -------
    segments : ndarray of shape (n_segments, 4)
    table : ndarray of shape (n_knots, 3, n_functions)
        Both read-only.
    """
    segments, blocks, first = [], [], 0
    for start, end in pairwise(breaks):
        intervals = max(4, int(np.ceil((end - start) / spacing)))
        h = (end - start) / intervals
        value, slope, curvature = profile(np.linspace(start, end, intervals + 1), start)
        blocks.append(np.stack([value, slope * h, curvature * h**2], axis=1).astype(float))
        segments.append([start, 1.0 / h, float(first), float(intervals)])
        first += intervals + 1
    result = np.array(segments), np.concatenate(blocks)
    for array in result:
        array.setflags(write=False)
    return result
