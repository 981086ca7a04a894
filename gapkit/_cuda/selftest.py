"""What anyone with a card runs first: ``python -m gapkit._cuda.selftest [-o report.json]``.

A model of the shipped silicon data is fitted on the CPU and on the GPU, and compared there: energies, forces, stress, standard
deviations; so is one of copper and gold (ASE's EMT) with what the first has not: two species, triplets, symmetry functions,
a repulsion.  Two runs are compared bit by bit, the energy must be conserved, and the times of each kernel, of a step and of a
fit are taken.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
import warnings
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import gapkit

from ..exceptions import NumericalWarning
from . import launch
from .status import gpu_status, require

__all__ = ["main", "run"]

_PACKAGES = ("gapkit", "numpy", "numba", "numba-cuda", "cupy-cuda13x", "cupy-cuda12x")
_ENERGY, _FORCE = 1e-11, 1e-9  # relative; eV/Å.  Fused multiply-add and cuBLAS change the last digits of sums that cancel
_FIT = 1e-6  # eV/atom, of a model fitted there from one fitted here: rounding of the rows times the condition of K_uu

Checks = dict[str, tuple[float, float]]


def run(*, n_sparse: int = 1000, repeats: Sequence[int] = (3, 10, 23), steps: int = 200) -> dict[str, Any]:
    """Compare GPU and CPU.

    Parameters
    ----------
    n_sparse : int, default 1000
        Sparse points of the model.
    repeats : sequence of int, default (3, 10, 23)
        Cubic cells of silicon (8 atoms) along each axis; the first is compared with the CPU, all are timed.
    steps : int, default 200
        Of molecular dynamics at constant energy, 1 fs each.

    Returns
    -------
    dict
        What was found: ``passed``, ``device``, ``checks`` (value and bound of each), ``times`` (µs per atom of each size),
        ``fit`` (seconds on CPU and GPU).

    Raises
    ------
    GPUNotAvailable
        If there is no GPU that can be used.
    """
    require()
    import cupy
    from ase.build import bulk

    from gapkit.datasets import load_silicon

    def silicon(n: int) -> Any:
        atoms = bulk("Si", cubic=True).repeat(n)
        atoms.rattle(0.05, seed=0)
        return atoms

    frames, atoms, checks = load_silicon(), silicon(repeats[0]), Checks()
    fits, models = {}, {}
    for where in ("cpu", "cuda"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NumericalWarning)  # as many sparse points as there are, and very few
            _silicon_model(4, where).fit(frames[-2:])  # compiles
            start = time.perf_counter()
            models[where] = _silicon_model(n_sparse, where).fit(frames)
            fits[where] = time.perf_counter() - start
    model = models["cpu"]
    there, here = (m.set_params(device="cpu").predict([atoms])[0] for m in (models["cuda"], model))
    checks["fit, eV/atom"] = abs(there - here) / len(atoms), _FIT
    _compare("silicon", model, atoms, checks)
    _compare("copper and gold", *_copper_gold(), checks)
    times = {}
    for n in repeats:
        larger = silicon(n)
        larger.calc = gapkit.GAPCalculator(model, device="cuda")
        times[str(len(larger))] = _times(larger, cupy.cuda.get_current_stream()) | _dynamics(larger, model, steps, checks)
    return {
        "passed": all(value <= limit for value, limit in checks.values()),
        "device": gpu_status().reason,
        "platform": platform.platform(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "n_sparse": model.n_sparse_,
        "checks": {name: {"value": value, "bound": limit} for name, (value, limit) in checks.items()},
        "times": times,
        "fit": fits,
    }


def _silicon_model(n_sparse: int, device: str) -> Any:
    soap = gapkit.Term(gapkit.SOAP(5.0, n_max=8, l_max=6), gapkit.DotProduct(4), n_sparse=n_sparse)
    pairs = gapkit.Term(gapkit.TwoBody(5.0, tabulate=True), gapkit.RBF(1.0), n_sparse=min(n_sparse, 8))
    return gapkit.GAPRegressor([soap, pairs], random_state=0, device=device)


def _compare(what: str, model: Any, atoms: Any, checks: Checks) -> None:
    """One structure on both, and twice on the GPU."""
    bound = 1e-15 * sum(float(np.abs(a).sum()) for term in model.potential_.coefficients for a in term)
    std = ("energies", "forces")
    cpu, one, two = (model.set_params(device=d).evaluate([atoms], uncertainty="exact")[0] for d in ("cpu", "cuda", "cuda"))
    fast_cpu, fast = (model.set_params(device=d).evaluate([atoms], uncertainty="fast", std=std)[0] for d in ("cpu", "cuda"))
    model.set_params(device="cpu")
    checks[f"{what}: energy, relative"] = abs(one.energy / cpu.energy - 1.0), max(_ENERGY, bound * len(atoms) / abs(cpu.energy))
    for name in ("forces", "energies", "stress"):
        difference = np.abs(np.asarray(getattr(one, name)) - np.asarray(getattr(cpu, name))).max()
        checks[f"{what}: {name}"] = float(difference), max(_FORCE, bound)
    of_gpu, of_cpu = np.asarray(one.energies_std) ** 2, np.asarray(cpu.energies_std) ** 2
    checks[f"{what}: variances, relative"] = float(np.abs(of_gpu / of_cpu - 1.0).max()), 1e-6
    of_gpu, of_cpu = np.asarray(fast.forces_std), np.asarray(fast_cpu.forces_std)
    checks[f"{what}: deviations of forces, relative"] = float(np.abs(of_gpu - of_cpu).max() / of_cpu.max()), 1e-6
    equal = one.energy == two.energy and np.array_equal(np.asarray(one.forces), np.asarray(two.forces))
    checks[f"{what}: two runs, numbers that differ"] = float(not equal), 0.5


def _copper_gold() -> tuple[Any, Any]:
    """A model with triplets, symmetry functions and a repulsion that acts, and a rattled slab."""
    from ase.build import bulk
    from ase.calculators.emt import EMT

    def frame(seed: int, n: int) -> Any:
        rng = np.random.default_rng(seed)
        atoms = bulk("Cu", cubic=True, a=3.85).repeat(n)
        atoms.symbols = (["Cu", "Au", "Cu"] * len(atoms))[seed % 3 : seed % 3 + len(atoms)]
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.08 * rng.uniform(-1, 1, (3, 3))), scale_atoms=True)
        atoms.positions += rng.normal(0.0, 0.12, atoms.positions.shape)
        atoms.pbc[2] = seed % 2 == 0
        atoms.calc = EMT()
        atoms.get_forces()
        return atoms

    acsf = gapkit.ACSF(4.0, g2_params=[[1.0, 2.0]], g4_params=[[0.01, 4, 1.0]], g5_params=[[0.02, 2, -1.0]])
    counts = {"Cu-Cu": 4, "Cu-Au": 4, "Au-Au": 4}
    terms = [
        gapkit.Term(gapkit.TwoBody(3.5), gapkit.RBF(1.0), n_sparse=counts),
        gapkit.Term(acsf, gapkit.DotProduct(2), n_sparse=6, scale="range"),
        gapkit.Term(gapkit.ThreeBody(3.0, tabulate=True), gapkit.RBF(1.5), n_sparse=4, scale="std"),
        gapkit.Term(gapkit.ThreeBody(2.8), gapkit.RBF(1.5), n_sparse=4, scale="std"),
        gapkit.Term(gapkit.SOAP(4.0, n_max=4, l_max=3, rbf="polynomial"), gapkit.RBF(0.5), n_sparse=10),
    ]
    model = gapkit.GAPRegressor(terms, baseline=gapkit.ZBL(r_outer=2.6), random_state=0)
    return model.fit([frame(seed, 1) for seed in range(12)]), frame(13, 2)


def _dynamics(atoms: Any, model: Any, steps: int, checks: Checks) -> dict[str, float]:
    """Conservation of the energy, and the time of a step (µs per atom) that stays on the device."""
    from ase import units
    from ase.md.velocitydistribution import thermalize_momenta

    from gapkit.dynamics import DeviceDynamics

    thermalize_momenta(atoms, temperature_K=300, rng=np.random.default_rng(0))
    there, totals = DeviceDynamics(atoms, model, 1.0 * units.fs), []
    there.run(max(1, steps // 10))  # leaves the lattice
    start = time.perf_counter()
    for snapshot in there.irun(steps, every=max(1, steps // 20)):
        totals.append(snapshot.atoms.get_total_energy() / len(atoms))
    seconds = time.perf_counter() - start
    drift = abs(float(np.mean(totals[-5:]) - np.mean(totals[:5])))
    checks[f"{len(atoms)} atoms: drift, eV/atom"] = drift, 1e-4
    return {"step that stays there": 1e6 * seconds / (steps * len(atoms))}


def _times(atoms: Any, stream: Any, n_steps: int = 5) -> dict[str, float]:
    """Of a step, µs per atom: as it is, of each kernel (the host waiting before and after each), and of the rest."""
    rng, unit = np.random.default_rng(1), 1e6 / (n_steps * len(atoms))
    atoms.get_forces()  # compiles, and finds pairs

    def several() -> float:
        start = time.perf_counter()
        for _ in range(n_steps):
            atoms.positions += rng.normal(0.0, 1e-4, atoms.positions.shape)
            atoms.get_forces()
        return time.perf_counter() - start

    whole, kernels = several(), dict[str, float]()
    launcher = launch.current()

    def timed(name: str, environments: int, n: int, *arguments: Any) -> None:
        stream.synchronize()
        start = time.perf_counter()
        launcher(name, environments, n, *arguments)
        stream.synchronize()
        kernels[name] = kernels.get(name, 0.0) + time.perf_counter() - start

    with launch.launched_by(timed):
        with_waits = several()
    result = {"step": whole, "step with waits": with_waits, "algebra and host": with_waits - sum(kernels.values())} | kernels
    return {name: unit * value for name, value in result.items()}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "-"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print and write what `run` finds; 0 if all is as it should be."""
    parser = argparse.ArgumentParser(prog="python -m gapkit._cuda.selftest", description=__doc__)
    parser.add_argument("-o", "--output", default="gapkit-gpu.json", help="where the report is written")
    parser.add_argument("--n-sparse", type=int, default=1000)
    parser.add_argument("--repeats", type=int, nargs="+", default=[3, 10, 20])
    parser.add_argument("--steps", type=int, default=200)
    given = parser.parse_args(arguments)
    status = gpu_status()
    if not status.usable:
        print(f"No GPU can be used: {status.reason}. {status.remedy}", file=sys.stderr)
        return 2
    report = run(n_sparse=given.n_sparse, repeats=given.repeats, steps=given.steps)
    print(report["device"])
    for name, check in report["checks"].items():
        verdict = "ok  " if check["value"] <= check["bound"] else "FAIL"
        print(f"{verdict} {name}: {check['value']:.2e} (at most {check['bound']:.0e})")
    print(f"a fit takes {report['fit']['cuda']:.2g} s, on the CPU {report['fit']['cpu']:.2g} s")
    for n_atoms, times in report["times"].items():
        print(f"{n_atoms} atoms, µs/atom: " + ", ".join(f"{name} {value:.3g}" for name, value in times.items()))
    Path(given.output).write_text(json.dumps(report, indent=2) + "\n")
    print(f"report: {given.output}")
    return 0 if report["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
