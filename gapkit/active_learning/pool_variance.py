r"""I-optimal batches of structures: the frames whose labels leave the least variance in the forces of the whole pool.

With the rows J of the energy and the forces of a frame, divided by their noise, and the posterior covariance S of the weights,

.. math:: S \leftarrow S - S J^T (1 + J S J^T)^{-1} J S

when the frame is labelled; a frame is worth the part of the mean force variance of the pool, tr(C S) with C the mean of
:math:`P^T P` over the force rows P of the pool, that this takes away.  Labels do not enter, so that a whole batch is chosen
before any of them is computed.  What is common in the pool counts in proportion, and what is rare counts as long as its
variance is large: log det(1 + J S J^T), the information of the labels (D-optimal), ranks frames without regard to the pool, and
was worse in ``benchmarks/al_arena`` (on an alloy worse than chance: it took nothing but the melt).

Three reductions make a pool of thousands cheap; each can be made exact.

* In pools with frames of more than 16 atoms, a frame is seen through 16 random orthogonal combinations of its force components
  and its energy: the expected :math:`J^T J` is that of all of them, and rows of combinations cost a tenth
  (`gapkit.gp.directions`).
* With :math:`S = (R^T R)^{-1}`, rows are kept as the leading 256 components of :math:`R^{-T} J^T`: those in which a sample of
  the pool has most variance.
* The frames picked are seen with all their rows, as the reason of a pick tells.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.linalg import blas, block_diag, eigh, solve_triangular

from ..gp.calibration import Calibration
from ..gp.directions import directional_rows
from ..gp.observations import Labels, Noise, config_type_of
from ..gp.sparse_term import whiten
from ..model import Potential
from ..model.fitting import CHUNK_ATOMS, chunks_of_frames
from ..model.folding import whitened_rows
from ..model.potential import posterior_of
from ..model.progress import track
from ..model.training import RowChunk
from ..neighbors import NeighborList
from .acquisition import calibrated_force_std, largest_on_atom
from .wider_basis import enlarged

__all__ = ["PoolVariance"]

Array = NDArray[np.float64]

_DIRECTIONS = 16  # combinations of the force components of a frame
_FEW = 48  # force components of the largest frame of a pool: up to so many, all are taken as they are
_RANK = 256  # components of rows that are kept; on the pools of the arena 100 do as well
_SAMPLE = 512  # frames whose rows say which components these are
_FRAMES_AT_ONCE = 1024  # whose gains are computed together


class PoolVariance:
    """What each frame would take off the mean force variance of the pool, (eV/Å)², beside the frames picked before.

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
        Seed of samples of environments and frames in large pools.
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
        rng = np.random.default_rng(random_state)
        open_terms = [potential.is_open(term) for term in potential.terms]
        self.terms, self.order = enlarged(potential.terms, open_terms, frames, rng, show=show)
        self.scale = np.concatenate([np.full(term.n_points, term.delta) for term in self.terms])[self.order]
        old = posterior_of(potential).factor
        self._r = np.asfortranarray(block_diag(old, np.eye(len(self.order) - len(old))))
        largest = 3 * max(map(len, frames))
        self._n_directions = largest if largest <= _FEW else _DIRECTIONS
        sampled = np.zeros(len(frames), bool)
        sampled[rng.permutation(len(frames))[:_SAMPLE]] = True
        sample, others = np.flatnonzero(sampled), np.flatnonzero(~sampled)
        seen = self._sketches(sample, None, show)
        self.basis = self._leading(seen)
        self.rows = np.empty((len(frames), *seen.shape[1:2], self.basis.shape[1]))
        self.rows[sample] = seen @ self.basis
        if len(others):
            self.rows[others] = self._sketches(others, self.basis, show)
        forces = (self.rows[:, 1:] * self._force_noise(range(len(frames)))).reshape(-1, self.basis.shape[1])
        self._components = 3 * sum(map(len, frames))
        self.covariance = forces.T @ forces / self._components
        self._conditioned = np.eye(self.basis.shape[1])  # what the picks make of the components
        self.bounds = self._gains()

    def gain(self, k: int) -> float:
        """What the labels of frame ``k`` would take off the mean force variance of the pool."""
        return float(self.bounds[k])

    def take(self, k: int) -> str:
        """Pick frame ``k``; the reason."""
        full = self._solved(self._all_rows(k))
        kept = full @ self.basis
        missed = np.maximum(np.einsum("nm,nm->n", full, full) - np.einsum("nr,nr->n", kept, kept), 0.0)
        kept = kept @ self._conditioned
        variance = missed + np.einsum("nr,nr->n", kept, kept)
        raw = self._noise_of(k).forces * np.sqrt(variance[1:]).reshape(-1, 3)
        std = calibrated_force_std(self.calibration, self.frames[k], raw)
        before = float(np.trace(self.covariance))
        self._condition(kept)
        part = 1.0 - float(np.trace(self.covariance)) / before if before > 0.0 else 0.0
        self.bounds = self._gains()
        largest = largest_on_atom(self.frames[k], std)
        return f"{largest} given the earlier picks; labels take {100 * part:.3g} % off the mean force variance of the pool"

    def _condition(self, rows: Array) -> None:
        """Condition everything on labels whose rows (over noise, conditioned so far) are given."""
        _, singular, along = np.linalg.svd(rows, full_matrices=False)
        # S -> T Tᵀ with T = 1 - A (1 - 1/√(1 + s²)) Aᵀ, the root of (1 + JᵀJ)⁻¹
        root = np.eye(len(self.covariance)) - (along.T * (1.0 - 1.0 / np.sqrt(1.0 + singular**2))) @ along
        self._conditioned = self._conditioned @ root
        self.covariance = root @ self.covariance @ root
        self.rows = self.rows @ root

    def _gains(self) -> Array:
        """tr[(1 + J S Jᵀ)⁻¹ J S C S Jᵀ] of every frame."""
        result = np.empty(len(self.rows))
        for start in range(0, len(self.rows), _FRAMES_AT_ONCE):
            x = self.rows[start : start + _FRAMES_AT_ONCE]
            transposed = x.transpose(0, 2, 1)
            inner = x @ transposed
            inner[:, np.arange(x.shape[1]), np.arange(x.shape[1])] += 1.0
            result[start : start + len(x)] = np.einsum("nii->n", np.linalg.solve(inner, (x @ self.covariance) @ transposed))
        return result

    def _leading(self, seen: Array) -> Array:
        """The directions, as columns, in which the forces of a sample have most variance."""
        forces = seen[:, 1:].reshape(-1, seen.shape[2])
        size = seen.shape[2]
        first = max(0, size - _RANK)
        _, vectors = eigh(blas.dsyrk(1.0, forces, trans=1, lower=1), subset_by_index=[first, size - 1], check_finite=False)
        return np.ascontiguousarray(vectors[:, ::-1])

    def _sketches(self, members: NDArray[np.int64], basis: Array | None, show: bool) -> Array:
        """Energy and combined forces of some frames over noise, R⁻ᵀ Jᵀ transposed: (n, 1 + directions, components)."""
        n_components = len(self.order) if basis is None else basis.shape[1]
        result, done = np.empty((len(members), 1 + self._n_directions, n_components)), 0
        chunks = list(chunks_of_frames([self.frames[k] for k in members], CHUNK_ATOMS))
        neighbor_range = max(term.descriptor.neighbor_range for term in self.terms)
        for _, chunk in track(chunks, "pool variance", len(chunks), show=show):
            own = members[done : done + len(chunk)]
            directions = np.concatenate([self._directions(int(k)) for k in own])
            energy, forces = directional_rows(self.terms, NeighborList.from_atoms(chunk, neighbor_range), directions)
            rows = np.concatenate([energy[:, None] / self._energy_noise(own), forces / self._force_noise(own)], axis=1)
            rows = np.ascontiguousarray(rows.reshape(-1, rows.shape[2]))
            solved = self._solved(whiten(self.terms, rows)[:, self.order] * self.scale)
            solved = solved if basis is None else solved @ basis
            result[done : done + len(chunk)] = solved.reshape(len(chunk), 1 + self._n_directions, -1)
            done += len(chunk)
        return result

    def _directions(self, k: int) -> Array:
        """Orthogonal random combinations of the force components of a frame, (n_atoms, directions, 3); all of them if few.

        They are the same for frames of one size, so that copies are worth the same, and in every process.
        """
        n = len(self.frames[k])
        width = self._n_directions
        if 3 * n <= width:
            matrix = np.eye(3 * n, width)
        else:
            normal = np.random.default_rng(n).standard_normal((3 * n, width))
            matrix = np.linalg.qr(normal)[0] * np.sqrt(3 * n / width)  # E[U Uᵀ] = 1
        return np.ascontiguousarray(matrix.reshape(n, 3, width).transpose(0, 2, 1))

    def _all_rows(self, k: int) -> Array:
        """Rows of a frame over their noise, energy first."""
        atoms, noise = self.frames[k], self._noise_of(k)
        labels = [Labels(0.0, np.zeros((len(atoms), 3)), None, config_type_of(atoms))]
        blocks = {block.kind: block.phi for block in whitened_rows(self.terms, RowChunk("", [k], [atoms], labels))}
        rows: Array = np.vstack([blocks["energy"] / noise.energy, blocks["forces"] / noise.forces])[:, self.order] * self.scale
        return rows

    def _solved(self, rows: Array) -> Array:
        """(R⁻ᵀ Jᵀ)ᵀ: its squares, summed over columns, are posterior variances over noise variances."""
        result: Array = solve_triangular(self._r, rows.T, trans="T", check_finite=False).T
        return result

    def _noise_of(self, k: int) -> Noise:
        return self.noise.classes()[self.noise.class_of(config_type_of(self.frames[k]))]

    def _force_noise(self, members: Sequence[int] | NDArray[np.int64] | range) -> Array:
        return np.array([self._noise_of(int(k)).forces for k in members])[:, None, None]

    def _energy_noise(self, members: NDArray[np.int64]) -> Array:
        return np.array([self._noise_of(int(k)).energy for k in members])[:, None, None]
