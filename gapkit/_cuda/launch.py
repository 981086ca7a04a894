"""Who runs the kernels: the GPU, unless tests have put something else in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from ..exceptions import GPUNotAvailable

__all__ = ["Launcher", "check_compiler", "current", "launch", "launched_by"]

Launcher = Callable[..., None]
"""Called as ``launcher(name, n_blocks, n, *arguments)``; blocks count for kernels per environment only."""

_replacement: Launcher | None = None


def launch(name: str, n: int, *arguments: Any, environments: int = 1) -> None:
    """Run a kernel of `gapkit._cuda.kernels.KERNELS`.

    Parameters
    ----------
    name : str
        Of the kernel.
    n : int
        Number of items, or of outputs of each environment.
    *arguments : CuPy arrays and numbers
        As the body takes them.
    environments : int, default 1
        How many, for kernels per environment.
    """
    if n == 0 or environments == 0:
        return
    current()(name, environments, n, *arguments)


def current() -> Launcher:
    """Who runs the kernels now."""
    return _replacement or _on_gpu


@contextmanager
def launched_by(launcher: Launcher) -> Iterator[None]:
    """Let something else run the kernels: for tests without a GPU."""
    global _replacement
    before, _replacement = _replacement, launcher
    try:
        yield
    finally:
        _replacement = before


def _on_gpu(name: str, environments: int, n: int, *arguments: Any) -> None:
    import cupy

    kernel, compiled = _compiled(name)
    blocks = environments if kernel.per_environment else -(-n // kernel.block)
    seen = [_array(a.data.ptr, a.shape, a.dtype.str) if isinstance(a, cupy.ndarray) else a for a in arguments]
    compiled[blocks, kernel.block, _stream()](n, *seen)


@lru_cache(maxsize=2048)
def _array(pointer: int, shape: tuple[int, ...], kind: str) -> Any:
    """Numba's view of a contiguous array, which takes it longer to make than a kernel to start.

    CuPy gives out the same memory step by step, so that most are known.  A view keeps no memory: CuPy's arrays do.
    """
    from numba import cuda

    described = {"shape": shape, "typestr": kind, "data": (pointer, False), "version": 3}
    return cuda.from_cuda_array_interface(described, sync=False)


@lru_cache
def _compiled(name: str) -> tuple[Any, Any]:
    from numba import cuda
    from numba.cuda.core import config  # of numba-cuda, not of Numba

    from .kernels import KERNELS, signature

    # all is on one stream: numba-cuda need not wait for it at every launch
    config.CUDA_ARRAY_INTERFACE_SYNC = 0
    config.CUDA_LOW_OCCUPANCY_WARNINGS = 0  # small structures are allowed
    kernel = KERNELS[name]
    try:
        return kernel, cuda.jit(signature(kernel.arguments))(kernel.function)
    except Exception as error:  # of Python too, where versions do not go together
        versions = f"numba-cuda {version('numba-cuda')} with NumPy {version('numpy')}"
        raise GPUNotAvailable(
            f"The GPU's kernels must compile; {versions} says {type(error).__name__}: {error}. "
            "Get versions that go together: pip install -U numba-cuda 'numpy<2.5'; or use device='cpu'."
        ) from error


def check_compiler() -> None:
    """Compile a kernel.

    Raises
    ------
    GPUNotAvailable
        If that fails.
    """
    _compiled("displacement")


def _stream() -> Any:
    """CuPy's current stream; 0 is the default one, of both."""
    import cupy
    from numba import cuda

    pointer = int(cupy.cuda.get_current_stream().ptr)
    return cuda.external_stream(pointer) if pointer else 0
