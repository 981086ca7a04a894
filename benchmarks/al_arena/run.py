"""Labels saved by `gapkit.select` against random choice at equal force RMSE, on pools with cheap labels.

Each pool is divided 60 : 40 into candidates and test frames.  From 3 frames of its first class, batches are selected, labelled
and the model fitted anew; all methods start from the same frames (paired seeds).  Batches are a third of what is labelled, at
least 3.  The errors are root mean squares of the force components over all test frames, and of the class with the largest one.
Seeds are the outer loop, and the curves are written after every pool: what has run counts when the rest is stopped.

    python benchmarks/al_arena/run.py                            six pools and the homogeneous one, 5 seeds: hours
    python benchmarks/al_arena/run.py --pools si --seeds 2 --small      a few minutes
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common import RESULTS, one_thread, report
from pools import NEEDS, POOLS

if __name__ == "__main__":
    one_thread()

METHODS = ("random", "fps", "max", "mean", "batch")
START = 3
CUTOFF = {"si": 4.5, "homogeneous": 4.5, "sic": 4.0, "gfn2": 4.0, "cu": 5.0, "cuau": 5.0, "lj": 5.0}


def model(name: str, seed: int, n_sparse: int):
    """Settings as in the pilot study; not tuned per pool or method, but for the cutoff."""
    from gapkit import SOAP, DotProduct, GAPRegressor, Noise, Term

    soap = Term(SOAP(CUTOFF[name], 6, 4, 0.5), DotProduct(4), delta=2.0, n_sparse=n_sparse)
    return GAPRegressor([soap], noise=Noise(1e-3, 0.03, 1e-2), random_state=seed)


def force_errors(fitted, test) -> tuple[float, float]:
    """Root mean square over all test frames, and of the class with the largest (eV/Å)."""
    squares: dict[str, list[np.ndarray]] = {}
    for atoms, p in zip(test, fitted.evaluate(test, stress=False), strict=True):
        squares.setdefault(atoms.info["class"], []).append((p.forces - atoms.get_forces()).ravel() ** 2)
    of_class = [np.sqrt(np.concatenate(s).mean()) for s in squares.values()]
    return float(np.sqrt(np.concatenate([x for s in squares.values() for x in s]).mean())), float(max(of_class))


Curve = list[tuple[int, float, float, float]]


def learning_curves(name: str, frames, seed: int, n_labels: int, n_sparse: int) -> dict[str, Curve]:
    """(labels, RMSE, RMSE of the worst class, seconds of selection) of each method."""
    import gapkit

    rng = np.random.default_rng([seed, 1])
    order = rng.permutation(len(frames))
    pool, test = ([frames[k] for k in part] for part in np.split(order, [int(0.6 * len(frames))]))
    first = [k for k, atoms in enumerate(pool) if atoms.info["class"] == frames[0].info["class"]][:START]
    curves = {}
    for method in METHODS:
        labelled, curve, seconds = list(first), [], 0.0
        while True:
            fitted = model(name, seed, n_sparse).fit([pool[k] for k in labelled])
            curve.append((len(labelled), *force_errors(fitted, test), seconds))
            if len(labelled) >= n_labels:
                break
            rest = [k for k in range(len(pool)) if k not in labelled]
            start = time.perf_counter()
            n = min(max(START, len(labelled) // 3), n_labels - len(labelled))
            chosen = gapkit.select(fitted, [pool[k] for k in rest], n, method=method, random_state=seed + len(labelled))
            seconds = time.perf_counter() - start
            labelled += [rest[k] for k in chosen]
        curves[method] = curve
        print(f"{name} seed {seed} {method:7s}", " ".join(f"{c[0]}:{c[1]:.4f}" for c in curve), flush=True)
    return curves


def labels_needed(curve, target: float, column: int) -> float:
    """Labels at which a curve first stays at or below a target, from straight lines in logarithms; inf beyond its end."""
    labels, errors = np.log([c[0] for c in curve]), np.log([c[column] for c in curve])
    above = np.flatnonzero(errors > np.log(target))
    if len(above) == 0:
        return float(curve[0][0])
    k = int(above[-1])
    if k == len(curve) - 1:
        return float("inf")
    part = (errors[k] - np.log(target)) / (errors[k] - errors[k + 1])
    return float(np.exp(labels[k] + part * (labels[k + 1] - labels[k])))


def saved(curves, method: str, column: int) -> float:
    """Part of the labels of random choice that a method saves at the error that random choice reaches last.

    The error at the end of random's curve is averaged over its last three points, as it scatters.
    """
    curve = curves["random"]
    target = float(np.exp(np.mean(np.log([c[column] for c in curve[-3:]]))))
    needed = labels_needed(curves[method], target, column)
    return 1.0 - needed / curve[-2][0] if np.isfinite(needed) else -np.inf


def violations(all_curves, method: str) -> tuple[int, int]:
    """Budgets at which a method is worse than random by more than one standard deviation of the paired difference."""
    difference = np.array([[a[1] - b[1] for a, b in zip(c[method], c["random"], strict=False)] for c in all_curves])
    if len(difference) < 2:
        return int((difference[0] > 0).sum()), difference.shape[1]
    return int((difference.mean(axis=0) > difference.std(axis=0, ddof=1)).sum()), difference.shape[1]


def rows_of(name: str, all_curves) -> list[list[object]]:
    result = []
    for method in METHODS[1:]:
        every, worst = ([saved(c, method, column) for c in all_curves] for column in (1, 2))
        final = float(np.median([c[method][-1][1] / c["random"][-1][1] for c in all_curves]))
        seconds = float(np.median([s[3] for c in all_curves for s in c[method][1:]]))
        bad, budgets = violations(all_curves, method)
        cells = [f"{100 * np.median(x):.0f} %" if np.isfinite(np.median(x)) else "none" for x in (every, worst)]
        result.append([f"{name}: {method}", *cells, f"{final:.2f}", f"{bad} of {budgets}", f"{seconds:.1f}"])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pools", default=",".join(POOLS), help=f"some of {', '.join(POOLS)}, separated by commas")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--labels", type=int, help="labels at the end of a curve (default 90; 45 with --small)")
    parser.add_argument("--sparse", type=int, default=1000, help="sparse points at most (default 1000)")
    parser.add_argument("--small", action="store_true", help="pools of a third of the size")
    options = parser.parse_args()
    names = options.pools.split(",")
    for name in names:
        if name not in POOLS:
            parser.error(f"--pools must be some of {', '.join(POOLS)}; got {name}")
    warnings.simplefilter("ignore")  # fewer environments than sparse points: the first sets are tiny
    n_labels = options.labels or (45 if options.small else 90)
    skipped = [f"{name} (needs {NEEDS[name]})" for name in names if name in NEEDS and not importlib.util.find_spec(NEEDS[name])]
    pools = {}
    for name in names:
        if name not in {text.split()[0] for text in skipped}:
            divisor = 3 if options.small else 1
            rng = np.random.default_rng([list(POOLS).index(name), 0])
            pools[name] = POOLS[name](lambda n, d=divisor: max(6, n // d), rng)
            print(f"{name}: {len(pools[name])} frames, {sum(map(len, pools[name]))} atoms", flush=True)
    curves = {name: [] for name in pools}
    RESULTS.mkdir(exist_ok=True)
    for seed in range(options.seeds):
        for name, frames in pools.items():
            curves[name].append(learning_curves(name, frames, seed, n_labels, options.sparse))
            (RESULTS / "al_arena_curves.json").write_text(json.dumps(curves))
    rows = [row for name in pools for row in rows_of(name, curves[name])]
    header = ("pool: method", "labels saved", "saved, worst class", "final RMSE / random", "worse than random", "s per batch")
    settings = {"seeds": options.seeds, "labels": n_labels, "sparse": options.sparse, "small": options.small}
    report("al_arena", header, rows, **settings, skipped=skipped)
    print(f"medians over {options.seeds} seeds; labels saved against random at the error that random reaches last")
    for text in skipped:
        print(f"left out: {text}")


if __name__ == "__main__":
    main()
