r"""Kernels between feature vectors that depend on x·x, x·s and s·s alone, with their slopes.

For such a kernel the derivative has the form

.. math:: \partial k(x, s) / \partial x = A \, s + B \, x

with two scalars per pair (x, s).  The form is closed under sums (A and B add) and products (A = A₁k₂ + k₁A₂, B alike), so
that forces and stresses need nothing else from a kernel, whatever it is made of.  Their variances need the second derivative,

.. math::
    \partial^2 k / \partial x \partial s^T = C_0 1 + C_1 s x^T + C_2 s s^T + C_3 x x^T + C_4 x s^T
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.gaussian_process.kernels import Hyperparameter
from sklearn.gaussian_process.kernels import Kernel as SklearnKernel

from .._backend import row_products
from .._validation import check_real

__all__ = ["KERNELS", "Constant", "Kernel", "Product", "Sum", "gradient_of_sum"]

Array = NDArray[np.float64]
Curvature = tuple[Array | None, Array | None, Array | None, Array | None, Array | None]
"""C0 to C4; None for 0."""

KERNELS: dict[str, type[Kernel]] = {}
"""Every kernel class by name: what a model file may refer to."""


class Kernel(SklearnKernel):  # type: ignore[misc]
    """Base class.  A subclass writes `of_products` and `slopes_of_products`; `+` and `*` combine kernels and numbers.

    It is a scikit-learn kernel too (``theta``, ``bounds``, ``get_params``, ``clone_with_theta``), usable in scikit-learn's
    own Gaussian-process estimators.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.__name__.startswith("_"):
            KERNELS[cls.__name__] = cls

    def check_parameters(self) -> None:
        """Raise ValueError or TypeError if a parameter is out of its range."""

    def check_features(self, n_features: int) -> None:
        """Raise ValueError if the kernel is not positive definite for so many features; most are for any number."""

    @abstractmethod
    def of_products(self, xs: Array, xx: Array, ss: Array) -> Array:
        """Kernel values from scalar products.

        Parameters
        ----------
        xs : ndarray of shape (n, m)
            x·s of every pair.
        xx : ndarray of shape (n, 1)
            x·x.
        ss : ndarray of shape (1, m)
            s·s.

        Returns
        -------
        ndarray of shape (n, m)
        """

    @abstractmethod
    def slopes_of_products(self, xs: Array, xx: Array, ss: Array) -> tuple[Array, Array, Array | None]:
        """Kernel value, A and B (None for 0) from scalar products; same arguments as `of_products`."""

    @abstractmethod
    def curvature_of_products(self, xs: Array, xx: Array, ss: Array) -> Curvature:
        """C0 to C4 (None for 0) from scalar products; same arguments as `of_products`."""

    def __call__(self, X: Array, Y: Array | None = None, eval_gradient: bool = False) -> Any:
        """Kernel matrix k(X, Y).

        Parameters
        ----------
        X : ndarray of shape (n, n_features)
            Left feature vectors.
        Y : ndarray of shape (m, n_features), optional
            Right feature vectors; default X.
        eval_gradient : bool, default False
            Also return the derivative with respect to ``theta`` (only with Y=None).

        Returns
        -------
        ndarray of shape (n, m), and of shape (n, n, n_theta) if ``eval_gradient``
        """
        X = np.atleast_2d(X)
        if eval_gradient and Y is not None:
            raise ValueError("`eval_gradient` must be False when Y is given; got True.")
        Y = X if Y is None else np.atleast_2d(Y)
        products = X @ Y.T, _squares(X)[:, None], _squares(Y)[None, :]
        if not eval_gradient:
            return self.of_products(*products)
        return self.of_products(*products), self.theta_gradient(*products)

    def theta_gradient(self, xs: Array, xx: Array, ss: Array) -> Array:
        """Derivative with respect to ``theta`` (logarithms), shape (n, m, n_theta); default: no hyperparameter."""
        return np.empty((*xs.shape, 0))

    def diag(self, X: Array) -> Array:
        """k(x, x) of each row of X, shape (n,)."""
        square = _squares(np.atleast_2d(X))[:, None]
        return self.of_products(square, square, square)[:, 0]

    def diag_slopes(self, X: Array) -> Array:
        """B' of dk(x, x)/dx = B' x for each row of X, shape (n,): 2 (A + B), as k is symmetric."""
        square = _squares(np.atleast_2d(X))[:, None]
        _, a, b = self.slopes_of_products(square, square, square)
        result: Array = 2.0 * (a if b is None else a + b)[:, 0]
        return result

    def slopes(self, X: Array, S: Array) -> tuple[Array, Array]:
        """A and B of ∂k(x, s)/∂x = A s + B x.

        Parameters
        ----------
        X : ndarray of shape (n, n_features)
            Where the derivative is taken.
        S : ndarray of shape (m, n_features)
            Fixed feature vectors.

        Returns
        -------
        A, B : ndarrays of shape (n, m)
        """
        _, a, b = self.slopes_of_products(X @ S.T, _squares(X)[:, None], _squares(S)[None, :])
        return a, np.zeros_like(a) if b is None else b

    def curvature(self, X: Array, S: Array) -> tuple[Array, Array, Array, Array, Array]:
        """C0 to C4 of ∂²k(x, s)/∂x∂sᵀ = C0 1 + C1 s xᵀ + C2 s sᵀ + C3 x xᵀ + C4 x sᵀ.

        Parameters
        ----------
        X : ndarray of shape (n, n_features)
            Left feature vectors.
        S : ndarray of shape (m, n_features)
            Right feature vectors.

        Returns
        -------
        five ndarrays of shape (n, m)
        """
        found = self.curvature_of_products(X @ S.T, _squares(X)[:, None], _squares(S)[None, :])
        c0, c1, c2, c3, c4 = (np.zeros((len(X), len(S))) if c is None else c for c in found)
        return c0, c1, c2, c3, c4

    def value_and_slopes(self, X: Array, S: Array) -> tuple[Array, Array, Array | None]:
        """Kernel value, A, and B (None where it is 0) with one matrix product."""
        return self.slopes_of_products(X @ S.T, _squares(X)[:, None], _squares(S)[None, :])

    def sum_and_gradient(self, X: Array, S: Array, alpha: Array) -> tuple[Array, Array]:
        """g(x) = sum_m alpha_m k(x, s_m) and its gradient.

        Parameters
        ----------
        X : ndarray of shape (n, n_features)
            Where they are taken.
        S : ndarray of shape (m, n_features)
            Fixed feature vectors.
        alpha : ndarray of shape (m,)
            Coefficients.

        Returns
        -------
        ndarrays of shape (n,) and (n, n_features)
        """
        return self.sum_gradient_and_kernel(X, S, alpha)[:2]

    def sum_gradient_and_kernel(self, X: Array, S: Array, alpha: Array) -> tuple[Array, Array, Array]:
        """What `sum_and_gradient` gives, and the kernel itself, of shape (n, m)."""
        kernel, a, b = self.value_and_slopes(X, S)
        a *= alpha
        return kernel @ alpha, gradient_of_sum(a, b, X, S, alpha), kernel

    def is_stationary(self) -> bool:
        """Whether k depends on x - s alone."""
        return False

    def __add__(self, other: object) -> Sum:
        return Sum(self, _as_kernel(other))

    def __radd__(self, other: object) -> Sum:
        return Sum(_as_kernel(other), self)

    def __mul__(self, other: object) -> Product:
        return Product(self, _as_kernel(other))

    def __rmul__(self, other: object) -> Product:
        return Product(_as_kernel(other), self)

    def __pow__(self, other: object) -> Any:
        raise TypeError("Kernels of gapkit have no power; multiply them, or use DotProduct(zeta).")

    def __repr__(self) -> str:
        # scikit-learn prints logarithms of hyperparameters
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.get_params(deep=False).items())})"


