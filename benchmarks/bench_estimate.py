"""`gapkit estimate` beside what then happens: CPU time on one thread and peak memory of fits in processes of their own.

Ratios are estimate / fit; the aim is within a factor 1.5.  On a machine that does other work at the same time, its caches and
memory bandwidth make the two differ by more.

    python benchmarks/bench_estimate.py            # about 8 minutes
    python benchmarks/bench_estimate.py --small    # a fifth of the frames, about 2 minutes
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings

from common import SHARED, measured, one_thread, peak_gb, report

one_thread()

CASES = [
    ("silicon", 200), ("silicon", 500), ("mlearn_Si", 500), ("mlearn_Si", 1500), ("mlearn_Cu", 500), ("mlearn_Cu", 1500),
    ("rmd17_ethanol", 200), ("rmd17_ethanol", 800),
]  # fmt: skip
FEW = 5  # --small takes every so many frames


def problem(name: str, n_sparse: int, step: int):
    """Frames and model."""
    from ase.io import read

    from gapkit import SOAP, DotProduct, GAPRegressor, Noise, Term
    from gapkit.datasets import load_silicon

    frames = load_silicon() if name == "silicon" else read(SHARED / name / "train.xyz", ":")[::step]
    molecules = name == "rmd17_ethanol"
    soap = SOAP(4.0, 8, 4, 0.4, compression={"mode": "mu1nu1"}) if molecules else SOAP(5.0, 8, 6, 0.5)
    return frames, GAPRegressor([Term(soap, DotProduct(4), n_sparse=n_sparse)], noise=Noise(1e-3, 0.05, 1e-2), random_state=0)


def run_estimate(name: str, n_sparse: int, step: int) -> dict[str, object]:
    from gapkit.model import estimate_fit

    frames, model = problem(name, n_sparse, step)
    estimate_fit(model, frames[:2])  # compiled loops and tables are there, as for the fit
    start = time.process_time()
    found = estimate_fit(model, frames)
    took = time.process_time() - start
    return {"took": took, "seconds": found.seconds, "cpu": found.total_seconds, "gb": found.peak_memory / 1e9}


def run_fit(name: str, n_sparse: int, step: int) -> dict[str, object]:
    from sklearn.base import clone

    frames, model = problem(name, n_sparse, step)
    clone(model).fit(frames[:2])
    start = time.process_time()
    model.fit(frames)
    return {"cpu": time.process_time() - start, "gb": peak_gb(), "n_sparse": model.n_sparse_, "atoms": sum(map(len, frames))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a fifth of the frames")
    step = FEW if parser.parse_args().small else 1
    rows, parts = [], {}
    for name, n_sparse in CASES:
        estimate, fit = (
            json.loads(measured([sys.executable, __file__, what, name, str(n_sparse), str(step)])["output"].splitlines()[-1])
            for what in ("estimate", "fit")
        )
        cpu, gb = estimate["cpu"] / fit["cpu"], estimate["gb"] / fit["gb"]
        row = [f"{name}, {n_sparse}", fit["atoms"], fit["n_sparse"], estimate["took"], estimate["cpu"], fit["cpu"], cpu]
        rows.append([*row, estimate["gb"], fit["gb"], gb])
        parts[rows[-1][0]] = estimate["seconds"]
        print(f"{rows[-1][0]}: time {cpu:.2f}, memory {gb:.2f}", flush=True)
    worst = [max(max(row[k], 1 / row[k]) for row in rows) for k in (6, 9)]
    print(f"\nlargest factor: {worst[0]:.2f} in time, {worst[1]:.2f} in memory\n")
    header = (
        "set, n_sparse",
        "atoms",
        "sparse",
        "estimate took s",
        "CPU s est.",
        "fit",
        "ratio",
        "peak GB est.",
        "fit",
        "ratio",
    )
    report("estimate", header, rows, largest_factor={"time": worst[0], "memory": worst[1]}, parts=parts)


if __name__ == "__main__":
    if sys.argv[1:2] in (["estimate"], ["fit"]):
        warnings.simplefilter("ignore")
        what, name, n_sparse, step = sys.argv[1:]
        print(json.dumps((run_estimate if what == "estimate" else run_fit)(name, int(n_sparse), int(step))))
    else:
        main()
