"""Kernels of the distance between feature vectors."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from numpy.typing import NDArray
from sklearn.gaussian_process.kernels import Hyperparameter

from .._validation import check_choice, check_integer, check_real
from .base import Curvature, Kernel

__all__ = ["RBF", "Matern", "PiecewisePolynomial"]

Array = NDArray[np.float64]

_ROUNDING = 16 * np.finfo(float).eps  # of x·x + s·s: what is left of (x - s)² where x = s

# Matern kernels of half-integer nu are exp(-a) times a polynomial in a = √(2 nu) r / length_scale
_POLYNOMIALS = {0.5: (1.0,), 1.5: (1.0, 1.0), 2.5: (1.0, 1.0, 1 / 3), 3.5: (1.0, 1.0, 2 / 5, 1 / 15)}


class _Stationary(Kernel):
    """Base of kernels F(h) of h = (x - s)² / (2 length_scale²); a subclass writes `_derivatives`.

    With u = x - s, the first derivative is F' u/l², the second -F' 1/l² - F'' u uᵀ/l⁴.
    """

    def __init__(self, length_scale: float = 1.0) -> None:
        self.length_scale = length_scale

    @property
    def hyperparameter_length_scale(self) -> Hyperparameter:
        """Free parameter, for scikit-learn."""
        return Hyperparameter("length_scale", "numeric", (1e-5, 1e5))

    def check_parameters(self) -> None:
        """Raise ValueError or TypeError if a parameter is out of its range."""
        check_real("length_scale", self.length_scale, above=0.0)

    @abstractmethod
    def _derivatives(self, half_square: Array, order: int) -> list[Array]:
        """F, -F', F'' (all of them positive) at h, as far as ``order``; where F'' is infinite at h = 0, 0 stands for it."""

    def of_products(self, xs: Array, xx: Array, ss: Array) -> Array:
        """Kernel values from scalar products."""
        return self._derivatives(self._half_square(xs, xx, ss), 0)[0]

    def slopes_of_products(self, xs: Array, xx: Array, ss: Array) -> tuple[Array, Array, Array | None]:
        """Kernel value, A and B from scalar products."""
        value, fall = self._derivatives(self._half_square(xs, xx, ss), 1)
        slope = fall / self.length_scale**2
        return value, slope, -slope

    def curvature_of_products(self, xs: Array, xx: Array, ss: Array) -> Curvature:
        """C0 to C4 from scalar products."""
        _, fall, bend = self._derivatives(self._half_square(xs, xx, ss), 2)
        c1 = bend / self.length_scale**4
        return fall / self.length_scale**2, c1, -c1, -c1, c1

    def theta_gradient(self, xs: Array, xx: Array, ss: Array) -> Array:
        """Derivative with respect to log(length_scale)."""
        half_square = self._half_square(xs, xx, ss)
        return (2.0 * half_square * self._derivatives(half_square, 1)[1])[:, :, None]

    def is_stationary(self) -> bool:
        """Whether k depends on x - s alone."""
        return True

    def _half_square(self, xs: Array, xx: Array, ss: Array) -> Array:
        return np.maximum(xx + ss - 2.0 * xs, 0.0) / (2.0 * self.length_scale**2)


class RBF(_Stationary):
    """k(x, s) = exp(-(x - s)² / (2 length_scale²)), the squared exponential.

    Parameters
    ----------
    length_scale : float, default 1.0
        In the units of the features, above 0.  SOAP vectors have unit norm: distances are at most √2.

    References
    ----------
    C. E. Rasmussen, C. K. I. Williams, Gaussian Processes for Machine Learning (2006), eq. 4.9.
    """

    def _derivatives(self, half_square: Array, order: int) -> list[Array]:
        return [np.exp(-half_square)] * (order + 1)


class _OfDistance(_Stationary):
    """Kernels that are smooth in the distance r, not in its square: rounding in (x - s)² must not make a distance."""

    def _half_square(self, xs: Array, xx: Array, ss: Array) -> Array:
        squares = xx + ss
        square = squares - 2.0 * xs
        return np.where(square > _ROUNDING * squares, square, 0.0) / (2.0 * self.length_scale**2)


