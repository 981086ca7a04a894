"""g(x) = sum_s alpha_s w_s k(x, s), the energy of an environment, in the form that is cheapest to evaluate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..gp.sparse_term import SparseTerm
from ..kernels import DotProduct

__all__ = ["ExactSum", "LinearSum", "PointSum", "QuadraticSum", "sums_of"]

Array = NDArray[np.float64]


class PointSum(ABC):
    """g(x) of one group of environments, in whatever form."""

    @abstractmethod
    def __call__(self, x: Array) -> tuple[Array, Array]:
        """Values (n,) and gradients (n, n_features) at features x (n, n_features)."""

    def value(self, x: Array) -> Array:
        """Values alone."""
        return self(x)[0]

    def on_device(self, xp: Any, exact: PointSum) -> PointSum:
        """The same function of CuPy's arrays; ``exact`` is what it stands for, of such arrays."""
        raise NotImplementedError


class ExactSum(PointSum):
    """g(x) from the sparse points themselves."""

    def __init__(self, term: SparseTerm, group: int, alpha: Array) -> None:
        self.term, self.group = term, group
        self.points, self.alpha = _points_and_coefficients(term, group, alpha)

    def __call__(self, x: Array) -> tuple[Array, Array]:
        """Values and gradients."""
        seen = self.term.seen(self.group, x)
        value, gradient = self.term.kernel.sum_and_gradient(seen, self.points, self.alpha)
        return value, self.term.scaled(self.group, gradient)

    def with_kernel(self, x: Array) -> tuple[Array, Array, Array]:
        """Values, gradients, and the kernel with the sparse points, which others may use."""
        seen = self.term.seen(self.group, x)
        value, gradient, kernel = self.term.kernel.sum_gradient_and_kernel(seen, self.points, self.alpha)
        return value, self.term.scaled(self.group, gradient), kernel

    def kernel(self, x: Array) -> Array:
        """The kernel with the sparse points."""
        result: Array = self.term.kernel(self.term.seen(self.group, x), self.points)
        return result

    def value(self, x: Array) -> Array:
        """Values alone: no slopes are computed."""
        return self.kernel(x) @ self.alpha


class LinearSum(PointSum):
    """g(x) = v·x, of scalar products."""

    def __init__(self, term: SparseTerm, group: int, alpha: Array) -> None:
        points, coefficients = _points_and_coefficients(term, group, alpha)
        self.vector = term.scaled(group, coefficients @ points)

    def __call__(self, x: Array) -> tuple[Array, Array]:
        """Values and gradients."""
        return x @ self.vector, np.tile(self.vector, (len(x), 1))


class QuadraticSum(PointSum):
    """g(x) = x·A x, of squares of scalar products: A = sum_s alpha_s s sᵀ."""

    def __init__(self, term: SparseTerm, group: int, alpha: Array) -> None:
        points, coefficients = _points_and_coefficients(term, group, alpha)
        matrix = (points * coefficients[:, None]).T @ points
        self.matrix = term.scaled(group, term.scaled(group, matrix + matrix.T).T)  # 2 A, by both scales

    def __call__(self, x: Array) -> tuple[Array, Array]:
        """Values and gradients."""
        gradient = x @ self.matrix
        return 0.5 * np.einsum("nf,nf->n", gradient, x), gradient


def sum_of_points(term: SparseTerm, group: int, alpha: Array) -> PointSum:
    """The form of g that takes the fewest operations: M points and D features cost 4 M D, a quadratic form 2 D²."""
    if isinstance(term.kernel, DotProduct):
        if term.kernel.zeta == 1:
            return LinearSum(term, group, alpha)
        if term.kernel.zeta == 2 and 2 * len(alpha) > term.points[group].shape[1]:
            return QuadraticSum(term, group, alpha)
    return ExactSum(term, group, alpha)


def sums_of(term: SparseTerm, alphas: Sequence[Array]) -> list[PointSum | None]:
    """`sum_of_points` of every group, None for those without points."""
    return [sum_of_points(term, group, alpha) if len(alpha) else None for group, alpha in enumerate(alphas)]


def _points_and_coefficients(term: SparseTerm, group: int, alpha: Array) -> tuple[Array, Array]:
    """Sparse points as the kernel sees them, and what their kernels are multiplied by."""
    return term.seen(group, term.points[group]), alpha * term.weights[group]
