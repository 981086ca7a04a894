"""Scalar functions shared by the CPU loops and the CUDA kernels.

They are lazy ``@njit`` functions: no signature, no allocation, no exception, no trigonometry, scratch space passed in by
the caller.  A CUDA kernel can then call the very same function (see numba-cuda on device functions), and the loops of
``gapkit._cpu`` inline them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numba

__all__ = ["FREE_ORDER", "device_function"]

FREE_ORDER = {"reassoc", "contract", "nsz"}
"""What the compiler may do to sums so that they fill vector registers; full fastmath would make isnan return False."""

_F = TypeVar("_F", bound=Callable[..., object])


def device_function(function: _F) -> _F:
    """Compile lazily and within whoever calls it, whose cached object code contains this function.

    Always within: a call would go to the copy compiled on its own where there is one, as in the process that fills the cache,
    else to the caller's own copy, and the two may add in different orders.
    """
    compiled: _F = numba.njit(error_model="numpy", fastmath=FREE_ORDER, forceinline=True)(function)
    return compiled
