"""What a fit consists of, counted before it starts: rows, environments, pairs, sparse points, chunks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from sklearn.base import clone

from ..descriptors import Descriptor
from ..gp.observations import KINDS, Labels, Noise
from ..gp.sparsify import share_points
from ..neighbors import NeighborList
from .fitting import check_groups, chunks_of_frames
from .terms import Term

__all__ = ["ChunkSizes", "FitSizes", "TermSizes", "evenly", "fit_sizes"]

SAMPLE_ATOMS = 5000  # whose neighbours are counted; all, where there are no more


@dataclass(frozen=True)
class ChunkSizes:
    """Frames whose rows are computed together.

    Attributes
    ----------
    noise_class : str
        Key into `Noise.classes`.
    numbers : list of int
        Indices of the frames.
    atoms : int
        Of all of them.
    rows : dict of str to int
        Number of rows of each kind of label.
    """

    noise_class: str
    numbers: list[int]
    atoms: int
    rows: dict[str, int]

    @property
    def derivatives(self) -> bool:
        """Whether the chunk needs derivatives of features."""
        return self.rows["forces"] + self.rows["stress"] > 0


@dataclass(frozen=True)
class TermSizes:
    """Sizes of one term.

    Attributes
    ----------
    name : str
        Of the term.
    term : Term
        The term itself.
    descriptor : Descriptor
        Fitted.
    environments : ndarray of shape (n_groups,)
        Number in the training set; extrapolated from a sample of frames for pairs and triplets.
    entries : float
        Number of (environment, pair) entries, extrapolated likewise.
    most_entries : int
        Largest number of entries of one atom in the sample.
    requested : int
        Sparse points that were asked for.
    points : ndarray of shape (n_groups,)
        Sparse points of each group, if no environments are equal.
    """

    name: str
    term: Term
    descriptor: Descriptor
    environments: NDArray[np.int64]
    entries: float
    most_entries: int
    requested: int
    points: NDArray[np.int64]

    def with_points(self, fraction: float) -> TermSizes:
        """The same with a fraction of the sparse points, at least one."""
        points = np.minimum(self.points, np.maximum(1, (fraction * self.points).astype(np.int64)))
        return replace(self, requested=max(1, int(fraction * self.requested)), points=points)


@dataclass(frozen=True)
class FitSizes:
    """Sizes of a fit.

    Attributes
    ----------
    frames, atoms : int
        Of the training set.
    pairs : float
        Number of pairs (both directions) in the range of the model; extrapolated from a sample of frames.
    chunks : list of ChunkSizes
        What the second pass computes at a time.
    terms : list of TermSizes
        In the order of the model.
    """

    frames: int
    atoms: int
    pairs: float
    chunks: list[ChunkSizes]
    terms: list[TermSizes]

    @property
    def n_points(self) -> int:
        """Sparse points of all terms."""
        return sum(int(term.points.sum()) for term in self.terms)

    @property
    def rows(self) -> dict[str, int]:
        """Number of rows of each row group, such as "forces:" and "energy:liquid"."""
        result: dict[str, int] = {}
        for chunk in self.chunks:
            for kind in KINDS:
                if chunk.rows[kind]:
                    name = f"{kind}:{chunk.noise_class}"
                    result[name] = result.get(name, 0) + chunk.rows[kind]
        return result

    def with_points(self, fraction: float) -> FitSizes:
        """The same fit with a fraction of the sparse points."""
        return replace(self, terms=[term.with_points(fraction) for term in self.terms])


def evenly(frames: Sequence[Atoms], n_atoms: int) -> list[Atoms]:
    """One frame of every k, so that they have about ``n_atoms`` atoms; all frames if they have fewer."""
    step = max(1, round(sum(map(len, frames)) / n_atoms))
    starts = np.arange(0, len(frames), step)
    offsets = np.random.default_rng(0).integers(step, size=len(starts))  # a file may repeat its kinds of frames in turn
    return [frames[k] for k in np.minimum(starts + offsets, len(frames) - 1).tolist()]


def fit_sizes(
    named_terms: Sequence[tuple[str, Term]],
    frames: Sequence[Atoms],
    labels: Sequence[Labels],
    noise: Noise,
    *,
    sample_atoms: int = SAMPLE_ATOMS,
) -> FitSizes:
    """Count what a fit consists of.

    Parameters
    ----------
    named_terms : sequence of (str, Term)
        The model; not changed.
    frames, labels : sequences
        Training structures and their labels.
    noise : Noise
        Decides which configuration types have row groups of their own.
    sample_atoms : int, optional
        Neighbours are counted for about so many atoms.

    Returns
    -------
    FitSizes
    """
    n_atoms = sum(map(len, frames))
    sample = evenly(frames, sample_atoms)
    neighbor_range = max(term.descriptor.neighbor_range for _, term in named_terms)
    scale = n_atoms / sum(map(len, sample))
    descriptors = [clone(term.descriptor).fit(frames) for _, term in named_terms]
    counts = [_Count(np.zeros(len(descriptor.group_names_))) for descriptor in descriptors]
    pairs = 0
    for start, chunk in chunks_of_frames(sample):
        neighbors = NeighborList.from_atoms(chunk, neighbor_range, first_frame=start)
        pairs += len(neighbors.centers)
        for descriptor, count in zip(descriptors, counts, strict=True):
            count.add(descriptor, neighbors)
    terms = []
    for (name, term), descriptor, count in zip(named_terms, descriptors, counts, strict=True):
        check_groups(name, term, descriptor)
        environments = np.rint(scale * count.environments).astype(np.int64)
        requested, points = _points(term, descriptor, environments)
        terms.append(
            TermSizes(name, term, descriptor, environments, scale * count.entries, count.most_entries, requested, points)
        )
    return FitSizes(len(frames), n_atoms, scale * pairs, _chunks(frames, labels, noise), terms)


@dataclass
class _Count:
    """Environments of each group and entries of a term, so far."""

    environments: NDArray[np.float64]
    entries: int = 0
    most_entries: int = 0

    def add(self, descriptor: Descriptor, neighbors: NeighborList) -> None:
        of_atoms = descriptor.one_per_atom
        groups = descriptor.species_index(neighbors) if of_atoms else descriptor.compute(neighbors).groups
        self.environments += np.bincount(groups, minlength=len(self.environments))
        until = descriptor.entries_until(neighbors)
        self.entries += int(until[-1])
        self.most_entries = max(self.most_entries, int(np.diff(until).max()))


def _points(term: Term, descriptor: Descriptor, environments: NDArray[np.int64]) -> tuple[int, NDArray[np.int64]]:
    """Sparse points that are asked for, and how they are shared among the groups."""
    if isinstance(term.n_sparse, Mapping):
        wanted = [int(term.n_sparse.get(group, 0)) for group in descriptor.group_names_]
        return sum(wanted), np.minimum(wanted, environments)
    return int(term.n_sparse), np.array(share_points(int(term.n_sparse), environments), np.int64)


def _chunks(frames: Sequence[Atoms], labels: Sequence[Labels], noise: Noise) -> list[ChunkSizes]:
    """The chunks of the second pass, and the rows that they have."""
    result = []
    for noise_class in noise.classes():
        members = [k for k, y in enumerate(labels) if noise.class_of(y.config_type) == noise_class]
        for start, chunk in chunks_of_frames([frames[k] for k in members]):
            numbers = members[start : start + len(chunk)]
            of_chunk = [labels[k] for k in numbers]
            rows = {
                "energy": sum(y.energy is not None for y in of_chunk),
                "forces": sum(3 * len(y.force_atoms()) for y in of_chunk),
                "stress": sum(y.stress.size for y in of_chunk if y.stress is not None),
            }
            result.append(ChunkSizes(noise_class, numbers, sum(map(len, chunk)), rows))
    return result
