"""What anyone with a card runs first: ``python -m gapkit._cuda.selftest [-o report.json]``.

A model of the shipped silicon data is fitted, and compared on the CPU and on the GPU: energies, forces, stress, standard
deviations; two runs, bit by bit; the conservation of energy; the time of each kernel and of a whole step, by size.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import gapkit

from . import launch
from .status import gpu_status, require

__all__ = ["main", "run"]

_PACKAGES = ("gapkit", "numpy", "numba", "numba-cuda", "cupy-cuda13x", "cupy-cuda12x")
_ENERGY, _FORCE = 1e-11, 1e-9  # relative; eV/Å.  Fused multiply-add and cuBLAS change the last digits of sums that cancel


def run(*, n_sparse: int = 1000, repeats: Sequence[int] = (3, 10, 20), steps: int = 200) -> dict[str, Any]:
    """Compare GPU and CPU.

    Parameters
    ----------
    n_sparse : int, default 1000
        Sparse points of the model.
    repeats : sequence of int, default (3, 10, 20)
        Cubic cells of silicon (8 atoms) along each axis; the first is compared with the CPU, all are timed.
    steps : int, default 200
        Of molecular dynamics at constant energy, 1 fs each.

    Returns
    -------
    dict
        What was found: ``passed``, ``device``, ``checks`` (value and bound of each), ``times`` (µs per atom of each size).

    Raises
    ------
    GPUNotAvailable
        If there is no GPU that can be used.
    """
    require()
    import cupy
    from ase import units
    from ase.build import bulk
    from ase.md.velocitydistribution import thermalize_momenta
    from ase.md.verlet import VelocityVerlet

    from gapkit.datasets import load_silicon

    soap = gapkit.Term(gapkit.SOAP(5.0, n_max=8, l_max=6), gapkit.DotProduct(4), n_sparse=n_sparse)
    model = gapkit.GAPRegressor([soap, gapkit.Term(gapkit.TwoBody(5.0), gapkit.RBF(1.0), n_sparse=8)], random_state=0)
    model.fit(load_silicon())
    bound = 1e-15 * sum(float(np.abs(a).sum()) for term in model.potential_.coefficients for a in term)

    def silicon(n: int) -> Any:
        atoms = bulk("Si", cubic=True).repeat(n)
        atoms.rattle(0.05, seed=0)
        return atoms

    checks: dict[str, tuple[float, float]] = {}
    atoms = silicon(repeats[0])
    cpu, one, two = (
        model.set_params(device=d).evaluate([atoms], uncertainty="exact", std=("energies",))[0] for d in ("cpu", "cuda", "cuda")
    )
    checks["energy, relative"] = abs(one.energy / cpu.energy - 1.0), max(_ENERGY, bound * len(atoms) / abs(cpu.energy))
    for name in ("forces", "energies", "stress"):
        difference = np.abs(np.asarray(getattr(one, name)) - np.asarray(getattr(cpu, name))).max()
        checks[name] = float(difference), max(_FORCE, bound)
    of_gpu, of_cpu = np.asarray(one.energies_std) ** 2, np.asarray(cpu.energies_std) ** 2
    checks["variances, relative"] = float(np.abs(of_gpu / of_cpu - 1.0).max()), 1e-6
    equal = one.energy == two.energy and np.array_equal(np.asarray(one.forces), np.asarray(two.forces))
    checks["two runs, numbers that differ"] = float(not equal), 0.5

    atoms.calc = gapkit.GAPCalculator(model, device="cuda")
    thermalize_momenta(atoms, temperature_K=300, rng=np.random.default_rng(0))
    totals = []
    dynamics = VelocityVerlet(atoms, 1.0 * units.fs)
    dynamics.attach(lambda: totals.append(atoms.get_total_energy() / len(atoms)))
    dynamics.run(steps)
    checks["drift, eV/atom"] = abs(float(np.mean(totals[-10:]) - np.mean(totals[:10]))), 1e-4

    times = {}
    for n in repeats:
        atoms = silicon(n)
        atoms.calc = gapkit.GAPCalculator(model, device="cuda")
        times[str(len(atoms))] = _times(atoms, cupy.cuda.get_current_stream())
    return {
        "passed": all(value <= limit for value, limit in checks.values()),
        "device": gpu_status().reason,
        "platform": platform.platform(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "n_sparse": model.n_sparse_,
        "checks": {name: {"value": value, "bound": limit} for name, (value, limit) in checks.items()},
        "times": times,
    }


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
    for n_atoms, times in report["times"].items():
        print(f"{n_atoms} atoms, µs/atom: " + ", ".join(f"{name} {value:.3g}" for name, value in times.items()))
    Path(given.output).write_text(json.dumps(report, indent=2) + "\n")
    print(f"report: {given.output}")
    return 0 if report["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
