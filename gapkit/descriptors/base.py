"""What every descriptor is: a scikit-learn transformer from structures to environments, with derivatives per pair."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from ..exceptions import InvalidStructureError
from ..neighbors import NeighborList, check_structures

__all__ = ["DESCRIPTORS", "Descriptor", "Features", "species_of"]

Array = NDArray[np.float64]

DESCRIPTORS: dict[str, type[Descriptor]] = {}
"""Every descriptor class by name: what a model file may refer to."""


@dataclass(frozen=True)
class Features:
    """Environments of a batch of structures.

    Attributes
    ----------
    values : ndarray of shape (n_environments, n_features)
        What the kernel sees.
    groups : ndarray of shape (n_environments,)
        Index into the descriptor's ``group_names_``; kernels between groups are 0.
    atoms : ndarray of shape (n_environments,)
        The atom that has the environment's energy (numbered through the batch).
    first : ndarray of shape (n_environments + 1,)
        First pair of each environment: environment e depends on the pairs first[e] ... first[e + 1] - 1.
    neighbors : NeighborList
        The pairs.
    jacobian : ndarray of shape (first[-1] - first[0], 3, n_features) or None
        d values / d pair vector, pair by pair; 1/Å.
    state : object
        What `Descriptor.pullback` needs again.
    """

    values: Array
    groups: NDArray[np.int64]
    atoms: NDArray[np.int64]
    first: NDArray[np.int64]
    neighbors: NeighborList
    jacobian: Array | None
    state: Any


def species_of(frames: Sequence[Atoms]) -> list[int]:
    """Atomic numbers that occur, ascending."""
    return sorted({int(z) for atoms in frames for z in np.unique(atoms.numbers)})


class Descriptor(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Base class: subclasses set parameters in ``__init__`` and implement the abstract methods.

    A subclass registers itself under its class name, which is how model files refer to it.
    """

    species: Sequence[int | str] | None
    species_: list[int]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        DESCRIPTORS[cls.__name__] = cls

    @abstractmethod
    def check_parameters(self) -> None:
        """Raise ValueError or TypeError if a parameter is out of its range."""

    @property
    @abstractmethod
    def neighbor_range(self) -> float:
        """Distance (Å) up to which neighbours can matter."""

    @property
    @abstractmethod
    def n_features(self) -> int:
        """Length of a feature vector of the fitted descriptor."""

    @property
    @abstractmethod
    def group_names_(self) -> list[str]:
        """Name of each group of environments."""

    @abstractmethod
    def compute(self, neighbors: NeighborList, *, jacobian: bool = False, centers: slice | None = None) -> Features:
        """Features of the environments that belong to ``centers`` (default: all atoms of the list)."""

    @abstractmethod
    def pullback(self, features: Features, dE_dx: Array) -> Array:
        """Adjoint of `compute`: dE/d(pair vector), shape (first[-1] - first[0], 3), from dE/d(values)."""

    def fit(self, X: Sequence[Atoms], y: None = None) -> Self:
        """Check the parameters and learn which species occur.

        Parameters
        ----------
        X : list of ase.Atoms
            Structures.
        y : None
            Ignored.

        Returns
        -------
        Descriptor
            The fitted descriptor itself.
        """
        frames = check_structures(X, name="X")
        self.check_parameters()
        if self.species is None:
            self.species_ = species_of(frames)
        else:
            self.species_ = sorted({chemical_symbols.index(s) if isinstance(s, str) else int(s) for s in self.species})
        return self

    def transform(self, X: Sequence[Atoms]) -> Array:
        """Return the features of all environments of all structures.

        Parameters
        ----------
        X : list of ase.Atoms
            Structures.

        Returns
        -------
        ndarray of shape (n_environments, n_features)
        """
        check_is_fitted(self, "species_")
        return self.compute(NeighborList.from_atoms(X, self.neighbor_range)).values

    def get_feature_names_out(self, input_features: None = None) -> NDArray[np.object_]:
        """Names of the features, for scikit-learn.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self, "species_")
        name = type(self).__name__.lower()
        return np.array([f"{name}{k}" for k in range(self.n_features)], dtype=object)

    def species_index(self, neighbors: NeighborList) -> NDArray[np.int64]:
        """Index in ``species_`` of each atom.

        Raises
        ------
        InvalidStructureError
            If a species was not among those that the descriptor was fitted with.
        """
        lookup = np.full(len(chemical_symbols), -1, np.int64)
        lookup[self.species_] = np.arange(len(self.species_))
        index = lookup[neighbors.numbers]
        if len(index) and index.min() < 0:
            unknown = np.flatnonzero(index < 0)
            symbols = ", ".join(chemical_symbols[z] for z in np.unique(neighbors.numbers[unknown]))
            known = ", ".join(chemical_symbols[z] for z in self.species_)
            raise InvalidStructureError(
                f"Species must be among those of the training set ({known}); got {symbols} in frame "
                f"{neighbors.first_frame + neighbors.structure[unknown[0]]}. "
                "Train on structures that contain it, or leave these structures out."
            )
        return index
