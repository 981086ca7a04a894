"""The GPU code, checked without a GPU at five levels: docs/gpu.rst says which, and what they cannot show.

Importing this package skips the module that does it where the packages of the extra ``gpucheck`` are missing; in CI it fails.
"""

import os
from importlib.util import find_spec
from shutil import which

import pytest

_missing = [name for name in ("numba_cuda", "cupy", "cuda", "nvidia") if find_spec(name) is None]
if which("gcc") is None:
    _missing.append("gcc")
if _missing and os.environ.get("CI") == "true":
    raise RuntimeError(f"CI must check the GPU code; missing: {', '.join(_missing)}. pip install -e '.[test,gpucheck]'")
if _missing:
    pytest.skip(f"missing: {', '.join(_missing)}; pip install -e '.[test,gpucheck]'", allow_module_level=True)
