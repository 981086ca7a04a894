"""Automatic hyperparameters beside a grid search: force RMSE on the test sets of mlearn Si, Cu and Ni (Zuo et al. 2020).

Automatic: terms from the data, noise and delta by evidence (`optimize`); the test set is never looked at.  Grid: cutoff, zeta,
width and number of radial functions, noise and delta; the point that is best in 3-fold cross-validation on the training set,
and, as the strictest comparison, the point that is best on the test set itself.  The last ratio keeps the automatic terms and
takes the noise and delta that are best on the test set: what the evidence misses.  All have the same number of sparse points.

A grid point costs one small Cholesky factorisation: Gram matrices of the whitened rows with their labels, one per fold and
kind of label, are accumulated once for each descriptor and kernel.  With G of some rows, |Φ D w - y|² = (D w, -1) G (D w, -1).

    python benchmarks/bench_hyperparameters.py                          # about 25 minutes
    python benchmarks/bench_hyperparameters.py --sets Si --n-sparse 100 --every 8      # a trial, half a minute
"""

from __future__ import annotations

import argparse
import itertools
import time
import warnings
from dataclasses import replace

import numpy as np
from common import SHARED, one_thread, report

one_thread()

from ase.io import read
from scipy.linalg import cho_factor, cho_solve

from gapkit import SOAP, DotProduct, GAPRegressor, Noise, Term
from gapkit.gp.design import kernel_rows, targets
from gapkit.gp.observations import KINDS, labels_of
from gapkit.gp.sparse_term import whiten
from gapkit.model import automatic_terms
from gapkit.model.atomic_energies import fit_atomic_energies
from gapkit.model.fitting import choose_terms, chunks_of_frames
from gapkit.neighbors import NeighborList
from gapkit.validation import force_rmse

TERMS = [
    {"r_cut": r_cut, "zeta": zeta, "sigma": sigma, "n_max": n_max}
    for r_cut, zeta, sigma, n_max in [(4.5, 4, 0.5, 8), (5.0, 2, 0.5, 8), (5.0, 4, 0.5, 8), (5.0, 4, 0.4, 10), (5.5, 4, 0.5, 8)]
]
NOISE = {"forces": [0.01, 0.03, 0.1, 0.2], "energy": [1e-3, 3e-3]}
STRESS = 1e-2  # eV/Å³
DELTA = [0.3, 1.0, 3.0]
FOLDS = 3
AIM = 1.05


def gram_matrices(terms, frames, e0) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """[Φ y]ᵀ[Φ y] and number of rows of each kind of label."""
    m = sum(term.n_points for term in terms)
    gram, n_rows = {kind: np.zeros((m + 1, m + 1)) for kind in KINDS}, dict.fromkeys(KINDS, 0)
    neighbor_range = max(term.descriptor.neighbor_range for term in terms)
    for start, chunk in chunks_of_frames(frames):
        neighbors = NeighborList.from_atoms(chunk, neighbor_range)
        labels = [labels_of(atoms, start + k) for k, atoms in enumerate(chunk)]
        constants = [sum(e0[int(z)] for z in atoms.numbers) for atoms in chunk]
        labels = [y if y.energy is None else replace(y, energy=y.energy - c) for y, c in zip(labels, constants, strict=True)]
        rows, y = kernel_rows(terms, neighbors, labels), targets(neighbors, labels)
        for kind in KINDS:
            phi = np.hstack([whiten(terms, getattr(rows, kind)), getattr(y, kind)])
            gram[kind] += phi.T @ phi
            n_rows[kind] += len(phi)
    return gram, n_rows


def solution(gram, sigma: dict[str, float], delta: float) -> np.ndarray:
    """(D w, -1) at the posterior mean."""
    total = sum(gram[kind] / sigma[kind] ** 2 for kind in KINDS)
    a = delta**2 * total[:-1, :-1]
    a[np.diag_indices_from(a)] += 1.0
    return np.append(delta * cho_solve(cho_factor(a), delta * total[:-1, -1]), -1.0)


def rmse(gram, n_rows, v: np.ndarray) -> float:
    return float(np.sqrt(v @ gram["forces"] @ v / n_rows["forces"]))


