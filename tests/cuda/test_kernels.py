"""L1 and L3: the CUDA kernels themselves, in numba-cuda's simulator and as the machine code of their IR for this CPU."""

from __future__ import annotations

import numpy as np
from ase.io import write
from numpy.testing import assert_allclose

from gapkit import load
from tests.conftest import assert_equal_models, copper_gold
from tests.cuda.fits import fitted
from tests.cuda.needs import gpucheck

gpucheck()


def assert_same(file, expected):
    found = np.load(file)
    for name in ("energy", "energies", "forces", "stress"):
        assert_allclose(found[name], getattr(expected, name), rtol=0, atol=1e-10 * len(expected.forces))
    for name in ("energy_std", "energies_std"):
        assert_allclose(found[name] ** 2, getattr(expected, name) ** 2, rtol=1e-8, atol=1e-12)
    return found


def test_ir_of_the_kernels(child, model_file, other_file, mixed, tmp_path):
    """Every launch of an evaluation is equal bit by bit to the loop over its body, in whatever order threads run.

    Wrong orders and missing barriers are seen; energies, forces, stress and variances are those of the CPU.
    """
    write(tmp_path / "a.xyz", mixed, format="extxyz")
    child("run_native", tmp_path / "a.xyz", tmp_path / "out", model_file, other_file)
    found = assert_same_as_on_the_cpu(tmp_path, model_file, other_file)
    assert found[0]["launches"] > 40


def test_simulator(child, model_file, other_file, tmp_path):
    """Indices, tails of grids, and bounds of all arrays (of bodies, by Numba; of kernels, by the simulator)."""
    small = copper_gold(71, (True, False, True))
    write(tmp_path / "a.xyz", small, format="extxyz")
    environment = {"NUMBA_ENABLE_CUDASIM": "1", "NUMBA_BOUNDSCHECK": "1"}
    child("run_simulator", tmp_path / "a.xyz", tmp_path / "out", model_file, other_file, **environment)
    assert_same_as_on_the_cpu(tmp_path, model_file, other_file)


def assert_same_as_on_the_cpu(folder, *model_files):
    assert_equal_models(load(folder / "out.gap"), fitted("cpu"))
    frames = [read_back(folder / "a.xyz")]
    expected = [load(file).evaluate(frames, uncertainty="exact")[0] for file in model_files]
    return [assert_same(folder / f"out{k}.npz", prediction) for k, prediction in enumerate(expected)]


def read_back(path):
    from ase.io import read

    return read(path)


def test_launches_on_a_gpu_cover_all_items(monkeypatch):
    """What a GPU is told: grid, block and stream; kernels of environments have a block for each."""
    from gapkit._cuda import launch
    from gapkit._cuda.kernels import KERNELS

    told = []

    class Compiled:
        def __getitem__(self, shape):
            return lambda *arguments: told.append((*shape, arguments))

    monkeypatch.setattr(launch, "_compiled", lambda name: (KERNELS[name], Compiled()))
    monkeypatch.setattr(launch, "_stream", lambda: 7)
    for n in (0, 1, 128, 129):
        launch.launch("move", n, "positions")
    launch.launch("power", 300, "left", environments=12)
    launch.launch("power", 300, "left", environments=0)
    assert told == [
        (1, 128, 7, (1, "positions")),
        (1, 128, 7, (128, "positions")),
        (2, 128, 7, (129, "positions")),
        (12, 128, 7, (300, "left")),
    ]


def test_numba_cuda_has_the_switches_that_are_set():
    """They are read where they are set: else every launch would wait for the stream of every array."""
    from numba.cuda import api
    from numba.cuda.core import config

    assert api.config is config
    assert hasattr(config, "CUDA_ARRAY_INTERFACE_SYNC")
    assert hasattr(config, "CUDA_LOW_OCCUPANCY_WARNINGS")
