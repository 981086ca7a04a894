"""How the time of a prediction grows with sparse points and species, and shrinks with threads.

Silicon with n_max 8, l_max 6, r_cut 5 and 1000 sparse points (zeta 4) unless said; energy, forces and stress through the public
`GAPCalculator`; growth with atoms and flop rates are in ``bench_predict.py``.  The models are fitted to energies that are
almost constant: what their weights are does not matter here.

    python benchmarks/bench_scaling.py            about 10 minutes
    python benchmarks/bench_scaling.py --small    without the largest models
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import warnings

import numpy as np
from common import median_time, one_thread, report, step_of

if __name__ == "__main__" and "--threads" not in sys.argv:
    one_thread()
warnings.simplefilter("ignore")

from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from gapkit import SOAP, DotProduct, GAPCalculator, GAPRegressor, Noise, Term

R_CUT, N_MAX, L_MAX = 5.0, 8, 6


def rattled(atoms: Atoms, seed: int) -> Atoms:
    atoms = atoms.copy()
    atoms.positions += np.random.default_rng(seed).normal(0.0, 0.05, atoms.positions.shape)
    return atoms


def silicon(n: int, seed: int = 0) -> Atoms:
    return rattled(bulk("Si", a=5.431, cubic=True).repeat(n), seed)


def alloy(n_species: int, seed: int) -> Atoms:
    atoms = bulk("Cu", cubic=True).repeat(5)
    atoms.numbers = np.random.default_rng(seed).permutation(np.arange(len(atoms)) % n_species) + 21
    return rattled(atoms, seed)


def fitted(frames: list[Atoms], n_sparse: int, zeta: int = 4, **soap: object) -> GAPRegressor:
    """A model with that many sparse points, fitted to energies."""
    labelled = []
    for k, atoms in enumerate(frames):
        copy = atoms.copy()
        copy.calc = SinglePointCalculator(copy, energy=-3.0 * len(atoms) + 1e-6 * np.sin(k))
        labelled.append(copy)
    term = Term(SOAP(R_CUT, N_MAX, L_MAX, 0.5, **soap), DotProduct(zeta), n_sparse=n_sparse, selection="random")
    return GAPRegressor([term], noise=Noise(1e-3, 0.05, 5e-3), random_state=0).fit(labelled)


def of_silicon(n_sparse: int, zeta: int = 4) -> GAPRegressor:
    return fitted([silicon(2, k) for k in range(1 + n_sparse // 60)], n_sparse, zeta)


def per_atom(functions: dict[object, tuple[object, int]], repeats: int = 5) -> dict[object, float]:
    """Median µs per atom of each function of so many atoms."""
    times = median_time({name: function for name, (function, _) in functions.items()}, repeats)
    return {name: 1e6 * times[name] / n for name, (_, n) in functions.items()}


def sparse_rows(small: bool) -> list[list[object]]:
    atoms = silicon(4)
    rows = []
    for n_sparse in (100, 300, 1000, 3000, 10000)[: 3 if small else 5]:
        models = {zeta: of_silicon(n_sparse, zeta) for zeta in (4, 2)}
        times = per_atom({zeta: (step_of(GAPCalculator(model), atoms), len(atoms)) for zeta, model in models.items()})
        kept = models[4].potential_.n_sparse  # those that the others do not determine to rounding
        rows.append([kept, times[4], times[2]])
    return rows


def species_rows(small: bool) -> list[list[object]]:
    mixed = {"mode": "mixed", "channels": 16}
    steps = {}
    for n_species in (1, 2, 4, 10)[: 2 if small else 4]:
        frames = [alloy(n_species, k) for k in range(5)]
        model = fitted(frames, 2000, compression=None if n_species == 1 else mixed)
        steps[n_species] = (step_of(GAPCalculator(model), frames[0]), 500)
    times = per_atom(steps)
    return [[n, times[n], times[n] / times[1]] for n in times]


def time_on_threads() -> None:
    """In a process of its own: seconds of a step of 512 atoms."""
    print(json.dumps(median_time({"step": step_of(GAPCalculator(of_silicon(1000)), silicon(4))}, 21)["step"]))


def threads_rows() -> list[list[object]]:
    times: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(3):
        for n in times:
            names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
            environment = os.environ | {name: str(n) for name in names}
            command = [sys.executable, __file__, "--threads"]
            result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            times[n].append(float(result.stdout.splitlines()[-1]))
    medians = {n: sorted(t)[1] for n, t in times.items()}
    return [[n, 1e6 * t / 512, medians[1] / t] for n, t in medians.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="without the largest models")
    parser.add_argument("--threads", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.threads:
        return time_on_threads()
    tables = {
        "sparse": (
            ("sparse points", "µs/atom, zeta 4", "µs/atom, zeta 2"),
            lambda: sparse_rows(options.small),
        ),
        "species": (("species, 2000 sparse points", "µs/atom", "over one species"), lambda: species_rows(options.small)),
        "threads": (("threads, 512 atoms", "µs/atom", "times faster"), threads_rows),
    }
    for name, (header, rows) in tables.items():
        report(f"scaling_{name}", header, rows())
        print(flush=True)
    return None


if __name__ == "__main__":
    main()
