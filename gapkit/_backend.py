"""The loops that run where the arrays are: the only chooser between `_cpu` and (later) `_cuda`.

Loops are imported at first use, so that ``import gapkit`` does not pull in Numba.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from types import ModuleType

from threadpoolctl import threadpool_limits

__all__ = [
    "acsf_ops",
    "body_ops",
    "loops_are_compiled",
    "one_thread",
    "one_thread_in_workers",
    "pair_ops",
    "repulsion_ops",
    "row_ops",
    "soap_ops",
    "table_ops",
]


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one thread for loops and linear algebra."""
    import numba

    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        numba.set_num_threads(threads)


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


def row_ops() -> ModuleType:
    """Loops that assemble the rows of a fit."""
    _announce_compilation()
    from ._cpu import rows

    return rows


def table_ops() -> ModuleType:
    """Loops over splines of three variables."""
    _announce_compilation()
    from ._cpu import tables

    return tables


def loops_are_compiled() -> bool:
    """Whether the first call on this machine need not compile."""
    from . import _cpu

    return _cpu.cache_is_writable() and not _cpu.cache_is_empty()
