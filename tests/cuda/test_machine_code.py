"""L2: every kernel compiles for the cards that are about, fits their registers, and hides nothing; faults are seen.

NVVM (as numba-cuda calls it) writes PTX, nvJitLink, which is ptxas, makes machine code of it and says what it needs.
"""

from __future__ import annotations

import math
import re
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from numba import cuda, float64

from gapkit._cuda.kernels import KERNELS, signature
from tests.cuda.needs import gpucheck

gpucheck()

CARDS = [(8, 0), (8, 9), (9, 0), (12, 0)]  # A100, RTX 4090 and L40S, H100, RTX 5090

SINGLE = r"\b(add|sub|mul|fma|div|rcp|sqrt|cvt)\.\S*f32\b"  # libdevice's exp looks at its argument's upper half as a float

WITH_DIVISION = {"row", "bin_of"}  # they run when pairs are found anew only


def ptx_of(function, types, cc):
    import numba.cuda.dispatcher as dispatcher

    # numba-cuda asks the driver for the card when a kernel calls a device function
    with mock.patch.object(dispatcher, "get_current_device", return_value=SimpleNamespace(compute_capability=cc)):
        return cuda.compile(function, types, cc=cc, device=False, abi="numba", output="ptx")[0]


def resources(ptx, cc):
    from cuda.core import Linker, LinkerOptions, ObjectCode

    options = LinkerOptions(arch=f"sm_{cc[0]}{cc[1]}", ptxas_options=["-v"], verbose=True)
    linker = Linker(ObjectCode.from_ptx(ptx.encode()), options=options)
    linker.link("cubin")
    log = linker.get_info_log()

    def number(pattern):
        return sum(int(n) for n in re.findall(pattern, log))

    assert "Used" in log
    return SimpleNamespace(
        registers=number(r"Used (\d+) registers"),
        stack=number(r"(\d+) bytes stack frame"),
        spills=number(r"(\d+) bytes spill (?:stores|loads)"),
        shared=number(r"(\d+) bytes smem"),
    )


@pytest.mark.parametrize("cc", CARDS, ids=lambda cc: f"sm_{cc[0]}{cc[1]}")
@pytest.mark.parametrize("name", KERNELS)
def test_kernel(name, cc):
    kernel = KERNELS[name]
    ptx = ptx_of(kernel.function, signature(kernel.arguments), cc)
    found = resources(ptx, cc)
    assert found.stack == found.spills == found.shared == 0
    assert found.registers <= kernel.registers
    assert kernel.registers * kernel.block <= 65536  # a block must fit
    assert not re.search(r"\b(bar|barrier|atom|red|shfl|vote)\.", ptx)  # every output has one thread
    assert not re.search(SINGLE, ptx)  # nothing in single precision
    if name not in WITH_DIVISION:
        assert not re.search(r"\b(div|rem)\.[su]64", ptx)  # 100 cycles each


def test_a_hidden_stack_frame_is_seen():
    def kernel(n, x):
        t = cuda.grid(1)
        if t < n:
            x[t] = math.cos(x[t])

    assert resources(ptx_of(kernel, signature("i f1"), (9, 0)), (9, 0)).stack > 0


def test_an_array_that_falls_out_of_registers_is_seen():
    def kernel(n, x):
        scratch = cuda.local.array(200, float64)
        t = cuda.grid(1)
        for k in range(200):
            scratch[k] = x[t + k]
        total = 0.0
        for k in range(n):
            total += scratch[(k * k) % 200]
        x[t] = total

    found = resources(ptx_of(kernel, signature("i f1"), (9, 0)), (9, 0))
    assert found.stack + found.spills >= 1600


def test_too_much_shared_memory_is_refused():
    def kernel(n, x):
        shared = cuda.shared.array(7000, float64)
        t = cuda.grid(1)
        shared[t] = x[t]
        cuda.syncthreads()
        x[t] = shared[n - t]

    with pytest.raises(Exception, match="too much shared data"):
        resources(ptx_of(kernel, signature("i f1"), (9, 0)), (9, 0))


def test_single_precision_barriers_atomics_and_divisions_are_seen():
    def kernel(n, x):
        t = cuda.grid(1)
        cuda.syncthreads()
        cuda.atomic.add(x, t % n, np.float32(x[t]) * np.float32(1.5))

    ptx = ptx_of(kernel, signature("i f1"), (9, 0))
    for pattern in (r"\bbar(rier)?\.", r"\batom\.|\bred\.", SINGLE, r"\b(div|rem)\.[su]64"):
        assert re.search(pattern, ptx), pattern
