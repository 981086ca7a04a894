"""Triplets on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .._backend import cupy
from .._cuda.geometry import Geometry
from .._cuda.launch import launch
from .._cuda.memory import Memory
from .on_device import Block, DeviceDescriptor, DeviceFeatures
from .radial import falling_cosine
from .three_body import ThreeBody

__all__ = ["TripletsOnDevice"]

_LIST_BYTES = 6 * 8.0  # of a triplet, kept, and the like while pairs are sorted
_BYTES = 24 * 8.0  # of a triplet that is worked on, without its kernels


class _Triplets(NamedTuple):
    """The two pairs of each triplet; pairs that have any, and which: see `gapkit._cuda.triplet_bodies.triplet_gradient`."""

    pair_a: Any
    pair_b: Any
    pairs: Any
    first: Any
    entries: Any


class TripletsOnDevice(DeviceDescriptor):
    """`ThreeBody` on a device.

    All triplets that can come within the range before pairs are found anew are listed; those beyond it have no weight, and
    zeros for features.

    Parameters
    ----------
    descriptor : ThreeBody
        Fitted.
    species : sequence of int
        Atomic numbers of the species of `Geometry`.
    """

    multiplicity = ThreeBody.multiplicity

    def __init__(self, descriptor: ThreeBody, species: Sequence[int]) -> None:
        self.descriptor, self.xp = descriptor, cupy()
        self.groups = [descriptor.species_.index(z) for z in species]

    def blocks(self, geometry: Geometry, memory: Memory, n_points: Sequence[int]) -> list[Block]:
        """Triplets by the species of their atoms, in the order of their first pairs, and so of their centres."""
        xp, result, n_known = self.xp, [], len(self.descriptor.species_)
        near = geometry.distances < self.descriptor.neighbor_range + geometry.skin
        of_centre, of_neighbor = geometry.species[geometry.centers], geometry.species[geometry.neighbors]
        for centre, z in enumerate(self.groups):
            legs = [xp.flatnonzero((of_centre == centre) & (of_neighbor == s) & near) for s in range(len(self.groups))]
            for high, z_high in enumerate(self.groups):
                for low, z_low in enumerate(self.groups[: high + 1]):
                    group = z * (n_known * (n_known + 1) // 2) + z_high * (z_high + 1) // 2 + z_low
                    if n_points[group] > 0:
                        pairs = self._pairs_of_triplets(geometry, legs[low], legs[high], low == high, memory)
                        most = memory.at_a_time(_BYTES + 48.0 * n_points[group], "one triplet")
                        for start in range(0, len(pairs[0]), most):
                            result.append(self._block(geometry, group, *(p[start : start + most] for p in pairs)))
        return result

    def _pairs_of_triplets(self, geometry: Geometry, one: Any, other: Any, alike: bool, memory: Memory) -> tuple[Any, Any]:
        """Every pair in ``one`` with every one of its centre in ``other`` (with the later ones, where both are the same)."""
        xp = self.xp
        centers = geometry.centers[other]
        begin, end = (xp.searchsorted(centers, geometry.centers[one], side=side) for side in ("left", "right"))
        if alike:
            begin = xp.arange(1, len(one) + 1)
        until = xp.cumsum(end - begin)
        n = int(until[-1]) if len(one) else 0
        if n == 0:
            return one[:0], other[:0]
        if memory.at_a_time(_LIST_BYTES, "one triplet") < n:
            memory.at_a_time(_LIST_BYTES * n, f"a list of {n} triplets")  # raises, saying how much is needed
        triplets = xp.arange(n)
        k = xp.searchsorted(until, triplets, side="right")
        return one[k], other[end[k] - until[k] + triplets]

    def _block(self, geometry: Geometry, group: int, pair_a: Any, pair_b: Any) -> Block:
        xp, n = self.xp, len(pair_a)
        both = xp.concatenate([pair_a, pair_b])
        entries = xp.argsort(both)
        ordered = both[entries]
        first = xp.flatnonzero(xp.concatenate([xp.ones(1, bool), ordered[1:] != ordered[:-1]]))
        ends = xp.concatenate([first, xp.full(1, 2 * n, np.int64)])
        start = xp.searchsorted(geometry.centers[pair_a], xp.arange(geometry.n_atoms + 1))
        return Block(group, _Triplets(pair_a, pair_b, ordered[first], ends, entries), start, n)

    def compute(self, geometry: Geometry, block: Block) -> DeviceFeatures:
        """Features and weights; see `ThreeBody`."""
        of, xp = block.members, self.xp
        cutoff = falling_cosine(geometry.distances, float(self.descriptor.r_cut), float(self.descriptor.cutoff_width))
        values, weights = xp.empty((block.size, 3)), xp.empty(block.size)
        launch("triplet", block.size, of.pair_a, of.pair_b, geometry.vectors, geometry.distances, cutoff[0], values, weights)
        return DeviceFeatures(values, weights, cutoff)

    def pullback(
        self, geometry: Geometry, block: Block, features: DeviceFeatures, dE_dx: Any, dE_dw: Any, gradient: Any
    ) -> None:
        """Add dE/d(pair vector)."""
        of = block.members
        pairs = of.pairs, of.first, of.entries, of.pair_a, of.pair_b, geometry.vectors, geometry.distances
        slopes = (x.astype(float, order="C", copy=False) for x in (dE_dx, dE_dw))
        launch("triplet_gradient", len(of.pairs), *pairs, *features.state, features.values, features.weights, *slopes, gradient)

    def add_energies(self, block: Block, energy: Any, energies: Any) -> None:
        """Add to the energies of centres."""
        launch("add_row_sum", len(energies), block.start, energy, energies)

    def add_rows(self, block: Block, weights: Any, kernel: Any, column: int, rows: Any) -> None:
        """Add to the rows of centres."""
        launch("add_rows", kernel.shape[1], column, block.start, weights, kernel, rows, environments=len(rows))
