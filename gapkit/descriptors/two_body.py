"""Pairs of atoms as environments: GAP's distance_2b."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from .._validation import check_cutoff, check_real, describe
from ..neighbors import NeighborList
from .base import Descriptor, Features
from .radial import falling_cosine

__all__ = ["TwoBody"]

Array = NDArray[np.float64]


class _State(NamedTuple):
    """What the adjoint needs again: unit vectors of the pairs and slopes of their weights."""

    units: Array
    weight_slopes: Array


class _Body(Descriptor):
    """What pairs and triplets share: parameters, and energies that count twice, as in QUIP's sums over both orders."""

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
    single feature r.  Its energy is

    .. math:: 2 f(r) \sum_s \alpha_s f(r_s) \, k(r, r_s)

    and belongs half to each atom; the factor 2 makes energies, delta and noise those of QUIP, which sums over both
    directions.  The weight f falls from 1 at ``r_cut - cutoff_width`` to 0 at ``r_cut`` as a cosine.  Pairs of unlike species
    have kernels of their own.

    Parameters
    ----------
    r_cut : float
        Range, Å.
    cutoff_width : float, default 1.0
        Å; QUIP's cutoff_transition_width.
    species : sequence of str or int, optional
        Species that may occur; default: those of the structures seen in `fit`.
    tabulate : bool, default False
        Replace the fitted sum over sparse points by a spline over r for energies and forces, whose cost does not depend on
        their number.  The fit measures the error on the training set and warns above 1e-9 eV a pair.

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

    @property
    def n_features(self) -> int:
        """One: the distance."""
        return 1

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
        weights, slopes = falling_cosine(r, float(self.r_cut), float(self.cutoff_width))
        units = neighbors.vectors[pairs] / r[:, None]
        owners = np.column_stack([neighbors.centers[pairs], neighbors.neighbors[pairs]])
        low, high = np.sort(species[owners], axis=1).T
        return Features(
            values=r[:, None],
            groups=high * (high + 1) // 2 + low,
            owners=owners,
            first=np.arange(len(pairs) + 1),
            pairs=pairs,
            block=block,
            neighbors=neighbors,
            jacobian=units[:, :, None].copy() if jacobian else None,
            weights=weights,
            weight_gradient=slopes[:, None] * units if jacobian else None,
            state=_State(units, slopes),
        )

    def pullback(self, features: Features, dE_dx: Array, dE_dw: Array | None = None) -> Array:
        """Gradient of an energy with respect to pair vectors; see `Descriptor.pullback`."""
        state, block = features.state, features.block
        slope = dE_dx[:, 0] if dE_dw is None else dE_dx[:, 0] + dE_dw * state.weight_slopes
        result = np.zeros((block.stop - block.start, 3))
        result[features.pairs - block.start] = slope[:, None] * state.units
        return result


def species_pairs(species: Sequence[int]) -> list[str]:
    """Names of unordered pairs in the order of high (high + 1) / 2 + low."""
    return [f"{chemical_symbols[low]}-{chemical_symbols[high]}" for k, high in enumerate(species) for low in species[: k + 1]]
