"""Loops over sums over sparse points: those of `gapkit._cpu.kernels` and `gapkit._cpu.tables`, of CuPy's arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from .launch import launch

__all__ = ["cubic", "powers", "tricubic"]

_LANES = 64  # of a row: neighbouring threads read neighbouring numbers


def powers(zeta: int, alpha_m: Any, xs_em: Any, value_e: Any) -> None:
    """value_e = sum_m alpha_m xs^zeta; xs becomes alpha_m zeta xs^(zeta - 1)."""
    part = np.empty_like(xs_em, shape=(len(xs_em), _LANES))
    launch("powers", _LANES, zeta, alpha_m, xs_em, part, environments=len(xs_em))
    value_e[:] = part.sum(axis=1)


def cubic(low: float, inverse: float, knot_k: Any, piece_k4: Any, at_e1: Any, value_e: Any, slope_e1: Any) -> None:
    """Value and slope of a piecewise cubic of one variable."""
    launch("cubic", len(at_e1), low, inverse, knot_k, piece_k4, at_e1, value_e, slope_e1)


def tricubic(coefficient_ijk: Any, low_x: Any, inverse_x: Any, at_ex: Any, value_e: Any, slope_ex: Any) -> None:
    """Value and gradient of a spline of three variables."""
    launch("tricubic", len(at_ex), coefficient_ijk, low_x, inverse_x, at_ex, value_e, slope_ex)
