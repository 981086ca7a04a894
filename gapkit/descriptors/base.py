"""What every descriptor is: a scikit-learn transformer from structures to environments, with derivatives per pair."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from ..exceptions import InvalidStructureError
from ..neighbors import NeighborList, check_structures

__all__ = ["DESCRIPTORS", "SMALLEST_WEIGHT", "Descriptor", "Features", "atomic_number", "species_of"]

Array = NDArray[np.float64]

DESCRIPTORS: dict[str, type[Descriptor]] = {}
"""Every descriptor class by name: what a model file may refer to."""

SMALLEST_WEIGHT = 0.01
"""Environments with less, close to the cutoff, are no sparse points."""


@dataclass(frozen=True)
class Features:
    """Environments of a batch of structures.

    Attributes
    ----------
    values : ndarray of shape (n_environments, n_features)
        What the kernel sees.
    groups : ndarray of shape (n_environments,)
        Index into the descriptor's ``group_names_``; kernels between groups are 0.
    owners : ndarray of shape (n_environments, n_owners)
        The atoms that share the environment's energy equally (numbered through the batch).  The first of them is the
        centre of every pair that the environment depends on.
    first : ndarray of shape (n_environments + 1,)
        Environment e depends on the pairs ``pairs[first[e]:first[e + 1]]``.
    pairs : ndarray of shape (first[-1],)
        Indices of pairs in ``neighbors``.
    block : slice
        The pairs of all centres that were asked for: what `Descriptor.pullback` returns gradients of.
    neighbors : NeighborList
        The pairs.
    jacobian : ndarray of shape (first[-1], 3, n_features) or None
        d values / d pair vector for each element of ``pairs``; 1/Å.
    weights : ndarray of shape (n_environments,) or None
        Smooth weight of each environment, 0 at the cutoff; None for 1.
    weight_gradient : ndarray of shape (first[-1], 3) or None
        d weights / d pair vector, with the Jacobian; 1/Å.
    state : object
        What `Descriptor.pullback` needs again.
    """

    values: Array
    groups: NDArray[np.int64]
    owners: NDArray[np.int64]
    first: NDArray[np.int64]
    pairs: NDArray[np.int64]
    block: slice
    neighbors: NeighborList
    jacobian: Array | None = None
    weights: Array | None = None
    weight_gradient: Array | None = None
    state: Any = None

    @property
    def weights_or_ones(self) -> Array:
        """The weights, 1 where there are none."""
        return np.ones(len(self.groups)) if self.weights is None else self.weights

    def part(self, environments: slice) -> Features:
        """A contiguous range of the environments, for what needs no `Descriptor.pullback`."""
        start, stop, _ = environments.indices(len(self.groups))
        entries = slice(int(self.first[start]), int(self.first[stop]))
        return replace(
            self,
            values=self.values[start:stop],
            groups=self.groups[start:stop],
            owners=self.owners[start:stop],
            first=self.first[start : stop + 1] - self.first[start],
            pairs=self.pairs[entries],
            jacobian=None if self.jacobian is None else self.jacobian[entries],
            weights=None if self.weights is None else self.weights[start:stop],
            weight_gradient=None if self.weight_gradient is None else self.weight_gradient[entries],
            state=None,
        )

    @classmethod
    def of_atoms(
        cls,
        values: Array,
        groups: NDArray[np.int64],
        neighbors: NeighborList,
        centers: tuple[int, int],
        jacobian: Array | None,
        state: Any,
    ) -> Self:
        """One environment per atom, which depends on all pairs of that atom."""
        start, stop = centers
        first = neighbors.first[start : stop + 1]
        block = slice(int(first[0]), int(first[-1]))
        owners = np.arange(start, stop)[:, None]
        pairs = np.arange(block.start, block.stop)
        return cls(values, groups, owners, first - first[0], pairs, block, neighbors, jacobian, state=state)


def species_of(frames: Sequence[Atoms]) -> list[int]:
    """Atomic numbers that occur, ascending."""
    return sorted({int(z) for atoms in frames for z in np.unique(atoms.numbers)})


def atomic_number(species: int | str) -> int:
    """Atomic number of a chemical symbol or number."""
    return chemical_symbols.index(species) if isinstance(species, str) else int(species)


class Descriptor(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Base class: subclasses set parameters in ``__init__`` and implement the abstract methods.

    A subclass registers itself under its class name, which is how model files refer to it.
    """

    multiplicity: ClassVar[int] = 1
    """How often an environment's energy counts: 2 where QUIP's sums run over both orders of a pair or triplet."""

    one_per_atom: ClassVar[bool] = True
    """Whether every atom has exactly one environment."""

    predict_only: ClassVar[bool] = False
    """Whether models of other programs can be run with it, but none fitted."""

    species: Sequence[int | str] | None
    species_: list[int]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.__name__.startswith("_"):
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
    def group_names_(self) -> list[str]:
        """Name of each group of environments; here the chemical symbols of the centres."""
        return [chemical_symbols[z] for z in self.species_]

    @abstractmethod
    def compute(self, neighbors: NeighborList, *, jacobian: bool = False, centers: slice | None = None) -> Features:
        """Features of the environments of some centres.

        Parameters
        ----------
        neighbors : NeighborList
            Pairs up to at least `neighbor_range`.
        jacobian : bool, default False
            Also return the derivatives with respect to each pair vector: for fitting.
        centers : slice, optional
            Contiguous range of atoms; default all.  A pair belongs to the centre of its first direction.

        Returns
        -------
        Features

        Raises
        ------
        InvalidStructureError
            If an atom has a species that the descriptor was not fitted with.
        """

    @abstractmethod
    def pullback(self, features: Features, dE_dx: Array, dE_dw: Array | None = None) -> Array:
        """Adjoint of `compute`: gradient of an energy with respect to pair vectors, without a Jacobian.

        Parameters
        ----------
        features : Features
            From `compute`.
        dE_dx : ndarray of shape (n_environments, n_features)
            Derivative of the energy with respect to ``features.values``, eV over their unit.
        dE_dw : ndarray of shape (n_environments,), optional
            Derivative with respect to ``features.weights``, eV; not used where there are none.

        Returns
        -------
        ndarray of shape (n_pairs of ``features.block``, 3)
            dE/d(pair vector), eV/Å.
        """

    def moved_features(self) -> list[NDArray[np.int64]] | None:
        """Features that a neighbour of each species moves; the others it can only scale, all alike.  None: it moves most."""
        return None

    def may_be_sparse(self, features: Features) -> NDArray[np.bool_]:
        """Which environments a fit may choose as sparse points, shape (n_environments,): not those close to the cutoff."""
        return features.weights_or_ones >= SMALLEST_WEIGHT

    def entries_until(self, neighbors: NeighborList) -> NDArray[np.int64]:
        """Number of (environment, pair) entries of all centres before each one, shape (n_atoms + 1,)."""
        return neighbors.first

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
            self.species_ = sorted({atomic_number(s) for s in self.species})
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

    def derivatives(self, atoms: Atoms, *, memory_limit: float = 2.0) -> Array:
        """Dense derivatives by atomic positions in dscribe's shape, for small systems and for checks.

        Centres move with their atoms (dscribe's ``attach=True``), and all periodic images of an atom move together.

        Parameters
        ----------
        atoms : ase.Atoms
            One structure.
        memory_limit : float, default 2.0
            Largest size of the result, GiB.

        Returns
        -------
        ndarray of shape (n_environments, n_atoms, 3, n_features)
            d feature / d position, 1/Å.

        Raises
        ------
        MemoryError
            If the result would be larger than ``memory_limit``.
        """
        check_is_fitted(self, "species_")
        neighbors = NeighborList.from_atoms([atoms], self.neighbor_range)
        n_environments = len(atoms) if self.one_per_atom else len(self.compute(neighbors).values)
        size = 24.0 * n_environments * len(atoms) * self.n_features / 2**30
        if size > memory_limit:
            raise MemoryError(
                f"Dense derivatives of {n_environments} environments, {len(atoms)} atoms and {self.n_features} features take "
                f"{size:.1f} GiB; the limit is {memory_limit:g}. Use compute(neighbors, jacobian=True).jacobian, which has "
                "only the neighbours of each environment, or pullback, which needs no derivatives at all."
            )
        features = self.compute(neighbors, jacobian=True)
        assert features.jacobian is not None  # noqa: S101 - for the type checker
        environment = np.repeat(np.arange(n_environments), np.diff(features.first))
        result = np.zeros((n_environments, len(atoms), 3, self.n_features))
        np.add.at(result, (environment, neighbors.neighbors[features.pairs]), features.jacobian)
        np.subtract.at(result, (environment, neighbors.centers[features.pairs]), features.jacobian)
        return result

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
