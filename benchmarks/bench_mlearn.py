"""Accuracy on the silicon set of Zuo et al. (2020), beside the published GAP and gap_fit.

Settings are chosen by cross-validation on the training set; only then is the test set read.

    python benchmarks/bench_mlearn.py                # a short grid, about 25 minutes
    python benchmarks/bench_mlearn.py --skip-search  # with the settings that the search chose
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
from common import SHARED, one_thread, peak_gb, report

one_thread()

from ase.io import read
from sklearn.model_selection import GridSearchCV, KFold

from gapkit import SOAP, DotProduct, GAPRegressor, Noise, Term
from gapkit.validation import error_table

FOLDER = SHARED / "mlearn_Si"
PUBLISHED = [
    ("published GAP (Zuo 2020)", 2.91, None, 0.07, None, None, None),
    ("gap_fit, train_full", 3.18, 4.26, 0.0731, 0.1174, 307.0, 3.7),
    ("gap_fit pair + soap, train", 2.70, 4.95, 0.0717, 0.1155, 785.0, 9.1),
]
GRID = {
    "soap__descriptor__r_cut": [5.0, 5.4],
    "soap__descriptor__cutoff_width": [1.0, 2.0],
    "soap__selection": ["cur", "fps"],
    "noise__energy": [1e-3, 3e-3],
}
CHOSEN = {
    "soap__descriptor__r_cut": 5.0,
    "soap__descriptor__cutoff_width": 2.0,
    "soap__selection": "cur",
    "noise__energy": 1e-3,
}


def model() -> GAPRegressor:
    term = Term(SOAP(n_max=8, l_max=6, sigma=0.5), DotProduct(zeta=4), n_sparse=1000)
    return GAPRegressor([("soap", term)], noise=Noise(3e-3, 0.05, 1e-2), random_state=0)


def errors(fitted, frames):
    return error_table(frames, fitted.evaluate(frames))[-1]


def choose(search) -> int:
    """Lowest product of energy and force MAE: relative improvements of both count alike."""
    energy, forces = search["mean_test_energy"], search["mean_test_forces"]
    return int(np.argmax(-(energy * forces)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--skip-search", action="store_true")
    arguments = parser.parse_args()
    settings, search_rows = CHOSEN, []
    if not arguments.skip_search:
        train = read(FOLDER / "train.xyz", ":")
        scorers = {
            "energy": lambda m, x, y=None: -errors(m, x).energy_mae,
            "forces": lambda m, x, y=None: -errors(m, x).forces_mae,
        }
        folds = KFold(3, shuffle=True, random_state=0)
        search = GridSearchCV(model(), GRID, scoring=scorers, refit=choose, cv=folds, verbose=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            search.fit(train)
        results = search.cv_results_
        for k in np.argsort(results["mean_test_energy"] * results["mean_test_forces"]):
            row = [-results["mean_test_energy"][k], -results["mean_test_forces"][k], str(results["params"][k])]
            search_rows.append(row)
            print(f"{row[0]:6.2f} meV/atom  {row[1]:.4f} eV/Å  {row[2]}")
        settings = search.best_params_
    print("settings:", settings)
    rows = [list(row) for row in PUBLISHED]
    for name in ("train_full", "train"):
        frames = read(FOLDER / f"{name}.xyz", ":")
        candidate = model().set_params(**settings)
        before, start = peak_gb(), time.process_time()
        candidate.fit(frames)
        cpu = time.process_time() - start
        e = errors(candidate, read(FOLDER / "test.xyz", ":"))
        rows.append([f"gapkit, {name}", e.energy_mae, e.energy_rmse, e.forces_mae, e.forces_rmse, cpu, peak_gb()])
        print(f"{name}: stress RMSE {e.stress_rmse:.3f} GPa, memory before the fit {before:.2f} GB")
    header = ("Si, test set", "E MAE meV/atom", "E RMSE", "F MAE eV/Å", "F RMSE", "fit CPU s", "peak GB")
    report("mlearn", header, rows, settings=settings, search=search_rows)


if __name__ == "__main__":
    main()
