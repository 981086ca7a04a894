"""Pairs of atoms as environments: GAP's distance_2b."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from .._backend import beside, erf
from .._validation import check_cutoff, check_integer, check_real, describe
from ..neighbors import NeighborList
from .base import SMALLEST_WEIGHT, Descriptor, Features
from .radial import falling_cosine

__all__ = ["TwoBody"]

Array = NDArray[np.float64]


_DISTANCE = (1,)  # the exponents of the distance itself
_LARGEST_EXPONENT = 20


class OfDistances(NamedTuple):
    """Of the distances of pairs: features, their slopes (None for 1), weights, their slopes, and the cutoff function."""

    values: Array
    slopes: Array | None
    weights: Array
    weight_slopes: Array
    cutoff: Array


class _State(NamedTuple):
    """What the adjoint needs again: unit vectors of the pairs, slopes of features and weights; and the cutoff function."""

    units: Array
    slopes: Array | None  # None for 1
    weight_slopes: Array
    cutoff: Array


class _Body(Descriptor):
    """What pairs, triplets and clusters share: parameters, and (but for clusters) energies that count twice, as in QUIP."""

    multiplicity: ClassVar[int] = 2
    one_per_atom: ClassVar[bool] = False

    def __init__(
        self,
        r_cut: float,
        *,
        cutoff_width: float = 1.0,
        species: Sequence[int | str] | None = None,
        tabulate: bool = False,
    ) -> None:
        self.r_cut = r_cut
        self.cutoff_width = cutoff_width
        self.species = species
        self.tabulate = tabulate

    def check_parameters(self) -> None:
        """Raise ValueError or TypeError if a parameter is out of its range."""
        check_cutoff("r_cut", self.r_cut)
        check_real("cutoff_width", self.cutoff_width, above=0.0, at_most=self.r_cut, remedy="It lies inside r_cut, in Å.")
        if not isinstance(self.tabulate, bool):
            raise TypeError(describe("tabulate", "True or False", self.tabulate))

    @property
    def neighbor_range(self) -> float:
        """Distance (Å) beyond which no atom is visited."""
        return float(self.r_cut)


class TwoBody(_Body):
    r"""Distances of pairs of atoms, with a smooth weight: GAP's distance_2b.

    An environment is an undirected pair of atoms closer than ``r_cut`` (periodic images are pairs of their own), with the
    single feature r, or several powers of it.  Its energy is

    .. math:: 2 w(r) \sum_s \alpha_s w_s \, k(x(r), x_s)

    and belongs half to each atom; the factor 2 makes energies, delta and noise those of QUIP, which sums over both
    directions.  The weight w falls from 1 at ``r_cut - cutoff_width`` to 0 at ``r_cut`` as a cosine, and may carry a tail.
    Pairs of unlike species have kernels of their own.

    Parameters
    ----------
    r_cut : float
        Range, Å.
    cutoff_width : float, default 1.0
        Å; QUIP's cutoff_transition_width.
    exponents : sequence of int, default (1,)
        The features are the distance (Å) to each of these powers; QUIP's exponents.
    tail_exponent : int, default 0
        n of the factor (erf(``tail_range`` r) / r)ⁿ of the weight: energies that decay as r⁻ⁿ, damped at short distances.
    tail_range : float, default 1.0
        Of that factor, 1/Å.
    species : sequence of str or int, optional
        Species that may occur; default: those of the structures seen in `fit`.
    tabulate : bool, default False
        Replace the fitted sum over sparse points by a spline over r for energies and forces, whose cost does not depend on
        their number.  The fit measures the error on the training set and warns above 1e-9 eV a pair.  For the distance
        itself only, not for other exponents.

    Attributes
    ----------
    species_ : list of int
        Atomic numbers, ascending.

    References
    ----------
    A. P. Bartók, G. Csányi, Int. J. Quantum Chem. 115, 1051 (2015).

    Examples
    --------
    >>> from ase.build import molecule
    >>> TwoBody(r_cut=3.0).fit_transform([molecule("H2O")]).round(3).ravel().tolist()
    [0.969, 0.969, 1.526]
    """

    def __init__(
        self,
        r_cut: float,
        *,
        cutoff_width: float = 1.0,
        exponents: Sequence[int] = _DISTANCE,
        tail_exponent: int = 0,
        tail_range: float = 1.0,
        species: Sequence[int | str] | None = None,
        tabulate: bool = False,
    ) -> None:
        super().__init__(r_cut, cutoff_width=cutoff_width, species=species, tabulate=tabulate)
        self.exponents = exponents
        self.tail_exponent = tail_exponent
        self.tail_range = tail_range

    def check_parameters(self) -> None:
        """Raise ValueError or TypeError if a parameter is out of its range."""
        super().check_parameters()
        rule = "a sequence of different integers other than 0"
        if not isinstance(self.exponents, (list, tuple)):
            raise TypeError(describe("exponents", rule, self.exponents, "Write (1,) for the distance itself."))
        if not self.exponents or 0 in self.exponents or len(set(self.exponents)) < len(self.exponents):
            raise ValueError(describe("exponents", rule, self.exponents, "Each makes one feature."))
        for exponent in self.exponents:
            check_integer("exponents", exponent, at_least=-_LARGEST_EXPONENT, at_most=_LARGEST_EXPONENT)
        check_integer("tail_exponent", self.tail_exponent, at_least=-_LARGEST_EXPONENT, at_most=_LARGEST_EXPONENT)
        check_real("tail_range", self.tail_range, above=0.0, remedy="It is in 1/Å.")
        if self.tabulate and tuple(self.exponents) != _DISTANCE:
            raise ValueError(
                describe("tabulate", f"False with exponents {tuple(self.exponents)}", True, "Only the distance has a table.")
            )

    @property
    def n_features(self) -> int:
        """One for each exponent."""
        return len(self.exponents)

    @property
    def group_names_(self) -> list[str]:
        """Pairs of chemical symbols, such as "H-O"."""
        return species_pairs(self.species_)

    def compute(self, neighbors: NeighborList, *, jacobian: bool = False, centers: slice | None = None) -> Features:
        """Features of the pairs whose first direction belongs to some atoms; see `Descriptor.compute`."""
        start, stop, _ = (centers or slice(None)).indices(neighbors.n_atoms)
        species = self.species_index(neighbors)
        block = slice(int(neighbors.first[start]), int(neighbors.first[stop]))
        index = np.arange(block.start, block.stop)
        pairs = index[(index < neighbors.reverse[block]) & (neighbors.distances[block] < self.r_cut)]
        r = neighbors.distances[pairs]
        values, slopes, weights, weight_slopes, cutoff = self.of_distances(r)
        units = neighbors.vectors[pairs] / r[:, None]
        owners = np.column_stack([neighbors.centers[pairs], neighbors.neighbors[pairs]])
        low, high = np.sort(species[owners], axis=1).T
        gradient = None
        if jacobian:
            gradient = units[:, :, None].copy() if slopes is None else units[:, :, None] * slopes[:, None, :]
        return Features(
            values=values,
            groups=high * (high + 1) // 2 + low,
            owners=owners,
            first=np.arange(len(pairs) + 1),
            pairs=pairs,
            block=block,
            neighbors=neighbors,
            jacobian=gradient,
            weights=weights,
            weight_gradient=weight_slopes[:, None] * units if jacobian else None,
            state=_State(units, slopes, weight_slopes, cutoff),
        )

    def of_distances(self, r: Array) -> OfDistances:
        """Features and weights of pairs, with slopes; ``r`` (Å) may be a CuPy array."""
        values, slopes = self._powers(r)
        cutoff, cutoff_slopes = falling_cosine(r, float(self.r_cut), float(self.cutoff_width))
        weights, weight_slopes = self._with_tail(r, cutoff, cutoff_slopes)
        return OfDistances(values, slopes, weights, weight_slopes, cutoff)

    def pullback(self, features: Features, dE_dx: Array, dE_dw: Array | None = None) -> Array:
        """Gradient of an energy with respect to pair vectors; see `Descriptor.pullback`."""
        state, block = features.state, features.block
        slope = dE_dx[:, 0] if state.slopes is None else np.einsum("ef,ef->e", dE_dx, state.slopes)
        if dE_dw is not None:
            slope = slope + dE_dw * state.weight_slopes
        result = np.zeros((block.stop - block.start, 3))
        result[features.pairs - block.start] = slope[:, None] * state.units
        return result

    def may_be_sparse(self, features: Features) -> NDArray[np.bool_]:
        """Which pairs are inside the cutoff by more than a trace; the tail does not count, small as it may be."""
        result: NDArray[np.bool_] = features.state.cutoff >= SMALLEST_WEIGHT
        return result

    def _powers(self, r: Array) -> tuple[Array, Array | None]:
        """Features and their slopes; None for those of the distance itself, which are 1."""
        if tuple(self.exponents) == _DISTANCE:
            return r[:, None], None
        exponents = beside(r, np.array(self.exponents, float))
        return r[:, None] ** exponents, exponents * r[:, None] ** (exponents - 1.0)

    def _with_tail(self, r: Array, cutoff: Array, cutoff_slopes: Array) -> tuple[Array, Array]:
        """Cutoff function times tail, and its slope."""
        if self.tail_exponent == 0:
            return cutoff, cutoff_slopes
        n, scaled = float(self.tail_exponent), float(self.tail_range) * r
        damped = erf(scaled)
        tail = (damped / r) ** n
        # d ln(erf(a r) / r) / dr
        rate = 2.0 / np.sqrt(np.pi) * self.tail_range * np.exp(-(scaled**2)) / damped - 1.0 / r
        return cutoff * tail, (cutoff_slopes + n * rate * cutoff) * tail


def species_pairs(species: Sequence[int]) -> list[str]:
    """Names of unordered pairs in the order of high (high + 1) / 2 + low."""
    return [f"{chemical_symbols[low]}-{chemical_symbols[high]}" for k, high in enumerate(species) for low in species[: k + 1]]
