"""Cost of `gapkit.select`: 64 Si atoms a frame, 2000 sparse points (and 500 of the pool for "batch"), one thread.

python benchmarks/bench_select.py [frames of the pool]
"""

from __future__ import annotations

import sys
import time
import warnings

import numpy as np
from common import one_thread, peak_gb, report

one_thread()


def main() -> None:
    from ase.build import bulk
    from ase.calculators.singlepoint import SinglePointCalculator

    from gapkit import SOAP, DotProduct, GAPRegressor, Noise, Term
    from gapkit.active_learning import pick
    from gapkit.active_learning.pool_variance import PoolVariance

    warnings.simplefilter("ignore")
    rng, frames = np.random.default_rng(0), []
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    for _ in range(40 + n):
        atoms = bulk("Si", cubic=True).repeat(2)
        atoms.rattle(0.05 + 0.3 * rng.random(), rng=rng)
        atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((64, 3)))
        frames.append(atoms)
    model = GAPRegressor([Term(SOAP(5.0, 8, 6, 0.5), DotProduct(4), n_sparse=2000)], noise=Noise(1e-3, 0.05), random_state=0)
    start = time.process_time()
    model.fit(frames[:40])
    print(f"fit of 40 frames: {time.process_time() - start:.1f} s; {model.n_sparse_} sparse points", flush=True)
    pool, rows = frames[40:], []
    evaluated = []
    gain = PoolVariance.gain
    PoolVariance.gain = lambda self, k: (evaluated.append(k), gain(self, k))[1]
    for method in ("random", "fps", "max", "batch"):
        times = {}
        for picks in (1, 21):
            evaluated.clear()
            start = time.process_time()
            pick(model, pool, picks, method=method, random_state=0)
            times[picks] = time.process_time() - start
        rows.append([method, times[1] / n, (times[21] - times[1]) / 20, len(evaluated) / 21 if evaluated else "", peak_gb()])
        print(rows[-1], flush=True)
    report(
        "select", ("method", "CPU s per frame of the pool", "CPU s per further pick", "looks per pick", "peak GB"), rows, pool=n
    )


if __name__ == "__main__":
    main()
