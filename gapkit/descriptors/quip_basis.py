r"""QUIP's SOAP: its radial functions, its channels and the order of its elements, so that its potentials can be used.

A neighbour at distance r is the Gaussian exp(-alpha |.|²), alpha = 1 / (2 sigma²), projected on spheres of radius r_g:

    R_l(g; r) = exp(-alpha (r² + r_g²)) i_l(2 alpha r r_g)

and transformed by a matrix T_l, g_nl(r) = sum_g R_l(g; r) T_l[g, n].  For equispaced Gaussians r_n = (n - 1) R / n_max,
C = exp(-alpha (r_n - r_n')²), S their overlaps on [0, inf), S = L Lᵀ and T = C⁻¹ L.  For polynomials and Gaussian-type
orbitals phi_i the spheres are 3 n_max points and T_l is the least-squares solution for the functions phi L^-T.  R is where the
Gaussian of an atom at the cutoff has fallen to 10^-basis_error_exponent.  Coefficients of published potentials contain the
rounding of T, so it is computed in double precision, unlike gapkit's own bases.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.linalg import cholesky, solve
from scipy.special import erf, gamma, gammainc

from .._validation import check_choice, check_integer, check_real, describe
from .basis import gaussian_on_spheres
from .compression import Channels
from .foreign_basis import ForeignBasis
from .radial import Array, Profile, cosine_cutoff, product, tabulate
from .soap_table import RadialTable

__all__ = ["QuipBasis", "quip_channels", "quip_table"]

_KNOTS_PER_WIDTH = 50  # twice gapkit's own: coefficients of up to 1e7 eV multiply the error
_ROOT_2 = float(np.sqrt(2.0))
_SINGLE_ROOT_2 = float(np.float32(np.sqrt(2.0)))  # a single-precision constant in QUIP's uncoupled mixtures


class QuipBasis(ForeignBasis):
    """The ``soap`` descriptor of QUIP, as the basis of `SOAP`: ``SOAP(r_cut, n_max, l_max, sigma, rbf=QuipBasis(...))``.

    ``r_cut``, ``cutoff_width`` and ``sigma`` are QUIP's cutoff, cutoff_transition_width and atom_sigma; features come in
    QUIP's order, with its last element.  Names and meaning of the parameters are QUIP's.

    Parameters
    ----------
    central_weight : float, default 1.0
        Weight of the central atom.
    central_reference_all_species : bool, default False
        Whether the central atom appears in the density of every species.
    radial_basis : {"EQUISPACED_GAUSS", "POLY", "GTO"}, default "EQUISPACED_GAUSS"
        Radial functions.
    basis_error_exponent : float, default 10
        See above.
    cutoff_dexp : int, default 0
        Neighbours are weighted with rate / (rate + (r / scale)^dexp) if it is positive, (scale / r)^dexp for rate 0.
    cutoff_scale, cutoff_rate : float, default 1.0
        See ``cutoff_dexp``; Å, and a number.
    nu_R, nu_S : int, default 2
        How many factors of the power spectrum keep the radial index, the species.
    R_mix, Z_mix : bool, default False
        Random mixtures of radial functions, of species.
    sym_mix : bool, default False
        The same mixtures in both factors.
    coupling : bool, default True
        All pairs of mixtures, not only equal ones.
    K : int, default 0
        Number of mixtures.
    mix_shift : int, default 0
        Shifts the seed of the mixtures.
    Z_map : sequence of (one or two) sequences of groups of atomic numbers, optional
        Groups whose densities are summed; two parts give the two factors of the power spectrum.
    diagonal_radial : bool, default False
        Only pairs of equal radial index.
    covariance_sigma0 : float, default 0.0
        Last element of the vector: kernels become (x·x' + covariance_sigma0²)^zeta.
    species_Z : sequence of int, optional
        Atomic numbers that have densities, in the order of the features; atoms of other species are invisible as neighbours.
        (0,) stands for one density of all species.  Default: the species of the descriptor.
    divide_by_degeneracy : bool, default True
        Whether elements are divided by √(2l + 1), as QUIP does since gap_version 1423143769.

    References
    ----------
    A. P. Bartók, R. Kondor, G. Csányi, Phys. Rev. B 87, 184115 (2013).
    J. P. Darby et al., npj Comput. Mater. 8, 166 (2022); Phys. Rev. Lett. 131, 028001 (2023).

    Examples
    --------
    >>> from gapkit import SOAP, QuipBasis
    >>> SOAP(5.0, 8, 6, 0.5, rbf=QuipBasis(central_weight=0.5), cutoff_width=0.5).get_params()["rbf__central_weight"]
    0.5
    """

    def __init__(
        self,
        *,
        central_weight: float = 1.0,
        central_reference_all_species: bool = False,
        radial_basis: str = "EQUISPACED_GAUSS",
        basis_error_exponent: float = 10.0,
        cutoff_dexp: int = 0,
        cutoff_scale: float = 1.0,
        cutoff_rate: float = 1.0,
        nu_R: int = 2,
        nu_S: int = 2,
        R_mix: bool = False,
        Z_mix: bool = False,
        sym_mix: bool = False,
        coupling: bool = True,
        K: int = 0,
        mix_shift: int = 0,
        Z_map: Sequence[Sequence[Sequence[int]]] | None = None,
        diagonal_radial: bool = False,
        covariance_sigma0: float = 0.0,
        species_Z: Sequence[int] | None = None,
        divide_by_degeneracy: bool = True,
    ) -> None:
        self.central_weight = central_weight
        self.central_reference_all_species = central_reference_all_species
        self.radial_basis = radial_basis
        self.basis_error_exponent = basis_error_exponent
        self.cutoff_dexp = cutoff_dexp
        self.cutoff_scale = cutoff_scale
        self.cutoff_rate = cutoff_rate
        self.nu_R = nu_R
        self.nu_S = nu_S
        self.R_mix = R_mix
        self.Z_mix = Z_mix
        self.sym_mix = sym_mix
        self.coupling = coupling
        self.K = K
        self.mix_shift = mix_shift
        self.Z_map = Z_map
        self.diagonal_radial = diagonal_radial
        self.covariance_sigma0 = covariance_sigma0
        self.species_Z = species_Z
        self.divide_by_degeneracy = divide_by_degeneracy

    def check_parameters(self, n_max: int, sigma: float) -> None:
        """Raise ValueError or TypeError if a parameter is out of its range."""
        check_choice("radial_basis", self.radial_basis, ("EQUISPACED_GAUSS", "POLY", "GTO"))
        check_real("basis_error_exponent", self.basis_error_exponent, above=0.0, at_most=30.0)
        check_integer("cutoff_dexp", self.cutoff_dexp, at_least=0, at_most=100)
        check_real("cutoff_scale", self.cutoff_scale, above=0.0, remedy="It is in Å.")
        check_real("cutoff_rate", self.cutoff_rate, at_least=0.0)
        check_real("central_weight", self.central_weight)
        check_real("covariance_sigma0", self.covariance_sigma0, at_least=0.0)
        for name in ("nu_R", "nu_S"):
            check_integer(name, getattr(self, name), at_least=0, at_most=2)
        check_integer("mix_shift", self.mix_shift, at_least=0)
        if self.species_Z is not None:
            numbers = [check_integer("species_Z", z, at_least=0) for z in self.species_Z]
            if not numbers or len(set(numbers)) < len(numbers) or (0 in numbers and len(numbers) > 1):
                raise ValueError(describe("species_Z", "distinct atomic numbers, or (0,) alone", self.species_Z))
        if self.R_mix or self.Z_mix:
            check_integer("K", self.K, at_least=1, remedy="Mixtures need a number of channels.")
        ways = [self.R_mix or self.Z_mix, self.Z_map is not None, (self.nu_R, self.nu_S) != (2, 2)]
        if sum(ways) > 1:
            raise ValueError(describe("rbf", "given one of mixtures, Z_map, and nu_R with nu_S", self))
        if self.Z_map is not None and len(self.Z_map) not in (1, 2):
            raise ValueError(describe("Z_map", "one or two lists of groups of atomic numbers", self.Z_map))

    @property
    def last_element(self) -> float:
        """What follows the normalised power spectrum."""
        return float(self.covariance_sigma0)

    def radial_table(self, r_cut: float, n_max: int, l_max: int, sigma: float, cutoff_width: float) -> RadialTable:
        """Radial functions of a neighbour; see `quip_table`."""
        return quip_table(table_settings(self), r_cut, n_max, l_max, sigma, cutoff_width)

    def channels(self, species: Sequence[int], n_max: int, l_max: int) -> Channels:
        """Which products of coefficients there are; see `quip_channels`."""
        return quip_channels(self, species, n_max)

    def prefactors(self, l_max: int) -> Array:
        """Factor of the elements of each l."""
        degeneracy = 2.0 * np.arange(l_max + 1) + 1.0
        return 1.0 / np.sqrt(degeneracy) if self.divide_by_degeneracy else np.ones(l_max + 1)


@lru_cache(maxsize=16)
def _spheres(radial_basis: str, n_max: int, l_max: int, reach: float, sigma: float) -> tuple[Array, Array, Array]:
    """Radii r_g, matrices T_l of shape (l_max + 1, n_radii, n_max), and what the central atom adds to l = 0 (before Y_00)."""
    alpha = 0.5 / sigma**2
    if radial_basis == "EQUISPACED_GAUSS":
        radii = np.arange(n_max) * reach / n_max
        a, b = radii[:, None], radii[None, :]
        mutual = np.exp(-alpha * (a - b) ** 2)
        overlap = np.sqrt(2.0) * alpha**1.5 * (a + b) * np.exp(-alpha * (a**2 + b**2))
        overlap += (
            alpha
            * np.exp(-0.5 * alpha * (a - b) ** 2)
            * np.sqrt(np.pi)
            * (1.0 + alpha * (a + b) ** 2)
            * (1.0 + erf(np.sqrt(0.5 * alpha) * (a + b)))
        )
        lower = cholesky(overlap / np.sqrt(128.0 * alpha**5), lower=True)
        return radii, np.repeat(solve(mutual, lower)[None], l_max + 1, axis=0), lower[0]
    radii = np.arange(3 * n_max) * reach / (3 * n_max)
    index = np.arange(1, n_max + 1)
    matrices, centre = [], np.empty(0)
    for l in range(l_max + 1):
        if radial_basis == "POLY":
            square = reach ** (2 * index + 7) / ((index + 3) * (2 * index + 5) * (2 * index + 7))
            functions = (reach - radii[:, None]) ** (index + 2) / np.sqrt(square)
            i, j = index[:, None], index[None, :]
            overlap = 2 * reach ** (i + j + 7) / ((i + j + 5) * (i + j + 6) * (i + j + 7) * np.sqrt(np.outer(square, square)))
        else:
            places = index * reach / n_max
            decay = -(np.log(0.001) - l * np.log(places)) / places**2
            functions = radii[:, None] ** l * np.exp(-decay * radii[:, None] ** 2)
            t, u = l + 1.5, (decay[:, None] + decay[None, :]) * reach**2
            overlap = 0.5 * reach ** (2 * t) * u**-t * gammainc(t, u) * gamma(t)
        orthonormal = np.linalg.solve(cholesky(overlap, lower=True), functions.T).T
        matrices.append(np.linalg.pinv(orthonormal).T)
        if l == 0:
            centre = np.exp(-alpha * radii**2) @ matrices[0]
    return radii, np.array(matrices), centre


@lru_cache(maxsize=8)
def quip_table(
    settings: tuple[Any, ...], r_cut: float, n_max: int, l_max: int, sigma: float, cutoff_width: float
) -> RadialTable:
    """Tabulate QUIP's radial functions times its cutoff function; ``settings`` from `table_settings`."""
    radial_basis, exponent, dexp, scale, rate, central_weight = settings
    reach, alpha = r_cut + sigma * np.sqrt(2.0 * exponent * np.log(10.0)), 0.5 / sigma**2
    radii, matrices, centre = _spheres(radial_basis, n_max, l_max, reach, sigma)
    falling = r_cut - cutoff_width

    def profile(r: Array, start: float) -> Profile:
        blocks = [[part @ matrices[l] for part in gaussian_on_spheres(l, r, radii, alpha)] for l in range(l_max + 1)]
        value, slope, curvature = (np.concatenate([block[order] for block in blocks], axis=1) for order in range(3))
        result: Profile = value, slope, curvature
        if dexp:
            result = product(result, _decay(r, dexp, scale, rate))
        return product(result, cosine_cutoff(r, r_cut, cutoff_width)) if start >= falling else result

    breaks = [0.0, falling, r_cut] if falling > 0.0 else [0.0, r_cut]
    segments, table = tabulate(breaks, sigma / _KNOTS_PER_WIDTH, profile)
    central = central_weight * centre * (0.5 / np.sqrt(np.pi))
    central.setflags(write=False)
    return RadialTable(segments, table, central, r_cut)


def table_settings(basis: QuipBasis) -> tuple[Any, ...]:
    """What of a basis `quip_table` depends on, as a hashable value."""
    weighting = int(basis.cutoff_dexp), float(basis.cutoff_scale), float(basis.cutoff_rate)
    return (basis.radial_basis, float(basis.basis_error_exponent), *weighting, float(basis.central_weight))


def _decay(r: Array, dexp: int, scale: float, rate: float) -> Profile:
    """rate / (rate + x^dexp) or x^-dexp, x = r / scale; the latter is infinite at 0, where no neighbour is."""
    x = r[:, None] / scale
    if rate == 0.0:
        x = np.maximum(x, 0.05 / scale)
        return x**-dexp, -dexp * x ** (-dexp - 1) / scale, dexp * (dexp + 1) * x ** (-dexp - 2) / scale**2
    u, u1, u2 = (x**dexp, dexp * x ** (dexp - 1), dexp * (dexp - 1) * x ** max(dexp - 2, 0))
    value = rate / (rate + u)
    slope = -u1 * value**2 / rate
    return value, slope / scale, (-u2 * value**2 / rate + 2 * u1**2 * value**3 / rate**2) / scale**2


def quip_channels(basis: QuipBasis, species: Sequence[int], n_max: int) -> Channels:
    """Channels of QUIP's power spectrum: every pair of channels is a block of one element per l, in QUIP's order."""
    parameters = basis.get_params()
    if basis.Z_map is not None:
        parameters["Z_map"] = tuple(tuple(tuple(group) for group in part) for part in basis.Z_map)
    if basis.species_Z is not None:
        parameters["species_Z"] = tuple(basis.species_Z)
    return _quip_channels(tuple(parameters.items()), tuple(species), n_max)


@lru_cache(maxsize=32)  # several steps of every evaluation ask for them, and mixtures are drawn one number at a time
def _quip_channels(parameters: tuple[tuple[str, Any], ...], species: tuple[int, ...], n_max: int) -> Channels:
    basis = QuipBasis(**dict(parameters))
    of_densities = list(species if basis.species_Z is None else basis.species_Z)
    blind = of_densities == [0]
    visible = np.array([blind or z in of_densities for z in species])
    densities = np.array([of_densities.index(z) if not blind and z in of_densities else 0 for z in species])
    left, right, blocks, root = _mixtures(basis, of_densities, n_max)
    same = right is left
    if basis.diagonal_radial:
        blocks = [(a, b) for a, b in blocks if a % n_max == b % n_max]
    factors = [root if a != b and _stands_for_two(basis) else 1.0 for a, b in blocks]
    left = np.ascontiguousarray(left[:, :, :, None])
    right = left if same else np.ascontiguousarray(right[:, :, :, None])
    block_k3 = np.array([(a, b, 0) for a, b in blocks], np.int64)
    centres = np.ones((len(species), len(of_densities))) if basis.central_reference_all_species else None
    return Channels(len(of_densities), densities, visible.astype(float), left, right, block_k3, np.array(factors), centres)


def _stands_for_two(basis: QuipBasis) -> bool:
    """Whether only one of (a, b) and (b, a) is kept."""
    if basis.R_mix or basis.Z_mix:
        return basis.sym_mix
    return len(basis.Z_map) == 1 if basis.Z_map is not None else 1 not in (basis.nu_R, basis.nu_S)


def _mixtures(basis: QuipBasis, species: Sequence[int], n_max: int) -> tuple[Array, Array, list[tuple[int, int]], float]:
    """W1 and W2 of shape (n_species, n_max, channels), the pairs of channels in QUIP's order, and what QUIP uses for √2."""
    n_species = len(species)
    of_species, of_radial = np.eye(n_species), np.eye(n_max)

    def outer(s: Array, n: Array) -> Array:
        """S ⊗ R: species outer, radial index inner."""
        result: Array = np.einsum("sa,nb->snab", s, n).reshape(n_species, n_max, -1)
        return result

    if not (basis.R_mix or basis.Z_mix):
        if basis.Z_map is not None:
            grouped = [np.array([[float(z in group) for group in part] for z in species]) for part in basis.Z_map]
            factors = [outer(groups, of_radial) for groups in grouped]
        else:
            summed = np.ones((n_species, 1)), np.ones((n_max, 1))
            factors = [
                outer(of_species if basis.nu_S >= q else summed[0], of_radial if basis.nu_R >= q else summed[1]) for q in (1, 2)
            ]
        left = factors[0]
        if _stands_for_two(basis):
            return left, left, _triangle(left.shape[2]), _ROOT_2
        return left, factors[1], _rectangle(left.shape[2], factors[1].shape[2]), 1.0
    n_mix = basis.K
    matrices = []
    for j in (1, 2):
        if basis.R_mix and basis.Z_mix:
            matrices.append(np.array([_normals(z + basis.mix_shift + 200 * j, n_max, n_mix) for z in species]))
        elif basis.Z_mix:
            mixed = np.array([_normals(z + basis.mix_shift + 200 * j, 1, n_mix)[0] for z in species])
            matrices.append(np.einsum("sk,nb->snkb", mixed, of_radial).reshape(n_species, n_max, -1))
        else:
            matrices.append(outer(of_species, _normals(n_max + basis.mix_shift + 200 * j, n_max, n_mix)))
    left, right = matrices[0], matrices[0] if basis.sym_mix else matrices[1]
    n_channels = left.shape[2]
    if basis.coupling:
        every = _triangle(n_channels) if basis.sym_mix else _rectangle(n_channels, n_channels)
        return left, right, every, _ROOT_2
    if basis.R_mix and basis.Z_mix:
        return left, right, [(k, k) for k in range(n_mix)], _SINGLE_ROOT_2
    if basis.Z_mix:
        within = _triangle(n_max) if basis.sym_mix else _rectangle(n_max, n_max)
        blocks = [(k * n_max + a, k * n_max + b) for k in range(n_mix) for a, b in within]
    else:
        among = _triangle(n_species) if basis.sym_mix else _rectangle(n_species, n_species)
        blocks = [(s * n_mix + k, t * n_mix + k) for s, t in among for k in range(n_mix)]
    return left, right, blocks, _SINGLE_ROOT_2


def _triangle(n: int) -> list[tuple[int, int]]:
    return [(a, b) for a in range(n) for b in range(a + 1)]


def _rectangle(n: int, m: int) -> list[tuple[int, int]]:
    return [(a, b) for a in range(n) for b in range(m)]


def _normals(seed: int, n_rows: int, n_columns: int) -> Array:
    """QUIP's random numbers: Park-Miller generator, first hundred dropped, polar method with one of each two normals kept."""
    modulus, state = 2**31 - 1, seed

    def uniform() -> float:
        nonlocal state
        state = 16807 * state % modulus
        return state / modulus

    for _ in range(100):
        uniform()
    result = np.empty((n_rows, n_columns))
    for k in range(result.size):
        while True:
            v1, v2 = 2.0 * uniform() - 1.0, 2.0 * uniform() - 1.0
            square = v1 * v1 + v2 * v2
            if 0.0 < square < 1.0:
                break
        result.flat[k] = v1 * np.sqrt(-2.0 * np.log(square) / square)
    return result
