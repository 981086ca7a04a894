"""Sparse points and environments of a pool together: a basis that sees what the sparse points of a model miss.

The weights of a model know its prior at the sparse points alone, and frames far from these would look harmless.  So the basis
is enlarged by environments of the pool, those of which the sparse points leave the largest prior variance (pivoted Cholesky).
The new weights have their prior variance, which is what DTC says of them whatever the labels; between frames and within them,
the covariance of what the sparse points miss is then that of the Gaussian process itself, as far as the enlarged basis sees it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from ..gp.sparse_term import SparseTerm
from ..gp.sparsify import greedy_cholesky
from ..model.fitting import chunks_of_frames, known_by_points
from ..model.progress import track
from ..neighbors import NeighborList

__all__ = ["enlarged"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

_MORE = 500  # environments of the pool that enlarge the basis, of all terms together
_CANDIDATES = 5000  # environments of each group that they are chosen among
_NEGLIGIBLE = 1e-6  # of delta²: prior variances that are not worth a column


def enlarged(
    terms: Sequence[SparseTerm], is_open: Sequence[bool], frames: Sequence[Atoms], rng: np.random.Generator, *, show: bool
) -> tuple[list[SparseTerm], Index]:
    """Add environments of a pool to the sparse points; the whitened columns of the old points stay what they are.

    Parameters
    ----------
    terms : sequence of SparseTerm
        The model.
    is_open : sequence of bool
        Terms for which what the sparse points miss counts.
    frames : sequence of ase.Atoms
        The pool.
    rng : numpy.random.Generator
        Draws the candidates where there are more than 5000 of a group.
    show : bool
        Whether to show a progress bar.

    Returns
    -------
    terms : list of SparseTerm
    order : ndarray of int
        Columns of the enlarged terms: first the old ones in their order, then the new ones.
    """
    found: list[tuple[float, int, int, int]] = []  # prior variance left (eV²), term, group, rank of the pivot
    choices: dict[tuple[int, int], tuple[Array, Array, Array]] = {}
    for t, term in enumerate(terms):
        if not is_open[t]:
            continue
        for group, values in enumerate(_candidates(term, frames, rng, show)):
            if len(values):
                known = known_by_points(term, group, values, np.ones(len(values)))
                seen = term.seen(group, values)
                pivots, factor, variances = greedy_cholesky(term.kernel, seen, _MORE, known=known)
                choices[t, group] = values[pivots], known[:, pivots], factor[:, pivots]
                worth = variances[variances > _NEGLIGIBLE]
                found += [(float(term.delta**2 * v), t, group, k) for k, v in enumerate(worth)]
    chosen = sorted(found, key=lambda pick: (-pick[0], *pick[1:]))[:_MORE]  # of a group, always its first pivots
    result, old_columns, new_columns, column = [], [], [], 0
    for t, term in enumerate(terms):
        points, weights, cholesky, columns = list(term.points), list(term.weights), list(term.cholesky), []
        for group, n_old in enumerate(map(len, term.points)):
            n_new = sum(pick[1:3] == (t, group) for pick in chosen)
            if n_new:
                values, known, factor = choices[t, group]
                points[group] = np.vstack([points[group], values[:n_new]])
                weights[group] = np.append(weights[group], np.ones(n_new))
                below = np.hstack([known[:, :n_new].T, np.tril(factor[:n_new, :n_new].T)])
                above = np.hstack([term.cholesky[group], np.zeros((n_old, n_new))])
                cholesky[group] = np.asfortranarray(np.vstack([above, below]))
            columns.append(slice(column, column + n_old + n_new))
            old_columns.append(np.arange(column, column + n_old))
            new_columns.append(np.arange(column + n_old, column + n_old + n_new))
            column += n_old + n_new
        result.append(replace(term, points=points, weights=weights, cholesky=cholesky, columns=columns))
    return result, np.concatenate([*old_columns, *new_columns]).astype(np.int64)


def _candidates(term: SparseTerm, frames: Sequence[Atoms], rng: np.random.Generator, show: bool) -> list[Array]:
    """A uniform sample of the environments of each group, the same whatever the chunks are."""
    kept = [(np.empty(0), np.empty((0, term.descriptor.n_features))) for _ in term.points]
    chunks = list(chunks_of_frames(frames))
    for start, chunk in track(chunks, "environments", len(chunks), show=show):
        neighbors = NeighborList.from_atoms(chunk, term.descriptor.neighbor_range, first_frame=start)
        features = term.descriptor.compute(neighbors)
        rank = rng.random(len(features.values))
        for group, (ranks, values) in enumerate(kept):
            members = features.groups == group
            ranks, values = np.append(ranks, rank[members]), np.vstack([values, features.values[members]])
            lowest = np.sort(np.argsort(ranks, kind="stable")[:_CANDIDATES])
            kept[group] = ranks[lowest], values[lowest]
    return [values for _, values in kept]
