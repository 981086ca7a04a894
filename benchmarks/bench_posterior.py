"""The posterior at scale: synthetic whitened rows folded by QR (the package) and by normal equations (Gram), against dgemm.

    python benchmarks/bench_posterior.py [--rows 1000000] [--sparse 2000]

Rows come in blocks of 768, generated on the fly; generating them is not timed.  dgemm is measured between the blocks, so that
a busy machine slows all alike.  Aims: QR within 2.5 of 2 N M² flops at the rate of dgemm, normal equations within 1.5 of
N M², and 2 GB over the inputs.

Block and panel of `RowFactor`, M = 2000, one core of an AMD EPYC (512 kB second-level cache), time over that of 2 N M² flops by
dgemm, median of 4 runs on a shared machine, copies of `fold` included:

    rows a call    panel 32    panel 48    panel 64
            256        1.8         1.7         1.7
            512        1.6         1.7         1.5
            768        1.6         1.5         1.5
           1536        1.9         1.6         1.6
           3072        2.0         1.7         1.6
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

from common import one_thread, peak_gb, report

one_thread()

import numpy as np
from scipy.linalg import blas, cho_solve, cholesky, lapack

from gapkit.gp.posterior import RowFactor, SparsePosterior

BLOCK = 768
EVERY = 20  # blocks between two measurements of dgemm
NOISE = 0.05


def blocks(n_rows: int, n_sparse: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows whose squares sum to about 1 (their prior variance) and whose columns lose weight as 1/m, and noisy targets."""
    rng = np.random.default_rng(0)
    scale = 1.0 / np.arange(1, n_sparse + 1)
    scale /= np.linalg.norm(scale)
    weights = rng.standard_normal(n_sparse)
    for start in range(0, n_rows, BLOCK):
        phi = rng.standard_normal((min(BLOCK, n_rows - start), n_sparse)) * scale
        yield phi, (phi @ weights + NOISE * rng.standard_normal(len(phi)))[:, None]


class Clock:
    """Seconds by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {"dgemm": 0.0, "qr": 0.0, "gram": 0.0}

    def __call__(self, name: str, function, *arguments, **keywords):
        start = time.perf_counter()
        result = function(*arguments, **keywords)
        self.seconds[name] += time.perf_counter() - start
        return result


def gram_solve(gram: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Weights, Cholesky factor and condition of 1 + ΦᵀΛ⁻¹Φ from the lower triangle of ΦᵀΦ and Φᵀy."""
    information = gram / NOISE**2
    information[np.diag_indices(len(gram))] += 1.0
    norm = np.abs(np.tril(information) + np.tril(information, -1).T).sum(axis=0).max()
    factor = cholesky(information, lower=True, overwrite_a=True, check_finite=False)
    reciprocal, _ = lapack.dpocon(factor, norm, uplo="L")
    return cho_solve((factor, True), right / NOISE**2), factor, 1.0 / reciprocal


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--sparse", type=int, default=2000)
    arguments = parser.parse_args()
    n, m = arguments.rows, arguments.sparse
    square = np.asfortranarray(np.random.default_rng(1).standard_normal((2000, 2000)))
    blas.dgemm(1.0, square, square)
    test = next(blocks(BLOCK, m))[0]
    clock, n_dgemm, before = Clock(), 0, peak_gb()

    factor, gram, right = RowFactor(m), np.zeros((m, m), order="F"), np.zeros(m)
    for k, (phi, y) in enumerate(blocks(n, m)):
        if k % EVERY == 0:
            clock("dgemm", blas.dgemm, 1.0, square, square)
            n_dgemm += 1
        clock("qr", factor.fold, phi, y)
        gram = clock("gram", blas.dsyrk, 1.0, phi.T, beta=1.0, c=gram, lower=1, overwrite_c=1)
        right += clock("gram", np.dot, y[:, 0], phi)
    posterior = clock("qr", SparsePosterior.from_factors, {"rows": factor}, {"rows": NOISE}, np.ones(m))
    memory = peak_gb() - before  # both paths at once
    weights, cholesky_factor, condition = clock("gram", gram_solve, gram, right)

    rate = 2.0 * 2000**3 * n_dgemm / clock.seconds["dgemm"]
    mean = test @ posterior.weights
    variance = np.einsum("nm,mn->n", test, cho_solve((cholesky_factor, True), test.T))
    mean_error = np.abs(test @ weights - mean).max() / np.abs(mean).max()
    variance_error = np.abs(variance / posterior.data_variance(test) - 1).max()
    rows = [
        [name, clock.seconds[key], flops / clock.seconds[key] / 1e9, clock.seconds[key] / (flops / rate), limit]
        for name, key, flops, limit in (
            ("QR (2 N M² flops)", "qr", 2.0 * n * m * m, 2.5),
            ("normal equations (N M²)", "gram", 1.0 * n * m * m, 1.5),
        )
    ]
    report(
        "posterior",
        (f"{n:,} rows, {m} sparse points", "s", "Gflop/s", "times dgemm", "aim"),
        rows,
        dgemm_gflops=rate / 1e9,
        memory_gb=memory,
        condition=condition,
        mean_error=mean_error,
        variance_error=variance_error,
    )
    print(f"dgemm {rate / 1e9:.1f} Gflop/s; memory over the inputs {memory:.2f} GB (aim 2)")
    print(
        f"condition of the normal equations {condition:.1e}: they change the mean by {mean_error:.1e} of its largest value and "
        f"variances by {variance_error:.1e}"
    )


if __name__ == "__main__":
    main()
