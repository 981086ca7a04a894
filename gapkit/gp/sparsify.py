"""Choice of sparse points among candidate environments: feature vectors in, indices out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from sklearn.cluster import MiniBatchKMeans

from .._validation import check_choice, check_integer, describe
from ..exceptions import NumericalWarning
from ..kernels import Kernel
from .sparse_term import pivoted_cholesky

__all__ = [
    "SELECTIONS",
    "check_selection",
    "distinct",
    "greedy_cholesky",
    "select_points",
    "selection_of_groups",
    "share_points",
]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

SELECTIONS = ("auto", "cholesky", "cur", "fps", "kmeans", "leverage", "random", "uniform")
_FEW = 3  # up to so many features a grid covers the space
_SAME = 1e-8  # feature vectors whose elements differ by less are one environment
_BATCH = 4096  # candidates in a step of k-means


def check_selection(selection: Any) -> None:
    """Raise ValueError or TypeError unless ``selection`` is a method, indices, or a mapping of groups to those or to points."""
    if isinstance(selection, str):
        check_choice("selection", selection, SELECTIONS)
    elif isinstance(selection, Mapping):
        for group, chosen in selection.items():
            if not isinstance(group, str) or isinstance(chosen, Mapping):
                rule = "a method, list of indices or array of points for each name of a group"
                raise TypeError(describe("selection", rule, dict(selection)))
            if np.ndim(chosen) == 2:
                _check_points(group, np.asarray(chosen, float))
            else:
                check_selection(chosen)
    elif isinstance(selection, (Sequence, np.ndarray)) and len(selection):
        for k in selection:
            check_integer("selection", k, at_least=0, remedy="Indices of environments count from 0.")
    else:
        rule = "one of " + ", ".join(map(repr, SELECTIONS)) + ", a list of indices, or a dict of these by group"
        raise TypeError(describe("selection", rule, selection))


def _check_points(group: str, points: Array) -> None:
    """Raise ValueError unless these can be sparse points with their weights."""
    if not np.isfinite(points).all():
        raise ValueError(describe(f"selection[{group!r}]", "finite points", points[~np.isfinite(points)][0]))
    if points.size and not (points[:, -1] > 0.0).all():
        remedy = "The last column is the weight; environments without one have no energy. Remove these points."
        raise ValueError(describe(f"selection[{group!r}]", "points with a weight above 0", float(points[:, -1].min()), remedy))


def selection_of_groups(name: str, selection: Any, groups: Sequence[str]) -> list[str | Index | Array]:
    """Method, indices (ascending, each once) or points of every group; "auto" for those that a mapping leaves out.

    Indices that are not in a mapping count the environments of all groups together: every group gets them.

    Raises
    ------
    ValueError
        If a mapping names a group that does not exist.
    """
    if not isinstance(selection, Mapping):
        return [_each_once(name, selection)] * len(groups)
    unknown = sorted(set(selection) - set(groups))
    if unknown:
        raise ValueError(
            f"`selection` of term {name!r} must name groups among {list(groups)}; got {unknown}. Correct the keys."
        )
    return [_each_once(name, selection.get(group, "auto")) for group in groups]


def _each_once(name: str, chosen: Any) -> str | Index | Array:
    if isinstance(chosen, str):
        return chosen
    if np.ndim(chosen) == 2:
        return np.asarray(chosen, float)
    indices = np.unique(np.asarray(chosen, np.int64))
    if len(indices) < len(chosen):
        warnings.warn(
            f"`selection` of term {name!r} repeats {len(chosen) - len(indices)} of {len(chosen)} indices; each environment is "
            "taken once.",
            NumericalWarning,
            stacklevel=5,
        )
    return indices


def share_points(n_total: int, counts: NDArray[np.int64], at_least: int = 10) -> list[int]:
    """Share ``n_total`` sparse points among groups in proportion to the square root of their environments.

    Parameters
    ----------
    n_total : int
        Sparse points of the term.
    counts : ndarray of shape (n_groups,)
        Environments of each group.
    at_least : int, default 10
        Smallest share of a group that has environments.

    Returns
    -------
    list of int
        One share per group; never more than its environments.
    """
    share = np.zeros(len(counts), int)
    open_ = counts > 0
    while open_.any() and share.sum() < n_total:
        weight = np.sqrt(counts) * open_
        more = np.floor((n_total - share.sum()) * weight / weight.sum()).astype(int)
        remainder = n_total - share.sum() - more.sum()
        more[np.argsort(-weight, kind="stable")[:remainder]] += 1  # never more of them than open groups
        share = np.minimum(share + more, counts)
        open_ = share < counts
    return [int(s) for s in np.minimum(np.maximum(share, at_least), counts)]


def distinct(values: Array) -> Index:
    """Indices of one environment of each set of equal ones, ascending.

    Equal means: every element within 1e-8.  Candidates for equality are found along one fixed random direction.
    """
    if len(values) < 2:
        return np.arange(len(values))
    direction = np.random.default_rng(0).standard_normal(values.shape[1])
    projection = values @ (direction / np.linalg.norm(direction))
    order = np.argsort(projection, kind="stable")
    kept: list[int] = []
    window = _SAME * np.sqrt(values.shape[1])
    for k in order:
        repeated = False
        for other in reversed(kept):
            if projection[k] - projection[other] > window:
                break
            if np.abs(values[k] - values[other]).max() < _SAME:
                repeated = True
                break
        if not repeated:
            kept.append(int(k))
    return np.sort(np.array(kept, dtype=np.int64))


def select_points(method: str, values: Array, n_points: int, rng: np.random.Generator, kernel: Kernel) -> Index:
    """Choose ``n_points`` of the candidates.

    Parameters
    ----------
    method : str
        One of `SELECTIONS`; "auto" is a grid for up to three features, else leverage scores (CUR).
    values : ndarray of shape (n_candidates, n_features)
        Distinct feature vectors.
    n_points : int
        How many to choose.
    rng : numpy.random.Generator
        Source of randomness.
    kernel : Kernel
        Covariance of the candidates, for "cholesky" and "leverage".

    Returns
    -------
    ndarray of int of shape (min(n_points, n_candidates),)
        Ascending.
    """
    check_choice("selection", method, SELECTIONS)
    if n_points >= len(values):
        return np.arange(len(values))
    if method == "auto":
        method = "uniform" if values.shape[1] <= _FEW else "cur"
    if method in ("cholesky", "leverage"):
        of_kernel = {"cholesky": _largest_variance, "leverage": _leverage}[method]
        return np.sort(of_kernel(kernel, values, n_points, rng))
    of_values = {"cur": _cur, "fps": _farthest, "kmeans": _kmeans, "random": _random, "uniform": _grid}[method]
    return np.sort(of_values(values, n_points, rng))


def _random(values: Array, n_points: int, rng: np.random.Generator) -> Index:
    """Each candidate with the same probability, as QUIP's ``random``."""
    return rng.choice(len(values), n_points, replace=False)


