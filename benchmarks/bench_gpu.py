"""Speed of forces and of molecular dynamics on an NVIDIA GPU, by number of atoms.

Silicon at 300 K with r_cut 5, n_max 8, l_max 6 and zeta 4, fitted to the shipped data; each sparse point is there as often as
it takes to reach the number that is asked for, with its coefficient divided: a model as good, and as much work.  Beside it are
the rates of the card's own copy and matrix product.

    python benchmarks/bench_gpu.py
    python benchmarks/bench_gpu.py --cells 5 10 --n-sparse 1000 --pairs
"""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import replace

import numpy as np
from ase import units
from ase.build import bulk
from ase.md.velocitydistribution import thermalize_momenta
from common import report

from gapkit import RBF, SOAP, DotProduct, GAPRegressor, Term, TwoBody
from gapkit._cuda.status import gpu_status, require
from gapkit.datasets import load_silicon
from gapkit.dynamics import DeviceDynamics

warnings.simplefilter("ignore")


def silicon_model(n_sparse: int, pairs: bool) -> GAPRegressor:
    """A model whose first term has ``n_sparse`` sparse points, most of them several times."""
    terms = [Term(SOAP(5.0, n_max=8, l_max=6), DotProduct(4), n_sparse=n_sparse)]
    terms += [Term(TwoBody(5.0), RBF(1.0), n_sparse=8)] if pairs else []
    model = GAPRegressor(terms, random_state=0).fit(load_silicon())
    potential, term = model.potential_, model.potential_.terms[0]
    index = np.arange(n_sparse) % len(term.points[0])
    often = np.bincount(index)
    repeated = replace(term, points=[term.points[0][index]], weights=[term.weights[0][index]])
    coefficients = [potential.coefficients[0][0][index] / often[index]]
    model.potential_ = replace(
        potential, terms=[repeated, *potential.terms[1:]], coefficients=[coefficients, *potential.coefficients[1:]]
    )
    return model


def milliseconds(function, n: int = 7) -> float:
    """Median time on the device."""
    import cupy

    function()
    times = []
    for _ in range(n):
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        function()
        end.record()
        end.synchronize()
        times.append(cupy.cuda.get_elapsed_time(start, end))
    return float(np.median(times))


def ceilings(n_sparse: int) -> dict[str, float]:
    import cupy

    x = cupy.random.standard_normal(2**27)
    y = cupy.empty_like(x)
    copied = milliseconds(lambda: cupy.copyto(y, x))
    left, right = cupy.random.standard_normal((65536, 252)), cupy.random.standard_normal((n_sparse, 252))
    product = milliseconds(lambda: left @ right.T)
    return {"copy, TB/s": 2 * x.nbytes / copied / 1e9, "product, TFLOP/s": 2 * left.size * n_sparse / product / 1e9}


def run(model: GAPRegressor, n: int, steps: int) -> dict[str, float]:
    atoms = bulk("Si", cubic=True).repeat(n)
    atoms.rattle(0.05, seed=0)
    thermalize_momenta(atoms, temperature_K=300, rng=np.random.default_rng(0))
    dynamics = DeviceDynamics(atoms, model, 1.0 * units.fs)
    dynamics.run(20)
    start = time.perf_counter()
    dynamics.run(steps)  # the last structure is fetched, so that all is done
    step = (time.perf_counter() - start) / steps
    return {
        "atoms": len(atoms),
        "forces, ms": milliseconds(lambda: dynamics._engine.step(dynamics._positions)),
        "step, ms": 1e3 * step,
        "M atoms/s": len(atoms) / step / 1e6,
        "searches": dynamics._engine.n_searches,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[5, 10, 23, 40], help="cubic cells (8 atoms) along each axis")
    parser.add_argument("--n-sparse", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--pairs", action="store_true", help="with a term of pairs, eight sparse points, no table")
    given = parser.parse_args()
    require()
    import cupy

    model = silicon_model(given.n_sparse, given.pairs)
    of_card = ceilings(given.n_sparse)
    print(gpu_status().reason + "; " + ", ".join(f"{name} {value:.3g}" for name, value in of_card.items()))
    rows = []
    for n in given.cells:
        rows.append(run(model, n, given.steps))
        cupy.get_default_memory_pool().free_all_blocks()
    report("gpu", list(rows[0]), [list(row.values()) for row in rows], device=gpu_status().reason, ceilings=of_card)


if __name__ == "__main__":
    main()
