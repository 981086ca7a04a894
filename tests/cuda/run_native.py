"""Run in a process of its own: evaluate models with the IR of its kernels, each launch compared with loops, bit by bit.

``python -m tests.cuda.run_native STRUCTURE OUT MODEL...``
"""

from __future__ import annotations

import os
import sys

os.environ["LLVMLITE_ENABLE_IR_LAYER_TYPED_POINTERS"] = "0"  # IR that the host's LLVM can read; before Numba is imported

from unittest import mock

import gapkit._device

gapkit._device.FREE_ORDER.clear()  # CUDA kernels do not inherit it, and bits are compared

import numpy as np
from ase.io import read
from numba import cuda, float64

from gapkit import load
from gapkit._cuda.kernels import KERNELS
from gapkit._cuda.launch import launched_by
from gapkit.model.on_device import ModelOnDevice, on_device
from tests.cuda import fake_cupy
from tests.cuda.fits import fitted
from tests.cuda.launchers import by_loops
from tests.cuda.native import Native, NativeLauncher

NAMES = ("energy", "energies", "forces", "stress", "energy_std", "energies_std")


class Compared:
    """Runs a kernel three times: threads in order, in reverse order, and its body in a loop."""

    def __init__(self):
        self.forward, self.backward = NativeLauncher(), NativeLauncher(reverse=True)
        self.backward.compiled = self.forward.compiled
        self.unequal = []

    def __call__(self, name, environments, n, *arguments):
        results = []
        for run in (self.backward, by_loops, self.forward):
            values = [getattr(a, "inside", a) for a in arguments]
            if run is not self.forward:
                values = [a.copy() if isinstance(a, np.ndarray) else a for a in values]
            run(name, environments, n, *values)
            results.append(values)
        for other in results[:2]:
            for k, (a, b) in enumerate(zip(results[2], other, strict=True)):
                if isinstance(a, np.ndarray) and not np.array_equal(a, b, equal_nan=True):
                    self.unequal.append(f"{name}[{k}]")


def turned(barrier):
    """Each thread hands its number to another one through shared memory: wrong unless they wait."""

    def kernel(n, given, out):
        shared = cuda.shared.array(64, float64)
        t = cuda.threadIdx.x
        shared[t] = given[cuda.blockIdx.x, t]
        if barrier:
            cuda.syncthreads()
        out[cuda.blockIdx.x, t] = shared[63 - t]
        if barrier:
            cuda.syncthreads()

    return kernel


def main(structure, out, *model_files):
    from gapkit._cuda.kernels import signature

    atoms, compared = read(structure), Compared()
    # one patch for all, as it takes back what is imported under it
    with mock.patch.dict(sys.modules, fake_cupy.modules()), launched_by(compared):
        for k, model in enumerate(map(load, model_files)):
            there = ModelOnDevice(model.potential_, on_device(model.potential_, skin=0.5))
            there.predict(atoms)
            prediction = there.predict(atoms, uncertainty="exact")
            found = {name: getattr(prediction, name) for name in NAMES}
            np.savez(f"{out}{k}.npz", **found, launches=len(compared.forward.calls))
        fitted("cuda").save(f"{out}.gap")
    assert not compared.unequal, compared.unequal
    assert set(compared.forward.calls) == set(KERNELS)
    given, out_of_order = np.random.default_rng(0).normal(size=(40, 64)), {}
    for barrier in (True, False):
        result = np.zeros_like(given)
        Native(turned(barrier), signature("i f2 f2"))[40, 64](64, given, result, reverse=True, together=True)
        out_of_order[barrier] = int((result != given[:, ::-1]).sum())
    assert out_of_order[True] == 0
    assert out_of_order[False] > 0, "a missing barrier was not seen"


if __name__ == "__main__":
    main(*sys.argv[1:])
