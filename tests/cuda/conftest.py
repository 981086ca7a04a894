"""Models for all tests of the whole path, saved by `fit` and loaded again; the first has SOAP, pairs and a repulsion."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from shutil import which

import pytest

from gapkit import ACSF, RBF, SOAP, ZBL, DotProduct, GAPRegressor, Noise, Term, ThreeBody, TwoBody, load
from tests.conftest import copper_gold

if os.environ.get("CI") == "true":
    _missing = [name for name in ("cupy", "numba_cuda", "cuda") if find_spec(name) is None] + ["gcc"] * (which("gcc") is None)
    if _missing:
        raise RuntimeError(f"CI must check the GPU code; missing: {', '.join(_missing)}. pip install -e '.[test,gpucheck]'")


@pytest.fixture(scope="session")
def model_file(alloy, tmp_path_factory):
    terms = [
        Term(SOAP(4.0, n_max=4, l_max=3), DotProduct(4), n_sparse=20, delta=0.3),
        Term(TwoBody(3.5), RBF(1.0), n_sparse={"Cu-Cu": 5, "Cu-Au": 6, "Au-Au": 5}),
    ]
    model = GAPRegressor(terms, noise=Noise(energy=1e-3, forces=0.05), baseline=ZBL(r_outer=2.6), random_state=0)
    path = tmp_path_factory.mktemp("model") / "alloy.gap"
    model.fit(alloy).save(path)
    return path


@pytest.fixture(scope="session")
def other_file(alloy, tmp_path_factory):
    """What `model_file` has not: symmetry functions, and pairs and triplets from tables."""
    acsf = ACSF(4.0, g2_params=[[1.0, 2.0]], g4_params=[[0.01, 4, 1.0]], g5_params=[[0.02, 2, -1.0]])
    terms = [
        Term(acsf, DotProduct(2), n_sparse=6, scale="range"),
        Term(ThreeBody(3.0, tabulate=True), RBF(1.5), n_sparse=4, scale="std"),
        Term(TwoBody(3.2, tabulate=True), RBF(1.0), n_sparse={"Cu-Cu": 4, "Cu-Au": 4, "Au-Au": 4}),
    ]
    path = tmp_path_factory.mktemp("model") / "other.gap"
    GAPRegressor(terms, random_state=0).fit(alloy).save(path)
    return path


@pytest.fixture
def model(model_file):
    return load(model_file)


@pytest.fixture(scope="session")
def mixed():
    """A rattled, sheared cell, periodic in two directions."""
    atoms = copper_gold(71, (True, True, False), 8).repeat((1, 2, 1))
    atoms.rattle(0.05, seed=3)
    return atoms


@pytest.fixture
def gpu(monkeypatch):
    """A GPU that is not there: CuPy's names, kernels in loops on the CPU."""
    from gapkit._cuda.launch import launched_by
    from gapkit.model import device
    from tests.cuda import fake_cupy
    from tests.cuda.launchers import by_loops

    for name, module in fake_cupy.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(device, "require", lambda: None)
    with launched_by(by_loops):
        yield fake_cupy


@pytest.fixture
def child(tmp_path):
    """Run a module of these tests in a process of its own, with compiled loops of its own."""

    def run(module, *arguments, **environment):
        root = Path(__file__).parents[2]
        environment = {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"} | environment
        found = subprocess.run(
            [sys.executable, "-m", f"tests.cuda.{module}", *map(str, arguments)],
            cwd=root, env={**os.environ, **environment}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-3000:]
        return found.stdout

    return run
