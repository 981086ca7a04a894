"""QUIP's local_gap_variance, instance by instance, with an inverse in 40 digits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import mpmath
import numpy as np

Instance = tuple[np.ndarray, float, Sequence[int]]
"""Features, cutoff function, atoms that share it."""


def local_variances(
    n_atoms: int,
    instances: Iterable[Instance],
    kernel: Callable[[np.ndarray, np.ndarray], float],
    points: np.ndarray,
    cutoffs: np.ndarray,
    regularisation: float = 1e-3,
) -> np.ndarray:
    """Of one descriptor; ``instances``: both orders of pairs and triplets; ``kernel``: with its amplitude, eV²."""
    k = np.array([[kernel(a, b) for b in points] for a in points]) * np.outer(cutoffs, cutoffs)
    with mpmath.workdps(40):
        inverse = mpmath.inverse(mpmath.matrix(k.tolist()) + mpmath.mpf(regularisation) ** 2 * mpmath.eye(len(points)))
        exact = np.array([[np.longdouble(str(x)) for x in row] for row in inverse.tolist()])
    result = np.zeros(n_atoms)
    for x, cutoff, atoms in instances:
        row = np.array([kernel(x, s) for s in points], np.longdouble) * cutoffs
        variance = kernel(x, x) + regularisation**2 - float(row @ exact @ row)
        for i in atoms:
            result[i] += variance * cutoff**2 / len(atoms)
    return result
