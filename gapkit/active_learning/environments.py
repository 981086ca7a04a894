"""How far local environments are apart, as a kernel of the model sees them, and which frames repeat each other.

The distance of two environments of one group is that of their images in the feature space of the kernel,

.. math:: d^2(x, s) = k(x, x) + k(s, s) - 2 k(x, s)

at unit amplitude; environments of different groups (species of the centre) are not compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray

from ..descriptors import SOAP
from ..gp.sparse_term import SparseTerm
from ..kernels import DotProduct
from ..model import Potential
from ..neighbors import NeighborList

__all__ = ["EnvironmentSpace", "Environments", "Twins"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

_FRAMES, _ATOMS = 64, 16  # of the sample of the pool that says what is near: frames, and environments of each
_CLOSEST = 1e-3  # part of the pairs of environments that count as near
_ROUNDING = 1e-10  # of k(x, x): distances squared below are those of equal environments


@dataclass(frozen=True)
class Environments:
    """Environments of a structure.

    Attributes
    ----------
    values : ndarray of shape (n, n_features)
        As the kernel sees them.
    groups : ndarray of shape (n,)
        Only those of one group are compared.
    squares : ndarray of shape (n,)
        k(x, x).
    """

    values: Array
    groups: Index
    squares: Array

    def part(self, members: Index) -> Environments:
        """Some of them."""
        return Environments(self.values[members], self.groups[members], self.squares[members])


class EnvironmentSpace:
    """The first term of a model with one environment per atom, as a measure of distance.

    A model of pairs and triplets alone is measured with SOAP (5 Å, n_max 6, l_max 4, zeta 4), which has no sparse points.

    Parameters
    ----------
    potential : Potential
        The fitted model.
    frames : sequence of ase.Atoms
        Structures of the pool, of species that the model knows.
    """

    def __init__(self, potential: Potential, frames: Sequence[Atoms]) -> None:
        per_atom = [term for term in potential.terms if term.descriptor.one_per_atom]
        self.term = per_atom[0] if per_atom else _generic(sorted(potential.e0), frames)
        self.frames = frames

    def of(self, k: int) -> Environments:
        """Environments of a frame."""
        neighbors = NeighborList.from_atoms([self.frames[k]], self.term.descriptor.neighbor_range, first_frame=k)
        features = self.term.descriptor.compute(neighbors)
        values = features.values.copy()
        for group in np.unique(features.groups):
            members = features.groups == group
            values[members] = self.term.seen(int(group), values[members])
        return Environments(values, features.groups, self.term.kernel.diag(values))

    def sparse_points(self) -> Environments:
        """The sparse points of the term."""
        values = np.concatenate([self.term.seen(g, points) for g, points in enumerate(self.term.points)])
        groups = np.repeat(np.arange(len(self.term.points)), [len(points) for points in self.term.points])
        return Environments(values, groups, self.term.kernel.diag(values) if len(values) else np.empty(0))

    def nearest(self, a: Environments, b: Environments) -> Array:
        """Squared distance from each of ``a`` to the nearest of ``b``, shape (n_a,); k(x, x) + 1 where there is none."""
        result: Array = a.squares + 1.0
        for group in np.unique(a.groups):
            left, right = np.flatnonzero(a.groups == group), np.flatnonzero(b.groups == group)
            if len(right):
                result[left] = self._squared(a.part(left), b.part(right)).min(axis=1)
        return result

    def near(self) -> Array:
        """Squared distance below which environments of each group count as near, shape (n_groups,).

        One pair in a thousand is nearer, among environments of different frames: of at most 64 frames spread evenly over the
        pool and 16 environments of a group of each.
        """
        groups = len(self.term.points)
        parts: list[list[tuple[int, Environments]]] = [[] for _ in range(groups)]
        for k in np.unique(np.linspace(0, len(self.frames) - 1, _FRAMES).astype(int)):
            found = self.of(int(k))
            for group, of_group in enumerate(parts):
                members = np.flatnonzero(found.groups == group)
                if len(members):
                    spread = np.unique(np.linspace(0, len(members) - 1, _ATOMS).astype(int))
                    of_group.append((int(k), found.part(members[spread])))
        return np.array([self._near(of_group) for of_group in parts])

    def _near(self, parts: Sequence[tuple[int, Environments]]) -> float:
        if not parts:
            return 0.0
        values, squares = (np.concatenate([getattr(e, name) for _, e in parts]) for name in ("values", "squares"))
        frame = np.repeat([k for k, _ in parts], [len(e.squares) for _, e in parts])
        every = Environments(values, np.zeros(len(values), np.int64), squares)
        distances = self._squared(every, every)[frame[:, None] < frame]
        floor = _ROUNDING * float(squares.max())
        return max(floor, float(np.quantile(distances, _CLOSEST))) if len(distances) else floor

    def _squared(self, a: Environments, b: Environments) -> Array:
        """Squared distances between environments of one group."""
        result: Array = a.squares[:, None] + b.squares - 2.0 * self.term.kernel(a.values, b.values)
        return np.maximum(result, 0.0)


def _generic(species: Sequence[int], frames: Sequence[Atoms]) -> SparseTerm:
    descriptor = SOAP(r_cut=5.0, n_max=6, l_max=4, species=[chemical_symbols[z] for z in species]).fit(frames)
    points = [np.empty((0, descriptor.n_features)) for _ in descriptor.group_names_]
    return SparseTerm.build(descriptor, DotProduct(zeta=4), 1.0, points, 0)[0]


class Twins:
    """Recognises frames that show nothing beside a frame that was picked already.

    A frame is a twin of another if each of its environments has one there that is nearer than all but one in a thousand of the
    pairs of environments of the pool (`EnvironmentSpace.near`); copies, rotated or renumbered, always are.

    Parameters
    ----------
    space : EnvironmentSpace
    """

    def __init__(self, space: EnvironmentSpace) -> None:
        self.space = space
        self.near = space.near()
        self.picked: list[tuple[int, Environments]] = []

    def add(self, k: int) -> None:
        """Note that a frame was picked."""
        self.picked.append((k, self.space.of(k)))

    def twin_of(self, k: int) -> int | None:
        """The first frame picked that frame ``k`` is a twin of."""
        own = self.space.of(k)
        limit = self.near[own.groups] + _ROUNDING * own.squares
        for number, other in self.picked:
            if np.isin(own.groups, other.groups).all() and (self.space.nearest(own, other) <= limit).all():
                return number
        return None
