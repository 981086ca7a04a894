r"""Are the error bars right?  Metrics of standard deviations s against errors r = label - prediction, with z = r / s.

Every metric is a function of arrays, ``metric(residual, std)``.  Several have no fixed value that means "good": ENCE grows with
the number of bins, a rank correlation has a ceiling well below 1, and the miscalibration area of few structures is never 0.
`perfect_errors` draws errors from the standard deviations themselves, so that each can be quoted beside what a perfect
model would show (`simulated`).  Components of one structure depend on each other: confidence intervals resample structures
(`bootstrap_interval`), and perfect errors can be drawn with the same dependence (`error_correlation`).

References
----------
* P. Pernot, arXiv 2204.13477, 2303.07170, 2402.10043, 2403.00423: ZMS, and what ENCE and rank correlations do not say.
* K. Tran et al., Mach. Learn.: Sci. Technol. 1, 025006 (2020): calibration curve and miscalibration area.
* T. Gneiting, A. E. Raftery, J. Am. Stat. Assoc. 102, 359 (2007): CRPS.
* D. Levi et al., Sensors 22, 5540 (2022): ENCE.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import norm, rankdata, spearmanr
from sklearn.metrics import roc_auc_score

__all__ = [
    "bootstrap_interval",
    "calibration_curve",
    "constant_nll",
    "coverage",
    "crps",
    "dispersion",
    "ence",
    "error_correlation",
    "large_error_auroc",
    "miscalibration_area",
    "nll",
    "perfect_errors",
    "rank_correlation",
    "rmse_by_std",
    "simulated",
    "zms",
]

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Metric = Callable[[Array, Array], float]


def nll(residual: Array, std: Array) -> float:
    """Mean negative log likelihood of the errors under N(0, std²), in nats."""
    return float(-np.mean(norm.logpdf(residual, scale=std)))


def constant_nll(residual: Array) -> float:
    """Negative log likelihood of the best constant standard deviation, which is the root mean square error."""
    return float(0.5 * np.log(2.0 * np.pi * np.mean(residual**2)) + 0.5)


def crps(residual: Array, std: Array) -> float:
    r"""Mean continuous ranked probability score of Gaussians, in the unit of the errors; smaller is better.

    .. math:: s \, [z (2 \Phi(z) - 1) + 2 \varphi(z) - 1 / \sqrt{\pi}]
    """
    z = residual / std
    return float(np.mean(std * (z * (2.0 * ndtr(z) - 1.0) + 2.0 * norm.pdf(z) - 1.0 / np.sqrt(np.pi))))


def zms(residual: Array, std: Array) -> float:
    """Mean of z²: 1 for a calibrated model, 4 where standard deviations are half of what they should be."""
    return float(np.mean((residual / std) ** 2))


def calibration_curve(residual: Array, std: Array, n_levels: int = 101) -> tuple[Array, Array]:
    """Fraction of errors within the central interval of probability p, for p from 0 to 1.

    Parameters
    ----------
    residual, std : ndarray of shape (n_values,)
        Errors and standard deviations.
    n_levels : int, default 101
        Number of probabilities.

    Returns
    -------
    expected, observed : ndarray of shape (n_levels,)
    """
    expected = np.linspace(0.0, 1.0, n_levels)
    place = np.searchsorted(np.sort(_interval_probability(residual, std)), expected, side="right")
    return expected, place / len(residual)


def miscalibration_area(residual: Array, std: Array) -> float:
    """Area between the calibration curve and the diagonal: 0 is best, 0.5 worst."""
    return _area(_interval_probability(residual, std))


def _interval_probability(residual: Array, std: Array) -> Array:
    """Probability of the central interval that ends at the error: uniform for a calibrated Gaussian."""
    result: Array = 2.0 * ndtr(np.abs(residual) / std) - 1.0
    return result


def _area(probability: Array) -> float:
    """Integral of |F(p) - p| over p, F the distribution function of the values: exact, step by step."""
    edges = np.concatenate([[0.0], np.sort(probability), [1.0]])
    height = np.arange(len(edges) - 1) / len(probability)
    left, right = edges[:-1] - height, edges[1:] - height
    return float(np.sum(right * np.abs(right) - left * np.abs(left)) / 2.0)


def rmse_by_std(residual: Array, std: Array, n_bins: int = 15) -> tuple[Array, Array]:
    """Root mean square standard deviation and error in bins of equal size, ordered by standard deviation.

    Parameters
    ----------
    residual, std : ndarray of shape (n_values,)
        Errors and standard deviations.
    n_bins : int, default 15
        Number of bins.

    Returns
    -------
    rms_std, rmse : ndarray of shape (n_bins,)
        Equal in every bin for a calibrated model.
    """
    order = np.argsort(std, kind="stable")
    bins = [order[part] for part in np.array_split(np.arange(len(order)), n_bins)]
    rms_std, rmse = (np.sqrt([np.mean(x[b] ** 2) for b in bins]) for x in (std, residual))
    return rms_std, rmse


def ence(residual: Array, std: Array, n_bins: int = 15) -> float:
    """Expected normalised calibration error: mean over bins of ``abs(RMS std - RMSE) / RMS std`` (`rmse_by_std`).

    Even for a calibrated model it grows as the square root of the number of bins: quote it beside its `simulated` value.
    """
    rms_std, rmse = rmse_by_std(residual, std, n_bins)
    return float(np.mean(np.abs(rms_std - rmse) / rms_std))


def dispersion(std: Array) -> float:
    """Coefficient of variation of the standard deviations; near 0 they do not tell one prediction from another."""
    return float(np.std(std) / np.mean(std))


def rank_correlation(residual: Array, std: Array) -> float:
    """Spearman's correlation between the size of the errors and the standard deviations; nan if these are all equal.

    Its ceiling is well below 1 (about 0.4 to 0.6): quote it beside its `simulated` value.
    """
    if np.ptp(std) == 0.0 or np.ptp(np.abs(residual)) == 0.0:
        return float("nan")
    return float(spearmanr(np.abs(residual), std).statistic)


def large_error_auroc(residual: Array, std: Array, fraction: float = 0.05) -> float:
    """Probability that one of the largest errors has a larger standard deviation than one of the others.

    Parameters
    ----------
    residual, std : ndarray of shape (n_values,)
        Errors and standard deviations.
    fraction : float, default 0.05
        Of the errors that count as the largest.

    Returns
    -------
    float
        1 is best, 0.5 is chance; quote it beside its `simulated` value.
    """
    n_large = max(1, round(fraction * len(residual)))
    large = np.zeros(len(residual), bool)
    large[np.argsort(np.abs(residual), kind="stable")[-n_large:]] = True
    return float(roc_auc_score(large, std))


def coverage(residual: Array, std: Array, structure: Index, multiplier: float) -> float:
    """Fraction of the errors within ``multiplier * std``, averaged over structures.

    Parameters
    ----------
    residual, std : ndarray of shape (n_values,)
        Errors and (calibrated) standard deviations.
    structure : ndarray of int of shape (n_values,)
        Number of the structure that each belongs to.
    multiplier : float
        For instance from `Calibration.multiplier`.

    Returns
    -------
    float
    """
    inside = np.abs(residual) <= multiplier * std
    member = np.unique(structure, return_inverse=True)[1]
    return float(np.mean(np.bincount(member, weights=inside) / np.bincount(member)))


def error_correlation(residual: Array, std: Array, structure: Index) -> float:
    """How much the sizes of the errors of one structure have in common: 0 nothing, 1 all.

    Intraclass correlation (analysis of variance with one factor) of the normal scores of :math:`|z|`.  It counts what makes
    whole structures harder or easier than their standard deviations say, so that a reference drawn with it is the more lenient.

    Parameters
    ----------
    residual, std : ndarray of shape (n_values,)
        Errors and standard deviations.
    structure : ndarray of int of shape (n_values,)
        Number of the structure that each belongs to.

    Returns
    -------
    float
        Between 0 and 0.99; 0 if no structure has two values.
    """
    member = np.unique(structure, return_inverse=True)[1]
    size = np.bincount(member)
    n, k = len(member), len(size)
    if n == k or k < 2:
        return 0.0
    score = ndtri(rankdata(np.abs(residual) / std) / (n + 1))
    mean = np.bincount(member, weights=score) / size
    between = np.sum(size * (mean - score.mean()) ** 2) / (k - 1)
    within = np.sum((score - mean[member]) ** 2) / (n - k)
    typical = (n - np.sum(size**2) / n) / (k - 1)
    return float(np.clip((between - within) / (between + (typical - 1.0) * within), 0.0, 0.99))


def perfect_errors(std: Array, rng: np.random.Generator, *, structure: Index | None = None, correlation: float = 0.0) -> Array:
    """Errors of a perfectly calibrated model with these standard deviations: each is drawn from N(0, std²).

    Parameters
    ----------
    std : ndarray of shape (n_values,)
        Standard deviations.
    rng : numpy.random.Generator
        Source of randomness.
    structure : ndarray of int of shape (n_values,), optional
        Number of the structure that each belongs to.
    correlation : float, default 0
        Of the normal scores of :math:`|z|` within a structure (`error_correlation`); signs are independent.

    Returns
    -------
    ndarray of shape (n_values,)
    """
    if structure is None or correlation == 0.0:
        return std * rng.standard_normal(len(std))
    member = np.unique(structure, return_inverse=True)[1]
    common = rng.standard_normal(member.max() + 1)[member]
    score = np.sqrt(correlation) * common + np.sqrt(1.0 - correlation) * rng.standard_normal(len(std))
    size = ndtri((1.0 + ndtr(score)) / 2.0)
    result: Array = std * size * rng.choice((-1.0, 1.0), len(std))
    return result


def simulated(
    metric: Metric,
    std: Array,
    *,
    structure: Index | None = None,
    correlation: float = 0.0,
    n_draws: int = 100,
    random_state: int | None = 0,
) -> Array:
    """Values that a metric takes for perfectly calibrated models with these standard deviations.

    Parameters
    ----------
    metric : callable
        ``metric(residual, std) -> float``.
    std : ndarray of shape (n_values,)
        Standard deviations.
    structure, correlation
        See `perfect_errors`.
    n_draws : int, default 100
        Number of simulated sets.
    random_state : int, optional
        Seed.

    Returns
    -------
    ndarray of shape (n_draws,)
        Their mean is the reference of a metric; their 95 % quantile what chance alone reaches.
    """
    rng = np.random.default_rng(random_state)
    draws = (perfect_errors(std, rng, structure=structure, correlation=correlation) for _ in range(n_draws))
    return np.array([metric(residual, std) for residual in draws])


def bootstrap_interval(
    metric: Metric,
    residual: Array,
    std: Array,
    structure: Index,
    *,
    confidence: float = 0.95,
    n_draws: int = 200,
    random_state: int | None = 0,
) -> tuple[float, float]:
    """Confidence interval of a metric: percentiles over sets of structures drawn with replacement.

    Parameters
    ----------
    metric : callable
        ``metric(residual, std) -> float``.
    residual, std : ndarray of shape (n_values,)
        Errors and standard deviations.
    structure : ndarray of int of shape (n_values,)
        Number of the structure that each belongs to.
    confidence : float, default 0.95
        Of the interval.
    n_draws : int, default 200
        Number of sets.
    random_state : int, optional
        Seed.

    Returns
    -------
    low, high : float
    """
    rng = np.random.default_rng(random_state)
    order = np.argsort(structure, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(structure[order])) + 1)
    values = []
    for _ in range(n_draws):
        chosen = np.concatenate([members[k] for k in rng.integers(len(members), size=len(members))])
        values.append(metric(residual[chosen], std[chosen]))
    low, high = np.quantile(values, [(1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0])
    return float(low), float(high)
