"""What a learning run adds to a label of 60 s, with 500 labels of 64 atoms and 1000 sparse points.

    python benchmarks/bench_learning_overhead.py [--labels 500] [--points 1000]

Incremental fit, growth of the sparse points (when the labels have grown by 15 %, at most), full fit with calibration
(each time they have grown by 30 %), judging the structures between two labels (fifty), and writing and reading the
checkpoint; one thread.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from common import one_thread, report

one_thread()

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from matscipy.calculators.manybody import Manybody
from matscipy.calculators.manybody.explicit_forms import StillingerWeber
from matscipy.calculators.manybody.explicit_forms.stillinger_weber import Stillinger_Weber_PRB_31_5262_Si as PARAMETERS

from gapkit import SOAP, DotProduct, GAPRegressor, Noise, Term
from gapkit.active_learning.checkpoint import RunState
from gapkit.active_learning.following import FollowingModel
from gapkit.active_learning.target import judge

LABEL = 60.0  # s


def frames(n: int) -> list[Atoms]:
    rng = np.random.default_rng(0)
    result = []
    for k in range(n):
        atoms = bulk("Si", cubic=True).repeat(2)
        atoms.positions += rng.normal(0.0, 0.05 + 0.3 * k / n, atoms.positions.shape)
        atoms.calc = Manybody(**StillingerWeber(PARAMETERS))
        labels = {name: getattr(atoms, f"get_{name}")() for name in ("potential_energy", "forces", "stress")}
        atoms.calc = SinglePointCalculator(
            atoms, energy=labels["potential_energy"], forces=labels["forces"], stress=labels["stress"]
        )
        result.append(atoms)
    return [result[k] for k in rng.permutation(n)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=500)
    parser.add_argument("--points", type=int, default=1000)
    arguments = parser.parse_args()
    n = arguments.labels
    everything = frames(n + 4)
    soap = Term(SOAP(r_cut=4.5, n_max=7, l_max=5), DotProduct(4), delta=1.0, n_sparse=arguments.points)
    following = FollowingModel(GAPRegressor([soap], noise=Noise(1e-3, 0.05, 5e-3), random_state=0))

    def timed(work) -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    timed(lambda: following.start(everything[:20]))  # compilation
    full = timed(lambda: following.start(everything[:n]))
    incremental = float(np.median([timed(lambda k=k: following.learn(everything[n + k], np.inf, 1.0)) for k in range(3)]))
    believing = timed(lambda: following.believing(everything[:1]))
    judging = timed(lambda: [judge(following.fitted, [atoms]) for atoms in everything[:5]]) / 5
    with tempfile.TemporaryDirectory() as folder:
        state = RunState()
        writing = timed(lambda: state.write(Path(folder), following.fitted, []))
        reading = timed(lambda: following.restore(Path(folder) / state.model, following.frames, following.state()))
    following.frames.append(everything[-1])
    growing = timed(lambda: following._grow(1))
    per_label = {  # s
        "incremental fit": incremental,
        "growth of sparse points, amortised": growing / (0.15 * n),
        "full fit and calibration, amortised": full / (0.3 * n),
        "judging 50 structures": 50 * judging,
        "model with pending labels": believing,
        "checkpoint, written and read": writing + reading,
    }
    total = sum(per_label.values())
    rows = [[name, seconds, f"{100 * seconds / LABEL:.2f} %"] for name, seconds in per_label.items()]
    rows += [["all", total, f"{100 * total / LABEL:.2f} %"]]
    rows += [["all without judging", total - 50 * judging, f"{100 * (total - 50 * judging) / LABEL:.2f} %"]]
    report(
        "learning_overhead",
        ("per label", "s", "of 60 s"),
        rows,
        full_fit=full,
        growth=growing,
        sparse_points=following.fitted.n_sparse_,
    )


if __name__ == "__main__":
    main()
