"""Kernels without a GPU: their bodies in loops compiled by Numba for the CPU."""

from __future__ import annotations

import inspect
from functools import lru_cache

import numba
import numpy as np

from gapkit._cuda.kernels import KERNELS, signature


def checked(name, arguments):
    """Arguments as the kernel declares them: type and layout are refused by a GPU too."""
    types = signature(KERNELS[name].arguments)
    arguments = [getattr(a, "inside", a) for a in arguments]
    assert len(types) == len(arguments), name
    for k, (kind, a) in enumerate(zip(types, arguments, strict=True)):
        if isinstance(kind, numba.types.Array):
            assert isinstance(a, np.ndarray), (name, k, type(a))
            assert (a.dtype, a.ndim) == (np.dtype(str(kind.dtype)), kind.ndim), (name, k, a.dtype, a.shape)
            assert a.flags.c_contiguous, (name, k)
        else:
            assert np.isscalar(a), (name, k, type(a))
    return arguments


@lru_cache
def driver(name, boundscheck=False):
    """A loop over all outputs of a kernel."""
    kernel = KERNELS[name]
    names = list(inspect.signature(kernel.body.py_func).parameters)
    n_indices = 2 if kernel.per_environment else 1
    indices, rest = names[:n_indices], ", ".join(names[n_indices:])
    loops = ["for {} in range(n_):", " for {} in range(m_):"] if kernel.per_environment else ["for {} in range(m_):"]
    lines = [loop.format(index) for loop, index in zip(loops, indices, strict=True)]
    code = "\n ".join([f"def run(n_, m_, {rest}):", *lines, f"  body({', '.join(names)})\n"])
    space = {"body": kernel.body}
    exec(code, space)
    return numba.njit(error_model="numpy", boundscheck=boundscheck)(space["run"])


def by_loops(name, environments, n, *arguments):
    """A launcher for `gapkit._cuda.launch.launched_by`."""
    _, *rest = checked(name, (n, *arguments))
    driver(name)(environments, n, *rest)