def _kmeans(values: Array, n_points: int, rng: np.random.Generator) -> Index:
    """The candidate nearest the centre of each cluster of k-means, as QUIP's ``kmeans``; here in mini-batches.

    Should a cluster be empty, the candidate farthest from the centre of its own stands for it.
    """
    # the centres do not depend on the number of threads, unlike those of KMeans, which sums over threads
    clusters = MiniBatchKMeans(n_points, batch_size=_BATCH, n_init=1, random_state=int(rng.integers(2**31))).fit(values)
    off_centre = np.sum((values - clusters.cluster_centers_[clusters.labels_]) ** 2, axis=1)
    order = np.lexsort((off_centre, clusters.labels_))
    nearest = order[np.diff(clusters.labels_[order], prepend=-1) != 0]
    others = np.setdiff1d(np.arange(len(values)), nearest)
    farthest = others[np.argsort(-off_centre[others], kind="stable")]
    return np.concatenate([nearest, farthest[: n_points - len(nearest)]])


def _largest_variance(kernel: Kernel, values: Array, n_points: int, rng: np.random.Generator) -> Index:
    """Each point the one whose energy the points before it leave most uncertain; see `greedy_cholesky`.

    ``rng`` is not needed; where all prior variances are equal, the first point is the first candidate.  Once rounding
    is all that is left, any others are taken: the model drops and counts them.
    """
    pivots, _, _ = greedy_cholesky(kernel, values, n_points)
    others = np.setdiff1d(np.arange(len(values)), pivots)
    return np.concatenate([pivots, others[: n_points - len(pivots)]])


