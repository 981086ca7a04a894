r"""Log marginal likelihood (evidence) of a sparse model, from the factors of the row groups alone.

The labels are Gaussian with covariance :math:`\Lambda + \Phi D^2 \Phi^T`: noise, and whitened rows with the amplitude delta
of each column's term.  With the Gram matrices :math:`G_g = \Phi_g^T \Phi_g` of the groups of equal noise,

.. math::
    A = 1 + D \Big( \sum_g G_g / \sigma_g^2 \Big) D, \qquad
    -2 \log p(y) = \sum_g n_g \log \sigma_g^2 + \log\det A + \sum_g |y_g - \Phi_g D w|^2 / \sigma_g^2 + |w|^2 + n \log 2\pi

at the posterior mean w, so that noise and delta are searched without touching the data again.  Gradients by their logarithms
follow from the envelope theorem: w need not be differentiated.  This is the evidence of DTC (and of SoR, the same for data).

VFE subtracts what the sparse points miss of the prior variance of each label, in units of its noise,

.. math:: \frac{1}{2} \sum_g \frac{1}{\sigma_g^2} \sum_{i \in g} \Big( k(l_i, l_i) - |\varphi_i|^2 \Big)

which makes it a lower bound of the exact evidence: M. Titsias, AISTATS, PMLR 5, 567 (2009).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, lapack
from scipy.optimize import minimize

from .posterior import RowFactor

__all__ = ["Evidence", "maximize_evidence"]

Array = NDArray[np.float64]


_FEW = 400  # sparse points on which several starts are tried
_ROUNDING = 1e-9  # labels below (eV, eV/Å) are 0
_IMPOSSIBLE = 1e300


@dataclass(frozen=True)
class Evidence:
    """Gram matrices of the row groups, accumulated once.

    Attributes
    ----------
    names : list of str
        Row groups.
    gram : ndarray of shape (n_groups, n_sparse + 1, n_sparse + 1)
        Of the rows with their targets as the last column.
    n_rows : ndarray of shape (n_groups,)
        Rows of each group.
    term_of_column : ndarray of shape (n_sparse,)
        Index of the term, and so of the delta, of each sparse point.
    unexplained : ndarray of shape (n_groups, n_terms)
        Prior variance that the sparse points miss (VFE), unit delta; else 0.
    log_divisors : float
        Sum of the logarithms of what the labels were divided by.
    place_of_column : ndarray of shape (n_sparse,)
        Place of each sparse point in its group, from 0 to 1; see `leading`.
    """

    names: list[str]
    gram: Array
    n_rows: Array
    term_of_column: NDArray[np.int64]
    unexplained: Array
    log_divisors: float
    place_of_column: Array

    @classmethod
    def from_factors(
        cls,
        factors: Mapping[str, RowFactor],
        term_of_column: NDArray[np.int64],
        place_of_column: Array | None = None,
        n_terms: int | None = None,
    ) -> Evidence:
        """Square the triangular factors of the row groups; all sparse points are alike where no places are given."""
        names = sorted(factors)
        triangles = [np.triu(factors[name].triangle) for name in names]
        n_rows = np.array([float(factors[name].n_rows) for name in names])
        n_terms = int(term_of_column.max(initial=0)) + 1 if n_terms is None else n_terms
        unexplained = np.array([np.broadcast_to(factors[name].unexplained, n_terms) for name in names], float)
        log_divisors = sum(factors[name].log_divisors for name in names)
        place = np.linspace(0.0, 1.0, len(term_of_column)) if place_of_column is None else place_of_column
        gram = np.array([t.T @ t for t in triangles])
        return cls(names, gram, n_rows, term_of_column, unexplained, log_divisors, place)

    def leading(self, n_sparse: int) -> Evidence:
        """The evidence of the model of the ``n_sparse`` sparse points that come first in their groups, alike in all groups.

        Pivoted Cholesky has put them in the order of what they add.
        """
        kept = np.sort(np.argsort(self.place_of_column, kind="stable")[:n_sparse])
        rows = np.append(kept, len(self.place_of_column))
        gram = np.ascontiguousarray(self.gram[:, rows[:, None], rows])
        return replace(self, gram=gram, term_of_column=self.term_of_column[kept], place_of_column=self.place_of_column[kept])

    def value_and_gradient(self, log_sigma: Array, log_delta: Array) -> tuple[float, Array, Array]:
        """Log evidence and its derivatives by log sigma of the groups and log delta of the terms.

        Parameters
        ----------
        log_sigma : ndarray of shape (n_groups,)
            Logarithms of the noise of each group (energies: per atom).
        log_delta : ndarray of shape (n_terms,)
            Logarithms of the amplitudes.

        Returns
        -------
        float, ndarray of shape (n_groups,), ndarray of shape (n_terms,)
        """
        precision = np.exp(-2.0 * log_sigma)
        delta = np.exp(log_delta)[self.term_of_column]
        total = np.tensordot(precision, self.gram, axes=1)
        scaled = delta[:, None] * total[:-1, :-1] * delta
        n = len(delta)
        factor = cholesky(scaled + np.eye(n), lower=True, check_finite=False)
        w = cho_solve((factor, True), delta * total[:-1, -1], check_finite=False)
        inverse = _symmetric(lapack.dpotri(factor, lower=1)[0])
        solution = np.append(delta * w, -1.0)
        misfit = np.array([float(solution @ gram @ solution) for gram in self.gram])
        log_determinant = 2.0 * float(np.log(np.diag(factor)).sum())
        missed = self.unexplained @ np.exp(2.0 * log_delta)
        weighted = delta[:, None] * inverse * delta
        traces = np.array([float(np.sum(weighted * gram[:-1, :-1])) for gram in self.gram])
        value = -0.5 * (
            float(self.n_rows @ (2.0 * log_sigma + np.log(2.0 * np.pi)))
            + log_determinant
            + float(precision @ misfit)
            + float(w @ w)
            + float(precision @ missed)
        )
        value -= self.log_divisors
        by_sigma = -self.n_rows + precision * (traces + misfit + missed)
        of_columns = w**2 - (1.0 - np.diag(inverse))
        by_delta = np.bincount(self.term_of_column, weights=of_columns, minlength=len(log_delta)).astype(float)
        by_delta -= np.exp(2.0 * log_delta) * (precision @ self.unexplained)
        return value, by_sigma, by_delta

    def scales(self) -> tuple[Array, Array]:
        """Root mean square of the labels of each group, and of the labels over that of the rows of each term (all groups).

        They say what noise and delta are possible: noise is not larger than the labels, and a term whose delta is the second
        explains all labels alone (NaN if all labels are 0).
        """
        squares = np.array([gram[-1, -1] for gram in self.gram])
        used = squares > self.n_rows * _ROUNDING**2
        weights = np.where(used, 1.0 / np.where(used, squares, 1.0), 0.0)  # every group counts alike
        of_columns = np.einsum("g,gmm->m", weights, self.gram[:, :-1, :-1])
        of_terms = np.bincount(self.term_of_column, weights=of_columns, minlength=self.unexplained.shape[1])
        of_terms = np.sqrt(used.sum() / np.maximum(of_terms, np.finfo(float).tiny))
        return np.sqrt(squares / self.n_rows) * used, np.where(used.any(), of_terms, np.nan)


def maximize_evidence(
    evidence: Evidence,
    log_sigma: Array,
    log_delta: Array,
    *,
    free_noise: bool | NDArray[np.bool_],
    free_delta: bool | NDArray[np.bool_],
    starts: Sequence[float] = (0.0, -1.0, 1.0),
    max_iterations: int = 60,
) -> tuple[Array, Array, float]:
    """Search noise and delta for the largest evidence, within bounds from the data and from several starts.

    With more than 800 sparse points the starts are tried on the 400 that come first in their groups.

    Noise stays between 1e-4 of the labels' root mean square and that itself, delta within a factor 100 of the value with
    which a term would explain the labels alone.

    Parameters
    ----------
    evidence : Evidence
        Of the training rows.
    log_sigma, log_delta : ndarray
        Where to start.
    free_noise, free_delta : bool, or ndarray of bool with one element each
        Which of them are searched.
    starts : sequence of float, default (0, -1, 1)
        Decimal logarithms of the factors by which all noise is multiplied at each start.
    max_iterations : int, default 60
        Of L-BFGS-B, for each start.

    Returns
    -------
    log_sigma, log_delta : ndarray
    log_evidence : float
    """
    start, n = np.concatenate([log_sigma, log_delta]), len(log_sigma)
    free = np.concatenate([np.full(n, free_noise), np.full(len(log_delta), free_delta)])
    # labels that are all 0 say nothing of their noise, nor of delta; neither does a term without sparse points of its delta
    of_labels, of_terms = evidence.scales()
    free &= np.concatenate([of_labels > 0.0, np.bincount(evidence.term_of_column, minlength=len(log_delta)) > 0])
    of_labels, of_terms = (np.log(np.maximum(s, np.finfo(float).tiny)) for s in (of_labels, of_terms))
    of_terms = np.where(np.isnan(of_terms), log_delta, np.clip(of_terms, log_delta - np.log(1e4), log_delta + np.log(1e4)))
    low = np.concatenate([of_labels - np.log(1e4), of_terms - np.log(100.0)])[free]
    high = np.concatenate([of_labels, of_terms + np.log(100.0)])[free]

    def negative(of: Evidence, x: Array) -> tuple[float, Array]:
        every = start.copy()
        every[free] = x
        try:
            value, by_sigma, by_delta = of.value_and_gradient(every[:n], every[n:])
        except np.linalg.LinAlgError:  # noise so small that A is singular in double precision: no candidate
            return _IMPOSSIBLE, np.zeros(len(x))
        return -value, -np.concatenate([by_sigma, by_delta])[free]

    def climbed(of: Evidence, x: Array) -> tuple[float, Array]:
        if not len(x):
            return negative(of, x)[0], x
        found = minimize(
            lambda x: negative(of, x),
            np.clip(x, low, high),
            jac=True,
            method="L-BFGS-B",
            bounds=list(zip(low, high, strict=True)),
            options={"maxiter": max_iterations, "ftol": 1e-8},  # 1e-4 to 1e-2 of a unit of log evidence
        )
        return float(found.fun), found.x

    shift = np.log(10.0) * np.concatenate([np.ones(n), np.zeros(len(log_delta))])[free]
    first = [start[free] + s * shift for s in (starts if np.any(free_noise) else (0.0,))]
    large = len(evidence.place_of_column) > 2 * _FEW
    value, x = min((climbed(evidence.leading(_FEW) if large else evidence, x) for x in first), key=lambda found: found[0])
    if large:
        value, x = climbed(evidence, x)
    given = negative(evidence, start[free])[0]
    if value < given:
        start[free], given = x, value
    return start[:n], start[n:], -given


def _symmetric(lower: Array) -> Array:
    """Fill the upper triangle from the lower one."""
    result: Array = np.tril(lower) + np.tril(lower, -1).T
    return result