def gradient_of_sum(weighted: Array, b: Array | None, X: Array, S: Array, alpha: Array) -> Array:
    """Gradient of sum_m alpha_m k(x, s_m) from ``weighted`` = A alpha, of shape (n, m), and B of `Kernel.value_and_slopes`."""
    gradient = weighted @ S
    if b is not None:
        gradient += (b @ alpha)[:, None] * X
    return gradient


def _squares(X: Array) -> Array:
    result: Array = row_products(X, X)
    return result


def _as_kernel(value: object) -> Kernel:
    if isinstance(value, Kernel):
        return value
    if isinstance(value, (int, float)):
        return Constant(float(value))
    raise TypeError(f"A gapkit kernel combines with gapkit kernels and numbers; got {type(value).__name__}.")


class Constant(Kernel):
    """The same covariance between all environments.

    Parameters
    ----------
    value : float, default 1.0
        Covariance, above 0.
    """

    def __init__(self, value: float = 1.0) -> None:
        self.value = value

    @property
    def hyperparameter_value(self) -> Hyperparameter:
        """Free parameter, for scikit-learn."""
        return Hyperparameter("value", "numeric", (1e-5, 1e5))

    def check_parameters(self) -> None:
        """Raise ValueError or TypeError if a parameter is out of its range."""
        check_real("value", self.value, above=0.0)

    def of_products(self, xs: Array, xx: Array, ss: Array) -> Array:
        """Kernel values from scalar products."""
        return np.full_like(xs, self.value)

    def slopes_of_products(self, xs: Array, xx: Array, ss: Array) -> tuple[Array, Array, Array | None]:
        """Kernel value, A and B from scalar products."""
        return np.full_like(xs, self.value), np.zeros_like(xs), None

    def curvature_of_products(self, xs: Array, xx: Array, ss: Array) -> Curvature:
        """All zero."""
        return None, None, None, None, None

    def theta_gradient(self, xs: Array, xx: Array, ss: Array) -> Array:
        """Derivative with respect to log(value)."""
        return np.full((*xs.shape, 1), self.value)

    def is_stationary(self) -> bool:
        """Whether k depends on x - s alone."""
        return True


