"""Learning on the fly through melting, audited: every state judged is labelled afterwards.

    python benchmarks/bench_on_the_fly.py                 six systems, 10 ps each
    python benchmarks/bench_on_the_fly.py silicon --time 50

For each system: steps, labels, share of steps labelled, states not labelled with a force component wrong by more than five
times the target, error of the model that judged (rms over these states), error of the final model over 100 states visited.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from common import one_thread, report

one_thread()

sys.path.insert(0, str(Path(__file__).parent / "al_arena"))

import numpy as np
import pools
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT

from gapkit import SOAP, ActiveLearner, DotProduct, GAPRegressor, Noise, Term
from gapkit.active_learning import MolecularDynamics, audit_run
from gapkit.active_learning.checkpoint import read_visits
from gapkit.labeling import CalculatorLabeler


def copper_gold():
    atoms = bulk("Cu", cubic=True, a=3.85).repeat(2)
    atoms.numbers[np.random.default_rng(0).permutation(32)[:16]] = 79
    return atoms


def surface():
    atoms = fcc111("Pt", (3, 4, 4), vacuum=8.0, orthogonal=True)
    atoms.pbc = (True, True, False)
    return atoms


SYSTEMS = {  # start, calculator, ramp (K), time step (fs), target (eV/Å), range of SOAP (Å)
    "silicon": (lambda: bulk("Si", cubic=True).repeat(2), pools.silicon(), (300, 3500), 2.0, 0.1, 4.5),
    "copper": (lambda: bulk("Cu", cubic=True).repeat(2), EMT, (300, 3000), 4.0, 0.05, 5.0),
    "silicon carbide": (
        lambda: bulk("SiC", "zincblende", a=4.32, cubic=True).repeat(2),
        pools.silicon_carbide(),
        (300, 5000),
        1.0,
        0.3,
        4.0,
    ),
    "copper-gold": (copper_gold, EMT, (300, 3000), 4.0, 0.05, 5.0),
    "Lennard-Jones": (lambda: bulk("Cu", cubic=True, a=3.9).repeat(2), pools.argon_like, (300, 4000), 3.0, 0.05, 5.5),
    "platinum surface": (surface, EMT, (300, 3500), 5.0, 0.05, 5.0),
}


def run(name: str, picoseconds: float, keep: str | None) -> dict[str, object]:
    start, calculator, ramp, timestep, target, r_cut = SYSTEMS[name]
    soap = Term(SOAP(r_cut=r_cut, n_max=7, l_max=5), DotProduct(4), delta=1.0, n_sparse=500)
    model = GAPRegressor([soap], noise=Noise(1e-3, 0.2 * target, 5e-3), random_state=0)
    directory = Path(tempfile.mkdtemp(prefix="gapkit-fly-", dir=keep))
    labeler = CalculatorLabeler(calculator)
    explorer = MolecularDynamics(start(), time=picoseconds, temperature=list(ramp), timestep=timestep)
    learner = ActiveLearner(
        model, labeler, explorer=explorer, target_force_error=target, workdir=directory, max_labels=1000, verbose=1
    )
    begin = time.monotonic()
    learner.run()
    seconds = time.monotonic() - begin
    visits = read_visits(directory)
    audited = audit_run(directory, labeler, every=max(1, len(visits) // 500), show=True)
    states = [visits[k] for k in np.random.default_rng(1).permutation(len(visits))[:100]]
    errors = []
    for atoms, p in zip(states, learner.model_.evaluate(states), strict=True):
        errors.append(labeler.label(atoms).get_forces() - p.forces)
    if keep is None:
        shutil.rmtree(directory)
    state = learner.state_
    on_the_fly = sum(atoms.info["action"] == "label" for atoms in visits)
    return {
        "system": name,
        "steps": state.n_steps,
        "labels": len(state.proposed) + 10,
        "labelled": on_the_fly / state.n_steps,
        "missed": audited["missed_fraction"],
        "audited": audited["n_audited"],
        "rmse while exploring": audited["rmse"],
        "final rmse": float(np.sqrt(np.mean(np.concatenate(errors) ** 2))),
        "predicted": [e["predicted_rmse"] for e in state.events if e["kind"] == "predicted"][-1],
        "target": target,
        "seconds": seconds,
        "sparse points": learner.model_.n_sparse_,
        "why": state.why,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="*", default=list(SYSTEMS), help=", ".join(SYSTEMS))
    parser.add_argument("--time", type=float, default=10.0, help="ps of each ramp")
    parser.add_argument("--keep", help="folder in which the folders of the runs are kept")
    arguments = parser.parse_args()
    results = []
    for name in arguments.systems:
        results.append(run(name, arguments.time, arguments.keep))
        report(
            "on_the_fly",
            ("system", "steps", "labels", "labelled", "missed", "final rmse / target", "s"),
            [
                [
                    r["system"],
                    r["steps"],
                    r["labels"],
                    f"{100 * r['labelled']:.2f} %",
                    f"{100 * r['missed']:.2f} %",
                    f"{r['final rmse'] / r['target']:.2f}",
                    f"{r['seconds']:.0f}",
                ]
                for r in results
            ],
            runs=results,
        )


if __name__ == "__main__":
    main()
