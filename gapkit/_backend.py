"""What runs where the arrays are, and on how many threads: the chooser between `_cpu` and `_cuda`, SciPy and CuPy.

Array algebra elsewhere is written with NumPy's functions, which CuPy's arrays answer themselves (NEP 13 and 18): one code
serves both.  Here is what they do not answer.  Loops and CuPy are imported at first use: ``import gapkit`` needs neither.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from functools import lru_cache
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import LibController, ThreadpoolController

__all__ = [
    "acsf_ops",
    "beside",
    "body_ops",
    "cupy",
    "erf",
    "in_threads",
    "in_turn",
    "is_on_gpu",
    "kernel_ops",
    "loops_are_compiled",
    "n_threads",
    "on_host",
    "one_thread",
    "one_thread_in_workers",
    "pair_ops",
    "repulsion_ops",
    "row_ops",
    "row_products",
    "soap_ops",
    "solve_lower",
    "solve_transposed_upper",
    "table_ops",
    "threads_for",
    "triangular_factor",
]


_FEW_ATOMS = 200  # of which an evaluation takes milliseconds

_In = TypeVar("_In")
_Out = TypeVar("_Out")


@lru_cache(maxsize=1)
def _libraries() -> list[LibController]:
    """Linear algebra that NumPy and SciPy have loaded; looking for it takes longer than to evaluate a small structure."""
    result: list[LibController] = ThreadpoolController().lib_controllers
    return result


class _OneThread:
    """Linear algebra on one thread while anybody asks for it; the last to leave puts things back, whoever that is."""

    def __init__(self) -> None:
        self.lock, self.users, self.before = threading.Lock(), 0, [0]

    def __enter__(self) -> None:
        with self.lock:
            if self.users == 0:
                self.before = [library.num_threads for library in _libraries()]
                self._set([1] * len(self.before))
            self.users += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.users -= 1
            if self.users == 0:
                self._set(self.before)

    @staticmethod
    def _set(threads: list[int]) -> None:
        for library, n in zip(_libraries(), threads, strict=True):
            library.set_num_threads(n)


_ONE_THREAD = _OneThread()


def one_thread() -> AbstractContextManager[None]:
    """Use one thread for everything."""
    return _ONE_THREAD


def n_threads() -> int:
    """Number of threads that linear algebra may use (OMP_NUM_THREADS or threadpoolctl says), and `in_threads` with it."""
    return max((library.num_threads for library in _libraries() if library.user_api == "blas"), default=1)


@lru_cache(maxsize=1)
def _pool(n: int) -> ThreadPoolExecutor:
    """Threads that stay: those of a new pool would find neither their memory in the cache nor be there at once."""
    return ThreadPoolExecutor(n, thread_name_prefix="gapkit")


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has none of the threads


def in_threads(function: Callable[[_In], _Out], items: Sequence[_In]) -> Iterator[_Out]:
    """Results of a function for items, in their order, computed on all threads, a few items ahead.

    Each call has one thread, for loops and linear algebra; a call within another, or under `one_thread`, has no more.
    A single item has all threads.

    Parameters
    ----------
    function : callable
        Spends its time in NumPy and compiled loops; calls at the same time must not touch each other's data.
    items : sequence
        What it is called with.

    Yields
    ------
    object
        ``function(item)``.
    """
    n = min(n_threads(), len(items))
    if n <= 1:
        yield from map(function, items)
        return
    pool, ahead = _pool(n_threads()), deque[Future[_Out]]()
    with one_thread():
        try:
            for item in items:
                ahead.append(pool.submit(copy_context().run, function, item))
                if len(ahead) > n:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
            wait(ahead)


def threads_for(n_atoms: int) -> AbstractContextManager[None]:
    """Use one thread for small structures: several would mostly wait for each other."""
    return one_thread() if n_atoms <= _FEW_ATOMS else nullcontext()


def one_thread_in_workers() -> AbstractContextManager[None]:
    """Where this process is a worker of another one, as in a process pool, use one thread: the pool fills the cores."""
    return nullcontext() if multiprocessing.parent_process() is None else one_thread()


@lru_cache(maxsize=1)
def _announce_compilation() -> None:
    """Say why the first call on a machine takes long."""
    from . import _cpu

    if not _cpu.cache_is_writable():
        where = f"cannot be kept: {_cpu.cache_folder()} is not writable. Set NUMBA_CACHE_DIR to a folder that is"
        print(f"gapkit: compiling its loops (up to 30 s at every start; they {where}) ...", file=sys.stderr, flush=True)
    elif _cpu.cache_is_empty():
        where = f"kept in {_cpu.cache_folder()}"
        print(f"gapkit: compiling its loops for this machine, once (up to 30 s, {where}) ...", file=sys.stderr, flush=True)


def pair_ops() -> ModuleType:
    """Loops over pairs: full list, moved atoms, gathered forces and virials."""
    _announce_compilation()
    from ._cpu import pairs

    return pairs


def soap_ops() -> ModuleType:
    """SOAP loops: expansion, power spectrum, adjoints, Jacobian."""
    _announce_compilation()
    from ._cpu import soap

    return soap


def acsf_ops() -> ModuleType:
    """Symmetry-function loops: values, adjoint, Jacobian."""
    _announce_compilation()
    from ._cpu import acsf

    return acsf


def body_ops() -> ModuleType:
    """Loops over triplets: features, adjoint, Jacobian."""
    _announce_compilation()
    from ._cpu import bodies

    return bodies


def repulsion_ops() -> ModuleType:
    """Loop over pairs that repel each other."""
    _announce_compilation()
    from ._cpu import repulsion

    return repulsion


def kernel_ops(like: Any = None) -> ModuleType:
    """Loops over kernels: powers of scalar products; those on the GPU for CuPy's arrays."""
    if like is not None and is_on_gpu(like):
        from ._cuda import kernel_loops

        return kernel_loops
    _announce_compilation()
    from ._cpu import kernels

    return kernels


