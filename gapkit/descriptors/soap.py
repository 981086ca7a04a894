"""SOAP: smooth overlap of atomic positions."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.utils.validation import check_is_fitted

from .._backend import row_products, soap_ops
from .._validation import check_choice, check_cutoff, check_integer, check_real, describe
from ..exceptions import NumericalWarning
from ..neighbors import NeighborList
from .base import Descriptor, Features
from .basis import RADIAL_BASES
from .compression import Channels, channels_of, check_compression
from .foreign_basis import ForeignBasis
from .quip_basis import QuipBasis
from .soap_table import RadialTable, hard_reach, soap_table
from .turbo_basis import TurboBasis
from .weighting import Weighting, check_weighting, frozen_weighting, weight_end

__all__ = ["SOAP"]

Array = NDArray[np.float64]


@lru_cache(maxsize=32)
def harmonic_constants_of(l_max: int) -> Array:
    from .._device.harmonics import harmonic_constants  # imports Numba

    return harmonic_constants(l_max)


class _State(NamedTuple):
    """What the adjoint needs again: both factors of the power spectrum [e, d, lm, n], norms, neighbour species."""

    left: Array
    right: Array
    norms: Array
    species: NDArray[np.int64]


class SOAP(Descriptor):
    r"""Smooth overlap of atomic positions: the power spectrum of the neighbour density of an atom.

    Every atom within reach of the centre (the centre included) is a Gaussian of width sigma.  The density of each species Z is
    expanded in radial functions and real spherical harmonics,

    .. math:: c^Z_{nlm} = \sum_{j \in Z} f(r_j) \, w(r_j) \, g_{nl}(r_j) \, Y_{lm}(\hat r_j)

    with dscribe's radial functions g (`gapkit.descriptors.basis`), a cutoff function f and a weight w, and made invariant:

    .. math:: p^{ZZ'}_{nn'l} = \pi \sqrt{8 / (2l + 1)} \sum_m c^Z_{nlm} c^{Z'}_{n'lm}

    What the kernel sees is p with every element that stands for two (n' ≠ n of one species, every pair of unlike species)
    multiplied by √2, divided by its norm: the scalar product of two such vectors is the SOAP overlap of the environments.

    Parameters
    ----------
    r_cut : float, default 5.0
        Range of the basis, Å; above 1.
    n_max : int, default 8
        Number of radial functions, 1 to 20.
    l_max : int, default 6
        Largest angular momentum, 0 to 20.
    sigma : float, default 0.5
        Width of the Gaussians, Å.
    rbf : {"gto", "polynomial"}, QuipBasis or TurboBasis, default "gto"
        Radial basis: Gaussian-type orbitals reach beyond ``r_cut``, polynomials vanish there; `QuipBasis` and `TurboBasis`
        are QUIP's descriptors soap and soap_turbo, with their own weighting and compression.
    weighting : dict, optional
        Weight w(r) of a neighbour at distance r, x = r / r0, beside the cutoff function:
        ``{"function": "poly", "r0", "c", "m"}``: c (1 + 2x³ - 3x²)^m up to r0, 0 beyond;
        ``{"function": "pow", "r0", "c", "d", "m"}``: c / (d + x^m);
        ``{"function": "exp", "r0", "c", "d"}``: c / (d + e^x), which decays (dscribe 2.1.2 codes e^-x, which grows).
        ``"w0"``, alone or with a function, is the weight of the central atom.  pow with r0 of 2 to 3 Å and m of 4 to 8
        makes near neighbours count more (M. J. Willatt et al., PCCP 20, 29661 (2018)).
    compression : dict, optional
        Fewer features for many species.  ``{"mode": ...}`` is one of dscribe's "off", "crossover" (pairs of one species only),
        "mu1nu1" (one factor is summed over species), "mu2" (species-blind); or ``"nu"`` with ``"nu_r"`` and ``"nu_s"`` of 0
        to 2, how many of the two factors keep the radial index and the species (J. P. Darby, J. R. Kermode, G. Csányi,
        npj Comput. Mater. 8, 166 (2022)); or ``"mixed"`` with ``"channels"`` (and ``"seed"``), random mixtures of radial
        functions and species, of a size that does not depend on their number (J. P. Darby et al., Phys. Rev. Lett. 131,
        028001 (2023)).  ``"species_weighting"``, a dict over species, multiplies the density of each in every mode.
    species : sequence of str or int, optional
        Species that may occur; default: those of the structures seen in `fit`.
    cutoff_width : float or None, default 1.0
        A cosine takes every neighbour's weight from 1 at ``r_cut - cutoff_width`` to 0 at ``r_cut``, so that energies and
        forces are continuous when an atom crosses; atoms beyond are not visited.  None reproduces dscribe: full
        weight up to ``r_cut + 3.717 sigma``, a step there.
    average : {"off", "inner", "outer"}, default "off"
        One vector per structure, for `transform` only: of the mean coefficients ("inner"), or the mean of the power spectra
        ("outer").
    normalize : bool, default True
        False gives dscribe's numbers: no √2, no division by the norm.

    Attributes
    ----------
    species_ : list of int
        Atomic numbers, ascending.

    References
    ----------
    A. P. Bartók, R. Kondor, G. Csányi, Phys. Rev. B 87, 184115 (2013), eqs. 25-36.
    L. Himanen et al., Comput. Phys. Commun. 247, 106949 (2020): basis and prefactor.

    Examples
    --------
    >>> from ase.build import bulk
    >>> SOAP(r_cut=4.0, n_max=4, l_max=3).fit_transform([bulk("Si"), bulk("Si", cubic=True)]).shape
    (10, 40)
    """

    def __init__(
        self,
        r_cut: float = 5.0,
        n_max: int = 8,
        l_max: int = 6,
        sigma: float = 0.5,
        *,
        rbf: str | QuipBasis | TurboBasis = "gto",
        weighting: Mapping[str, Any] | None = None,
        compression: Mapping[str, Any] | None = None,
        species: Sequence[int | str] | None = None,
        average: str = "off",
        cutoff_width: float | None = 1.0,
        normalize: bool = True,
    ) -> None:
        self.r_cut = r_cut
        self.n_max = n_max
        self.l_max = l_max
        self.sigma = sigma
        self.rbf = rbf
        self.weighting = weighting
        self.compression = compression
        self.species = species
        self.average = average
        self.cutoff_width = cutoff_width
        self.normalize = normalize

    def check_parameters(self) -> None:
        """Raise ValueError or TypeError if a parameter is out of its range."""
        check_cutoff("r_cut", self.r_cut, above=1.0)
        check_integer("n_max", self.n_max, at_least=1, at_most=20, remedy="6 to 12 is usual.")
        check_integer("l_max", self.l_max, at_least=0, at_most=20, remedy="4 to 9 is usual.")
        check_real("sigma", self.sigma, above=0.0, at_most=5.0, remedy="It is in Å; 0.3 to 0.5 is usual.")
        check_choice("average", self.average, ("off", "inner", "outer"))
        if isinstance(self.rbf, ForeignBasis):
            self.rbf.check_parameters(self.n_max, self.sigma)
            kind = type(self.rbf).__name__
            for name in ("weighting", "compression"):
                if getattr(self, name) is not None:
                    raise ValueError(describe(name, f"None with {kind}", getattr(self, name), f"{kind} has its own."))
            if self.cutoff_width is None:
                raise ValueError(describe("cutoff_width", f"a number with {kind}", None, "QUIP's default is 0.5 Å."))
        else:
            check_choice("rbf", self.rbf, RADIAL_BASES, "Or a QuipBasis or TurboBasis.")
        check_weighting(self.weighting)
        check_compression(self.compression)
        if self.cutoff_width is not None:
            check_real(
                "cutoff_width",
                self.cutoff_width,
                above=0.0,
                at_most=self.r_cut,
                remedy="It lies inside r_cut, in Å; None gives a hard cutoff.",
            )
        elif (
            self.weighting is not None
            and "function" in self.weighting
            and weight_end(self._weighting()) > hard_reach(self.r_cut, self.sigma)
        ):
            knots = self.radial_table().table[:, 0]
            warnings.warn(
                f"The weighting does not vanish at {self.neighbor_range:.2f} Å: forces jump there, by "
                f"{np.abs(knots[-1]).max() / np.abs(knots).max():.1e} of the largest radial function. Set cutoff_width, or use "
                "the function 'poly' with a shorter r0.",
                NumericalWarning,
                stacklevel=2,
            )

    @property
    def neighbor_range(self) -> float:
        """Distance (Å) beyond which no atom is visited."""
        reach = float(self.r_cut) if self.cutoff_width is not None else hard_reach(self.r_cut, self.sigma)
        return min(reach, weight_end(self._weighting()))

    @property
    def n_features(self) -> int:
        """Length of the power spectrum."""
        return self._n_spectrum() + (self._last_element is not None)

    def compute(self, neighbors: NeighborList, *, jacobian: bool = False, centers: slice | None = None) -> Features:
        """Features of the environments of some atoms; see `Descriptor.compute`."""
        channels = self.channels()
        start, stop, _ = (centers or slice(None)).indices(neighbors.n_atoms)
        species = self.species_index(neighbors)
        geometry, radial = self._inputs(neighbors, species, (start, stop))
        left, right = self._factors_of_spectrum(geometry, radial, species[start:stop])
        products = (left, right, channels.block_k3, *self.prefactors(channels))
        spectrum = self._spectrum(products, channels)
        norms = self.normalized(spectrum)
        gradient = None
        if jacobian:
            gradient = np.empty((len(geometry[1]), 3, self._n_products(channels)))
            mixing = (len(self.radial_table().central), channels.mix_left, channels.mix_right)
            of_products = norms if channels.linear is None else np.full_like(norms, -1.0)
            soap_ops().jacobian(*geometry, *radial, *mixing, *products, spectrum, of_products, gradient)
            if channels.linear is not None:
                gradient = _mapped_gradient(gradient, channels.linear, spectrum, norms, geometry[0])
            gradient = self.with_last(gradient, 0.0)
        values = self.with_last(spectrum)
        state = _State(left, right, norms, geometry[1])
        return Features.of_atoms(values, species[start:stop], neighbors, (start, stop), gradient, state)

    def transform(self, X: Sequence[Atoms]) -> Array:
        """Return the features of all environments of all structures, or with ``average`` of each structure.

        Parameters
        ----------
        X : list of ase.Atoms
            Structures.

        Returns
        -------
        ndarray of shape (n_environments or n_structures, n_features)
        """
        check_is_fitted(self, "species_")
        if self.average == "off":
            return super().transform(X)
        neighbors = NeighborList.from_atoms(X, self.neighbor_range)
        species, channels = self.species_index(neighbors), self.channels()
        starts = neighbors.first_atom[:-1]

        def mean(of_atoms: Array) -> Array:
            sizes = np.diff(neighbors.first_atom).reshape(-1, *[1] * (of_atoms.ndim - 1))
            result: Array = np.add.reduceat(of_atoms, starts, axis=0) / sizes
            return result

        factors = self._factors_of_spectrum(*self._inputs(neighbors, species, (0, neighbors.n_atoms)), species)
        if self.average == "inner":
            left = mean(factors[0])
            factors = left, left if factors[1] is factors[0] else mean(factors[1])
        spectrum = self._spectrum((*factors, channels.block_k3, *self.prefactors(channels)), channels)
        if self.average == "outer":
            spectrum = mean(spectrum)
        self.normalized(spectrum)
        return self.with_last(spectrum)

    def pullback(self, features: Features, dE_dx: Array, dE_dw: Array | None = None) -> Array:
        """Gradient of an energy with respect to pair vectors, without a Jacobian; see `Descriptor.pullback`."""
        ops, table, constants = soap_ops(), self.radial_table(), harmonic_constants_of(self.l_max)
        channels, state, neighbors, n = self.channels(), features.state, features.neighbors, self._n_spectrum()
        gradient, values = np.ascontiguousarray(dE_dx[:, :n], float), features.values[:, :n]
        if self.normalize:
            along = np.einsum("ef,ef->e", gradient, values)
            gradient = of_normalized(gradient, along, values, state.norms)
        if channels.linear is not None:
            gradient = gradient @ channels.linear
        of_left = np.zeros_like(state.left)
        of_right = of_left if state.right is state.left else np.zeros_like(state.right)
        products = (state.left, state.right, channels.block_k3, *self.prefactors(channels))
        ops.coefficient_gradient(*products, gradient, of_left, of_right)
        of_coefficients = unmix(of_left, channels.mix_left)
        if of_right is not of_left:
            of_coefficients = of_coefficients + unmix(of_right, channels.mix_right)
        pairs = features.block
        result = np.empty((pairs.stop - pairs.start, 3))
        ops.pair_gradient(
            features.first,
            state.species,
            neighbors.vectors[pairs],
            neighbors.distances[pairs],
            table.reach,
            table.segments,
            table.table,
            constants,
            channels.density_s,
            channels.weight_s,
            of_coefficients,
            result,
        )
        return result

    def moved_features(self) -> list[NDArray[np.int64]] | None:
        """Blocks of the density that a neighbour adds to; the norm scales the others.  See `Descriptor.moved_features`."""
        channels = self.channels()
        mixed = channels.linear is not None or channels.mix_left.size or channels.mix_right.size
        if mixed or channels.n_densities < 3 or self._last_element is not None:
            return None  # of two species each moves three quarters: cutting them out would gain nothing
        first, second, triangle = channels.block_k3.T
        sizes = (self.l_max + 1) * np.where(triangle == 1, self.n_max * (self.n_max + 1) // 2, self.n_max**2)
        return [np.flatnonzero(np.repeat((first == d) | (second == d), sizes)) for d in channels.density_s]

    def _inputs(
        self, neighbors: NeighborList, species: NDArray[np.int64], centers: tuple[int, int]
    ) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """What the loops take of the pairs, and of the radial functions."""
        table, channels = self.radial_table(), self.channels()
        first = neighbors.first[centers[0] : centers[1] + 1]
        pairs = slice(int(first[0]), int(first[-1]))
        of_pairs = species[neighbors.neighbors[pairs]], neighbors.vectors[pairs], neighbors.distances[pairs]
        constants = harmonic_constants_of(self.l_max)
        radial = (table.reach, table.segments, table.table, constants, channels.density_s, channels.weight_s)
        return (first - first[0], *of_pairs), radial

    def _factors_of_spectrum(
        self, geometry: tuple[Any, ...], radial: tuple[Any, ...], species: NDArray[np.int64]
    ) -> tuple[Array, Array]:
        """Both factors of the power spectrum [e, d, lm, n]; one array if they are the same."""
        channels, central = self.channels(), self.radial_table().central
        coefficients = np.empty((len(species), channels.n_densities, (self.l_max + 1) ** 2, len(central)))
        usual = channels.centre_sd is None
        soap_ops().expand(*geometry, *radial, species, central if usual else np.zeros_like(central), coefficients)
        if channels.centre_sd is not None:
            coefficients[:, :, 0, :] += channels.centre_sd[species][:, :, None] * central
        left = mix(coefficients, channels.mix_left)
        return left, left if channels.mix_right is channels.mix_left else mix(coefficients, channels.mix_right)

    def _spectrum(self, products: tuple[Any, ...], channels: Channels) -> Array:
        """Features before they are normalised."""
        spectrum = np.empty((len(products[0]), self._n_products(channels)))
        soap_ops().power_spectrum(*products, spectrum)
        if channels.linear is None:
            return spectrum
        mapped: Array = (channels.linear @ spectrum.T).T
        return np.ascontiguousarray(mapped)

    def normalized(self, spectrum: Array) -> Array:
        """Divide by the norms, in place, and return them; negative ones stand for "not normalised"."""
        if not self.normalize:
            return np.full(len(spectrum), -1.0)
        norms: Array = np.sqrt(row_products(spectrum, spectrum))
        if isinstance(self.rbf, ForeignBasis):
            norms[norms < self.rbf.smallest_norm] = -1.0
        spectrum /= np.where(norms > 0.0, norms, 1.0)[:, None]
        return norms

    @property
    def _last_element(self) -> float | None:
        """Value of the element after the power spectrum, which some foreign bases have."""
        return self.rbf.last_element if isinstance(self.rbf, ForeignBasis) else None

    def with_last(self, spectrum: Array, value: float | None = None) -> Array:
        """Append the last element of QUIP's vectors."""
        if self._last_element is None:
            return spectrum
        value = self._last_element if value is None else value
        return np.concatenate([spectrum, np.full_like(spectrum[..., :1], value)], axis=-1)

    def radial_table(self) -> RadialTable:
        """Radial functions, with cutoff function and weighting."""
        shape = float(self.r_cut), int(self.n_max), int(self.l_max), float(self.sigma)
        if isinstance(self.rbf, ForeignBasis):
            return self.rbf.radial_table(*shape, float(self.cutoff_width or 0.0))
        return soap_table(self.rbf, *shape, None if self.cutoff_width is None else float(self.cutoff_width), self._weighting())

    def _weighting(self) -> Weighting:
        return frozen_weighting(self.weighting)

    def channels(self) -> Channels:
        """Which products of coefficients there are, for the species of the descriptor."""
        if isinstance(self.rbf, ForeignBasis):
            return self.rbf.channels(self.species_, self.n_max, self.l_max)
        return channels_of(self.compression, self.species_, self.n_max)

    def _n_products(self, channels: Channels) -> int:
        """Number of elements of the power spectrum."""
        return channels.n_pairs(self.n_max) * (self.l_max + 1)

    def _n_spectrum(self) -> int:
        """Number of features, but for a last element."""
        channels = self.channels()
        return self._n_products(channels) if channels.linear is None else channels.linear.shape[0]

    def prefactors(self, channels: Channels) -> tuple[Array, Array]:
        """Factor of each block of channels, and of each l."""
        if isinstance(self.rbf, ForeignBasis):
            return channels.factor_k, self.rbf.prefactors(self.l_max)
        of_l = 1.0 / np.sqrt(2.0 * np.arange(self.l_max + 1) + 1.0)
        return channels.factor_k if self.normalize else np.ones_like(channels.factor_k), np.pi * np.sqrt(8.0) * of_l


def of_normalized(gradient: Array, along: Array, values: Array, norms: Array) -> Array:
    """(g - x (x . g)) / |p| for vectors x = p / |p|, whose product with g is given; g itself where nothing was divided."""
    divisors = np.where(norms > 0.0, norms, np.where(norms < 0.0, 1.0, np.inf))
    result: Array = (gradient - np.where(norms < 0.0, 0.0, along)[..., None] * values) / divisors[..., None]
    return result


def _mapped_gradient(gradient: Array, linear: csr_array, values: Array, norms: Array, first: NDArray[np.int64]) -> Array:
    """Jacobian of the normalised features from that of the power spectrum, which ``linear`` maps to them."""
    flat: Array = (linear @ gradient.reshape(-1, gradient.shape[2]).T).T
    mapped = flat.reshape(*gradient.shape[:2], -1)
    environment = np.repeat(np.arange(len(values)), np.diff(first))
    along = np.einsum("pcf,pf->pc", mapped, values[environment])
    return of_normalized(mapped, along, values[environment][:, None, :], norms[environment][:, None])


def mix(coefficients: Array, mixing: Array) -> Array:
    """Channels [e, d, lm, m] of one factor of the power spectrum; the coefficients themselves without mixing."""
    if not mixing.size:
        return coefficients
    mixed = np.tensordot(coefficients, mixing, axes=([1, 3], [0, 1]))  # [e, lm, d, m]
    contiguous: Array = mixed.transpose(0, 2, 1, 3).astype(float, order="C", copy=False)  # CuPy's arrays have this too
    return contiguous


def unmix(gradient: Array, mixing: Array) -> Array:
    """Adjoint of `_mix`."""
    if not mixing.size:
        return gradient
    result = np.tensordot(gradient, mixing, axes=([1, 3], [2, 3]))  # [e, lm, s, n]
    contiguous: Array = result.transpose(0, 2, 1, 3).astype(float, order="C", copy=False)
    return contiguous
