"""QUIP's soap_turbo as a basis of `SOAP`: its parameters, which may differ between species, its channels and their order."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import csr_array

from .._validation import check_choice, check_integer, check_real, describe
from .compression import Channels
from .foreign_basis import ForeignBasis
from .radial import Array
from .soap_table import RadialTable
from .turbo_radial import TurboSpecies, turbo_table

__all__ = ["TurboBasis"]

_LIMITS = {"poly3": (1, 10), "poly3gauss": (2, 11)}  # of alpha_max, in QUIP
_OF_SPECIES = (
    "alpha_max",
    "atom_sigma_r",
    "atom_sigma_t",
    "atom_sigma_r_scaling",
    "atom_sigma_t_scaling",
    "amplitude_scaling",
    "central_weight",
)


class TurboBasis(ForeignBasis):
    """The ``soap_turbo`` descriptor of QUIP, as the basis of `SOAP`: ``SOAP(r_cut, n_max, l_max, sigma, rbf=TurboBasis(...))``.

    ``r_cut`` is QUIP's rcut_hard, ``cutoff_width`` the distance to it from rcut_soft, ``n_max`` alpha_max and ``sigma`` both
    atom_sigma_r and atom_sigma_t where they are not given here.  Names and meaning of the parameters are QUIP's; one number
    stands for all species, several are in the order of ``species_Z``.  Each set of them that differs from the others makes
    every evaluation slower.

    Parameters
    ----------
    basis : {"poly3", "poly3gauss"}, default "poly3"
        Radial functions: polynomials, or with a Gaussian at the centre in place of the last.
    alpha_max : int or sequence of int, optional
        Number of radial functions; default ``n_max``, which must be the largest.  At most 10, 11 with poly3gauss; rounding
        errors grow from 7, 8 on.
    atom_sigma_r, atom_sigma_t : float or sequence of float, optional
        Width of an atom along and across the direction to it, Å; default ``sigma``, which must be the smallest.
    atom_sigma_r_scaling, atom_sigma_t_scaling : float or sequence of float, default 0.0
        Growth of the widths with the distance.
    amplitude_scaling : float or sequence of float, default 1.0
        Neighbours are weighted with (1 + 2x³ - 3x²)^amplitude_scaling, x = r / r_cut.
    central_weight : float or sequence of float, default 1.0
        Weight of the central atom.  It is applied, as the released QUIP (0.10.3) does only if there are several species and
        several numbers.
    nf : float, default 4.0
        Beyond rcut_soft the density falls like a Gaussian of width cutoff_width / nf.
    radial_enhancement : {0, 1, 2}, default 0
        Weights the density with about this power of the distance.
    compress_mode : str, optional
        "trivial" keeps the pairs in which one is the first radial function of a species; "nuR_nuS", e.g. "1_2", how many
        factors of the power spectrum keep the radial index, the species.
    P_transformation : sequence of (int, int, float), optional
        Entries (i, j, value), counted from 1, of the matrix from the power spectrum to the features that are normalised.
    species_Z : sequence of int, optional
        Atomic numbers that have densities, in the order of the features; atoms of other species are invisible.  Default: the
        species of the descriptor.

    References
    ----------
    M. A. Caro, Phys. Rev. B 100, 024112 (2019).
    J. P. Darby et al., npj Comput. Mater. 8, 166 (2022).

    Examples
    --------
    >>> from gapkit import SOAP, TurboBasis
    >>> SOAP(5.0, 8, 6, 0.4, rbf=TurboBasis("poly3gauss", atom_sigma_t=(0.4, 0.5)), cutoff_width=0.5).get_params()["rbf__nf"]
    4.0
    """

    smallest_norm: ClassVar[float] = 1e-5

    def __init__(
        self,
        basis: str = "poly3",
        *,
        alpha_max: int | Sequence[int] | None = None,
        atom_sigma_r: float | Sequence[float] | None = None,
        atom_sigma_t: float | Sequence[float] | None = None,
        atom_sigma_r_scaling: float | Sequence[float] = 0.0,
        atom_sigma_t_scaling: float | Sequence[float] = 0.0,
        amplitude_scaling: float | Sequence[float] = 1.0,
        central_weight: float | Sequence[float] = 1.0,
        nf: float = 4.0,
        radial_enhancement: int = 0,
        compress_mode: str | None = None,
        P_transformation: Sequence[tuple[int, int, float]] | None = None,
        species_Z: Sequence[int] | None = None,
    ) -> None:
        self.basis = basis
        self.alpha_max = alpha_max
        self.atom_sigma_r = atom_sigma_r
        self.atom_sigma_t = atom_sigma_t
        self.atom_sigma_r_scaling = atom_sigma_r_scaling
        self.atom_sigma_t_scaling = atom_sigma_t_scaling
        self.amplitude_scaling = amplitude_scaling
        self.central_weight = central_weight
        self.nf = nf
        self.radial_enhancement = radial_enhancement
        self.compress_mode = compress_mode
        self.P_transformation = P_transformation
        self.species_Z = species_Z

    def check_parameters(self, n_max: int, sigma: float) -> None:
        """Raise ValueError or TypeError if a parameter is out of its range, or ``n_max`` or ``sigma`` contradict them."""
        check_choice("basis", self.basis, tuple(_LIMITS))
        check_real("nf", self.nf, above=0.0)
        check_choice("radial_enhancement", self.radial_enhancement, (0, 1, 2))
        if self.species_Z is not None:
            numbers = [check_integer("species_Z", z, at_least=1) for z in self.species_Z]
            if not numbers or len(set(numbers)) < len(numbers):
                raise ValueError(describe("species_Z", "distinct atomic numbers", self.species_Z))
        for name in ("atom_sigma_r", "atom_sigma_t"):
            for width in _several(getattr(self, name)):
                check_real(name, sigma if width is None else width, above=0.0, remedy="It is in Å.")
        for name in ("atom_sigma_r_scaling", "atom_sigma_t_scaling", "amplitude_scaling"):
            for value in _several(getattr(self, name)):
                check_real(name, value, at_least=0.0)
        for weight in _several(self.central_weight):
            check_real("central_weight", weight)
        least, largest = _LIMITS[self.basis]
        for number in _several(self.alpha_max):
            check_integer("alpha_max", n_max if number is None else number, at_least=least, at_most=largest)
        kinds = self.kinds(n_max, sigma)
        n, width = max(kind.alpha_max for kind in kinds), min(min(kind.sigma_r, kind.sigma_t) for kind in kinds)
        if n_max != n:
            raise ValueError(describe("n_max", f"{n}, the largest alpha_max of rbf", n_max))
        if sigma != width:
            raise ValueError(describe("sigma", f"{width:g}, the smallest width of rbf", sigma))
        self._check_compression(kinds)

    def _check_compression(self, kinds: Sequence[TurboSpecies]) -> None:
        if self.compress_mode is not None:
            check_choice("compress_mode", self.compress_mode, ("trivial", *(f"{a}_{b}" for a in range(3) for b in range(3))))
            if self.P_transformation is not None:
                raise ValueError(describe("compress_mode", "None with P_transformation", self.compress_mode))
            if self.compress_mode != "trivial" and len({kind.alpha_max for kind in kinds}) > 1:
                raise ValueError(describe("alpha_max", f"the same for all species with {self.compress_mode!r}", self.alpha_max))
        if self.P_transformation is not None:
            if not len(self.P_transformation):
                raise ValueError(describe("P_transformation", "a list of (i, j, value)", self.P_transformation))
            for i, j, value in self.P_transformation:
                check_integer("i of P_transformation", i, at_least=1)
                check_integer("j of P_transformation", j, at_least=1)
                check_real("value of P_transformation", value)

    def kinds(self, n_max: int, sigma: float) -> list[TurboSpecies]:
        """Parameters of each species, or one set that is meant for all.

        Raises
        ------
        ValueError
            If numbers of species contradict each other.
        """
        columns = {name: _several(getattr(self, name)) for name in _OF_SPECIES}
        lengths = {name: len(column) for name, column in columns.items() if len(column) > 1}
        n = max(lengths.values(), default=1) if self.species_Z is None else len(self.species_Z)
        for name, length in lengths.items():
            if length != n:
                raise ValueError(describe(name, f"one number or {n}, one per species", getattr(self, name)))
        standard = {"alpha_max": n_max, "atom_sigma_r": sigma, "atom_sigma_t": sigma}
        of_kind = []
        for name in _OF_SPECIES[:-1]:
            column = [standard[name] if value is None else value for value in columns[name]]
            of_kind.append(column * (n // len(column)))
        return [TurboSpecies(int(values[0]), *map(float, values[1:])) for values in zip(*of_kind, strict=True)]

    def central_weights(self, n_species: int) -> list[float]:
        """Weight of the centre for each species."""
        weights = [float(weight) for weight in _several(self.central_weight)]
        return weights * (n_species // len(weights))

    def radial_table(self, r_cut: float, n_max: int, l_max: int, sigma: float, cutoff_width: float) -> RadialTable:
        """Radial functions of all kinds of neighbours; see `turbo_table`."""
        kinds = tuple(dict.fromkeys(self.kinds(n_max, sigma)))
        return turbo_table(self.basis, float(self.nf), int(self.radial_enhancement), kinds, r_cut, l_max, cutoff_width)

    def prefactors(self, l_max: int) -> Array:
        """Factor of the elements of each l."""
        return np.ones(l_max + 1)

    def channels(self, species: Sequence[int], n_max: int, l_max: int) -> Channels:
        """Which products of coefficients there are, in QUIP's order.

        Raises
        ------
        ValueError
            If there are parameters for another number of species, or P_transformation is of other features.
        """
        of_densities = tuple(species if self.species_Z is None else self.species_Z)
        kinds = self.kinds(n_max, 1.0)  # which of them are equal does not depend on sigma
        if len(kinds) not in (1, len(of_densities)):
            raise ValueError(describe("rbf", f"given one number or {len(of_densities)}, one per species", self))
        kinds = kinds * (len(of_densities) // len(kinds))
        weights = self.central_weights(len(of_densities))
        entries = None if self.P_transformation is None else tuple(map(tuple, self.P_transformation))
        return _channels(tuple(kinds), tuple(weights), self.compress_mode, entries, tuple(species), of_densities, l_max)


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (Sequence, np.ndarray)) else [value]


@lru_cache(maxsize=32)  # several steps of every evaluation ask for them
def _channels(
    kinds: tuple[TurboSpecies, ...],
    weights: tuple[float, ...],
    compress_mode: str | None,
    entries: tuple[tuple[int, int, float], ...] | None,
    species: tuple[int, ...],
    of_densities: tuple[int, ...],
    l_max: int,
) -> Channels:
    visible = np.array([z in of_densities for z in species])
    densities = np.array([of_densities.index(z) if z in of_densities else 0 for z in species])
    centres = np.zeros((len(species), len(of_densities)))
    centres[np.arange(len(species)), densities] = np.where(visible, np.array(weights)[densities], 0.0)
    left, right, pairs, doubled = _mixtures(kinds, compress_mode)
    linear = None
    if entries is not None:
        rows, columns, values = (np.array(column) for column in zip(*entries, strict=True))
        n_features = len(pairs) * (l_max + 1)
        if columns.max() > n_features:
            raise ValueError(describe("j of P_transformation", f"at most {n_features}", int(columns.max())))
        needed, which = np.unique((columns - 1) // (l_max + 1), return_inverse=True)
        pairs = [pairs[k] for k in needed]
        places = rows - 1, which * (l_max + 1) + (columns - 1) % (l_max + 1)
        linear = csr_array((values.astype(float), places), shape=(int(rows.max()), len(pairs) * (l_max + 1)))
    factors = np.array([np.sqrt(2.0) if doubled and a != b else 1.0 for a, b in pairs])
    blocks = np.array([(a, b, 0) for a, b in pairs], np.int64)
    return Channels(len(of_densities), densities, visible.astype(float), left, right, blocks, factors, centres, linear)


def _mixtures(kinds: Sequence[TurboSpecies], compress_mode: str | None) -> tuple[Array, Array, list[tuple[int, int]], bool]:
    """W1 and W2 of shape (n_species, n_functions, n_channels, 1), pairs of channels, whether a pair stands for two.

    The functions are those of all distinct kinds side by side; every species uses its own.
    """
    distinct = list(dict.fromkeys(kinds))
    ends = np.cumsum([kind.alpha_max for kind in distinct])
    own = [slice(ends[k] - distinct[k].alpha_max, ends[k]) for k in map(distinct.index, kinds)]
    if compress_mode is None or compress_mode == "trivial":
        first = np.cumsum([0, *(kind.alpha_max for kind in kinds)])
        mixing = np.zeros((len(kinds), ends[-1], first[-1], 1))
        for s, kind in enumerate(kinds):
            mixing[s, own[s], first[s] : first[s + 1], 0] = np.eye(kind.alpha_max)
        pairs = _upper_triangle(first[-1])
        if compress_mode == "trivial":
            pairs = [(a, b) for a, b in pairs if a in first or b in first]
        return mixing, mixing, pairs, True

    nu_r, nu_s = map(int, compress_mode.split("_"))
    n = kinds[0].alpha_max
    factors = []
    for q in (1, 2):
        of_species = np.eye(len(kinds)) if nu_s >= q else np.ones((len(kinds), 1))
        of_radial = np.eye(n) if nu_r >= q else np.ones((n, 1))
        mixing = np.zeros((len(kinds), ends[-1], of_species.shape[1] * of_radial.shape[1], 1))
        for s in range(len(kinds)):
            mixing[s, own[s], :, 0] = np.kron(of_species[s], of_radial)
        factors.append(mixing)
    left, right = factors
    if 1 in (nu_r, nu_s):
        return left, right, [(a, b) for a in range(left.shape[2]) for b in range(right.shape[2])], False
    return left, left, _upper_triangle(left.shape[2]), True


def _upper_triangle(n: int) -> list[tuple[int, int]]:
    return [(a, b) for a in range(n) for b in range(a, n)]
