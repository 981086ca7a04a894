"""gapkit doctor."""

from __future__ import annotations

import os
import platform
import time
from importlib import metadata

from ase.build import bulk

from .. import __version__, _cpu
from .._cuda.launch import check_compiler
from .._cuda.status import GPUStatus, gpu_status
from ..descriptors import SOAP
from ..exceptions import GPUNotAvailable
from ..neighbors import NeighborList
from .console import console, guarded

__all__ = ["doctor"]

_PACKAGES = ("numpy", "scipy", "scikit-learn", "ase", "numba", "vesin", "dscribe", "matscipy")


@guarded
def doctor() -> None:
    """Versions, threads, compiled code and a short benchmark: what a bug report needs.

    Example: `gapkit doctor`
    """
    console.print(f"gapkit     {__version__} on Python {platform.python_version()}, {platform.platform()}")
    console.print("packages   " + ", ".join(f"{p} {_version(p)}" for p in _PACKAGES))
    threads = {k: os.environ.get(k, "-") for k in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")}
    console.print(f"threads    {os.cpu_count()} cores; " + ", ".join(f"{k}={v}" for k, v in threads.items()))
    state = "empty: the first call compiles" if _cpu.cache_is_empty() else "filled"
    console.print(f"cache      {_cpu.cache_folder()} ({state})")
    gpu = gpu_status()
    if gpu.usable:
        try:
            check_compiler()
        except GPUNotAvailable as error:
            gpu = GPUStatus(False, "its kernels do not compile", str(error))
    console.print(
        "gpu        " + (f"usable: {gpu.reason}" if gpu.usable else f"not usable: {gpu.reason}. {gpu.remedy}"), markup=False
    )
    atoms = bulk("Si", cubic=True).repeat(3)
    descriptor = SOAP().fit([atoms])
    start = time.perf_counter()
    features = descriptor.compute(NeighborList.from_atoms([atoms], descriptor.neighbor_range))
    descriptor.pullback(features, features.values)
    first = time.perf_counter() - start
    start = time.perf_counter()
    for _ in range(10):
        features = descriptor.compute(NeighborList.from_atoms([atoms], descriptor.neighbor_range))
        descriptor.pullback(features, features.values)
    each = (time.perf_counter() - start) / 10
    console.print(f"benchmark  SOAP and its gradient: first call {first:.1f} s, then {1e6 * each / len(atoms):.0f} µs/atom")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(missing)"
