"""Numba loops over arrays, written for the CPU.  This file owns the compiler options and the place of the cache.

Numba's disk cache does not notice that a function in *another* file changed.  The loops here inline the functions of
``gapkit._device``, so the cache folder carries a hash of all sources of both packages: an edit anywhere starts a new cache.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numba
from numba.core import config

from .._device import FREE_ORDER, device_function

__all__ = ["cache_folder", "cache_is_empty", "cache_is_writable", "inlined", "njit", "source_hash"]

_F = TypeVar("_F", bound=Callable[..., object])

inlined = device_function
"""Of parts of loops, which are compiled within them; a function of Python's callers is `njit`."""


@lru_cache(maxsize=1)
def source_hash() -> str:
    """Hash of every source file that ends up in the compiled loops."""
    root = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for path in sorted([*(root / "_device").glob("*.py"), *(root / "_cpu").glob("*.py")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def cache_folder() -> Path:
    """Where compiled loops are kept: NUMBA_CACHE_DIR if it is set, else the user's cache folder."""
    base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "gapkit" / source_hash()


@lru_cache(maxsize=1)
def cache_is_writable() -> bool:
    """False where compiled loops cannot be kept; Numba's own choice of another place would miss edits, so there is none."""
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(cache_folder(), os.W_OK)


def cache_is_empty() -> bool:
    """True when the loops have still to be compiled on this machine."""
    return not any(cache_folder().rglob("*.nbi"))


def njit(function: _F) -> _F:
    """Decorate a loop that Python calls: cached, NumPy's division rules, sums in any order (NaN and infinity respected).

    No loop has threads of its own: it lets go of Python's lock, and threads work on blocks of atoms or frames
    (`gapkit._backend.in_threads`), so that loops and linear algebra keep the same cores busy and sums have one order.
    """
    kept = config.CACHE_DIR
    config.CACHE_DIR = str(cache_folder())  # read by Numba here, when the function is decorated, and not later
    try:
        options = {"error_model": "numpy", "fastmath": FREE_ORDER, "nogil": True}
        compiled: _F = numba.njit(cache=cache_is_writable(), **options)(function)
    finally:
        config.CACHE_DIR = kept
    return compiled
