"""Loops over kernels of environments with sparse points: those of `gapkit._cpu.kernels`, of CuPy's arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from .launch import launch

__all__ = ["powers"]

_LANES = 32  # of a row: neighbouring threads read neighbouring numbers


def powers(zeta: int, alpha_m: Any, xs_em: Any, value_e: Any) -> None:
    """value_e = sum_m alpha_m xs^zeta; xs becomes alpha_m zeta xs^(zeta - 1)."""
    part = np.empty_like(xs_em, shape=(len(xs_em), _LANES))
    launch("powers", _LANES, zeta, alpha_m, xs_em, part, environments=len(xs_em))
    value_e[:] = part.sum(axis=1)
