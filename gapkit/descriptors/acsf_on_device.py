"""Symmetry functions on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._backend import cupy
from .._cuda.geometry import Geometry
from .._cuda.launch import launch
from .acsf import ACSF
from .on_device import AtomsOnDevice, Block, DeviceFeatures

__all__ = ["AcsfOnDevice"]


class AcsfOnDevice(AtomsOnDevice):
    """`ACSF` on a device: a thread for each feature of an atom, and for the gradient of each pair.

    Parameters
    ----------
    descriptor : ACSF
        Fitted.
    species : sequence of int
        Atomic numbers of the species of `Geometry`.
    """

    def __init__(self, descriptor: ACSF, species: Sequence[int]) -> None:
        self.descriptor, self.xp = descriptor, cupy()
        self.groups = [descriptor.species_.index(z) for z in species]
        of, n, here = descriptor.functions(), len(descriptor.species_), {g: s for s, g in enumerate(self.groups)}
        n_pair, n_triplet = of.pair_table.shape[2], len(of.eta_h)
        # a species that no structure here can have is -1, which no atom is
        place = [(here.get(s, -1), -1, g) for s in range(n) for g in range(n_pair)]
        start = np.zeros((len(species) + 1, len(species)), np.int64)
        start[-1] = np.array(self.groups) * n_pair
        for high in range(n):
            for low in range(high + 1):
                if high in here and low in here:
                    start[here[high], here[low]] = start[here[low], here[high]] = len(place)
                    place += [(here[high], here[low], h) for h in range(n_triplet)]
                else:
                    place += [(-1, 0, h) for h in range(n_triplet)]
        put, self.n_narrow, self.reach = self.xp.asarray, int(of.n_narrow), float(descriptor.r_cut)
        self.place, self.start = put(np.array(place, np.int64).reshape(-1, 3)), put(start)
        self.of_pairs = put(of.pair_segments), put(of.pair_table)
        self.of_triplets = put(of.triplet_segments), put(of.triplet_table)
        self.factors = put(of.eta_h), put(of.zeta_a[of.angular_h]), put(of.sign_a[of.angular_h])
        self.n_pair, self.n_eta = int(n_pair), int(of.triplet_table.shape[2])

    def bytes_per_atom(self, n_pairs: int) -> float:
        """Of an atom with so many pairs."""
        return 8.0 * (2 * n_pairs * (self.n_pair + self.n_eta) + 4 * len(self.place))

    def compute(self, geometry: Geometry, block: Block) -> DeviceFeatures:
        """Symmetry functions of the atoms of a block."""
        xp, atoms, pairs = self.xp, block.members, geometry.pairs_of(block.members)
        n = pairs.stop - pairs.start
        basis = [xp.empty((n, m)) for m in (self.n_pair, self.n_pair, self.n_eta, self.n_eta)]
        launch("symmetry_basis", n, pairs.start, geometry.distances, self.reach, *self.of_pairs, *self.of_triplets, *basis)
        values = xp.empty((block.size, len(self.place)))
        of_geometry = geometry.first, geometry.species, geometry.neighbors, geometry.vectors, geometry.distances
        functions = self.place, self.n_narrow, *self.factors, *self.of_triplets
        arrays = *of_geometry, self.reach, *functions, basis[0], basis[2], values
        launch("symmetry_function", len(self.place), atoms.start, pairs.start, *arrays, environments=block.size)
        return DeviceFeatures(values, None, basis)

    def pullback(
        self, geometry: Geometry, block: Block, features: DeviceFeatures, dE_dx: Any, dE_dw: Any, gradient: Any
    ) -> None:
        """Add dE/d(pair vector)."""
        pairs, (_, d_pair, g, d) = geometry.pairs_of(block.members), features.state
        of_geometry = geometry.first, geometry.centers, geometry.neighbors, geometry.species, geometry.vectors
        functions = self.start, self.n_narrow, *self.factors, *self.of_triplets
        slopes = dE_dx.astype(float, order="C", copy=False)
        arrays = *of_geometry, geometry.distances, self.reach, *functions, d_pair, g, d, slopes, gradient
        launch("symmetry_gradient", pairs.stop - pairs.start, block.members.start, pairs.start, *arrays)
