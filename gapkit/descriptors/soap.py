"""SOAP: smooth overlap of atomic positions."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from .._backend import soap_ops
from .._validation import check_choice, check_integer, check_real
from ..exceptions import NumericalWarning
from ..neighbors import NeighborList
from .base import Descriptor, Features
from .basis import RADIAL_BASES
from .soap_table import RadialTable, hard_reach, soap_table
from .weighting import Weighting, check_weighting, frozen_weighting, weight_end

__all__ = ["SOAP"]

Array = NDArray[np.float64]


@lru_cache(maxsize=32)
def _harmonic_constants(l_max: int) -> Array:
    from .._device.harmonics import harmonic_constants  # imports Numba

    return harmonic_constants(l_max)


class _State(NamedTuple):
    """What the adjoint needs again: coefficients c[e, s, lm, n], norms, neighbour species."""

    coefficients: Array
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
    rbf : {"gto", "polynomial"}, default "gto"
        Radial basis: Gaussian-type orbitals reach beyond ``r_cut``, polynomials vanish there.
    weighting : dict, optional
        Weight w(r) of a neighbour at distance r, x = r / r0, beside the cutoff function:
        ``{"function": "poly", "r0", "c", "m"}``: c (1 + 2x³ - 3x²)^m up to r0, 0 beyond;
        ``{"function": "pow", "r0", "c", "d", "m"}``: c / (d + x^m);
        ``{"function": "exp", "r0", "c", "d"}``: c / (d + e^x), which decays (dscribe 2.1.2 codes e^-x, which grows).
        ``"w0"``, alone or with a function, is the weight of the central atom.  pow with r0 of 2 to 3 Å and m of 4 to 8
        makes near neighbours count more (M. J. Willatt et al., PCCP 20, 29661 (2018)).
    species : sequence of str or int, optional
        Species that may occur; default: those of the structures seen in `fit`.
    cutoff_width : float or None, default 1.0
        A cosine takes every neighbour's weight from 1 at ``r_cut - cutoff_width`` to 0 at ``r_cut``, so that energies and
        forces are continuous when an atom crosses; atoms beyond are not visited.  None reproduces dscribe: full
        weight up to ``r_cut + 3.717 sigma``, a step there.
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
        rbf: str = "gto",
        weighting: Mapping[str, Any] | None = None,
        species: Sequence[int | str] | None = None,
        cutoff_width: float | None = 1.0,
        normalize: bool = True,
    ) -> None:
        self.r_cut = r_cut
        self.n_max = n_max
        self.l_max = l_max
        self.sigma = sigma
        self.rbf = rbf
        self.weighting = weighting
        self.species = species
        self.cutoff_width = cutoff_width
        self.normalize = normalize

    def check_parameters(self) -> None:
        """Raise ValueError or TypeError if a parameter is out of its range."""
        check_real("r_cut", self.r_cut, above=1.0, at_most=30.0, remedy="It is in Å; 4 to 6 is usual.")
        check_integer("n_max", self.n_max, at_least=1, at_most=20, remedy="6 to 12 is usual.")
        check_integer("l_max", self.l_max, at_least=0, at_most=20, remedy="4 to 9 is usual.")
        check_real("sigma", self.sigma, above=0.0, at_most=5.0, remedy="It is in Å; 0.3 to 0.5 is usual.")
        check_choice("rbf", self.rbf, RADIAL_BASES)
        check_weighting(self.weighting)
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
            knots = self._table().table[:, 0]
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
        channels = len(self.species_) * self.n_max
        return channels * (channels + 1) // 2 * (self.l_max + 1)

    @property
    def group_names_(self) -> list[str]:
        """Chemical symbols: environments of different centre species are not compared."""
        return [chemical_symbols[z] for z in self.species_]

    def compute(self, neighbors: NeighborList, *, jacobian: bool = False, centers: slice | None = None) -> Features:
        """Features of the environments of some atoms.

        Parameters
        ----------
        neighbors : NeighborList
            Pairs up to at least `neighbor_range`.
        jacobian : bool, default False
            Also return the derivative with respect to each pair vector: for fitting.
        centers : slice, optional
            Contiguous range of atoms; default all.

        Returns
        -------
        Features

        Raises
        ------
        InvalidStructureError
            If an atom has a species that the descriptor was not fitted with.
        """
        ops, table, constants = soap_ops(), self._table(), _harmonic_constants(self.l_max)
        start, stop, _ = (centers or slice(None)).indices(neighbors.n_atoms)
        species = self.species_index(neighbors)
        first = neighbors.first[start : stop + 1]
        pairs = slice(int(first[0]), int(first[-1]))
        local = first - first[0]
        geometry = (local, species[neighbors.neighbors[pairs]], neighbors.vectors[pairs], neighbors.distances[pairs])
        radial = (table.reach, table.segments, table.table, constants)
        coefficients = np.empty((stop - start, len(self.species_), (self.l_max + 1) ** 2, self.n_max))
        ops.expand(*geometry, *radial, species[start:stop], table.central, coefficients)
        values = np.empty((stop - start, self.n_features))
        prefactor, off_diagonal = self._prefactors()
        ops.power_spectrum(coefficients, prefactor, off_diagonal, values)
        norms = np.full(len(values), -1.0)  # negative: not normalised
        if self.normalize:
            norms = np.sqrt(np.einsum("ef,ef->e", values, values))
            values /= np.where(norms > 0.0, norms, 1.0)[:, None]
        gradient = None
        if jacobian:
            gradient = np.empty((pairs.stop - pairs.start, 3, self.n_features))
            ops.jacobian(*geometry, *radial, coefficients, prefactor, off_diagonal, values, norms, gradient)
        return Features(
            values=values,
            groups=species[start:stop],
            atoms=np.arange(start, stop),
            first=first,
            neighbors=neighbors,
            jacobian=gradient,
            state=_State(coefficients, norms, geometry[1]),
        )

    def pullback(self, features: Features, dE_dx: Array) -> Array:
        """Gradient of an energy with respect to pair vectors, without a Jacobian.

        Parameters
        ----------
        features : Features
            From `compute`.
        dE_dx : ndarray of shape (n_environments, n_features)
            Derivative of the energy with respect to ``features.values``, eV.

        Returns
        -------
        ndarray of shape (n_pairs of these environments, 3)
            dE/d(pair vector), eV/Å.
        """
        ops, table, constants = soap_ops(), self._table(), _harmonic_constants(self.l_max)
        state, neighbors = features.state, features.neighbors
        gradient = np.asarray(dE_dx, float)
        if self.normalize:  # d(p / |p|) = (dp - x (x . dp)) / |p|
            along = np.einsum("ef,ef->e", gradient, features.values)
            norms = np.where(state.norms > 0.0, state.norms, np.inf)
            gradient = (gradient - along[:, None] * features.values) / norms[:, None]
        of_coefficients = np.empty_like(state.coefficients)
        prefactor, off_diagonal = self._prefactors()
        ops.coefficient_gradient(state.coefficients, prefactor, off_diagonal, gradient, of_coefficients)
        first = features.first
        pairs = slice(int(first[0]), int(first[-1]))
        result = np.empty((pairs.stop - pairs.start, 3))
        ops.pair_gradient(
            first - first[0],
            state.species,
            neighbors.vectors[pairs],
            neighbors.distances[pairs],
            table.reach,
            table.segments,
            table.table,
            constants,
            of_coefficients,
            result,
        )
        return result

    def _table(self) -> RadialTable:
        width = None if self.cutoff_width is None else float(self.cutoff_width)
        shape = float(self.r_cut), int(self.n_max), int(self.l_max), float(self.sigma)
        return soap_table(self.rbf, *shape, width, self._weighting())

    def _weighting(self) -> Weighting:
        return frozen_weighting(self.weighting)

    def _prefactors(self) -> tuple[Array, float]:
        prefactor = np.pi * np.sqrt(8.0 / (2.0 * np.arange(self.l_max + 1) + 1.0))
        return prefactor, float(np.sqrt(2.0)) if self.normalize else 1.0
