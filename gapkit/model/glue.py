"""QUIP's Glue core: tabulated energies of pairs of atoms under a Gaussian approximation potential."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from sklearn.base import BaseEstimator

from .._validation import describe
from ..neighbors import NeighborList

__all__ = ["Glue", "GlueTables"]

Array = NDArray[np.float64]

_NATURAL = 1e30  # slopes from here on stand for an end without curvature


class Glue(BaseEstimator):  # type: ignore[misc]
    """Pair energies from tables, as the potentials of QUIP have them as their core.

    Each is a cubic spline with given slopes at both ends, goes on as a straight line below the first knot and is 0 beyond the
    last.

    Parameters
    ----------
    pairs : dict of str to dict
        By pair, such as "Si-O": ``{"r": knots (Å, ascending), "energy": of one pair (eV), "slopes": (first, last) (eV/Å)}``;
        slopes of 1e30 stand for ends without curvature.  Other pairs have no energy.

    Examples
    --------
    >>> from gapkit.model import Glue
    >>> Glue({"Si-Si": {"r": [1.0, 2.0, 2.5], "energy": [20.0, 1.0, 0.0], "slopes": [-60.0, 0.0]}}).explicit().tables().range
    2.5
    """

    def __init__(self, pairs: Mapping[str, Mapping[str, Any]]) -> None:
        self.pairs = pairs

    def explicit(self, frames: Sequence[Atoms] = ()) -> Glue:
        """Return itself, checked: nothing depends on the training structures.

        Raises
        ------
        ValueError
            If a pair is not two chemical symbols, or its table is not a function.
        """
        for name, table in self.pairs.items():
            symbols = name.split("-")
            if len(symbols) != 2 or not set(symbols) <= set(chemical_symbols[1:]):
                raise ValueError(describe("pairs", 'a dict with keys such as "Si-O"', name))
            r, energy = np.asarray(table["r"], float), np.asarray(table["energy"], float)
            if r.ndim != 1 or len(r) < 2 or r.shape != energy.shape or r[0] < 0.0 or not (np.diff(r) > 0.0).all():
                raise ValueError(describe(f"pairs[{name!r}]", "two or more knots of ascending r >= 0 with an energy each", r))
            if not np.isfinite([*r, *energy]).all():
                raise ValueError(describe(f"pairs[{name!r}]", "given finite energies", energy))
        return self

    def tables(self) -> GlueTables:
        """For evaluation."""
        splines = {}
        for name, table in self.pairs.items():
            ends = [(2, 0.0) if slope >= _NATURAL else (1, float(slope)) for slope in table.get("slopes", (0.0, 0.0))]
            low, high = sorted(chemical_symbols.index(symbol) for symbol in name.split("-"))
            splines[low, high] = CubicSpline(table["r"], table["energy"], bc_type=tuple(ends), extrapolate=False)
        return GlueTables(splines)


@dataclass(frozen=True)
class GlueTables:
    """A `Glue` for evaluation.

    Attributes
    ----------
    splines : dict of (int, int) to scipy.interpolate.CubicSpline
        By atomic numbers, lower first.
    """

    splines: dict[tuple[int, int], CubicSpline]

    @property
    def range(self) -> float:
        """Distance (Å) from which on there is no energy."""
        return max(float(spline.x[-1]) for spline in self.splines.values())

    def add_to(self, neighbors: NeighborList, energies: Array, gradient: Array | None) -> None:
        """Add the energy of each atom and the derivative with respect to each pair vector.

        Parameters
        ----------
        neighbors : NeighborList
            Pairs up to at least ``range``.
        energies : ndarray of shape (n_atoms,), eV
        gradient : ndarray of shape (n_pairs, 3) or None, eV/Å
        """
        near = np.flatnonzero(neighbors.distances < self.range)
        numbers = neighbors.numbers
        low, high = np.sort([numbers[neighbors.centers[near]], numbers[neighbors.neighbors[near]]], axis=0)
        for (z1, z2), spline in self.splines.items():
            pairs = near[(low == z1) & (high == z2) & (neighbors.distances[near] < spline.x[-1])]
            r = neighbors.distances[pairs]
            inside = np.maximum(r, spline.x[0])
            slope = spline(inside, 1)
            value = spline(inside) + slope * (r - inside)
            np.add.at(energies, neighbors.centers[pairs], 0.5 * value)
            if gradient is not None:
                gradient[pairs] += (0.5 * slope / r)[:, None] * neighbors.vectors[pairs]
