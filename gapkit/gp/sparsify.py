"""Choice of sparse points among candidate environments: feature vectors in, indices out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .._validation import check_choice

__all__ = ["SELECTIONS", "distinct", "select_points", "share_points"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

SELECTIONS = ("cur", "fps")
_SAME = 1e-8  # feature vectors whose elements differ by less are one environment


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


def select_points(method: str, values: Array, n_points: int, rng: np.random.Generator) -> Index:
    """Choose ``n_points`` of the candidates.

    Parameters
    ----------
    method : {"cur", "fps"}
        Leverage scores, or farthest points.
    values : ndarray of shape (n_candidates, n_features)
        Distinct feature vectors.
    n_points : int
        How many to choose, at most n_candidates.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    ndarray of int of shape (n_points,)
        Ascending.
    """
    check_choice("selection", method, SELECTIONS)
    if n_points >= len(values):
        return np.arange(len(values))
    chosen = _cur(values, n_points, rng) if method == "cur" else _farthest(values, n_points, rng)
    return np.sort(chosen)


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
