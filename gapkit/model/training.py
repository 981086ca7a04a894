"""What a fit works on: structures with their labels, in chunks, and a model whose sparse points are chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from ..exceptions import InvalidStructureError
from ..gp.observations import KINDS, Labels, Noise
from ..gp.sparse_term import SparseTerm
from .atomic_energies import AtomicEnergies
from .fitting import CHUNK_ATOMS, chunks_of_frames
from .terms import Term

__all__ = ["RowChunk", "SparseModel", "TrainingSet"]


@dataclass(frozen=True)
class SparseModel:
    """A model on its way from parameters to a potential.

    Attributes
    ----------
    named : list of (str, Term)
        Its terms as parameters.
    sparse : list of SparseTerm
        The same with sparse points.
    noise : Noise
        Standard deviations of the labels.
    """

    named: list[tuple[str, Term]]
    sparse: list[SparseTerm]
    noise: Noise


@dataclass(frozen=True)
class RowChunk:
    """Frames of one noise class whose rows are computed together.

    Attributes
    ----------
    noise_class : str
        Key into `Noise.classes`.
    numbers : list of int
        Their places in the training set.
    frames : list of ase.Atoms
    labels : list of Labels
        Energies without those of isolated atoms.
    """

    noise_class: str
    numbers: list[int]
    frames: list[Atoms]
    labels: list[Labels]


@dataclass(frozen=True)
class TrainingSet:
    """Structures and their labels.

    Attributes
    ----------
    frames : list of ase.Atoms
    labels : list of Labels
        One per structure.
    """

    frames: list[Atoms]
    labels: list[Labels]

    def __add__(self, other: TrainingSet) -> TrainingSet:
        return TrainingSet(self.frames + other.frames, self.labels + other.labels)

    def with_counts(self, expected: Mapping[str, int]) -> TrainingSet:
        """Itself, if so many labels of each kind are used; else ValueError."""
        found = {kind: int(sum(of_frame.used(kind).sum() for of_frame in self.labels)) for kind in KINDS}
        if found != expected:
            given, had = (", ".join(f"{n} {kind}" for kind, n in d.items()) for d in (found, expected))
            raise ValueError(f"`X` must be the training set, which had {had}; got {given}. Give all of it, in its order.")
        return self

    def with_force_fraction(self, fraction: float, random_state: int | None) -> TrainingSet:
        """Leave the forces of some atoms out; which, hangs on the seed and on each structure alone, wherever it stands."""
        seed = 0 if random_state is None else random_state
        rngs = (np.random.default_rng([seed, crc32(atoms.positions.astype("<f8").tobytes())]) for atoms in self.frames)
        labels = [y.with_some_forces(fraction, rng) for y, rng in zip(self.labels, rngs, strict=True)]
        return TrainingSet(self.frames, labels)

    def chunks(self, e0: AtomicEnergies, noise: Noise, max_atoms: int = CHUNK_ATOMS) -> list[RowChunk]:
        """Divide into chunks of one noise class and at most ``max_atoms`` atoms (or one structure) each.

        Parameters
        ----------
        e0 : dict of int to float
            Energies of isolated atoms, subtracted from the energies.
        noise : Noise
            Decides which configuration types have a class of their own.
        max_atoms : int
            Size of a chunk.

        Returns
        -------
        list of RowChunk
        """
        result = []
        for noise_class in noise.classes():
            members = [k for k, y in enumerate(self.labels) if noise.class_of(y.config_type) == noise_class]
            for start, chunk in chunks_of_frames([self.frames[k] for k in members], max_atoms):
                numbers = members[start : start + len(chunk)]
                labels = [_without_e0(self.labels[k], self.frames[k], e0, k) for k in numbers]
                result.append(RowChunk(noise_class, numbers, chunk, labels))
        return result

    def sample(self, numbers: Sequence[int]) -> TrainingSet:
        """Some of the structures."""
        return TrainingSet([self.frames[k] for k in numbers], [self.labels[k] for k in numbers])


def _without_e0(labels: Labels, atoms: Atoms, e0: AtomicEnergies, frame: int) -> Labels:
    unknown = sorted({int(z) for z in atoms.numbers} - set(e0))
    if unknown:
        raise InvalidStructureError(
            f"Species must be among those of the training set ({', '.join(chemical_symbols[z] for z in e0)}); got "
            f"{', '.join(chemical_symbols[z] for z in unknown)} in frame {frame}. Fit a new model to all structures."
        )
    if labels.energy is None:
        return labels
    return replace(labels, energy=labels.energy - sum(e0[int(z)] for z in atoms.numbers))