def row_ops(like: Any = None) -> ModuleType:
    """Loops that assemble the rows of a fit; those on the GPU for CuPy's arrays."""
    if like is not None and is_on_gpu(like):
        from ._cuda import row_loops

        return row_loops
    _announce_compilation()
    from ._cpu import rows

    return rows


def table_ops(like: Any = None) -> ModuleType:
    """Loops over splines of three variables; those on the GPU for CuPy's arrays."""
    if like is not None and is_on_gpu(like):
        from ._cuda import kernel_loops

        return kernel_loops
    _announce_compilation()
    from ._cpu import tables

    return tables


def is_on_gpu(array: Any) -> bool:
    """Whether an array is CuPy's."""
    return not isinstance(array, np.ndarray)


def cupy() -> ModuleType:
    """CuPy; `gapkit._cuda.status.require` says beforehand whether it works."""
    import cupy

    module: ModuleType = cupy
    return module


def beside(like: Any, array: Any) -> Any:
    """An array where another one is: on the GPU or here."""
    return cupy().asarray(array) if is_on_gpu(like) else array


def on_host(array: Any) -> NDArray[Any]:
    """An array in NumPy."""
    result: NDArray[Any] = array.get() if is_on_gpu(array) else array
    return result


_GPU_TURN = threading.Lock()


def in_turn(like: Any) -> AbstractContextManager[Any]:
    """For CuPy's arrays: one thread at a time, as the memory of a GPU holds what one of them needs."""
    return _GPU_TURN if is_on_gpu(like) else nullcontext()


def erf(x: Any) -> Any:
    """Error function."""
    if is_on_gpu(x):
        from cupyx.scipy.special import erf as of_cupy

        return of_cupy(x)
    from scipy.special import erf as of_scipy

    return of_scipy(x)


def row_products(one: Any, other: Any) -> Any:
    """x·y of each row of two matrices."""
    if is_on_gpu(one):  # whose einsum takes longer to start than to run
        return (one * other).sum(axis=1)
    return np.einsum("nf,nf->n", one, other)


def triangular_factor(stack: Any) -> Any:
    """R of the QR factorisation of a matrix with more rows than columns."""
    return (cupy() if is_on_gpu(stack) else np).linalg.qr(stack, mode="r")


def solve_lower(factor: Any, right: Any) -> Any:
    """L^-1 ``right`` for a lower triangular factor; ``right`` may be overwritten."""
    if not is_on_gpu(factor):
        from scipy.linalg import blas

        return blas.dtrsm(1.0, factor, right, lower=1, overwrite_b=1)
    from cupyx.scipy.linalg import solve_triangular

    return solve_triangular(factor, right, lower=True)


def solve_transposed_upper(factor: Any, right: Any) -> Any:
    """R^-T ``right`` for an upper triangular factor."""
    if not is_on_gpu(factor):
        from scipy.linalg import solve_triangular

        return solve_triangular(factor, right, trans="T", check_finite=False)
    from cupyx.scipy.linalg import solve_triangular

    return solve_triangular(factor, right, trans="T", check_finite=False)


def loops_are_compiled() -> bool:
    """Whether the first call on this machine need not compile."""
    from . import _cpu

    return _cpu.cache_is_writable() and not _cpu.cache_is_empty()
