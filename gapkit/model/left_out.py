"""Leave-one-out predictions of training structures: closed form, from a second streamed pass over their rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr, solve_triangular

from ..gp.leave_one_out import leave_one_out
from ..gp.observations import KINDS, Noise
from ..gp.posterior import SparsePosterior
from ..gp.sparse_term import SparseTerm
from ..neighbors import NeighborList
from .atomic_energies import AtomicEnergies, isolated_atoms
from .folding import whitened_rows
from .progress import track
from .training import RowChunk, SparseModel, TrainingSet

__all__ = ["StructureRows", "left_out", "left_out_errors", "rows_of_some"]

Array = NDArray[np.float64]

_SAME = 1e-8  # feature vectors whose elements differ by less are one environment


@dataclass(frozen=True)
class StructureRows:
    """All rows of one structure, unit delta, energies divided by √N.

    Attributes
    ----------
    number : int
        Place of the structure in the training set.
    noise_class : str
        Key into `Noise.classes`.
    kind : ndarray of str of shape (n,)
        Kind of each label.
    phi : ndarray of shape (n, n_sparse)
        Whitened rows.
    target, own, divisor : ndarray of shape (n,)
        Labels, noise of their own, and what they were divided by; see `RowBlock`.
    place : ndarray of int of shape (n,)
        Which component of its kind a row is: atoms x y z for forces, Voigt for stress.
    unexplained : ndarray of shape (n_terms, n) or None
        Prior variance that the sparse points miss, unit delta.
    own_points : ndarray of int
        Sparse points that are environments of this structure; none where ``unexplained`` is None.
    """

    number: int
    noise_class: str
    kind: NDArray[np.str_]
    phi: Array
    target: Array
    own: Array
    divisor: Array
    place: NDArray[np.int64]
    unexplained: Array | None
    own_points: NDArray[np.int64]

    def sigma(self, noise: Noise) -> Array:
        """Noise of each row."""
        of_class = noise.classes()[self.noise_class]
        given = np.array([getattr(of_class, str(kind)) for kind in self.kind], float)
        return np.where(np.isnan(self.own), given, self.own)


def rows_of_some(
    terms: Sequence[SparseTerm],
    training: TrainingSet,
    e0: AtomicEnergies,
    noise: Noise,
    n_structures: int,
    random_state: int | None,
    *,
    unexplained: bool = False,
    show: bool = False,
) -> Iterator[StructureRows]:
    """Rows of a seeded sample of the structures (all, if there are no more), one by one; see `whitened_rows`.

    Isolated atoms are not among them: each is the only one of its kind, and nothing predicts it without itself.
    """
    alone = isolated_atoms(training.frames, max(term.descriptor.neighbor_range for term in terms))
    chosen = np.setdiff1d(np.arange(len(training.frames)), alone)
    if len(chosen) > n_structures:
        chosen = np.sort(np.random.default_rng(random_state).choice(chosen, n_structures, replace=False))
    chunks = training.sample([int(k) for k in chosen]).chunks(e0, noise)
    for chunk in track(chunks, "leaving out", len(chunks), show=show):
        yield from _structures(terms, chunk, chosen, unexplained)


def _structures(
    terms: Sequence[SparseTerm], chunk: RowChunk, numbers: NDArray[np.int64], unexplained: bool
) -> list[StructureRows]:
    """Rows of a chunk, structure by structure; labels that are left out of the fit are left out here."""
    blocks = list(whitened_rows(terms, chunk, unexplained=unexplained))
    own_points = _own_points(terms, chunk) if unexplained else [np.empty(0, np.int64)] * len(chunk.numbers)
    result = []
    for s, number in enumerate(chunk.numbers):
        members = [np.flatnonzero(b.structure == s) for b in blocks]
        kept = [~np.isinf(b.own[m]) for b, m in zip(blocks, members, strict=True)]
        parts = [(b, m[k]) for b, m, k in zip(blocks, members, kept, strict=True) if k.any()]
        if not parts:
            continue
        missed = None
        if unexplained:
            missed = np.concatenate([b.unexplained[:, m] for b, m in parts if b.unexplained is not None], axis=1)
        result.append(
            StructureRows(
                int(numbers[number]),
                chunk.noise_class,
                np.concatenate([np.full(len(m), b.kind) for b, m in parts]),
                np.concatenate([b.phi[m] for b, m in parts]),
                np.concatenate([b.target[m] for b, m in parts]),
                np.concatenate([b.own[m] for b, m in parts]),
                np.concatenate([b.divisor[m] for b, m in parts]),
                np.concatenate([b.place[m] for b, m in parts]),
                missed,
                own_points[s],
            )
        )
    return result


def _own_points(terms: Sequence[SparseTerm], chunk: RowChunk) -> list[NDArray[np.int64]]:
    """Sparse points of terms with one environment per atom that are environments of each structure of a chunk."""
    found: list[list[NDArray[np.int64]]] = [[] for _ in chunk.numbers]
    for term in terms:
        if not term.descriptor.one_per_atom:
            continue
        neighbors = NeighborList.from_atoms(chunk.frames, term.descriptor.neighbor_range)
        features = term.descriptor.compute(neighbors)
        for group, (points, columns) in enumerate(zip(term.points, term.columns, strict=True)):
            atoms = np.flatnonzero(features.groups == group)
            if len(points) and len(atoms):
                x = features.values[atoms]
                nearest = np.argmin(np.einsum("nf,nf->n", x, x) - 2.0 * points @ x.T, axis=1)
                same = np.flatnonzero(np.abs(points - x[nearest]).max(axis=1) < _SAME)
                owner = neighbors.structure[features.owners[atoms[nearest[same]], 0]]
                for s, parts in enumerate(found):
                    parts.append(columns.start + same[owner == s])
    return [np.concatenate(parts) if parts else np.empty(0, np.int64) for parts in found]


def _own_directions(terms: Sequence[SparseTerm], own_points: NDArray[np.int64]) -> Array:
    """Orthonormal basis of what only these sparse points make known: L⁻¹ e_m of each, group by group."""
    n_sparse = sum(term.n_points for term in terms)
    parts = []
    for term in terms:
        for factor, columns in zip(term.cholesky, term.columns, strict=True):
            members = own_points[(own_points >= columns.start) & (own_points < columns.stop)] - columns.start
            if len(members):
                unit = np.zeros((len(factor), len(members)))
                unit[members, np.arange(len(members))] = 1.0
                directions = np.zeros((n_sparse, len(members)))
                directions[columns] = qr(solve_triangular(factor, unit, lower=True), mode="economic")[0]
                parts.append(directions)
    return np.concatenate(parts, axis=1) if parts else np.empty((n_sparse, 0))


def left_out(
    model: SparseModel, posterior: SparsePosterior, rows: StructureRows, approximation: str = "dtc"
) -> tuple[Array, Array]:
    """Residuals (label - prediction) and standard deviations of the rows of a structure, predicted without it.

    Means have the sparse points of the structure itself; deviations do without them where what sparse points miss counts.

    Parameters
    ----------
    model : SparseModel
        Amplitudes and noise.
    posterior : SparsePosterior
        Of all structures.
    rows : StructureRows
        Of one of them.
    approximation : str, default "dtc"
        In "fitc" what the sparse points miss is noise too; ``rows`` must know it.

    Returns
    -------
    residuals, deviations : ndarray of shape (n,)
        Energies divided by √N.  Deviations contain what the sparse points miss if ``rows`` knows it.
    """
    delta = np.repeat([term.delta for term in model.sparse], [term.n_points for term in model.sparse])
    sigma = rows.sigma(model.noise)
    missed = np.zeros(len(sigma))
    if rows.unexplained is not None:
        missed = np.array([term.delta**2 for term in model.sparse]) @ rows.unexplained
    if approximation == "fitc":
        sigma = np.sqrt(sigma**2 + missed)
    own = _own_directions(model.sparse, rows.own_points)
    residuals, deviations = leave_one_out(posterior, rows.phi * delta, rows.target, sigma, own)
    return residuals, np.sqrt(deviations**2 + missed)


def left_out_errors(model: SparseModel, posterior: SparsePosterior, rows: Iterable[StructureRows]) -> dict[str, float]:
    """Root mean square of the leave-one-out residuals per kind of label (energies: eV/atom^½)."""
    squares: dict[str, list[Array]] = {}
    for structure in rows:
        residuals, _ = left_out(model, posterior, structure)
        for kind in KINDS:
            squares.setdefault(kind, []).append(residuals[structure.kind == kind] ** 2)
    joined = {kind: np.concatenate(parts) for kind, parts in squares.items()}
    return {kind: float(np.sqrt(values.mean())) for kind, values in joined.items() if len(values)}
