"""The power of a scalar product: the kernel of SOAP."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .._backend import is_on_gpu, kernel_ops
from .._validation import check_real
from .base import Curvature, Kernel

__all__ = ["DotProduct"]

Array = NDArray[np.float64]

_CACHED = 2**17  # products held at a time: they stay in the cache from one matrix product to the next
_ROWS = 32  # their number is a multiple of it: matrix products take whole tiles, and rounding does not depend on the block


class DotProduct(Kernel):
    """k(x, s) = (x·s)^zeta.

    For SOAP vectors of unit norm this is the SOAP kernel; zeta sharpens it.  Integer powers are taken by multiplication.

    Parameters
    ----------
    zeta : float, default 4
        Power, at least 1.  With a power that is not an integer, negative scalar products (SOAP has none) count as 0.

    References
    ----------
    A. P. Bartók, R. Kondor, G. Csányi, Phys. Rev. B 87, 184115 (2013), eq. 36.
    """

    def __init__(self, zeta: float = 4) -> None:
        self.zeta = zeta

    def check_parameters(self) -> None:
        """Raise ValueError or TypeError if a parameter is out of its range."""
        check_real("zeta", self.zeta, at_least=1.0, remedy="2 and 4 are usual.")

    def of_products(self, xs: Array, xx: Array, ss: Array) -> Array:
        """Kernel values from scalar products."""
        return _power(xs, self.zeta)

    def slopes_of_products(self, xs: Array, xx: Array, ss: Array) -> tuple[Array, Array, Array | None]:
        """Kernel value, A and B from scalar products."""
        slope = _power(xs, self.zeta - 1)
        value = slope * (xs if float(self.zeta).is_integer() else np.maximum(xs, 0.0))
        slope *= self.zeta
        return value, slope, None

    def sum_and_gradient(self, X: Array, S: Array, alpha: Array) -> tuple[Array, Array]:
        """g(x) = sum_m alpha_m k(x, s_m) and its gradient; see `Kernel.sum_and_gradient`.  Products stay in the cache."""
        if not float(self.zeta).is_integer():
            return super().sum_and_gradient(X, S, alpha)
        if is_on_gpu(X):  # whose memory is its cache
            products = X @ S.T
            value = np.empty_like(products, shape=len(products))
            kernel_ops(X).powers(int(self.zeta), alpha, products, value)
            return value, products @ S
        value, gradient = np.empty(len(X)), np.empty(X.shape)
        step = max(1, _CACHED // (len(S) * _ROWS)) * _ROWS
        products = np.empty((min(step, len(X)), len(S)))
        for start in range(0, len(X), step):
            rows = slice(start, start + step)
            xs = products[: len(X[rows])]
            np.matmul(X[rows], S.T, out=xs)
            kernel_ops().powers(int(self.zeta), alpha, xs, value[rows])
            np.matmul(xs, S, out=gradient[rows])
        return value, gradient

    def curvature_of_products(self, xs: Array, xx: Array, ss: Array) -> Curvature:
        """C0 to C4 from scalar products."""
        c0 = self.zeta * _power(xs, self.zeta - 1)
        c1 = None if self.zeta == 1 else self.zeta * (self.zeta - 1) * _power(xs, self.zeta - 2)
        return c0, c1, None, None, None


def _power(base: Array, exponent: float) -> Array:
    """``base ** exponent``; NumPy takes integer powers above 2 by a slow general routine."""
    if not float(exponent).is_integer():
        result: Array = np.maximum(base, 0.0) ** exponent
        return result
    n = int(exponent)
    if n == 0:
        return np.ones_like(base)
    half = _power(base, n // 2) if n > 1 else base
    return base.copy() if n == 1 else half * half * base if n % 2 else half * half