class _Pair(Kernel):
    """Two kernels in one; parameters are named k1, k2, k1__... as scikit-learn does."""

    def __init__(self, k1: Kernel, k2: Kernel) -> None:
        self.k1 = k1
        self.k2 = k2

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name, those of the two kernels included if ``deep``."""
        params: dict[str, Any] = {"k1": self.k1, "k2": self.k2}
        if deep:
            for name, kernel in (("k1", self.k1), ("k2", self.k2)):
                params.update((f"{name}__{key}", value) for key, value in kernel.get_params().items())
        return params

    @property
    def hyperparameters(self) -> list[Hyperparameter]:
        """Free parameters of both kernels, for scikit-learn."""
        return [
            Hyperparameter(f"{name}__{h.name}", h.value_type, h.bounds, h.n_elements)
            for name, kernel in (("k1", self.k1), ("k2", self.k2))
            for h in kernel.hyperparameters
        ]

    def check_parameters(self) -> None:
        """Raise ValueError or TypeError if a parameter is out of its range."""
        self.k1.check_parameters()
        self.k2.check_parameters()

    def check_features(self, n_features: int) -> None:
        """Raise ValueError if a kernel is not positive definite for so many features."""
        self.k1.check_features(n_features)
        self.k2.check_features(n_features)

    def is_stationary(self) -> bool:
        """Whether k depends on x - s alone."""
        return self.k1.is_stationary() and self.k2.is_stationary()


class Sum(_Pair):
    """k1 + k2.

    Parameters
    ----------
    k1, k2 : Kernel
        The terms.
    """

    def of_products(self, xs: Array, xx: Array, ss: Array) -> Array:
        """Kernel values from scalar products."""
        return self.k1.of_products(xs, xx, ss) + self.k2.of_products(xs, xx, ss)

    def slopes_of_products(self, xs: Array, xx: Array, ss: Array) -> tuple[Array, Array, Array | None]:
        """Kernel value, A and B from scalar products."""
        v1, a1, b1 = self.k1.slopes_of_products(xs, xx, ss)
        v2, a2, b2 = self.k2.slopes_of_products(xs, xx, ss)
        return v1 + v2, a1 + a2, _add(b1, b2)

    def curvature_of_products(self, xs: Array, xx: Array, ss: Array) -> Curvature:
        """C0 to C4 from scalar products."""
        first, second = (k.curvature_of_products(xs, xx, ss) for k in (self.k1, self.k2))
        c0, c1, c2, c3, c4 = (_add(a, b) for a, b in zip(first, second, strict=True))
        return c0, c1, c2, c3, c4

    def theta_gradient(self, xs: Array, xx: Array, ss: Array) -> Array:
        """Derivative with respect to the logarithms of all hyperparameters."""
        return np.concatenate([self.k1.theta_gradient(xs, xx, ss), self.k2.theta_gradient(xs, xx, ss)], axis=2)

    def __repr__(self) -> str:
        return f"{self.k1!r} + {self.k2!r}"


class Product(_Pair):
    """k1 * k2.

    Parameters
    ----------
    k1, k2 : Kernel
        The factors.
    """

    def of_products(self, xs: Array, xx: Array, ss: Array) -> Array:
        """Kernel values from scalar products."""
        return self.k1.of_products(xs, xx, ss) * self.k2.of_products(xs, xx, ss)

    def slopes_of_products(self, xs: Array, xx: Array, ss: Array) -> tuple[Array, Array, Array | None]:
        """Kernel value, A and B from scalar products."""
        v1, a1, b1 = self.k1.slopes_of_products(xs, xx, ss)
        v2, a2, b2 = self.k2.slopes_of_products(xs, xx, ss)
        b = _add(None if b1 is None else b1 * v2, None if b2 is None else v1 * b2)
        return v1 * v2, a1 * v2 + v1 * a2, b

    def curvature_of_products(self, xs: Array, xx: Array, ss: Array) -> Curvature:
        """C0 to C4 from scalar products: k₁''k₂ + k₁k₂'' + (∂ₓk₁)(∂ₛk₂)ᵀ + (∂ₓk₂)(∂ₛk₁)ᵀ, where ∂ₛk = A x + B' s."""
        (v1, a1, b1), (v2, a2, b2) = (k.slopes_of_products(xs, xx, ss) for k in (self.k1, self.k2))
        swapped = (k.slopes_of_products(xs.T, ss.T, xx.T)[2] for k in (self.k1, self.k2))
        d1, d2 = (None if b is None else b.T for b in swapped)  # B' of each factor
        first, second = (k.curvature_of_products(xs, xx, ss) for k in (self.k1, self.k2))
        c0, c1, c2, c3, c4 = (_add(_times(a, v2), _times(b, v1)) for a, b in zip(first, second, strict=True))
        c1 = _add(c1, 2.0 * a1 * a2)
        c2 = _add(c2, _add(_times(d2, a1), _times(d1, a2)))
        c3 = _add(c3, _add(_times(b1, a2), _times(b2, a1)))
        return c0, c1, c2, c3, _add(c4, _add(_times(b1, d2), _times(b2, d1)))

    def theta_gradient(self, xs: Array, xx: Array, ss: Array) -> Array:
        """Derivative with respect to the logarithms of all hyperparameters."""
        v1, v2 = self.k1.of_products(xs, xx, ss), self.k2.of_products(xs, xx, ss)
        g1, g2 = self.k1.theta_gradient(xs, xx, ss), self.k2.theta_gradient(xs, xx, ss)
        return np.concatenate([g1 * v2[:, :, None], v1[:, :, None] * g2], axis=2)

    def __repr__(self) -> str:
        return " * ".join(f"({k!r})" if isinstance(k, Sum) else repr(k) for k in (self.k1, self.k2))


def _add(a: Array | None, b: Array | None) -> Array | None:
    if a is None:
        return b
    return a if b is None else a + b


def _times(a: Array | None, b: Array | None) -> Array | None:
    return None if a is None or b is None else a * b
