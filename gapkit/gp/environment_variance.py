r"""What the sparse points leave open of the energy of one environment: QUIP's variance, without any data.

The energies of the sparse points are taken as known up to ρ = `REGULARISATION`, so that of an environment with features x

.. math:: \sigma^2(x) = \delta^2 k(x, x) + \rho^2 - k_s^T (K + \rho^2 1)^{-1} k_s, \quad
    k_s = \delta^2 w_s k(x, x_s), \quad K_{st} = \delta^2 w_s w_t k(x_s, x_t)

is left, never less than ρ².  For features of unit norm and kernels without a constant this is QUIP's number; where k(x, x) is
not 1, or a constant f0² is in the kernel, QUIP's own is not a variance (it takes k(x, x) as 1, and f0² without the weights).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas

from .._backend import solve_lower
from ..exceptions import NumericalWarning
from .sparse_term import SparseTerm, pivoted_cholesky

__all__ = ["REGULARISATION", "EnvironmentVariance"]

Array = NDArray[np.float64]

REGULARISATION = 1e-3
"""Standard deviation of the energies of the sparse points, eV: QUIP's default gap_variance_regularisation."""


@dataclass(frozen=True)
class EnvironmentVariance:
    """The variance that the sparse points of one group leave open.

    Attributes
    ----------
    term : SparseTerm
        The term.
    group : int
        The group of environments; it has sparse points.
    kept : ndarray of int
        The sparse points that count, in the order of the factor: all of them, but for those that the others determine to
        rounding in spite of the regularisation.
    factor : ndarray of shape (n_kept, n_kept)
        Lower triangular factor of K + ρ² 1, eV.
    images : ndarray of int of shape (n_images, n_features), or None
        Orders of the features that mean the same, where kernels are sums over them: then a sparse point is so many consecutive
        ones of the term, and the weights of environments are divided by the root of their own sum, Σ k(x, P x).
    """

    term: SparseTerm
    group: int
    kept: NDArray[np.int64]
    factor: Array
    images: NDArray[np.int64] | None

    @classmethod
    def of_group(cls, term: SparseTerm, group: int) -> EnvironmentVariance:
        """Factorise: a few M³ operations."""
        images = getattr(term.descriptor, "permutations", None)
        n = 1 if images is None else len(images)
        amplitudes, points = term.delta * term.weights[group], term.seen(group, term.points[group])
        matrix = _summed(amplitudes[::n, None] * term.kernel(points[::n], points) * amplitudes, n)
        matrix.flat[:: len(matrix) + 1] += REGULARISATION**2
        kept, factor = pivoted_cholesky(matrix)
        if len(kept) < len(matrix):
            name = term.descriptor.group_names_[group]
            warnings.warn(
                f"{len(matrix) - len(kept)} of {len(matrix)} sparse points of {name} do not count for the prior variance: the "
                "others determine them to rounding.",
                NumericalWarning,
                stacklevel=2,
            )
        return cls(term, group, kept, factor, images)

    def on_device(self, xp: Any, term: SparseTerm) -> EnvironmentVariance:
        """The same with the arrays of another module, CuPy; ``term`` has them already."""
        images = None if self.images is None else xp.asarray(self.images)
        return replace(self, term=term, kept=xp.asarray(self.kept), factor=xp.asarray(self.factor), images=images)

    def prior(self, values: Array) -> tuple[Array, Array]:
        """δ² k(x, x) + ρ² of each environment, eV², and its derivative by the features as the kernel sees them."""
        term = self.term
        x = term.seen(self.group, values)
        if self.images is None:
            slope = term.delta**2 * term.kernel.diag_slopes(x)[:, None] * x
            return term.delta**2 * term.kernel.diag(x) + REGULARISATION**2, slope
        own, slope = np.zeros_like(x, shape=len(x)), np.zeros_like(x)
        for image in self.images:
            y = term.seen(self.group, values[:, image])
            xy, xx, yy = (np.einsum("nf,nf->n", p, q)[:, None] for p, q in ((x, y), (x, x), (y, y)))
            value, a, b = term.kernel.slopes_of_products(xy, xx, yy)  # element by element
            own += value[:, 0]
            slope += 2.0 * (a * y if b is None else a * y + b * x)  # y moves too: the inverse image gives the other half
        factor = term.delta**2 + REGULARISATION**2
        return factor * own, factor * slope

    def known(self, kernel: Array) -> Array:
        """What the sparse points know, to be taken from `prior`, eV².

        Parameters
        ----------
        kernel : ndarray of shape (n_environments, n_points)
            Of unit amplitude, with all sparse points of the group.
        """
        whitened = self._whitened(kernel)
        result: Array = np.einsum("mn,mn->n", whitened, whitened)
        return result

    def with_slope(self, values: Array) -> tuple[Array, Array]:
        """Variances of environments (eV²) and their derivatives by the features.

        Parameters
        ----------
        values : ndarray of shape (n_environments, n_features)
            Features.

        Returns
        -------
        variances : ndarray of shape (n_environments,)
        slopes : ndarray of shape (n_environments, n_features)
        """
        term, group = self.term, self.group
        x, points = term.seen(group, values), term.seen(group, term.points[group])
        kernel, a, b = term.kernel.value_and_slopes(x, points)
        whitened = self._whitened(kernel)
        variance, slope = self.prior(values)
        variance -= np.einsum("mn,mn->n", whitened, whitened)
        n = self._n_images
        c = np.zeros((len(x), len(points) // n))
        c[:, self.kept] = blas.dtrsm(-2.0, self.factor, whitened, lower=1, trans_a=1).T
        c = np.repeat(c, n, axis=1) * self._amplitudes
        slope += (a * c) @ points
        if b is not None:
            slope += np.einsum("nm,nm->n", b, c)[:, None] * x
        return variance, term.scaled(group, slope)

    @property
    def _n_images(self) -> int:
        return 1 if self.images is None else len(self.images)

    @property
    def _amplitudes(self) -> Array:
        result: Array = self.term.delta**2 * self.term.weights[self.group]
        return result

    def _whitened(self, kernel: Array) -> Array:
        """Of the kernels with all points, shape (n_kept, n_environments)."""
        rows = _summed(kernel * self._amplitudes, self._n_images)[:, self.kept]
        result: Array = solve_lower(self.factor, rows.astype(float, order="C", copy=False).T)
        return result


def _summed(matrix: Array, n: int) -> Array:
    """Sums of n consecutive columns."""
    return matrix if n == 1 else matrix.reshape(len(matrix), -1, n).sum(axis=2)
