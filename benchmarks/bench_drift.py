"""Energy drift of the demo model: 20 ps at constant energy, 64 Si atoms, 300 K, 1 fs.

python benchmarks/bench_drift.py [--picoseconds 20]
"""

from __future__ import annotations

import argparse
import time

from common import one_thread, report

one_thread()

from ase.build import bulk

from gapkit import GAPCalculator
from gapkit.cli.demo import demo_model
from gapkit.datasets import load_silicon
from gapkit.validation import nve_drift


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picoseconds", type=float, default=20.0)
    arguments = parser.parse_args()
    atoms = bulk("Si", a=5.47, cubic=True).repeat(2)
    atoms.calc = GAPCalculator(demo_model().fit(load_silicon("train")))
    start = time.perf_counter()
    steps = round(1000 * arguments.picoseconds)
    drift = nve_drift(atoms, temperature=300.0, steps=steps, timestep=1.0)
    late = drift.temperature[len(drift.temperature) // 2 :].mean()
    report(
        "drift",
        ("ps", "drift eV/atom/ps", "fluctuation eV/atom", "temperature K", "ms/step"),
        [[f"{arguments.picoseconds:g}", drift.slope, drift.fluctuation, late, 1e3 * (time.perf_counter() - start) / steps]],
    )


if __name__ == "__main__":
    main()
