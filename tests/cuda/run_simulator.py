"""Run in a process of its own, with NUMBA_ENABLE_CUDASIM=1: evaluate models with simulated CUDA kernels.

``python -m tests.cuda.run_simulator STRUCTURE OUT MODEL...``
"""

from __future__ import annotations

import sys
from unittest import mock

import numba.cuda.simulator.kernel as simulated
import numpy as np
from ase.io import read
from numba import cuda

from gapkit import load
from gapkit._cuda.kernels import KERNELS
from gapkit._cuda.launch import launched_by
from gapkit._cuda.neighbor_bodies import displacement
from gapkit.model.on_device import ModelOnDevice, on_device
from tests.cuda import fake_cupy
from tests.cuda.fits import fitted
from tests.cuda.launchers import checked

simulated.FakeWithinKernelCUDAArray = lambda array: array._ary  # so that kernels can call compiled bodies

_THREADS = 5  # divides no number of outputs: blocks have tails


def by_simulator(name, environments, n, *arguments):
    kernel = KERNELS[name]
    blocks = environments if kernel.per_environment else -(-n // _THREADS)
    cuda.jit(kernel.function)[blocks, _THREADS](*checked(name, (n, *arguments)))


def out_of_bounds():
    """Whether kernels and bodies that read past the end of an array are seen."""

    def kernel(n, given, out):
        t = cuda.grid(1)
        if t < n:
            out[t] = given[t + 1]

    seen = 0
    for wrong in (
        lambda: cuda.jit(kernel)[1, 4](4, np.zeros(4), np.zeros(4)),
        lambda: displacement(4, np.zeros((5, 3)), np.zeros((4, 3)), np.zeros(5)),
    ):
        try:
            wrong()
        except IndexError:
            seen += 1
    return seen == 2


def main(structure, out, *model_files):
    assert cuda.is_available(), "the simulator is not on"
    assert out_of_bounds()
    atoms, names = read(structure), ("energy", "energies", "forces", "stress", "energy_std", "energies_std")
    with mock.patch.dict(sys.modules, fake_cupy.modules()), launched_by(by_simulator):
        for k, model in enumerate(map(load, model_files)):
            prediction = ModelOnDevice(model.potential_, on_device(model.potential_)).predict(atoms, uncertainty="exact")
            np.savez(f"{out}{k}.npz", **{name: getattr(prediction, name) for name in names})
        fitted("cuda").save(f"{out}.gap")


if __name__ == "__main__":
    main(*sys.argv[1:])
