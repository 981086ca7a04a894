"""Are calibrated error bars right on structures that neither the fit nor the calibration has seen?

    python benchmarks/bench_calibration.py Si Cu ethanol [--splits 20]

Train and test of mlearn Si, mlearn Cu and rMD17 ethanol are pooled and split by structure, 20 times, into frames for the fit
(noise and delta by evidence), for the calibration, and at least 100 for the test.  Printed: means over the splits, beside the
bound of each, also for the calibration by leave-one-out of the training frames alone.  Scales are root mean squares of error /
raw deviation, which a few values near a symmetry can dominate; RMS ratios are those of the root mean squares of both.  Then one
fit per set under a stated shift: fitted and calibrated on the frames of smaller forces without surfaces, tested on surfaces and
the hottest fifth.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
from ase.io import read
from common import SHARED, one_thread, report

one_thread()

from gapkit import SOAP, DotProduct, GAPRegressor, Noise, Term
from gapkit.exceptions import LabelWarning, NumericalWarning
from gapkit.model.labelled_errors import labelled_errors
from gapkit.validation.uncertainty import coverage, large_error_auroc, miscalibration_area, simulated, zms

# folder, term, noise to start from, frames for the fit, for the calibration, for the test
SETS = {
    "Si": ("mlearn_Si", Term(SOAP(5.0, 6, 5), DotProduct(4), n_sparse=400), Noise(), 90, 46, 100),
    "Cu": ("mlearn_Cu", Term(SOAP(4.0, 5, 4), DotProduct(4), n_sparse=300), Noise(stress=0.05), 110, 64, 100),
    "ethanol": ("rmd17_ethanol", Term(SOAP(4.5, 6, 5, 0.4), DotProduct(4), n_sparse=600), Noise(), 200, 100, 200),
}
HEADER = (
    "set",
    "kind",
    "scale loo",
    "scale held out",
    "RMS ratio loo",
    "RMS ratio held out",
    "area loo",
    "area",
    "bound",
    "ZMS",
    "AUROC",
    "of own std",
    "AUROC all",
    "90 % covers",
)


def measured(name, train, known, test, seed):
    """Numbers of each kind of label, for both calibrations."""
    _, term, noise, *_ = SETS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LabelWarning)  # some frames have no forces
        warnings.simplefilter("ignore", NumericalWarning)  # a refused search is part of the method
        model = GAPRegressor([term], noise=noise, optimize=("noise", "delta"), random_state=seed).fit(train)
        by_loo = model.calibrate("loo").calibration_
        by_frames = model.calibrate(known).calibration_
    model.calibration_ = None
    predictions = model.evaluate(test, uncertainty="exact", std=("energy", "forces", "stress"))
    found = {}
    for kind, sample in labelled_errors(test, predictions).items():
        used = sample.nonzero()
        r, raw, structure = sample.residual[used], sample.std[used], sample.structure[used]
        s = by_frames.apply(kind, raw)
        chance = simulated(miscalibration_area, s, n_draws=60, random_state=seed)
        found[kind] = [
            by_loo.maps[kind].scale,
            float(np.sqrt(np.mean((r / raw) ** 2))),
            float(np.sqrt(np.mean(by_loo.apply(kind, raw) ** 2) / np.mean(raw**2))),
            float(np.sqrt(np.mean(r**2) / np.mean(raw**2))),
            miscalibration_area(r, by_loo.apply(kind, raw)),
            miscalibration_area(r, s),
            0.05 + float(np.quantile(chance, 0.95)),
            zms(r, s),
            large_error_auroc(r, s),
            float(np.mean(simulated(large_error_auroc, s, n_draws=20, random_state=seed))),
            large_error_auroc(sample.residual, sample.std),  # those that symmetry makes 0 included
            coverage(r, s, structure, by_frames.multiplier(kind, 0.9)),
        ]
    return found


def splits(name, n_splits):
    folder, _, _, n_train, n_known, n_test = SETS[name]
    pool = [atoms for part in ("train", "test") for atoms in read(SHARED / folder / f"{part}.xyz", ":")]
    alone = read(SHARED / folder / "isolated_atoms.xyz", ":") if name == "ethanol" else []
    results = {}
    for seed in range(n_splits):
        order = np.random.default_rng(seed).permutation(len(pool))
        test, known, train = ([pool[k] for k in part] for part in np.split(order, [n_test, n_test + n_known]))
        for kind, numbers in measured(name, train[:n_train] + alone, known, test, seed).items():
            results.setdefault(kind, []).append(numbers)
        print(f"{name} split {seed}", {k: [round(x, 3) for x in v[-1]] for k, v in results.items()}, flush=True)
    return results


def shifted(name):
    """Trained on what is cold and bulk, tested on what is hot or a surface."""
    folder = SETS[name][0]
    pool = [atoms for part in ("train", "test") for atoms in read(SHARED / folder / f"{part}.xyz", ":")]
    size = np.array([np.sqrt(np.mean(a.calc.results["forces"] ** 2)) if "forces" in a.calc.results else 0.0 for a in pool])
    hot = size > np.quantile(size, 0.8)
    away = np.array([h or a.info.get("config_type") == "Surface" for h, a in zip(hot, pool, strict=True)])
    alone = read(SHARED / folder / "isolated_atoms.xyz", ":") if name == "ethanol" else []
    rng = np.random.default_rng(0)
    here, there = (rng.permutation([a for a, t in enumerate(away) if t == which]) for which in (False, True))
    n_train, n_known, n_test = SETS[name][3:]
    train, known, rest = ([pool[k] for k in part] for part in np.split(here, [n_train, n_train + n_known]))
    del rest
    return measured(name, train + alone, known, [pool[k] for k in there[:n_test]], 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--splits", type=int, default=20)
    options = parser.parse_args()
    for name in options.sets:
        results = splits(name, options.splits)
        rows = [(name, kind, *map(float, np.mean(values, axis=0))) for kind, values in results.items()]
        rows += [(f"{name}, shift", kind, *numbers) for kind, numbers in shifted(name).items()]
        report(f"calibration_{name}", HEADER, rows, splits=results)


if __name__ == "__main__":
    main()
