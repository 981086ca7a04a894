"""Cost of error bars on 64 Si atoms beside energy and forces alone: 2000 sparse SOAP points, n_max 8, l_max 6, one thread.

The model is fitted once, on 110 frames of mlearn Si, and kept in benchmarks/results.

    python benchmarks/bench_uncertainty.py
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from common import RESULTS, SHARED, one_thread, report

one_thread()

from ase.build import bulk
from ase.io import read

import gapkit
from gapkit.model.fast_posterior import MEMBERS, FastPosterior
from gapkit.model.potential import Potential
from gapkit.model.prediction import predict
from gapkit.neighbors import NeighborList

R_CUT = 5.0
LIMITS = {
    "fast, total and local energies": 1.3,
    "fast, forces, K = 8": 8.0,
    "fast, forces, K = 32": 30.0,
    "exact, local energies": 5.0,
    "exact, forces": 40.0,
}


def fitted() -> gapkit.GAPRegressor:
    path: Path = RESULTS / "uncertainty_model.gap"
    if not path.exists():
        frames = read(SHARED / "mlearn_Si" / "train.xyz", ":")
        chosen = [frames[k] for k in np.random.default_rng(0).permutation(len(frames))[:110]]
        term = gapkit.Term(gapkit.SOAP(R_CUT, 8, 6, 0.5), gapkit.DotProduct(4), n_sparse=2000)
        model = gapkit.GAPRegressor([term], noise=gapkit.Noise(1e-3, 0.05, 5e-3), random_state=0).fit(chosen)
        RESULTS.mkdir(exist_ok=True)
        model.save(path)
    return gapkit.load(path)


def with_members(potential: Potential, n_members: int) -> Potential:
    result = replace(potential)
    result.__dict__["fast"] = FastPosterior.of(potential.terms, potential.posterior, n_members=n_members)
    return result


def median_of_warm(functions, repeats: int = 9) -> dict[str, float]:
    """Median seconds; each function is called just before, so that none pays for the memory that another has filled."""
    times = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            function()
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return {name: float(np.median(t)) for name, t in times.items()}


def speed(potential: Potential) -> None:
    atoms = bulk("Si", a=5.431, cubic=True).repeat(2)
    atoms.rattle(0.05, seed=1)
    neighbors = NeighborList.from_atoms([atoms], R_CUT)

    def run(p=potential, **options):
        return lambda: predict(p, neighbors, stress=False, **options)

    runs = {"energy + forces": run()}
    runs["fast, total and local energies"] = run(uncertainty="fast")
    runs["prior, local energies"] = run(uncertainty="prior")
    for n in (8, 16, 32):
        name = f"fast, forces, K = {n}" + (" (default)" if n == MEMBERS else "")
        runs[name] = run(with_members(potential, n), uncertainty="fast", std=("forces",))
    for name, std in (("total energy", "energy"), ("local energies", "energies"), ("forces", "forces"), ("stress", "stress")):
        runs[f"exact, {name}"] = run(uncertainty="exact", std=(std,))
    for function in runs.values():
        function()
    times = median_of_warm(runs)
    base = times["energy + forces"]
    rows = [[name, 1e3 * t, t / base, LIMITS.get(name, "")] for name, t in times.items()]
    report("uncertainty", ("64 Si atoms, E + F and the standard deviation", "ms", "times E + F", "goal"), rows)


def accuracy(model: gapkit.GAPRegressor) -> None:
    """Fast over exact deviations on the test frames of mlearn Si, and on crystals far from them."""
    sets = {"mlearn Si, test": read(SHARED / "mlearn_Si" / "test.xyz", ":")}
    for factor in (0.85, 1.1, 1.25, 1.4):
        atoms = bulk("Si", cubic=True)
        atoms.set_cell(atoms.cell * factor, scale_atoms=True)
        atoms.rattle(0.1, seed=1)
        sets[f"rattled diamond, lattice constant times {factor}"] = [atoms]
    rows = []
    for name, frames in sets.items():
        std = ("energy", "energies", "forces")
        exact, fast = (model.evaluate(frames, stress=False, uncertainty=u, std=std) for u in ("exact", "fast"))
        for kind in std:
            e, f = (np.concatenate([np.ravel(getattr(p, f"{kind}_std")) for p in ps]) for ps in (exact, fast))
            rows.append([name, kind, float(np.median(e)), *np.quantile(f / e, [0.05, 0.25, 0.5, 0.75, 0.95]).tolist()])
    print()
    header = ("fast / exact standard deviation", "of", "median exact", "5 %", "25 %", "50 %", "75 %", "95 %")
    report("uncertainty_accuracy", header, rows)


def main() -> None:
    model = fitted()
    speed(model.potential_)
    accuracy(model)


if __name__ == "__main__":
    main()
