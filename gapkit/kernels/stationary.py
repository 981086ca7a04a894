"""Kernels of the distance between feature vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.gaussian_process.kernels import Hyperparameter

from .._validation import check_real
from .base import Curvature, Kernel

__all__ = ["RBF"]

Array = NDArray[np.float64]


class RBF(Kernel):
    """k(x, s) = exp(-(x - s)² / (2 length_scale²)), the squared exponential.

    Parameters
    ----------
    length_scale : float, default 1.0
        In the units of the features, above 0.  SOAP vectors have unit norm: distances are at most √2.

    References
    ----------
    C. E. Rasmussen, C. K. I. Williams, Gaussian Processes for Machine Learning (2006), eq. 4.9.
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

    def of_products(self, xs: Array, xx: Array, ss: Array) -> Array:
        """Kernel values from scalar products."""
        result: Array = np.exp(-self._half_square(xs, xx, ss))
        return result

    def slopes_of_products(self, xs: Array, xx: Array, ss: Array) -> tuple[Array, Array, Array | None]:
        """Kernel value, A and B from scalar products."""
        value = self.of_products(xs, xx, ss)
        slope = value / self.length_scale**2
        return value, slope, -slope

    def curvature_of_products(self, xs: Array, xx: Array, ss: Array) -> Curvature:
        """C0 to C4 from scalar products: k/l² - k (x - s)(x - s)ᵀ/l⁴."""
        c0 = self.of_products(xs, xx, ss) / self.length_scale**2
        c1 = c0 / self.length_scale**2
        return c0, c1, -c1, -c1, c1

    def theta_gradient(self, xs: Array, xx: Array, ss: Array) -> Array:
        """Derivative with respect to log(length_scale)."""
        half_square = self._half_square(xs, xx, ss)
        return (2.0 * half_square * np.exp(-half_square))[:, :, None]

    def is_stationary(self) -> bool:
        """Whether k depends on x - s alone."""
        return True

    def _half_square(self, xs: Array, xx: Array, ss: Array) -> Array:
        return np.maximum(xx + ss - 2.0 * xs, 0.0) / (2.0 * self.length_scale**2)
