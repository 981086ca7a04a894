"""Packages of the extra ``gpucheck``: what needs them is skipped where they are missing (and fails in CI, see conftest.py)."""

from __future__ import annotations

from shutil import which

import pytest

_REMEDY = "pip install -e '.[test,gpucheck]', and a C compiler"


def gpucheck():
    """Skip the module that calls this where something is missing; return CuPy."""
    if which("gcc") is None:
        pytest.skip(_REMEDY, allow_module_level=True)
    cupy, *_ = (pytest.importorskip(name, reason=_REMEDY) for name in ("cupy", "numba_cuda", "cuda.core"))
    return cupy
