"""Evidence and incremental fits on mlearn Si with 1000 sparse points: what one evaluation and one new structure cost.

    python benchmarks/bench_evidence.py

Asked: value and gradient of the log evidence by noise of energy, force, stress and delta in less than 0.2 s (FLARE: 1 s),
the gradient equal to differences; one 64-atom structure more in less than 0.3 s (FLARE: 1.1 s), whatever was seen before.
"""

from __future__ import annotations

import time
import warnings

import numpy as np
from ase.io import read
from common import SHARED, one_thread, report

one_thread()

from gapkit import SOAP, DotProduct, GAPRegressor, Noise, Term
from gapkit.exceptions import LabelWarning
from gapkit.model.search import amplitudes_of
from gapkit.model.training import SparseModel


def fitted(frames):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LabelWarning)  # some frames have no forces
        term = Term(SOAP(5.0, 8, 6), DotProduct(4), n_sparse=1000)
        return GAPRegressor([term], noise=Noise(1e-3, 0.05, 1e-3), random_state=0).fit(frames)


def median_seconds(function, repeats=5):
    times = []
    for k in range(repeats):
        start = time.perf_counter()
        function(k)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def evidence_numbers(model):
    """Seconds of an evaluation; largest difference of the gradient from central differences, relative to the largest slope."""
    sparse = SparseModel(model.terms_, model.potential_.terms, model.noise_)
    evidence, log_sigma, log_delta = amplitudes_of(sparse, model.factors_)
    seconds = median_seconds(lambda _: evidence.value_and_gradient(log_sigma, log_delta))
    n, start = len(log_sigma), np.concatenate([log_sigma, log_delta])
    gradient = np.concatenate(evidence.value_and_gradient(log_sigma, log_delta)[1:])
    slopes = []
    for k in range(len(start)):
        both = []
        for sign in (1, -1):
            moved = start.copy()
            moved[k] += sign * 1e-4
            both.append(evidence.value_and_gradient(moved[:n], moved[n:])[0])
        slopes.append((both[0] - both[1]) / 2e-4)
    return seconds, float(np.abs(gradient - slopes).max() / np.abs(gradient).max())


def main():
    frames = read(SHARED / "mlearn_Si" / "train.xyz", ":")
    new = [atoms for atoms in frames if len(atoms) == 64 and "forces" in atoms.calc.results][-5:]
    rows = []
    for n in (40, 160):
        model = fitted(frames[:n])
        seconds, difference = evidence_numbers(model)
        n_labels = sum(model.n_labels_.values())
        adding = median_seconds(lambda k: model.partial_fit([new[k]]))  # noqa: B023 - called at once
        rows.append((f"{n} structures, {n_labels} rows", model.n_sparse_, seconds, difference, adding))
    header = ("after", "sparse points", "value and gradient, s", "gradient - differences", "one more structure, s")
    report("evidence", header, rows)


if __name__ == "__main__":
    main()
