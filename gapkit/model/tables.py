"""Splines that stand for the sum over sparse points in pair and triplet terms: cost does not depend on their number.

What is tabulated is g(x) = sum_s alpha_s w_s k(x, s), without the cutoff functions, so that it is as smooth as the kernel.
Forces are the exact gradient of the splined energy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicHermiteSpline
from scipy.ndimage import spline_filter

from .._backend import table_ops
from ..gp.sparse_term import SparseTerm
from ..neighbors import SHORTEST_DISTANCE
from .sums import ExactSum, PointSum

__all__ = ["ERROR_BOUNDS", "tables_of"]

Array = NDArray[np.float64]

ERROR_BOUNDS = {1: 1e-9, 3: 1e-5}
"""Largest error of an environment's energy (eV) that is not warned about, by number of features."""

_MOST_KNOTS = 20_000
_MOST_CELLS = 3_000_000  # 24 MB a group
_MARGIN = 12  # grid cells around the domain: the boundary condition of the spline decays by 0.27 a cell
_BEYOND = 0.2  # of the range of the sparse points: how far the box reaches past them
_SAFETY = 0.1  # of the error bound is what the table aims at


class _Line(PointSum):
    """Function of a distance: piecewise cubic through values and slopes."""

    def __init__(self, exact: PointSum, low: float, high: float, n: int) -> None:
        knots = np.linspace(low, high, n)
        value, slope = exact(knots[:, None])
        self.spline = CubicHermiteSpline(knots, value, slope[:, 0])
        self.slope = self.spline.derivative()

    def __call__(self, x: Array) -> tuple[Array, Array]:
        return self.spline(x[:, 0]), self.slope(x[:, 0])[:, None]

    def on_device(self, xp: Any, exact: PointSum) -> PointSum:
        """The same function of CuPy's arrays."""
        return _LineOnDevice(self.spline, xp)


class _LineOnDevice(PointSum):
    """The pieces of a spline with equally spaced knots, found by division."""

    def __init__(self, spline: CubicHermiteSpline, xp: Any) -> None:
        low, high = float(spline.x[0]), float(spline.x[-1])
        inverse = (len(spline.x) - 1) / (high - low)
        self.of_spline = low, inverse, xp.asarray(spline.x), xp.asarray(np.ascontiguousarray(spline.c.T))

    def __call__(self, x: Array) -> tuple[Array, Array]:
        value, slope = np.empty_like(x, shape=len(x)), np.empty_like(x)
        table_ops(x).cubic(*self.of_spline, x, value, slope)
        return value, slope


class _Box(PointSum):
    """Function of three distances: tensor product of cubic B-splines in a box, the exact sum outside."""

    def __init__(self, exact: PointSum, low: Array, high: Array, shape: Sequence[int]) -> None:
        self.exact, self.box = exact, (low, high)
        spacing = (high - low) / (np.asarray(shape) - 1)
        self.low, self.inverse = low - _MARGIN * spacing, 1.0 / spacing
        axes = [self.low[d] + spacing[d] * np.arange(shape[d] + 2 * _MARGIN) for d in range(3)]
        grid = np.empty([len(axis) for axis in axes])
        plane = np.stack(np.meshgrid(axes[1], axes[2], indexing="ij"), axis=-1).reshape(-1, 2)
        for k, first in enumerate(axes[0]):
            grid[k] = exact.value(np.column_stack([np.full(len(plane), first), plane])).reshape(grid.shape[1:])
        self.coefficients = np.ascontiguousarray(spline_filter(grid, order=3, mode="mirror"))

    def __call__(self, x: Array) -> tuple[Array, Array]:
        value, slope = np.empty(len(x)), np.empty((len(x), 3))
        table_ops().tricubic(self.coefficients, self.low, self.inverse, np.ascontiguousarray(x), value, slope)
        outside = ((x < self.box[0]) | (x > self.box[1])).any(axis=1)
        if outside.any():
            value[outside], slope[outside] = self.exact(x[outside])
        return value, slope

    def on_device(self, xp: Any, exact: PointSum) -> PointSum:
        """The same function of CuPy's arrays."""
        return _BoxOnDevice(self, exact, xp)


class _BoxOnDevice(PointSum):
    """A `_Box`; the host waits to know how many points are outside.  Rows of zeros, of no weight, may give anything."""

    def __init__(self, box: _Box, exact: PointSum, xp: Any) -> None:
        self.exact, self.xp, self.box = exact, xp, tuple(xp.asarray(x) for x in box.box)
        self.of_spline = tuple(xp.asarray(x) for x in (box.coefficients, box.low, box.inverse))

    def __call__(self, x: Array) -> tuple[Array, Array]:
        value, slope = np.empty_like(x, shape=len(x)), np.empty_like(x)
        table_ops(x).tricubic(*self.of_spline, x, value, slope)
        beyond = ((x < self.box[0]) | (x > self.box[1])).any(axis=1) & (x[:, 0] > 0.0)
        outside = self.xp.flatnonzero(beyond)
        if len(outside):
            value[outside], slope[outside] = self.exact(x[outside])
        return value, slope


def tables_of(term: SparseTerm, alphas: Sequence[Array]) -> list[PointSum | None] | None:
    """Splines of all groups of a term whose descriptor asks for them (None for empty groups), else None."""
    if not getattr(term.descriptor, "tabulate", False):
        return None
    return [_table(term, group, alpha) if len(alpha) else None for group, alpha in enumerate(alphas)]


def _table(term: SparseTerm, group: int, alpha: Array) -> PointSum:
    """Refine until the error between sparse points is a tenth of the bound, or the table is as large as is sensible."""
    exact, points, r_cut = ExactSum(term, group, alpha), term.points[group], float(term.descriptor.neighbor_range)
    rng = np.random.default_rng(0)
    mix = rng.random((2000, 1))
    trial = points[rng.integers(len(points), size=2000)] * mix + points[rng.integers(len(points), size=2000)] * (1 - mix)
    truth, aim = exact.value(trial), _SAFETY * ERROR_BOUNDS[points.shape[1]]
    build: Callable[[float], PointSum]
    if points.shape[1] == 1:
        refinement, most = 200.0, float(_MOST_KNOTS)

        def build(n: float) -> _Line:
            return _Line(exact, SHORTEST_DISTANCE, r_cut, int(n))
    else:
        # the range of the sparse points, which leave out the outermost triplets, widened by a part of itself
        beyond = _BEYOND * np.maximum(np.ptp(points, axis=0), 1e-3)
        low, high = (
            np.maximum(points.min(axis=0) - beyond, 0.0),
            np.minimum(points.max(axis=0) + beyond, [2 * r_cut, np.inf, 2 * r_cut]),
        )
        per_unit = (high - low) / np.maximum(points.std(axis=0), 0.05 * (high - low))
        refinement = 4.0
        most = float((_MOST_CELLS / np.prod(per_unit)) ** (1 / 3))

        def build(n: float) -> _Box:
            return _Box(exact, low, high, np.ceil(n * per_unit).astype(int) + 1)

    while True:
        table = build(min(refinement, most))
        error = float(np.abs(table.value(trial) - truth).max())
        if error <= aim or refinement >= most:
            return table
        refinement *= max(1.2, 1.1 * (error / aim) ** 0.25)  # the error falls with the fourth power
