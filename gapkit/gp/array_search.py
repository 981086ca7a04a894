"""Noise, amplitude and kernel parameters of `SparseGPR` by the largest evidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from ..kernels import Kernel
from .array_rows import Folded
from .likelihood import Evidence, maximize_evidence

__all__ = ["search_kernel", "search_noise"]

Array = NDArray[np.float64]

_FACTOR = 100.0  # by which kernel parameters may change either way
_SHIFT = np.log(5.0)  # of their logarithms, for the other two starts
_STEP = 1e-4  # of their logarithms, for central differences


def evidence_of(folded: Folded) -> Evidence:
    """Evidence of all rows, with one term."""
    n_sparse = next(iter(folded.factors.values())).triangle.shape[0] - 1
    return Evidence.from_factors(folded.factors, np.zeros(n_sparse, np.int64))


def search_noise(
    folded: Folded, delta: float, *, free_noise: bool, free_delta: bool, starts: Sequence[float] = (0.0, -1.0, 1.0)
) -> tuple[dict[str, float], float, float]:
    """Noise of the row groups and amplitude with the largest evidence; see `maximize_evidence`.

    Parameters
    ----------
    folded : Folded
        Rows with the noise to start from.
    delta : float
        Amplitude to start from.
    free_noise, free_delta : bool
        What is searched.
    starts : sequence of float
        Decimal logarithms of the factors by which the noise is multiplied at each start.

    Returns
    -------
    noise : dict of str to float
    delta : float
    log_evidence : float
    """
    evidence = evidence_of(folded)
    log_sigma, log_delta = np.log([folded.noise[name] for name in evidence.names]), np.log([delta])
    if not (free_noise or free_delta):
        return folded.noise, delta, evidence.value_and_gradient(log_sigma, log_delta)[0]
    log_sigma, log_delta, value = maximize_evidence(
        evidence, log_sigma, log_delta, free_noise=free_noise, free_delta=free_delta, starts=starts
    )
    noise = dict(zip(evidence.names, np.exp(log_sigma).tolist(), strict=True))
    return noise, float(np.exp(log_delta[0])), value


def search_kernel(
    kernel: Kernel, folded_with: Callable[[Kernel], Folded], delta: float, *, free_noise: bool, free_delta: bool
) -> Kernel:
    """Kernel with the largest evidence, where noise and amplitude follow each trial if they are free.

    Three kernels are tried (as given, all parameters 5 times smaller and larger), and L-BFGS-B goes on from the best one.  The
    derivative by a kernel parameter is a difference at constant noise and amplitude: where these are at their optimum, or
    fixed, that is the whole derivative.

    Parameters
    ----------
    kernel : Kernel
        Where to start; its parameters stay within its bounds and a factor of 100.
    folded_with : callable
        Rows folded with a trial kernel.
    delta : float
        Amplitude to start from.
    free_noise, free_delta : bool
        As in `search_noise`.

    Returns
    -------
    Kernel
    """
    start = kernel.theta
    lower = np.maximum(kernel.bounds[:, 0], start - np.log(_FACTOR))
    upper = np.minimum(kernel.bounds[:, 1], start + np.log(_FACTOR))

    def best_at(theta: Array) -> tuple[dict[str, float], float, float]:
        folded = folded_with(kernel.clone_with_theta(theta))
        return search_noise(folded, delta, free_noise=free_noise, free_delta=free_delta, starts=(0.0,))

    def value_at(theta: Array, noise: dict[str, float], amplitude: float) -> float:
        evidence = evidence_of(folded_with(kernel.clone_with_theta(theta)))
        log_sigma = np.log([noise[name] for name in evidence.names])
        return evidence.value_and_gradient(log_sigma, np.log([amplitude]))[0]

    def objective(theta: Array) -> tuple[float, Array]:
        noise, amplitude, value = best_at(theta)
        steps = _STEP * np.eye(len(theta))
        differences = [value_at(theta + s, noise, amplitude) - value_at(theta - s, noise, amplitude) for s in steps]
        return -value, -np.array(differences) / (2.0 * _STEP)

    starts = [np.clip(start + shift, lower, upper) for shift in (0.0, -_SHIFT, _SHIFT)]
    first = max(starts, key=lambda theta: best_at(theta)[2])
    found = minimize(
        objective, first, jac=True, method="L-BFGS-B", bounds=list(zip(lower, upper, strict=True)), options={"maxiter": 30}
    )
    best: Kernel = kernel.clone_with_theta(found.x)
    return best