def _leverage(kernel: Kernel, values: Array, n_points: int, rng: np.random.Generator) -> Index:
    """Candidates drawn by their ridge leverage scores l_i = [K (K + lambda)⁻¹]_ii, without replacement.

    lambda makes the scores sum to ``n_points``, so that l_i is about the probability of candidate i; if K has no more than
    that many directions, lambda is rounding.  For K stand its projection on 2 n_points random candidates (Nyström), and the
    diagonal of what that leaves.

    A. Alaoui, M. W. Mahoney, Adv. Neural Inf. Process. Syst. 28, 775 (2015), definition 1.
    """
    landmarks = np.sort(rng.choice(len(values), min(2 * n_points, len(values)), replace=False))
    scores = _ridge_leverage(kernel, values, landmarks, n_points)
    return rng.choice(len(values), n_points, replace=False, p=scores / scores.sum())


def _ridge_leverage(kernel: Kernel, values: Array, landmarks: Index, n_points: int) -> Array:
    """Ridge leverage score of each candidate; they sum to ``n_points`` or to the rank of K, whichever is smaller."""
    values = _centred(kernel, values)
    index, lower = pivoted_cholesky(kernel(values[landmarks]))
    factor = solve_triangular(lower, kernel(values[landmarks[index]], values), lower=True)  # K ≈ factor.T @ factor
    variances = kernel.diag(values)
    residual = variances - np.einsum("rn,rn->n", factor, factor)
    # what the projection leaves of the variances stays on the diagonal, so that no candidate is out of the question
    residual[residual < len(values) * np.finfo(float).eps * variances.max()] = 0.0
    eigenvalues, vectors = np.linalg.eigh(factor @ factor.T)
    spectrum = np.maximum(np.concatenate([eigenvalues, residual]), 0.0)
    low, high = np.finfo(float).eps * spectrum.max(), spectrum.sum() / n_points  # between them the sum falls below n_points
    for _ in range(60):  # bisection of log(lambda)
        ridge = np.sqrt(low * high)
        low, high = (low, ridge) if np.sum(spectrum / (spectrum + ridge)) < n_points else (ridge, high)
    shares = (vectors / np.sqrt(np.maximum(eigenvalues, 0.0) + ridge)).T @ factor
    scores: Array = np.einsum("rn,rn->n", shares, shares) + residual / (residual + ridge)
    return scores


def greedy_cholesky(
    kernel: Kernel, values: Array, rank: int, *, weights: Array | None = None, known: Array | None = None
) -> tuple[Index, Array, Array]:
    """Pivoted Cholesky factor of the covariance of all candidates, from one of its columns at a time.

    Every pivot is the candidate with the largest diagonal element left, which is its prior variance given the pivots before.
    Memory is that of the factor.  Stops early where n ε of the largest variance is left, which is rounding.

    Parameters
    ----------
    kernel : Kernel
        Covariance of the candidates.
    values : ndarray of shape (n_candidates, n_features)
        Candidates.
    rank : int
        Number of pivots at most.
    weights : ndarray of shape (n_candidates,), optional
        Weights of the candidates; default 1.
    known : ndarray of shape (n_given, n_candidates), optional
        L⁻¹ k of the candidates with points that are given: what these explain is taken off the covariance.

    Returns
    -------
    pivots : ndarray of shape (rank,)
    factor : ndarray of shape (rank, n_candidates)
        The covariance is about ``factor.T @ factor``, exact for the rows and columns of the pivots.
    variances : ndarray of shape (rank,)
        Of each pivot given those before it.
    """
    values, n = _centred(kernel, values), len(values)
    weights = np.ones(n) if weights is None else weights
    known = np.empty((0, n)) if known is None else known
    squares = np.einsum("nf,nf->n", values, values)[:, None]
    prior = weights**2 * kernel.diag(values)
    residual = np.maximum(prior - np.einsum("mn,mn->n", known, known), 0.0)
    rank, smallest, given = min(rank, n), n * np.finfo(float).eps * prior.max(initial=0.0), len(known)
    pivots, variances, factor = np.empty(rank, np.int64), np.empty(rank), np.vstack([known, np.empty((rank, n))])
    for k in range(rank):
        p = pivots[k] = np.argmax(residual)
        variances[k] = residual[p]
        if residual[p] <= smallest:
            rank = k
            break
        column = kernel.of_products(values @ values[p][:, None], squares, squares[p][None, :])[:, 0] * weights * weights[p]
        before = factor[: given + k]
        factor[given + k] = (column - before[:, p] @ before) / np.sqrt(residual[p])
        residual = np.maximum(residual - factor[given + k] ** 2, 0.0)
        residual[p] = 0.0
    return pivots[:rank], factor[given : given + rank], variances[:rank]