def search(train, test, named_terms, settings: dict[str, object]) -> list[dict[str, object]]:
    """Force RMSE of every noise and delta of the grid, in cross-validation and on the test set."""
    fold_of = np.random.default_rng(0).permutation(len(train)) % FOLDS
    labels = [labels_of(atoms, k) for k, atoms in enumerate(train)]
    e0, _ = fit_atomic_energies(train, labels, "auto", max(term.descriptor.neighbor_range for _, term in named_terms))
    terms = choose_terms(named_terms, train, 0, show=False)
    folds = [gram_matrices(terms, [train[k] for k in np.flatnonzero(fold_of == f)], e0) for f in range(FOLDS)]
    every = {kind: sum(gram[kind] for gram, _ in folds) for kind in KINDS}
    of_test, n_test = gram_matrices(terms, test, e0)
    found = []
    for forces, energy, delta in itertools.product(NOISE["forces"], NOISE["energy"], DELTA):
        sigma = {"forces": forces, "energy": energy, "stress": STRESS}
        squares = 0.0
        for gram, n_rows in folds:
            others = {kind: every[kind] - gram[kind] for kind in KINDS}
            squares += rmse(gram, n_rows, solution(others, sigma, delta)) ** 2 * n_rows["forces"]
        cross_validated = float(np.sqrt(squares / sum(n_rows["forces"] for _, n_rows in folds)))
        on_test = rmse(of_test, n_test, solution(every, sigma, delta))
        point = {**settings, "noise_forces": forces, "noise_energy": energy, "delta": delta}
        found.append({**point, "cross_validated": cross_validated, "test": on_test})
    return found


def grid_terms(settings, n_sparse: int, delta: float = 1.0):
    soap = SOAP(settings["r_cut"], settings["n_max"], 6, settings["sigma"], cutoff_width=2.0)
    return [("soap", Term(soap, DotProduct(settings["zeta"]), delta=delta, n_sparse=n_sparse))]


def automatic(train, test, n_sparse: int) -> tuple[float, GAPRegressor]:
    """Terms, noise and delta from the training set; no more sparse points than the grid has."""
    terms = automatic_terms(train)
    for _, term in terms:
        term.n_sparse = min(term.n_sparse, n_sparse)
    start = GAPRegressor().explicit(train).noise  # what a fit without terms takes, too
    model = GAPRegressor(terms, noise=start, random_state=0, optimize=("noise", "delta")).fit(train)
    return -force_rmse(model, test), model


def check(train, test, point, n_sparse: int) -> float:
    """The same point by the estimator itself."""
    noise = Noise(point["noise_energy"], point["noise_forces"], STRESS)
    model = GAPRegressor(grid_terms(point, n_sparse, point["delta"]), noise=noise, random_state=0).fit(train)
    return -force_rmse(model, test)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=["Si", "Cu", "Ni"])
    parser.add_argument("--n-sparse", type=int, default=800)
    parser.add_argument("--every", type=int, default=1, help="take every so many training frames")
    parser.add_argument("--check", action="store_true", help="fit the best grid point with GAPRegressor too")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows, more = [], {}
    for name in arguments.sets:
        start = time.process_time()
        train, test = (read(SHARED / f"mlearn_{name}" / f"{part}.xyz", ":") for part in ("train", "test"))
        train = train[:: arguments.every]
        ours, model = automatic(train, test, arguments.n_sparse)
        automatic_seconds = time.process_time() - start
        points = [
            point for settings in TERMS for point in search(train, test, grid_terms(settings, arguments.n_sparse), settings)
        ]
        seconds = time.process_time() - start - automatic_seconds
        chosen, best = min(points, key=lambda p: p["cross_validated"]), min(points, key=lambda p: p["test"])
        own = min(search(train, test, model.named_terms(), {}), key=lambda p: p["test"])
        if arguments.check:
            again = check(train, test, best, arguments.n_sparse)
            print(f"{name}: best point by its Gram matrices {best['test']:.6f}, by GAPRegressor {again:.6f}")
        ratios = [value for point in (chosen, best, own) for value in (point["test"], ours / point["test"])]
        rows.append([name, ours, *ratios, automatic_seconds, seconds])
        terms = {term_name: repr(term.get_params(deep=False)) for term_name, term in model.named_terms()}
        noise = repr(model.noise_.get_params(deep=False))
        more[name] = {"terms": terms, "noise": noise, "chosen": chosen, "best": best, "own": own, "points": points}
        print(
            f"{name}: {noise}\n    grid, by cross-validation: {chosen}\n    grid, on the test set: {best}\n    own terms: {own}"
        )
    print(f"\naim: ratios of at most {AIM}\n")
    header = (
        "mlearn",
        "automatic eV/Å",
        "grid (CV)",
        "ratio",
        "grid (test)",
        "ratio",
        "own terms",
        "ratio",
        "CPU s",
        "of grid",
    )
    report("hyperparameters", header, rows, n_sparse=arguments.n_sparse, aim=AIM, details=more)


if __name__ == "__main__":
    main()
