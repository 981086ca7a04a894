"""ACSF: atom-centred symmetry functions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._backend import acsf_ops
from .._validation import check_cutoff, check_integer, check_real, describe
from ..neighbors import NeighborList
from .base import Descriptor, Features
from .radial import KNOTS_PER_WIDTH, Profile, cosine_cutoff, product, tabulate

__all__ = ["ACSF"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Pairs = tuple[tuple[float, float], ...]
Triplets = tuple[tuple[float, int, float], ...]

_LARGEST_ETA = 1e4  # 1/Å²: a width of 0.007 Å, far below any atomic vibration; the table grows as its square root


class _Functions(NamedTuple):
    """Tables of the functions of a distance, and which of them each triplet function multiplies."""

    pair_segments: Array
    pair_table: Array
    triplet_segments: Array
    triplet_table: Array
    n_narrow: int
    eta_h: Index
    angular_h: Index
    zeta_a: Index
    sign_a: Array


class ACSF(Descriptor):
    r"""Behler's atom-centred symmetry functions, with dscribe's names, values and order.

    With the cutoff :math:`f(r) = (1 + \cos(\pi r / r_\mathrm{cut})) / 2` and the angle θ between neighbours j and k,

    .. math::

        G_1 &= \sum_j f(r_{ij}) \qquad
        G_2 = \sum_j e^{-\eta (r_{ij} - R_s)^2} f(r_{ij}) \qquad
        G_3 = \sum_j \cos(\kappa r_{ij}) f(r_{ij})

        G_4 &= \sum_{j<k} 2^{1-\zeta} (1 + \lambda \cos\theta)^\zeta
               e^{-\eta (r_{ij}^2 + r_{ik}^2 + r_{jk}^2)} f(r_{ij}) f(r_{ik}) f(r_{jk})

        G_5 &= \sum_{j<k} 2^{1-\zeta} (1 + \lambda \cos\theta)^\zeta e^{-\eta (r_{ij}^2 + r_{ik}^2)} f(r_{ij}) f(r_{ik})

    G1 to G3 exist for every neighbour species, G4 and G5 for every pair of them.  Energies and forces are continuous: every
    function vanishes with its slope at the cutoff.  The values differ by orders of magnitude between functions; a kernel
    needs `Term` with ``scale="range"``, or a length scale that is large enough.

    Parameters
    ----------
    r_cut : float, default 6.0
        Range, Å.
    g2_params : sequence of (eta, R_s), optional
        1/Å² (0 to 10⁴) and Å.
    g3_params : sequence of float, optional
        kappa, 1/Å.
    g4_params, g5_params : sequence of (eta, zeta, lambda), optional
        1/Å² (0 to 10⁴), an integer of at least 1, and a number in [-1, 1].
    species : sequence of str or int, optional
        Species that may occur; default: those of the structures seen in `fit`.

    Attributes
    ----------
    species_ : list of int
        Atomic numbers, ascending.

    Notes
    -----
    All functions of a distance come from one spline table (relative error 1e-10), and powers are products, so that the cost
    does not depend on how many of the functions are exponentials.  ``zeta`` must be an integer: other powers have no
    derivative for atoms in a row (dscribe gives NaN there).

    References
    ----------
    J. Behler, J. Chem. Phys. 134, 074106 (2011), eqs. 5-9.

    Examples
    --------
    >>> from ase.build import bulk
    >>> acsf = ACSF(r_cut=5.0, g2_params=[(1.0, 2.0)], g4_params=[(0.01, 4, 1.0), (0.01, 4, -1.0)])
    >>> acsf.fit_transform([bulk("Si")]).shape
    (2, 4)
    """

    def __init__(
        self,
        r_cut: float = 6.0,
        *,
        g2_params: Sequence[Sequence[float]] | None = None,
        g3_params: Sequence[float] | None = None,
        g4_params: Sequence[Sequence[float]] | None = None,
        g5_params: Sequence[Sequence[float]] | None = None,
        species: Sequence[int | str] | None = None,
    ) -> None:
        self.r_cut = r_cut
        self.g2_params = g2_params
        self.g3_params = g3_params
        self.g4_params = g4_params
        self.g5_params = g5_params
        self.species = species

    def check_parameters(self) -> None:
        """Raise ValueError or TypeError if a parameter is out of its range."""
        check_cutoff("r_cut", self.r_cut, above=0.5)
        for eta, shift in _groups("g2_params", self.g2_params, 2, "(eta, R_s)"):
            check_real("eta of g2_params", eta, at_least=0.0, at_most=_LARGEST_ETA, remedy="It is in 1/Å².")
            check_real("R_s of g2_params", shift, at_least=0.0, at_most=self.r_cut, remedy="It is in Å, inside r_cut.")
        for kappa in self.g3_params if self.g3_params is not None else ():
            check_real("kappa of g3_params", kappa, at_least=0.0, at_most=100.0, remedy="It is in 1/Å.")
        for name in ("g4_params", "g5_params"):
            for eta, zeta, sign in _groups(name, getattr(self, name), 3, "(eta, zeta, lambda)"):
                check_real(f"eta of {name}", eta, at_least=0.0, at_most=_LARGEST_ETA, remedy="It is in 1/Å².")
                if float(zeta) != int(zeta):
                    raise ValueError(describe(f"zeta of {name}", "an integer", zeta, "Its derivative exists only then."))
                check_integer(f"zeta of {name}", int(zeta), at_least=1, at_most=1024)
                check_real(f"lambda of {name}", sign, at_least=-1.0, at_most=1.0, remedy="-1 and 1 are usual.")

    @property
    def neighbor_range(self) -> float:
        """Distance (Å) beyond which no atom is visited."""
        return float(self.r_cut)

    @property
    def n_features(self) -> int:
        """Pair functions of every species and triplet functions of every pair of species."""
        n, functions = len(self.species_), self.functions()
        return int(n * functions.pair_table.shape[2] + n * (n + 1) // 2 * len(functions.eta_h))

    def compute(self, neighbors: NeighborList, *, jacobian: bool = False, centers: slice | None = None) -> Features:
        """Features of the environments of some atoms; see `Descriptor.compute`."""
        start, stop, _ = (centers or slice(None)).indices(neighbors.n_atoms)
        species = self.species_index(neighbors)
        arguments = self._arguments(neighbors, neighbors.first[start : stop + 1], species)
        values = np.empty((stop - start, self.n_features))
        acsf_ops().values(*arguments, values)
        gradient = None
        if jacobian:
            gradient = np.empty((int(neighbors.first[stop] - neighbors.first[start]), 3, self.n_features))
            acsf_ops().jacobian(*arguments, gradient)
        return Features.of_atoms(values, species[start:stop], neighbors, (start, stop), gradient, species)

    def pullback(self, features: Features, dE_dx: Array, dE_dw: Array | None = None) -> Array:
        """Gradient of an energy with respect to pair vectors, without a Jacobian; see `Descriptor.pullback`."""
        pairs = features.block
        result = np.empty((pairs.stop - pairs.start, 3))
        arguments = self._arguments(features.neighbors, features.first + pairs.start, features.state)
        acsf_ops().pullback(*arguments, np.ascontiguousarray(dE_dx, float), result)
        return result

    def functions(self) -> _Functions:
        """Tables of the functions of a distance, and which of them each triplet function multiplies."""
        pairs = tuple((float(eta), float(shift)) for eta, shift in self.g2_params or ())
        cosines = tuple(float(kappa) for kappa in self.g3_params or ())
        narrow, wide = (
            tuple((float(eta), int(zeta), float(sign)) for eta, zeta, sign in parameters or ())
            for parameters in (self.g4_params, self.g5_params)
        )
        return _tabulated(float(self.r_cut), pairs, cosines, narrow, wide)

    def _arguments(self, neighbors: NeighborList, first: Index, species: Index) -> tuple[Any, ...]:
        """All that the loops take before their own arrays."""
        functions = self.functions()
        pairs = slice(int(first[0]), int(first[-1]))
        return (
            first - first[0],
            species[neighbors.neighbors[pairs]],
            neighbors.vectors[pairs],
            neighbors.distances[pairs],
            float(self.r_cut),
            *functions[:4],
            len(self.species_),
            *functions[4:],
        )


def _groups(name: str, parameters: Any, size: int, rule: str) -> list[tuple[Any, ...]]:
    """The parameters as tuples of the right size."""
    rows = [] if parameters is None else list(parameters)
    for row in rows:
        if isinstance(row, (str, bytes)) or not hasattr(row, "__len__") or len(row) != size:
            raise ValueError(describe(name, f"a sequence of {rule}", row))
    return [tuple(row) for row in rows]


@lru_cache(maxsize=16)
def _tabulated(r_cut: float, pairs: Pairs, cosines: tuple[float, ...], narrow: Triplets, wide: Triplets) -> _Functions:
    """Tabulate every function of a distance and list the factors of the triplet functions."""
    triplets = (*narrow, *wide)
    etas = sorted({eta for eta, _, _ in triplets})
    angles = sorted({(zeta, sign) for _, zeta, sign in triplets})
    gaussians = [(0.0, 0.0), *pairs]  # G1 is G2 without its exponential
    of_pairs = _spline([(eta, shift) for eta, shift in gaussians], cosines, r_cut)
    of_triplets = _spline([(eta, 0.0) for eta in etas], (), r_cut)  # smoother: fewer knots, which stay in the first cache
    return _Functions(
        pair_segments=of_pairs[0],
        pair_table=of_pairs[1],
        triplet_segments=of_triplets[0],
        triplet_table=of_triplets[1],
        n_narrow=len(narrow),
        eta_h=np.array([etas.index(eta) for eta, _, _ in triplets], np.int64),
        angular_h=np.array([angles.index((zeta, sign)) for _, zeta, sign in triplets], np.int64),
        zeta_a=np.array([zeta for zeta, _ in angles], np.int64),
        sign_a=np.array([sign for _, sign in angles], float),
    )


def _spline(gaussians: Sequence[tuple[float, float]], cosines: Sequence[float], r_cut: float) -> tuple[Array, Array]:
    """Segments and table of exp(-eta (r - shift)²) and cos(kappa r), all times the cutoff function."""
    steepest = max([np.sqrt(2.0 * eta) for eta, _ in gaussians] + [*cosines, np.pi / r_cut])

    def profile(r: Array, start: float) -> Profile:
        columns = [_gaussian(r, eta, shift) for eta, shift in gaussians]
        columns += [(np.cos(k * r), -k * np.sin(k * r), -(k**2) * np.cos(k * r)) for k in cosines]
        value, slope, curvature = (
            np.stack([column[d] for column in columns], axis=1) if columns else np.empty((len(r), 0)) for d in range(3)
        )
        return product((value, slope, curvature), cosine_cutoff(r, r_cut, r_cut))

    return tabulate([0.0, r_cut], 1.0 / (steepest * KNOTS_PER_WIDTH), profile)


def _gaussian(r: Array, eta: float, shift: float) -> tuple[Array, Array, Array]:
    x = r - shift
    value = np.exp(-eta * x**2)
    return value, -2 * eta * x * value, (4 * eta**2 * x**2 - 2 * eta) * value
