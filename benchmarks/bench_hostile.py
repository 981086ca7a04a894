"""A million standard deviations of local energies where they are hardest: negative, not finite, clamped?

Duplicated frames, perfect crystals without forces, isolated atoms, environments 1e-12 to 1e-2 Å apart, more sparse points than
rows, noise of 1e-8; evaluated on the like, and on single-precision positions, extreme strain and random gas.

    python benchmarks/bench_hostile.py [1000000]
"""

from __future__ import annotations

import re
import sys
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from common import one_thread, report

one_thread()

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gapkit.exceptions import LabelWarning, NumericalWarning
from tests.reference import hostile

CLAMPED = re.compile(r"(\d+) of \d+ prior variances of ([\w ]+) were negative \(lowest (\S+)")


def main(n: int) -> None:
    rows = []
    for name, model in hostile.models().items():
        with warnings.catch_warnings(record=True) as fitting:
            warnings.simplefilter("always")
            model.fit(hostile.training_sets()[name])
        dropped = sum("dropped" in str(w.message) for w in fitting)
        for uncertainty in ("exact", "fast"):
            seen, bad, clamped, worst, seed = 0, 0, Counter(), 0.0, 0
            while seen < n // 10:
                frames = [atoms for _, batch in hostile.structures(seed) for atoms in batch]
                std = ("energies", "energy") if seed % 20 else ("energies", "energy", "forces", "stress")
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    predictions = model.evaluate(frames, forces=False, stress=False, uncertainty=uncertainty, std=std)
                for w in caught:
                    if not issubclass(w.category, NumericalWarning | LabelWarning):
                        raise RuntimeError(str(w.message))
                    found = CLAMPED.search(str(w.message))
                    clamped[found[2]] += int(found[1])
                    worst = min(worst, float(found[3]))
                for p in predictions:
                    for value in (p.energies_std, p.energy_std, p.forces_std, p.stress_std):
                        if value is not None:
                            bad += int(np.sum(~np.isfinite(value) | (np.asarray(value) < 0)))
                    seen += len(p.energies_std)
                seed += 1
            rows.append([name, uncertainty, seen, bad, sum(clamped.values()), worst, model.n_sparse_, dropped])
    header = (
        "trained on",
        "deviations",
        "local energies",
        "negative or NaN",
        "clamped",
        "lowest",
        "sparse points",
        "warnings: dropped",
    )
    report("hostile", header, rows)
    print(f"{sum(r[2] for r in rows)} local energies, {sum(r[3] for r in rows)} negative or not finite")


if __name__ == "__main__":
    main(int(float(sys.argv[1])) if len(sys.argv) > 1 else 1_000_000)
