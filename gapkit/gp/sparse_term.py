"""A term with its sparse points, and the change of basis that makes their values independent: K_uu = L Lᵀ, Φ = K_fu L⁻ᵀ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack, solve_triangular

from .._backend import solve_lower
from ..descriptors import Descriptor
from ..kernels import Kernel

__all__ = ["SparseTerm", "coefficients_from", "pivoted_cholesky", "whiten"]

Array = NDArray[np.float64]

_NO_POINTS = np.arange(0), np.empty((0, 0))


@dataclass(frozen=True)
class SparseTerm:
    """One term of the model with its sparse points: all that is needed to compute kernels with them.

    Attributes
    ----------
    descriptor : Descriptor
        Fitted.
    kernel : Kernel
        Unit amplitude.
    delta : float
        Standard deviation of the energy of an environment, eV.
    points : list of ndarray of shape (n_points, n_features)
        Sparse points of each group; K_uu of a group is ``cholesky @ cholesky.T``.
    weights : list of ndarray of shape (n_points,)
        Weights of the environments that they were.
    scales : list of ndarray of shape (n_features,), or None
        What the features of each group are divided by before the kernel.
    cholesky : list of ndarray of shape (n_points, n_points)
        Lower triangular factors.
    columns : list of slice
        Place of each group among all sparse points of the model.
    jitter : float
        What is added to the diagonal of delta² K_uu, eV²; only gap_fit's models have any.
    """

    descriptor: Descriptor
    kernel: Kernel
    delta: float
    points: list[Array]
    weights: list[Array]
    scales: list[Array] | None
    cholesky: list[Array]
    columns: list[slice]
    jitter: float = 0.0

    @classmethod
    def build(
        cls,
        descriptor: Descriptor,
        kernel: Kernel,
        delta: float,
        points: Sequence[Array],
        first_column: int,
        *,
        weights: Sequence[Array] | None = None,
        scales: Sequence[Array] | None = None,
        jitter: float = 0.0,
    ) -> tuple[SparseTerm, int]:
        """Factorise K_uu of each group, drop points that the others determine; return the term and how many were dropped."""
        weights = [np.ones(len(p)) for p in points] if weights is None else weights
        kept, kept_weights, factors, columns, dropped = [], [], [], [], 0
        for group, (candidates, weight) in enumerate(zip(points, weights, strict=True)):
            scaled = candidates if scales is None else candidates / scales[group]
            if kernel.is_stationary() and len(candidates):
                scaled = scaled - scaled.mean(axis=0)  # see `seen`
            index, factor = _factorised(kernel(scaled), weight, jitter / delta**2) if len(candidates) else _NO_POINTS
            kept.append(np.ascontiguousarray(candidates[index]))
            kept_weights.append(weight[index])
            factors.append(factor)
            columns.append(slice(first_column, first_column + len(index)))
            first_column += len(index)
            dropped += len(candidates) - len(index)
        scales = None if scales is None else list(scales)
        return cls(descriptor, kernel, delta, kept, kept_weights, scales, factors, columns, jitter), dropped

    def scaled(self, group: int, values: Array) -> Array:
        """Divide by the scales of a group: features, or gradients by what the kernel sees."""
        return values if self.scales is None else values / self.scales[group]

    def seen(self, group: int, values: Array) -> Array:
        """Features of a group as the kernel sees them: scaled, and for stationary kernels relative to the sparse points' mean.

        Such kernels take (x - s)² from x·x + s·s - 2 x·s, which loses digits where x and s are long and their difference short.
        """
        values = self.scaled(group, values)
        return values - self.centres[group] if self.kernel.is_stationary() else values

    @cached_property
    def centres(self) -> list[Array]:
        """Mean of the scaled sparse points of each group; 0 without any."""
        return [self.scaled(g, p).mean(axis=0) if len(p) else np.zeros(p.shape[1]) for g, p in enumerate(self.points)]

    def on_device(self, xp: Any) -> SparseTerm:
        """The same term with the arrays of another module: CuPy."""
        return replace(
            self,
            points=[xp.asarray(p) for p in self.points],
            weights=[xp.asarray(w) for w in self.weights],
            scales=None if self.scales is None else [xp.asarray(s) for s in self.scales],
            cholesky=[xp.asarray(c) for c in self.cholesky],
        )

    @property
    def n_points(self) -> int:
        """Number of sparse points of all groups."""
        return sum(len(p) for p in self.points)


def _factorised(kernel: Array, weights: Array, jitter: float) -> tuple[NDArray[np.int64], Array]:
    """Which points are kept, and L with L Lᵀ = w k w (plus the jitter, at unit delta); overwrites ``kernel``."""
    if jitter:
        kernel *= weights
        kernel *= weights[:, None]
        kernel[np.diag_indices_from(kernel)] += jitter
        return pivoted_cholesky(kernel)
    index, factor = pivoted_cholesky(kernel)
    return index, np.asfortranarray(weights[index][:, None] * factor)


def pivoted_cholesky(matrix: Array) -> tuple[NDArray[np.int64], Array]:
    """Cholesky factor of the best-conditioned principal submatrix (LAPACK dpstrf).

    A row is dropped when the others leave less than n ε of the largest diagonal element, which is rounding.

    Returns
    -------
    index : ndarray of shape (rank,)
        Rows that were kept, in pivot order.
    factor : ndarray of shape (rank, rank)
        Lower triangular, ``factor @ factor.T == matrix[index][:, index]``.
    """
    factor, pivots, rank, _ = lapack.dpstrf(matrix, lower=1, tol=-1.0)  # LAPACK's own tolerance, as above
    return pivots[:rank].astype(np.int64) - 1, np.asfortranarray(np.tril(factor[:rank, :rank]))


def whiten(terms: Sequence[SparseTerm], rows: Array) -> Array:
    """Φ = K_fu L^-T, group by group, in place; the columns of Φ are independent standard normal a priori.

    Parameters
    ----------
    terms : sequence of SparseTerm
        Terms of the model.
    rows : ndarray of shape (n_rows, n_sparse)
        C-ordered; overwritten.  A CuPy array if the factors are.

    Returns
    -------
    ndarray of shape (n_rows, n_sparse)
        ``rows`` itself.
    """
    for term in terms:
        for factor, columns in zip(term.cholesky, term.columns, strict=True):
            if factor.size and len(rows):
                rows[:, columns] = solve_lower(factor, rows[:, columns].T).T
    return rows


def coefficients_from(terms: Sequence[SparseTerm], weights: Array) -> list[list[Array]]:
    """alpha = delta L^-T w of each group of each term, eV, from weights w of shape (n_sparse,)."""
    return [
        [
            term.delta * solve_triangular(factor, weights[columns], lower=True, trans="T") if factor.size else np.empty(0)
            for factor, columns in zip(term.cholesky, term.columns, strict=True)
        ]
        for term in terms
    ]
