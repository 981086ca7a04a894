r"""The sparse Gaussian process as a scikit-learn regressor on arrays, with gradients as data where there are any.

The engine is the one of `gapkit.GAPRegressor`: whitened rows folded into triangular factors (`gapkit.gp.posterior`), noise
and amplitude searched by the evidence (`gapkit.gp.likelihood`).  With :math:`\Phi = \delta K_{fu} L^{-T}`, Λ the noise
variances and :math:`\Delta = \mathrm{diag}(\delta^2 K_{ff} - \Phi \Phi^T)`, the variance of each row that the sparse points
miss, the approximations are

======  ==========================================  =====================================  ==========================
name    noise of the rows                           predictive variance                    log marginal likelihood
======  ==========================================  =====================================  ==========================
sor     Λ                                           φᵀSφ                                   log N(y; 0, Λ + ΦΦᵀ)
dtc     Λ                                           k - φᵀφ + φᵀSφ                         the same
fitc    Λ + Δ                                       k - φᵀφ + φᵀSφ                         log N(y; 0, Λ + Δ + ΦΦᵀ)
vfe     Λ                                           k - φᵀφ + φᵀSφ                         that of dtc - tr(Λ⁻¹Δ)/2
======  ==========================================  =====================================  ==========================

J. Quiñonero-Candela, C. E. Rasmussen, J. Mach. Learn. Res. 6, 1939 (2005); M. Titsias, AISTATS 5, 567 (2009) for VFE.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import solve_triangular
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from .._validation import check_choice, check_integer, check_real, describe
from ..exceptions import NumericalWarning
from ..kernels import RBF, Kernel
from .array_rows import Basis, Folded, Observations, fold, parts
from .array_search import search_kernel, search_noise
from .posterior import SparsePosterior
from .sparsify import select_points

__all__ = ["SparseGPR"]

Array = NDArray[np.float64]

_APPROXIMATIONS = ("sor", "dtc", "fitc", "vfe")
_SEARCHED = ("noise", "delta", "kernel")
_POOL = 20  # candidates per sparse point
_SEARCH_ROWS = 20_000  # on which kernels are compared
_ROUNDING = 1e-9  # of the prior variance; a variance below minus that is reported


class SparseGPR(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Sparse Gaussian-process regression in O(n_samples n_sparse²) time and O(n_sparse²) memory over the data.

    With at most ``n_sparse`` data it is exact Gaussian-process regression, gradients included.

    Parameters
    ----------
    kernel : gapkit kernel, optional
        At unit amplitude; default ``RBF(1.0)``.
    noise : float, default 0.1
        Standard deviation of the values, in units of y.
    derivative_noise : float, default 0.1
        Standard deviation of each gradient component, in units of y per unit of X.
    delta : float, default 1.0
        Amplitude: y has the prior variance ``delta**2 * kernel(x, x)``.
    n_sparse : int, default 1000
        Largest number of sparse variables: the values at sparse points, which are all distinct inputs if there is room; what
        then is left is for the components of gradients where these were observed.
    selection : {"auto", "cholesky", "cur", "fps", "kmeans", "leverage", "random", "uniform"}, default "auto"
        How sparse points are chosen among the inputs (at most 20 n_sparse of them, at random); see `gapkit.Term`.
    approximation : {"dtc", "sor", "fitc", "vfe"}, default "dtc"
        What happens to the variance that the sparse points miss: "dtc" restores it in predictions, "sor" neglects it, "fitc"
        adds it to the noise of the data too, "vfe" is "dtc" with a likelihood that penalises it, for `optimize`.
    optimize : collection of {"noise", "delta", "kernel"}, default ()
        What is searched for the largest log marginal likelihood, from the given values on: both noises (between 1e-4 of the
        root mean square of their data and that itself), the amplitude, the free parameters of the kernel (within a factor of
        100, on at most 20,000 random rows).  Not with "fitc".
    normalize_y : bool, default False
        Whether to subtract the mean of y and divide by its standard deviation, as in scikit-learn; `noise`,
        `derivative_noise` and `delta` then refer to y and dy divided by it.
    random_state : int, optional
        Seed of the choice of sparse points and of the rows for the kernel search.

    Attributes
    ----------
    kernel_ : Kernel
        The kernel that was used, with its parameters after the search.
    noise_, derivative_noise_, delta_ : float
        The values that were used.
    sparse_points_, sparse_gradient_points_ : ndarray of shape (n, n_features)
        Where values and where gradients are sparse variables.
    n_sparse_ : int
        Number of sparse variables.
    n_dropped_ : int
        Sparse variables that were left out because the others determine them to rounding.  A warning tells when those that
        are left do not span the data.
    posterior_ : SparsePosterior
        Of the weights.
    n_features_in_ : int
        Number of features.

    See Also
    --------
    gapkit.GAPRegressor : The same for energies, forces and stresses of structures.

    Examples
    --------
    >>> import numpy as np
    >>> from gapkit import RBF, SparseGPR
    >>> X = np.linspace(0.0, 6.0, 7)[:, None]
    >>> model = SparseGPR(RBF(1.0), noise=1e-3, derivative_noise=1e-3).fit(X, np.sin(X[:, 0]), dy=np.cos(X))
    >>> mean, std = model.predict([[2.5]], return_std=True)
    >>> print(f"{mean[0]:.3f} ± {std[0]:.3f}, exact {np.sin(2.5):.3f}")
    0.598 ± 0.001, exact 0.598
    """

    def __init__(
        self,
        kernel: Kernel | None = None,
        *,
        noise: float = 0.1,
        derivative_noise: float = 0.1,
        delta: float = 1.0,
        n_sparse: int = 1000,
        selection: str = "auto",
        approximation: str = "dtc",
        optimize: Collection[str] = (),
        normalize_y: bool = False,
        random_state: int | None = None,
    ) -> None:
        self.kernel = kernel
        self.noise = noise
        self.derivative_noise = derivative_noise
        self.delta = delta
        self.n_sparse = n_sparse
        self.selection = selection
        self.approximation = approximation
        self.optimize = optimize
        self.normalize_y = normalize_y
        self.random_state = random_state

    def check_parameters(self) -> None:
        """Raise ValueError or TypeError if a parameter is out of its range."""
        if self.kernel is not None and not isinstance(self.kernel, Kernel):
            raise TypeError(describe("kernel", "a kernel of gapkit", self.kernel, "For example gapkit.RBF(length_scale=1.0)."))
        if self.kernel is not None:
            self.kernel.check_parameters()
        for name in ("noise", "derivative_noise"):
            check_real(name, getattr(self, name), above=0.0, remedy="For data without noise give 1e-6 of their spread.")
        check_real("delta", self.delta, above=0.0)
        check_integer("n_sparse", self.n_sparse, at_least=1)
        check_choice("approximation", self.approximation, _APPROXIMATIONS)
        names = self.optimize
        if isinstance(names, str) or not isinstance(names, Collection) or not set(names) <= set(_SEARCHED):
            raise ValueError(describe("optimize", f"a tuple of names among {_SEARCHED}", self.optimize))
        if self.optimize and self.approximation == "fitc":
            raise ValueError(describe("optimize", "() with approximation='fitc'", self.optimize, "Search with 'vfe' or 'dtc'."))
        if "kernel" in self.optimize and self._given_kernel().n_dims == 0:
            raise ValueError(
                describe("optimize", "without 'kernel' for a kernel that has no free parameter", self.optimize, "Leave it out.")
            )

    def _given_kernel(self) -> Kernel:
        return RBF() if self.kernel is None else self.kernel

    def fit(self, X: ArrayLike, y: ArrayLike, dX: ArrayLike | None = None, dy: ArrayLike | None = None) -> Self:
        """Fit to values and, where given, to gradients.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Where values were observed.
        y : array-like of shape (n_samples,)
            Values.
        dX : array-like of shape (n_gradients, n_features), optional
            Where gradients were observed; default X.
        dy : array-like of shape (n_gradients, n_features), optional
            Gradients, ``dy[i, c]`` = ∂y/∂x_c at ``dX[i]``.  NaN: this component was not observed.

        Returns
        -------
        SparseGPR
            The fitted estimator itself.
        """
        self.check_parameters()
        points_, y_ = validate_data(self, X, y, y_numeric=True, dtype=np.float64)
        data = self._normalized(points_, y_.astype(np.float64), dX, dy)
        rng = np.random.default_rng(self.random_state)
        points, gradient_points = self._choose(data, rng)
        kernel = clone(self._given_kernel())
        kernel.check_features(points_.shape[1])
        noise, delta = {"values": float(self.noise), "gradients": float(self.derivative_noise)}, float(self.delta)
        free_noise, free_delta = "noise" in self.optimize, "delta" in self.optimize
        if "kernel" in self.optimize:
            sample = data.sample(_SEARCH_ROWS, rng)

            def folded_with(trial: Kernel) -> Folded:
                return fold(Basis.build(trial, points, gradient_points), sample, noise, delta, self.approximation)

            kernel = search_kernel(kernel, folded_with, delta, free_noise=free_noise, free_delta=free_delta)
        basis = Basis.build(kernel, points, gradient_points)
        folded = fold(basis, data, noise, delta, self.approximation)
        if free_noise or free_delta:
            found, delta, _ = search_noise(folded, delta, free_noise=free_noise, free_delta=free_delta)
            noise.update(found)
            folded = replace(folded, noise=found)
        self.kernel_, self.noise_, self.derivative_noise_, self.delta_ = kernel, noise["values"], noise["gradients"], delta
        self._solve(basis, folded)
        self.sparse_points_, self.sparse_gradient_points_ = points, gradient_points
        self.n_sparse_ = len(basis.kept)
        self.n_dropped_ = len(basis.unit) - self.n_sparse_
        if self.n_dropped_ and folded.missed > _ROUNDING:  # else nothing was lost
            warnings.warn(
                f"{self.n_dropped_} of {len(basis.unit)} sparse variables were dropped: the others determine them to rounding. "
                f"Yet they miss {folded.missed:.1e} of the variance of the data. Another selection would spread them better.",
                NumericalWarning,
                stacklevel=2,
            )
        return self

    def _normalized(self, X: Array, y: Array, dX: ArrayLike | None, dy: ArrayLike | None) -> Observations:
        """Check the gradients; shift and scale the targets."""
        points = gradients = X[:0]
        if dy is not None:
            points = X if dX is None else check_array(dX, dtype=np.float64, input_name="dX")
            gradients = check_array(dy, dtype=np.float64, ensure_all_finite="allow-nan", input_name="dy")
            if points.shape != gradients.shape or points.shape[1] != X.shape[1]:
                raise ValueError(
                    f"`dX` and `dy` must have one row per gradient and the {X.shape[1]} columns of X; got {points.shape} and "
                    f"{gradients.shape}. Put NaN in dy for components that were not observed."
                )
        elif dX is not None:
            raise ValueError("`dy` must be given with dX; got None. Pass the gradients at dX, or leave dX out.")
        self.y_mean_, self.y_scale_ = 0.0, 1.0
        if self.normalize_y:
            self.y_mean_, spread = float(y.mean()), float(y.std())
            self.y_scale_ = spread if spread > 1e-14 * abs(self.y_mean_) else 1.0  # a constant, to rounding
        return Observations(X, (y - self.y_mean_) / self.y_scale_, points, gradients / self.y_scale_)

    def _choose(self, data: Observations, rng: np.random.Generator) -> tuple[Array, Array]:
        """Points whose values, and points whose gradients are sparse variables."""
        given = [data.points] if data.gradient_points is data.points else [data.points, data.gradient_points]
        points = self._spread(given, self.n_sparse, rng)
        room = (self.n_sparse - len(points)) // points.shape[1]
        return points, self._spread([data.gradient_points], room, rng)

    def _spread(self, inputs: list[Array], n: int, rng: np.random.Generator) -> Array:
        """At most ``n`` distinct inputs."""
        largest = _POOL * self.n_sparse
        pool = np.concatenate([x if len(x) <= largest else x[rng.choice(len(x), largest, replace=False)] for x in inputs])
        if n == 0 or len(pool) == 0:
            return pool[:0]
        distinct = np.unique(pool, axis=0)
        return distinct[select_points(self.selection, distinct, min(n, len(distinct)), rng, self._given_kernel())]

    def _solve(self, basis: Basis, folded: Folded) -> None:
        """Posterior of the weights, log marginal likelihood."""
        delta = self.delta_
        posterior = SparsePosterior.from_factors(folded.factors, folded.noise, np.full(len(basis.kept), delta))
        self.posterior_, self._basis = posterior, basis
        log_likelihood = -0.5 * posterior.misfit - np.log(np.diag(posterior.factor)).sum()
        for kind, factor in folded.factors.items():
            sigma = folded.noise[kind]
            log_likelihood -= factor.n_rows * np.log(np.sqrt(2.0 * np.pi) * sigma * self.y_scale_) + factor.log_divisors
            log_likelihood -= 0.5 * delta**2 * factor.unexplained / sigma**2
        self._log_likelihood = float(log_likelihood)

    def predict(self, X: ArrayLike, return_std: bool = False, return_cov: bool = False) -> Any:
        """Posterior mean of the values, without noise.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Where.
        return_std : bool, default False
            Also return the standard deviation.
        return_cov : bool, default False
            Also return the covariance of all values instead.

        Returns
        -------
        mean : ndarray of shape (n,)
        std : ndarray of shape (n,), if ``return_std``
        cov : ndarray of shape (n, n), if ``return_cov``
        """
        if return_std and return_cov:
            raise ValueError(
                "`return_std` must be False with return_cov=True; got True. The covariance has it on its diagonal."
            )
        X = self._checked(X)
        weights = self.delta_ * self.posterior_.weights
        mean = np.concatenate([self._basis.mean(X[part], weights) for part in parts(len(X))])
        mean = self.y_mean_ + self.y_scale_ * mean
        if return_std:
            return mean, self.y_scale_ * np.sqrt(self._variances(X, "values"))
        if return_cov:
            return mean, self.y_scale_**2 * self._covariance(X)
        return mean

    def predict_gradient(self, X: ArrayLike, return_std: bool = False) -> Any:
        """Posterior mean of the gradients: the derivatives of what `predict` returns.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Where.
        return_std : bool, default False
            Also return the standard deviation of each component.

        Returns
        -------
        gradient : ndarray of shape (n, n_features)
        std : ndarray of shape (n, n_features), if ``return_std``
        """
        X = self._checked(X)
        weights = self.delta_ * self.posterior_.weights
        blocks = [self._basis.mean_gradient(X[part], weights) for part in parts(len(X), X.shape[1])]
        gradient = self.y_scale_ * np.concatenate(blocks)
        if return_std:
            return gradient, self.y_scale_ * np.sqrt(self._variances(X, "gradients")).reshape(X.shape)
        return gradient

    def sample_y(self, X: ArrayLike, n_samples: int = 1, random_state: int | None = None) -> Array:
        """Draw functions from the posterior, all of them at the same points.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Where.
        n_samples : int, default 1
            Number of functions.
        random_state : int, optional
            Seed.

        Returns
        -------
        ndarray of shape (n, n_samples)
        """
        mean, covariance = self.predict(X, return_cov=True)
        rng = np.random.default_rng(random_state)
        eigenvalues, vectors = np.linalg.eigh(covariance)
        half = vectors * np.sqrt(np.maximum(eigenvalues, 0.0))  # below 0 by rounding alone
        result: Array = mean[:, None] + half @ rng.standard_normal((len(mean), n_samples))
        return result

    def log_marginal_likelihood(self) -> float:
        """Log density of all targets, gradients included, in the units of y; for "vfe" its lower bound.

        Returns
        -------
        float
        """
        check_is_fitted(self)
        return self._log_likelihood

    def _checked(self, X: ArrayLike) -> Array:
        check_is_fitted(self)
        result: Array = validate_data(self, X, reset=False, dtype=np.float64)
        return result

    def _variances(self, X: Array, kind: str) -> Array:
        """Of "values", or of "gradients" point by point; the part that the sparse points miss is clipped at 0."""
        rows_of, rows_each = (self._basis.values, 1) if kind == "values" else (self._basis.gradients, X.shape[1])
        result, negative = np.empty(len(X) * rows_each), 0
        for part in parts(len(X), rows_each):
            phi, prior = rows_of(X[part])
            variance = self.posterior_.data_variance(self.delta_ * phi)
            if self.approximation != "sor":
                missed = prior - np.einsum("nm,nm->n", phi, phi)
                negative += int(np.count_nonzero(missed < -_ROUNDING * prior))
                variance += self.delta_**2 * np.maximum(missed, 0.0)
            result[part.start * rows_each : part.stop * rows_each] = variance
        if negative:
            warnings.warn(
                f"{negative} of {len(result)} prior variances of {kind} were negative and are taken as 0: rounding in nearly "
                "dependent sparse points. Fewer sparse points, or a kernel with a shorter length scale, cure it.",
                NumericalWarning,
                stacklevel=3,
            )
        return result

    def _covariance(self, X: Array) -> Array:
        phi = self._basis.values(X)[0] * self.delta_
        half = solve_triangular(self.posterior_.factor, phi.T, trans="T")
        result: Array = half.T @ half
        if self.approximation != "sor":
            x = X - self._basis.centre
            result += self.delta_**2 * self._basis.kernel(x) - phi @ phi.T
        np.fill_diagonal(result, self._variances(X, "values"))
        return result
