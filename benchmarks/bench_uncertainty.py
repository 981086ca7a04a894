"""Cost of error bars on 64 Si atoms beside energy and forces alone: 2000 sparse SOAP points, n_max 8, l_max 6, one thread.

The model is fitted once, on 110 frames of mlearn Si, and kept in benchmarks/results.

    python benchmarks/bench_uncertainty.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from common import RESULTS, SHARED, median_time, one_thread, report

one_thread()

from ase.build import bulk
from ase.io import read

import gapkit
from gapkit.model.prediction import predict
from gapkit.neighbors import NeighborList

R_CUT = 5.0
LIMITS = {"exact, local energies": 5.0, "exact, forces": 40.0}


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


def main() -> None:
    potential = fitted().potential_
    atoms = bulk("Si", a=5.431, cubic=True).repeat(2)
    atoms.rattle(0.05, seed=1)
    neighbors = NeighborList.from_atoms([atoms], R_CUT)

    def run(**options):
        return lambda: predict(potential, neighbors, stress=False, **options)

    runs = {"energy + forces": run()}
    for name, std in (("total energy", "energy"), ("local energies", "energies"), ("forces", "forces"), ("stress", "stress")):
        runs[f"exact, {name}"] = run(uncertainty="exact", std=(std,))
    for function in runs.values():
        function()
    times = median_time(runs, repeats=9)
    base = times["energy + forces"]
    rows = [[name, 1e3 * t, t / base, LIMITS.get(name, "")] for name, t in times.items()]
    report("uncertainty", ("64 Si atoms, E + F and the standard deviation", "ms", "times E + F", "goal"), rows)


if __name__ == "__main__":
    main()
