"""Descriptors on a GPU: the same features and adjoints as `Descriptor.compute` and `Descriptor.pullback`, of device arrays.

Environments come in blocks of one group each, so that no step of a
calculation has to look where they are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from .._backend import cupy, row_products
from .._cuda.geometry import Geometry
from .._cuda.launch import launch
from .._cuda.memory import Memory
from .two_body import TwoBody

__all__ = ["AtomsOnDevice", "Block", "DeviceDescriptor", "DeviceFeatures", "PairsOnDevice"]


class Block(NamedTuple):
    """Environments of one group that are done at a time.

    ``group``; ``members``: range of atoms, or indices of pairs on the device; ``start``: for pairs, the first member of each
    atom and, last, their number (on the device); ``size``: number of environments.
    """

    group: int
    members: Any
    start: Any
    size: int


class DeviceFeatures(NamedTuple):
    """Features of a block: values [e, f], weights [e] (None for 1), and what the adjoint needs again."""

    values: Any
    weights: Any
    state: Any


class DeviceDescriptor(ABC):
    """Base class; arrays are CuPy's."""

    multiplicity: float = 1.0
    """How often an environment's energy counts."""

    @abstractmethod
    def blocks(self, geometry: Geometry, memory: Memory, n_points: Sequence[int]) -> list[Block]:
        """Divide the environments; ``n_points`` is the number of sparse points of each group, those with none are left out."""

    @abstractmethod
    def compute(self, geometry: Geometry, block: Block) -> DeviceFeatures:
        """Features of a block of environments."""

    @abstractmethod
    def pullback(
        self, geometry: Geometry, block: Block, features: DeviceFeatures, dE_dx: Any, dE_dw: Any, gradient: Any
    ) -> None:
        """Add dE/d(pair vector) to ``gradient`` (n_pairs, 3); see `Descriptor.pullback`."""

    @abstractmethod
    def add_energies(self, block: Block, energy: Any, energies: Any) -> None:
        """Add the energies of environments, weights included, to those of atoms."""

    @abstractmethod
    def add_rows(self, block: Block, weights: Any, kernel: Any, column: int, rows: Any) -> None:
        """Add the kernels of environments with sparse points, times weights (None for 1), to ``rows[atom, column:]``."""


class AtomsOnDevice(DeviceDescriptor):
    """Environments are atoms; blocks are ranges of atoms of one species.

    Attributes
    ----------
    groups : list of int
        Group of each species of `Geometry`.
    """

    groups: list[int]

    @abstractmethod
    def bytes_per_atom(self, n_pairs: int) -> float:
        """Of an atom with so many pairs, without its kernels."""

    def blocks(self, geometry: Geometry, memory: Memory, n_points: Sequence[int]) -> list[Block]:
        """Ranges of atoms of one species."""
        result, end = [], 0
        for group, count in zip(self.groups, geometry.species_counts.tolist(), strict=True):
            start, end = end, end + count
            if count == 0 or n_points[group] == 0:
                continue
            n_pairs = int(np.diff(geometry.host_first[start : end + 1]).max())
            each = self.bytes_per_atom(n_pairs) + 56.0 * n_points[group]  # up to seven matrices of kernels
            most = memory.at_a_time(each, f"one atom with {n_pairs} neighbours")
            n_parts = -(-count // most)
            ends = np.linspace(start, end, n_parts + 1).astype(int).tolist()
            result += [Block(group, slice(i, j), None, j - i) for i, j in pairwise(ends)]
        return result

    def add_energies(self, block: Block, energy: Any, energies: Any) -> None:
        """Add to the energies of the atoms."""
        energies[block.members] += energy

    def add_rows(self, block: Block, weights: Any, kernel: Any, column: int, rows: Any) -> None:
        """Add to the rows of the atoms."""
        rows[block.members, column : column + kernel.shape[1]] += kernel


class PairsOnDevice(DeviceDescriptor):
    """`TwoBody` on a device: both directions of a pair, each with half the energy, which belongs to its centre.

    Parameters
    ----------
    descriptor : TwoBody
        Fitted.
    species : sequence of int
        Atomic numbers of the species of `Geometry`.
    """

    multiplicity = TwoBody.multiplicity / 2

    def __init__(self, descriptor: TwoBody, species: Sequence[int]) -> None:
        self.descriptor, self.xp = descriptor, cupy()
        index = [descriptor.species_.index(z) for z in species]
        low, high = np.minimum.outer(index, index), np.maximum.outer(index, index)
        self.group_ss = high * (high + 1) // 2 + low

    def blocks(self, geometry: Geometry, memory: Memory, n_points: Sequence[int]) -> list[Block]:
        """Pairs that can come within the range before pairs are found anew, by the species of both atoms."""
        xp, result = self.xp, []
        group = xp.asarray(self.group_ss)[geometry.species[geometry.centers], geometry.species[geometry.neighbors]]
        near = geometry.distances < self.descriptor.neighbor_range + geometry.skin
        atoms = xp.arange(geometry.n_atoms + 1)
        for g in np.unique(self.group_ss).tolist():
            if n_points[g] == 0:
                continue
            members = xp.flatnonzero((group == g) & near)
            most = memory.at_a_time(8.0 * (6 * n_points[g] + 24), "one pair")
            for start in range(0, len(members), most):
                part = members[start : start + most]
                result.append(Block(g, part, xp.searchsorted(geometry.centers[part], atoms), len(part)))
        return result

    def compute(self, geometry: Geometry, block: Block) -> DeviceFeatures:
        """Distances and weights; see `TwoBody`."""
        r = geometry.distances[block.members]
        of_pairs = self.descriptor.of_distances(r)
        return DeviceFeatures(of_pairs.values, of_pairs.weights, (r, of_pairs))

    def pullback(
        self, geometry: Geometry, block: Block, features: DeviceFeatures, dE_dx: Any, dE_dw: Any, gradient: Any
    ) -> None:
        """Add dE/d(pair vector)."""
        r, of_pairs = features.state
        slope = dE_dx[:, 0] if of_pairs.slopes is None else row_products(dE_dx, of_pairs.slopes)
        slope = slope + dE_dw * of_pairs.weight_slopes
        gradient[block.members] += (slope / r)[:, None] * geometry.vectors[block.members]

    def add_energies(self, block: Block, energy: Any, energies: Any) -> None:
        """Add to the energies of centres."""
        launch("add_row_sum", len(energies), block.start, energy, energies)

    def add_rows(self, block: Block, weights: Any, kernel: Any, column: int, rows: Any) -> None:
        """Add to the rows of centres."""
        launch("add_rows", kernel.shape[1], column, block.start, weights, kernel, rows, environments=len(rows))
