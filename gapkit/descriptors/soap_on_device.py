"""`SOAP` on a GPU: loops are those of `gapkit._cuda.soap`, array algebra is the descriptor's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .._backend import cupy, row_products
from .._cuda.geometry import Geometry
from .._cuda.soap import Density, SoapLoops, SoapTables
from .._validation import describe
from ..exceptions import NotOnGPUError
from .on_device import AtomsOnDevice, Block, DeviceFeatures
from .soap import SOAP, harmonic_constants_of, mix, of_normalized, unmix

__all__ = ["SoapOnDevice"]

_LARGEST_MAP = 2**24  # elements of the matrix that stands for a sparse one: 128 MB


class _State(NamedTuple):
    """What the adjoint needs again."""

    density: Density
    left: Any
    right: Any
    norms: Any


class SoapOnDevice(AtomsOnDevice):
    """`SOAP` on a device.

    Parameters
    ----------
    descriptor : SOAP
        Fitted.
    species : sequence of int
        Atomic numbers of the species of `Geometry`.

    Raises
    ------
    NotOnGPUError
        If the basis maps the power spectrum by a matrix that is too large.
    """

    def __init__(self, descriptor: SOAP, species: Sequence[int]) -> None:
        self.descriptor, self.xp = descriptor, cupy()
        self.groups = [descriptor.species_.index(z) for z in species]
        channels, table = descriptor.channels(), descriptor.radial_table()
        n_max, density, weight = len(table.central), channels.density_s, channels.weight_s
        centre = np.eye(channels.n_densities)[density] * weight[:, None] if channels.centre_sd is None else channels.centre_sd
        self.same = channels.mix_right is channels.mix_left
        left, right = (
            (int(mixing.shape[2]), int(mixing.shape[3])) if mixing.size else (channels.n_densities, n_max)
            for mixing in (channels.mix_left, channels.mix_right)
        )
        factor, prefactor = descriptor.prefactors(channels)
        tables = SoapTables(
            table.reach,
            table.segments,
            table.table,
            harmonic_constants_of(int(descriptor.l_max)),
            density[self.groups],
            weight[self.groups],
            np.asarray(centre, float)[self.groups],
            table.central,
            left,
            right,
            self.same,
            channels.block_k3,
            factor,
            prefactor,
        )
        self.loops = SoapLoops(tables, self.xp)
        self.mix_left, self.mix_right = self.xp.asarray(channels.mix_left), self.xp.asarray(channels.mix_right)
        self.linear = None
        if channels.linear is not None:
            if np.prod(channels.linear.shape) > _LARGEST_MAP:
                rule = f"such that its map of the power spectrum has at most {_LARGEST_MAP} elements on a GPU"
                raise NotOnGPUError(describe("rbf", rule, channels.linear.shape, "Use device='cpu'."))
            self.linear = self.xp.asarray(channels.linear.toarray())

    def bytes_per_atom(self, n_pairs: int) -> float:
        """Of an atom with so many pairs."""
        return self.loops.bytes_per_atom(n_pairs)

    def compute(self, geometry: Geometry, block: Block) -> DeviceFeatures:
        """Normalised power spectra."""
        density, coefficients = self.loops.expand(geometry, block.members)
        left = mix(coefficients, self.mix_left)
        right = left if self.same else mix(coefficients, self.mix_right)
        spectrum = self.loops.power_spectrum(left, right)
        if self.linear is not None:
            spectrum = spectrum @ self.linear.T
        norms = self.descriptor.normalized(spectrum)
        return DeviceFeatures(self.descriptor.with_last(spectrum), None, _State(density, left, right, norms))

    def pullback(
        self, geometry: Geometry, block: Block, features: DeviceFeatures, dE_dx: Any, dE_dw: Any, gradient: Any
    ) -> None:
        """Add dE/d(pair vector)."""
        state, n = features.state, self.loops.n_elements if self.linear is None else len(self.linear)
        g, values = dE_dx[:, :n], features.values[:, :n]
        if self.descriptor.normalize:
            g = of_normalized(g, row_products(g, values), values, state.norms)
        if self.linear is not None:
            g = g @ self.linear
        of_left, of_right = self.loops.coefficient_gradient(state.left, state.right, g.astype(float, order="C", copy=False))
        of_coefficients = unmix(of_left, self.mix_left)
        if not self.same:
            of_coefficients = of_coefficients + unmix(of_right, self.mix_right)
        self.loops.pair_gradient(geometry, state.density, of_coefficients, gradient)
