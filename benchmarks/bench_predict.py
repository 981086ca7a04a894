"""Prediction on one thread: flop rates of its stages, size of the structure, batches of small ones, molecular dynamics.

A model of Si (n_max 8, l_max 6, r_cut 5, 1000 sparse points), through the public `GAPCalculator` and `evaluate`.  CPU times, so
that a busy machine disturbs less; the matrix product that rates are compared with runs in turn with them.

    python benchmarks/bench_predict.py [largest number of atoms, default 32768]
"""

from __future__ import annotations

import sys
import time
import warnings
from collections import defaultdict

import numpy as np
from bench_silicon import L_MAX, N_MAX, N_SPARSE, R_CUT, frames
from common import one_thread, report, step_of

one_thread()

SIGMA, REPEATS = 0.5, 9


def fitted(zeta: int):
    from gapkit import SOAP, DotProduct, GAPRegressor, Noise, Term

    term = Term(SOAP(R_CUT, N_MAX, L_MAX, SIGMA), DotProduct(zeta), n_sparse=N_SPARSE)
    return GAPRegressor([term], noise=Noise(1e-3, 0.05, 5e-3), random_state=0).fit(frames()[:25])


def silicon(repeat, seed: int = 1):
    from ase.build import bulk

    atoms = bulk("Si", a=5.431, cubic=True).repeat(repeat)
    atoms.rattle(0.05, seed=seed)
    return atoms


def cpu_time(functions, repeats: int = REPEATS) -> dict[str, float]:
    """Median CPU seconds; the functions take turns."""
    times = defaultdict(list)
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.thread_time()
            function()
            times[name].append(time.thread_time() - start)
    return {name: float(np.median(t)) for name, t in times.items()}


def stages(model) -> None:
    """Flops as reference/descriptors.md counts them: P pairs in reach, D features, M points."""
    from gapkit import GAPCalculator
    from gapkit._backend import pair_ops, soap_ops
    from gapkit.kernels import DotProduct
    from gapkit.neighbors import NeighborList

    atoms, n, lm, spent = silicon(4), N_MAX, (L_MAX + 1) ** 2, defaultdict(float)
    pairs = float((NeighborList.from_atoms([atoms], R_CUT).distances < R_CUT).sum() / len(atoms))
    n_features = n * (n + 1) // 2 * (L_MAX + 1)
    flops = {
        "expand": pairs * (2 * n * lm + 10 * n * (L_MAX + 1) + 10 * lm),
        "power_spectrum": n * (n + 1) * lm,
        "sum_and_gradient": 4.0 * N_SPARSE * n_features,
        "coefficient_gradient": 2 * n * n * lm,
        "pair_gradient": pairs * (4 * n * lm + 21 * n * (L_MAX + 1) + 26 * lm),
        "move": np.nan,
        "gather_forces": np.nan,
    }
    places = dict.fromkeys(("expand", "power_spectrum", "coefficient_gradient", "pair_gradient"), soap_ops())
    places |= {"sum_and_gradient": DotProduct, "move": pair_ops(), "gather_forces": pair_ops()}
    for name, place in places.items():
        original = getattr(place, name)

        def timed(*arguments, name=name, function=original):
            start = time.thread_time()
            result = function(*arguments)
            spent[name] += time.thread_time() - start
            return result

        setattr(place, name, timed)
    square = np.random.default_rng(0).random((1000, 1000))
    step, runs = step_of(GAPCalculator(model), atoms), defaultdict(list)
    for _ in range(REPEATS):
        spent.clear()
        start = time.thread_time()
        step()
        spent["whole"] = time.thread_time() - start
        start = time.thread_time()
        np.matmul(square, square)
        spent["dgemm"] = time.thread_time() - start
        for name, seconds in spent.items():
            runs[name].append(seconds)
    peak = 2e9 / float(np.median(runs["dgemm"])) / 1e9
    flops["whole"] = float(np.nansum(list(flops.values())))
    rows = []
    for name, count in flops.items():
        per_atom = float(np.median(runs[name])) / len(atoms)
        rows.append([name, 1e6 * per_atom, count / 1e3, count / per_atom / 1e9, 100 * count / per_atom / 1e9 / peak])
    title = f"stages, zeta 4, 512 atoms (dgemm {peak:.1f} GF/s)"
    report("predict_stages", (title, "µs/atom", "kflop/atom", "GF/s", "% of dgemm"), rows, dgemm=peak)


def main() -> None:
    from ase import units
    from ase.md.verlet import VelocityVerlet

    from gapkit import GAPCalculator
    from gapkit.model.prediction import predict
    from gapkit.neighbors import NeighborList

    warnings.simplefilter("ignore")
    largest = int(sys.argv[1]) if len(sys.argv) > 1 else 32768
    models = {zeta: fitted(zeta) for zeta in (4, 2)}
    sizes = [r for r in (2, 4, 8, 16, 24) if 8 * r**3 <= max(largest, 512)]
    rows = []
    for zeta, model in models.items():
        runs = {}
        for n in (8 * r**3 for r in sizes):
            step, times = step_of(GAPCalculator(model), silicon(round((n / 8) ** (1 / 3)))), max(1, 2048 // n)
            runs[n * times, n] = lambda step=step, times=times: [step() for _ in range(times)]
        for (atoms, n), seconds in cpu_time(runs, 5).items():
            rows.append([f"zeta {zeta}", n, 1e6 * seconds / atoms])
    report("predict_atoms", ("energy, forces and stress of a step", "atoms", "µs/atom"), rows)
    print()

    sets = {
        "1 of 512": [silicon(4)],
        "8 of 64": [silicon(2, k) for k in range(8)],
        "64 of 8": [silicon(1, k) for k in range(64)],
    }
    rows = []
    for zeta, model in models.items():
        runs = {name: (lambda batch=batch, model=model: model.evaluate(batch)) for name, batch in sets.items()}
        cpu_time(runs, 1)
        rows += [[f"zeta {zeta}, {name}", 1e6 * seconds / 512] for name, seconds in cpu_time(runs).items()]
    report("predict_batches", ("evaluate(), neighbours included", "µs/atom"), rows)
    print()

    rows = []
    for zeta, model in models.items():
        atoms, potential = silicon(4), model.potential_
        atoms.calc = GAPCalculator(model)
        dynamics = VelocityVerlet(atoms, 1.0 * units.fs)
        dynamics.run(2)
        neighbors, moved = NeighborList.from_atoms([atoms], potential.neighbor_range, skin=1.0), atoms.copy()
        bare = lambda n=neighbors, moved=moved, potential=potential: predict(potential, n.update(moved))  # noqa: E731
        seconds = cpu_time({"dynamics": lambda dynamics=dynamics: dynamics.run(1), "bare": bare})
        share = 100 * (1 - seconds["bare"] / seconds["dynamics"])
        rows.append([f"zeta {zeta}", 1e3 * seconds["dynamics"], 1e3 * seconds["bare"], share])
    report("predict_dynamics", ("512 atoms, NVE", "step, ms", "predict, ms", "ASE and calculator, %"), rows)
    print()
    stages(models[4])


if __name__ == "__main__":
    main()
