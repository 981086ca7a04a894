"""Choice of sparse points among candidate environments: feature vectors in, indices out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .._validation import check_choice

__all__ = ["SELECTIONS", "distinct", "select_points", "share_points"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

SELECTIONS = ("auto", "cur", "fps", "uniform")
_FEW = 3  # up to so many features a grid covers the space
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
    method : {"auto", "cur", "fps", "uniform"}
        Leverage scores, farthest points, or a grid; "auto": a grid for up to three features, else leverage scores.
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
    if method == "auto":
        method = "uniform" if values.shape[1] <= _FEW else "cur"
    return np.sort({"cur": _cur, "fps": _farthest, "uniform": _grid}[method](values, n_points, rng))


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
