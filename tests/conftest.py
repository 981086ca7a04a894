"""Fixtures: rattled, sheared two-species structures with labels, periodic in three and in two directions."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from hypothesis import settings
from numpy.testing import assert_allclose
from threadpoolctl import threadpool_limits

settings.register_profile("default", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("default")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items):
    for item in items:
        if "shared_data" in getattr(item, "fixturenames", ()) and not SHARED.is_dir():
            item.add_marker(pytest.mark.skip(reason=f"{SHARED} is not here"))


@pytest.fixture
def shared_data() -> Path:
    return SHARED


def labelled(atoms: Atoms) -> Atoms:
    atoms = atoms.copy()
    atoms.calc = EMT()
    results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
    if atoms.cell.rank == 3 and atoms.pbc.any():
        results["stress"] = atoms.get_stress()
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def copper_gold(seed: int, pbc=(True, True, False), n: int = 4) -> Atoms:
    """Rattled and sheared fcc cell of Cu and Au; the composition varies with the seed."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", cubic=True, a=3.85)
    if n == 8:
        atoms = atoms.repeat((2, 1, 1))
    atoms.symbols = (["Cu", "Au"] * len(atoms))[: len(atoms)]
    if seed % 3 == 1:
        atoms.symbols[1] = "Cu"
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.08 * rng.uniform(-1, 1, (3, 3))), scale_atoms=True)
    atoms.positions += rng.normal(0.0, 0.12, atoms.positions.shape)
    atoms.pbc = pbc
    if not atoms.pbc.all():
        atoms.cell[2] *= 2.0
    return atoms


def copies(frames: list[Atoms]) -> list[Atoms]:
    """Structures with labels of their own, to be changed."""
    result = []
    for atoms in frames:
        copy = atoms.copy()
        copy.calc = SinglePointCalculator(copy, **atoms.calc.results)
        result.append(copy)
    return result


def assert_equal_models(one, two) -> None:
    """Means and standard deviations, to the rounding of two ways to divide or scale the same rows (DESIGN, section 5)."""
    test = [copper_gold(70, (True, True, False)), copper_gold(71, (True, True, True))]
    a, b = (m.evaluate(test, uncertainty="exact", std=("energy", "energies")) for m in (one, two))
    for p, q in zip(a, b, strict=True):
        assert_allclose(p.energy, q.energy, rtol=0, atol=1e-9)
        assert_allclose(p.forces, q.forces, rtol=0, atol=1e-9)
        assert_allclose(p.energies_std, q.energies_std, rtol=1e-8)


@pytest.fixture(scope="session")
def alloy() -> list[Atoms]:
    """Ten labelled Cu-Au frames: periodic T T F and T T T, 4 and 8 atoms, two configuration types."""
    frames = [labelled(copper_gold(seed, pbc=(True, True, bool(seed % 2)), n=4 + 4 * (seed % 3 == 0))) for seed in range(10)]
    for k, atoms in enumerate(frames):
        atoms.info["config_type"] = "slab" if not atoms.pbc[2] else "bulk"
        atoms.info["number"] = k
    return frames


@pytest.fixture(scope="session", autouse=True)
def _one_thread_beside_others():
    """Workers of pytest-xdist fill the cores; loops on several threads would only wait for each other."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        yield
        return
    with threadpool_limits(1):
        yield


@pytest.fixture
def on_threads():
    """Call a function on so many threads; None: all that there are."""

    def call(n, function):
        with threadpool_limits(n or os.cpu_count()):
            return function()

    return call


@pytest.fixture(scope="session", autouse=True)
def _one_cache(tmp_path_factory):
    """Leave the user's compiled loops in place: they are valid by their hash."""
    os.environ.setdefault("MPLCONFIGDIR", str(tmp_path_factory.mktemp("matplotlib")))


@pytest.fixture
def parsl_executor(tmp_path, monkeypatch):
    """Parsl's pilot jobs on this machine, two workers."""
    import parsl
    from parsl.concurrent import ParslPoolExecutor
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    # parsl starts its workers by name: the environment of this Python need not be activated
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    workers = HighThroughputExecutor(
        label="local",
        address="127.0.0.1",
        max_workers_per_node=2,
        cores_per_worker=1,
        provider=LocalProvider(init_blocks=1, max_blocks=1),
    )
    config = Config(
        executors=[workers],
        run_dir=str(tmp_path / "parsl"),
        usage_tracking=0,
        strategy="none",
        initialize_logging=False,  # parsl takes the handler of its log away when it ends, but leaves the file open
    )
    try:
        with ParslPoolExecutor(config=config) as executor:
            yield executor
    finally:
        parsl.clear()
