r"""D-optimal batches of structures: the frames whose energies and forces would tell the model most, no label needed.

With the rows J of the energy and the forces of a frame, divided by their noise, and the posterior covariance S of the weights,
a frame is worth the information that its labels would bring, and picking it conditions S on them:

.. math:: \text{gain} = \log \det (1 + J S J^T), \qquad S \leftarrow S - S J^T (1 + J S J^T)^{-1} J S

S is kept as its triangular factor, :math:`S^{-1} = R^T R`: a gain is one triangular solve and a Cholesky factor, and a pick
folds J into R as a fit would.  Gains never grow as frames are picked (the logarithm of the determinant is submodular), so
that only the frames that seem best are computed anew.

What the sparse points miss
---------------------------
The weights know the prior of the model at its sparse points alone, and frames far from these would look harmless.  So the basis
is enlarged by environments of the pool, those of which the sparse points leave the largest prior variance (pivoted Cholesky).
The new weights have their prior variance, which is what DTC says of them whatever the labels; between frames and within them,
the covariance of what the sparse points miss is then that of the Gaussian process itself, as far as the enlarged basis sees it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.linalg import blas, block_diag

from ..gp.calibration import Calibration
from ..gp.observations import Labels, Noise, config_type_of
from ..gp.posterior import RowFactor
from ..gp.sparse_term import SparseTerm
from ..gp.sparsify import greedy_cholesky
from ..model import Potential
from ..model.fitting import CHUNK_ATOMS, chunks_of_frames, known_by_points
from ..model.folding import whitened_rows
from ..model.potential import posterior_of
from ..model.progress import track
from ..model.training import RowChunk
from ..neighbors import NeighborList
from .acquisition import calibrated_force_std, largest_on_atom

__all__ = ["Information", "enlarged"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

_MORE = 500  # environments of the pool that enlarge the basis, of all terms together
_CANDIDATES = 5000  # environments of each group that they are chosen among
_NEGLIGIBLE = 1e-6  # of delta²: prior variances that are not worth a column
_CACHE_BYTES = 2**30  # rows that are kept; the others are computed again when their turn comes


class Information:
    """The gain of each frame, conditioned on the frames picked before.

    Parameters
    ----------
    potential : Potential
        With its posterior.
    noise : Noise
        Standard deviations of the labels to come.
    calibration : Calibration or None
        Of the standard deviations in the reasons; gains do not depend on it.
    frames : sequence of ase.Atoms
        The pool; labels are not looked at.
    random_state : int or None
        Seed of the sample of environments that may enlarge the basis; it matters in pools with more than 5000 of one group.
    show : bool
        Whether to show progress bars.
    """

    def __init__(
        self,
        potential: Potential,
        noise: Noise,
        calibration: Calibration | None,
        frames: Sequence[Atoms],
        random_state: int | None,
        *,
        show: bool,
    ) -> None:
        self.frames, self.noise, self.calibration = frames, noise, calibration
        self.neighbor_range = potential.neighbor_range
        open_terms = [potential.is_open(term) for term in potential.terms]
        self.terms, self.order = enlarged(potential.terms, open_terms, frames, np.random.default_rng(random_state), show=show)
        self.scale = np.concatenate([np.full(term.n_points, term.delta) for term in self.terms])[self.order]
        old = posterior_of(potential).factor
        size = len(self.order)
        triangle = np.zeros((size + 1, size + 1), order="F")  # a RowFactor has a column of targets, here 0
        triangle[:size, :size] = block_diag(old, np.eye(size - len(old)))
        self._fold(RowFactor.from_triangle(triangle, 0))
        self.cache: dict[int, Array] = {}
        self._kept: list[tuple[float, int]] = []  # heap of gains and frames in the cache
        self._bytes = 0
        self.bounds = np.empty(len(frames))
        chunks = list(chunks_of_frames(frames, CHUNK_ATOMS))
        for start, chunk in track(chunks, "information", len(chunks), show=show):
            for k, rows in enumerate(self._rows_of(start, chunk), start):
                self.bounds[k] = self._gain_of(rows)
                self._remember(k, float(self.bounds[k]), rows)

    def gain(self, k: int) -> float:
        """Information of the labels of frame ``k`` beside those picked, nats."""
        return self._gain_of(self._rows(k))

    def take(self, k: int) -> str:
        """Pick frame ``k``; the reason."""
        rows, atoms = self._rows(k), self.frames[k]
        solved = self._solved(rows)
        variance = np.einsum("mn,mn->n", solved, solved)
        gain, noise = self._gain_of(rows), self._noise_of(atoms)
        raw = noise.forces * np.sqrt(variance[1:]).reshape(-1, 3)
        std = calibrated_force_std(self.calibration, atoms, raw)
        self.factor.fold(rows, np.zeros((len(rows), 1)))
        self._fold(self.factor)
        self.cache.pop(k, None)
        return f"{largest_on_atom(atoms, std)} given the earlier picks; labels tell {gain:.3g} nats"

    def _fold(self, factor: RowFactor) -> None:
        self.factor = factor
        self._r = np.asfortranarray(factor.triangle[:-1, :-1])

    def _solved(self, rows: Array) -> Array:
        """R^-T J^T: its squares, summed over columns, are posterior variances over noise variances."""
        result: Array = blas.dtrsm(1.0, self._r, rows.T, trans_a=1)
        return result

    def _gain_of(self, rows: Array) -> float:
        solved = self._solved(rows)
        inner = solved.T @ solved if len(rows) <= len(solved) else solved @ solved.T
        inner[np.diag_indices_from(inner)] += 1.0
        return 2.0 * float(np.log(np.diag(np.linalg.cholesky(inner))).sum())

    def _rows(self, k: int) -> Array:
        rows = self.cache.get(k)
        return next(self._rows_of(k, [self.frames[k]])) if rows is None else rows

    def _remember(self, k: int, gain: float, rows: Array) -> None:
        """Keep the rows of the frames with the largest gains, as many as there is room for."""
        self.cache[k] = rows
        self._bytes += rows.nbytes
        heapq.heappush(self._kept, (gain, -k))
        while self._bytes > _CACHE_BYTES:
            self._bytes -= self.cache.pop(-heapq.heappop(self._kept)[1]).nbytes

    def _rows_of(self, start: int, frames: Sequence[Atoms]) -> Iterator[Array]:
        """Rows of each frame over their noise, energy first."""
        labels = [Labels(0.0, np.zeros((len(atoms), 3)), None, config_type_of(atoms)) for atoms in frames]
        chunk = RowChunk("", list(range(start, start + len(frames))), list(frames), labels)
        blocks = {block.kind: block for block in whitened_rows(self.terms, chunk)}
        ends = 3 * np.cumsum([len(atoms) for atoms in frames])[:-1]
        forces = np.split(blocks["forces"].phi, ends)
        for atoms, energy, of_forces in zip(frames, blocks["energy"].phi, forces, strict=True):
            noise = self._noise_of(atoms)
            yield np.vstack([energy[None] / noise.energy, of_forces / noise.forces])[:, self.order] * self.scale

    def _noise_of(self, atoms: Atoms) -> Noise:
        return self.noise.classes()[self.noise.class_of(config_type_of(atoms))]


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