class Matern(_OfDistance):
    r"""Matérn kernel: rougher functions than `RBF` allows, the rougher the smaller ``nu``.

    With :math:`a = \sqrt{2 \nu} \, |x - s| / l`, k is :math:`(1 + a) e^{-a}` for nu = 1.5, :math:`(1 + a + a^2/3) e^{-a}` for
    2.5 and :math:`(1 + a + 2a^2/5 + a^3/15) e^{-a}` for 3.5.  Forces have a variance only if k is twice differentiable at
    x = s, which takes nu > 1: energies are then differentiable once for nu = 1.5, twice for 2.5, three times for 3.5.

    Parameters
    ----------
    length_scale : float, default 1.0
        In the units of the features, above 0.
    nu : {1.5, 2.5, 3.5}, default 2.5
        Smoothness.

    References
    ----------
    C. E. Rasmussen, C. K. I. Williams, Gaussian Processes for Machine Learning (2006), eqs. 4.14 to 4.17.
    """

    def __init__(self, length_scale: float = 1.0, nu: float = 2.5) -> None:
        super().__init__(length_scale)
        self.nu = nu

    def check_parameters(self) -> None:
        """Raise ValueError or TypeError if a parameter is out of its range."""
        super().check_parameters()
        check_choice("nu", self.nu, (1.5, 2.5, 3.5), "Forces need a kernel that is twice differentiable at x = s: nu > 1.")

    def _derivatives(self, half_square: Array, order: int) -> list[Array]:
        """-F' is nu/(nu - 1) times the kernel of nu - 1 at the same a, as d(a^nu K_nu)/da = -a^nu K_(nu - 1)."""
        nu = self.nu
        a = np.sqrt(4.0 * nu * half_square)
        decay = np.exp(-a)
        result = [_polynomial(a, _POLYNOMIALS[nu]) * decay]
        if order >= 1:
            result.append(nu / (nu - 1) * _polynomial(a, _POLYNOMIALS[nu - 1]) * decay)
        if order == 2 and nu == 1.5:
            result.append(_over_distance(9.0 * decay, a))
        elif order == 2:
            result.append(nu**2 / ((nu - 1) * (nu - 2)) * _polynomial(a, _POLYNOMIALS[nu - 2]) * decay)
        return result


class PiecewisePolynomial(_OfDistance):
    r"""Wendland's polynomial of compact support, QUIP's ``pp``: exactly 0 for distances above ``length_scale``.

    With r = \|x - s\| / length_scale and j = ⌊dimension/2⌋ + 2,

    .. math:: k(x, s) = (1 - r)_+^{j + 1} \, ((j + 1) r + 1)

    Energies are differentiable once.

    Parameters
    ----------
    length_scale : float, default 1.0
        Where the kernel ends, in the units of the features, above 0.
    dimension : int, default 3
        Number of features (QUIP: that of the descriptor; 1 for pairs, 3 for triplets).  With more features than this, k is
        not positive definite, which is refused.

    References
    ----------
    C. E. Rasmussen, C. K. I. Williams, Gaussian Processes for Machine Learning (2006), eq. 4.21 with q = 1.
    H. Wendland, Scattered Data Approximation (2005), section 9.4.
    """

    def __init__(self, length_scale: float = 1.0, dimension: int = 3) -> None:
        super().__init__(length_scale)
        self.dimension = dimension

    def check_parameters(self) -> None:
        """Raise ValueError or TypeError if a parameter is out of its range."""
        super().check_parameters()
        check_integer("dimension", self.dimension, at_least=1, remedy="It is the number of features.")

    def check_features(self, n_features: int) -> None:
        """Raise ValueError if the kernel is not positive definite for so many features."""
        remedy = "Set dimension to the number of features; for hundreds of them take RBF or Matern."
        check_integer("dimension", self.dimension, at_least=n_features, remedy=remedy)

    def _derivatives(self, half_square: Array, order: int) -> list[Array]:
        j = self.dimension // 2 + 2
        r = np.sqrt(2.0 * half_square)
        rest = np.maximum(1.0 - r, 0.0)
        power = rest ** (j - 1)
        result = [power * rest**2 * ((j + 1) * r + 1.0)]
        if order >= 1:
            result.append((j + 1) * (j + 2) * power * rest)
        if order == 2:
            result.append(_over_distance(j * (j + 1) * (j + 2) * power, r))
        return result


def _polynomial(a: Array, coefficients: tuple[float, ...]) -> Array:
    """Sum of coefficients[k] a^k (Horner)."""
    result = np.full_like(a, coefficients[-1])
    for c in coefficients[-2::-1]:
        result = result * a + c
    return result


def _over_distance(value: Array, distance: Array) -> Array:
    """``value / distance``, 0 where the distance is 0: there it multiplies u uᵀ, which is 0 of higher order."""
    return np.divide(value, distance, out=np.zeros_like(value), where=distance > 0.0)