def _centred(kernel: Kernel, values: Array) -> Array:
    """Candidates as a stationary kernel sees them best: (x - s)² is taken from products, and long vectors lose its digits."""
    return values - values.mean(axis=0) if kernel.is_stationary() else values


def _cur(values: Array, n_points: int, rng: np.random.Generator) -> Index:
    """Leverage of each candidate in the leading half of the feature space, as QUIP's ``cur_points`` means it.

    M. W. Mahoney, P. Drineas, Proc. Natl. Acad. Sci. 106, 697 (2009): leverage l_j = sum over the k leading right singular
    vectors of v_j²/k; a candidate is taken when min(1, n l_j) exceeds a uniform random number, here in order of excess.
    """
    eigenvalues, eigenvectors = np.linalg.eigh(values.T @ values)
    order = np.argsort(eigenvalues)[::-1]
    rank = int(np.count_nonzero(eigenvalues > 1e-13 * eigenvalues.max()))
    leading = order[: max(1, rank // 2)]
    projected = values @ (eigenvectors[:, leading] / np.sqrt(eigenvalues[leading]))
    leverage = np.einsum("nk,nk->n", projected, projected) / len(leading)
    excess = np.minimum(1.0, n_points * leverage) - rng.random(len(values))
    return np.argsort(-excess, kind="stable")[:n_points]


def _grid(values: Array, n_points: int, rng: np.random.Generator) -> Index:
    """One candidate from each occupied cell of a grid, the one nearest the centre of its cell; QUIP's ``uniform`` in spirit.

    The grid is refined until enough cells are occupied; of more than enough, those that `_farthest` spreads best are taken.
    """
    low, width = values.min(axis=0), np.ptp(values, axis=0)
    unit = (values - low) / np.where(width > 0.0, width, 1.0)
    n_dimensions = max(1, int(np.count_nonzero(width)))
    cells = int(np.ceil(n_points ** (1.0 / n_dimensions)))
    while True:
        place = np.minimum((unit * cells).astype(np.int64), cells - 1)
        off_centre = np.sum((unit * cells - place - 0.5) ** 2, axis=1)
        order = np.lexsort((off_centre, *place.T))
        new = np.r_[True, np.any(np.diff(place[order], axis=0) != 0, axis=1)]
        nearest = order[new]
        if len(nearest) >= n_points or cells > len(values):
            break
        cells += max(1, cells // 8)
    if len(nearest) < n_points:  # candidates too close to part: any others
        nearest = np.concatenate([nearest, np.setdiff1d(np.arange(len(values)), nearest)[: n_points - len(nearest)]])
    return np.sort(nearest)[_farthest(unit[np.sort(nearest)], n_points, rng)]


def _farthest(values: Array, n_points: int, rng: np.random.Generator) -> Index:
    """Each point the one farthest from all before it (Euclidean); the first is the one farthest from the mean.

    ``rng`` is not needed: the result depends on the candidates alone.
    """
    squares = np.einsum("nf,nf->n", values, values)
    centre = values.mean(axis=0)
    chosen = np.empty(n_points, np.int64)
    chosen[0] = np.argmax(squares - values @ (2 * centre))
    nearest = np.full(len(values), np.inf)
    for k in range(1, n_points):
        last = chosen[k - 1]
        np.minimum(nearest, squares + squares[last] - values @ (2 * values[last]), out=nearest)
        chosen[k] = np.argmax(nearest)
    return chosen
