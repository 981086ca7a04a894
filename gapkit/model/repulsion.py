"""Repulsion of nuclei at distances shorter than those of the data, so that atoms never fall onto each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from math import floor
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols, covalent_radii
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from .._backend import repulsion_ops
from .._validation import check_choice, check_cutoff, describe
from ..descriptors.base import species_of
from ..neighbors import NeighborList
from .fitting import chunks_of_frames
from .glue import Glue, GlueTables

__all__ = ["ZBL", "Repulsion", "core_of"]

Array = NDArray[np.float64]
Pair = tuple[int, int]

_OUTER = 0.95  # of the shortest distance in the data, or of the sum of covalent radii: the repulsion ends there
_INNER = 0.7  # of that: from here on it is complete

_COULOMB = 14.399645  # e² / (4 pi eps0), eV Å
_BOHR = 0.529177  # Å


class ZBL(BaseEstimator):  # type: ignore[misc]
    r"""Screened repulsion of nuclei (Ziegler, Biersack, Littmark) below the distances of the data.

    .. math::
        E = \sum_{i<j} s(r_{ij}) \frac{e^2 Z_i Z_j}{4 \pi \epsilon_0 r_{ij}} \, \phi(r_{ij} / a_{ij}), \qquad
        a_{ij} = \frac{0.8854 \, a_0}{Z_i^{0.23} + Z_j^{0.23}}

    with the universal screening function :math:`\phi`.  The switch s is 1 up to ``r_inner`` and 0 from ``r_outer`` on, with
    two continuous derivatives.  As the baseline of a model it is taken from the labels before the fit and added to
    predictions; with automatic radii it is 0 for every pair of the training set, which changes nothing there.

    Parameters
    ----------
    r_outer : "auto", float or dict of str to float, default "auto"
        Where the repulsion ends, Å: a number for all pairs of species or one for each, {"Si-Si": 2.0, "O-Si": 1.4}.
        "auto": 0.95 × the shortest distance in the training set, or the sum of the covalent radii if that is shorter.
    r_inner : "auto", float or dict of str to float, default "auto"
        Where it is complete, Å.  "auto": 0.7 × ``r_outer``.

    References
    ----------
    J. F. Ziegler, J. P. Biersack, U. Littmark, The Stopping and Range of Ions in Matter, Pergamon (1985).

    Examples
    --------
    >>> from gapkit import ZBL
    >>> from gapkit.datasets import load_silicon
    >>> ZBL().explicit(load_silicon())
    ZBL(r_inner={'Si-Si': 1.37}, r_outer={'Si-Si': 1.96})
    """

    def __init__(self, r_outer: Any = "auto", r_inner: Any = "auto") -> None:
        self.r_outer = r_outer
        self.r_inner = r_inner

    def explicit(self, frames: Sequence[Atoms]) -> ZBL:
        """Return a copy with both radii of every pair of species in numbers.

        Parameters
        ----------
        frames : list of ase.Atoms
            Training structures.

        Returns
        -------
        ZBL

        Raises
        ------
        TypeError
            If a radius is not a number.
        ValueError
            If a radius is out of its range, or a pair of species has none.
        """
        pairs = list(combinations_with_replacement(species_of(frames), 2))
        if isinstance(self.r_outer, str):
            check_choice("r_outer", self.r_outer, ("auto",), "Or give a number, or one for each pair.")
            outer = {pair: floor(100 * _OUTER * r) / 100 for pair, r in _shortest_distances(frames, pairs).items()}
        else:
            outer = _radii("r_outer", self.r_outer, pairs)
        if isinstance(self.r_inner, str):
            check_choice("r_inner", self.r_inner, ("auto",), "Or give a number, or one for each pair.")
            inner = {pair: floor(100 * _INNER * r) / 100 for pair, r in outer.items()}
        else:
            inner = _radii("r_inner", self.r_inner, pairs)
        for pair in pairs:
            if inner[pair] >= outer[pair]:
                rule = f"below r_outer ({outer[pair]:g} Å) for {_name(pair)}"
                raise ValueError(describe("r_inner", rule, inner[pair], "It is in Å; 0.7 × r_outer is usual."))
        return ZBL(*({_name(pair): r[pair] for pair in pairs} for r in (outer, inner)))


def _name(pair: Pair) -> str:
    return f"{chemical_symbols[pair[0]]}-{chemical_symbols[pair[1]]}"


def _radii(name: str, given: Any, pairs: Sequence[Pair]) -> dict[Pair, float]:
    """Radius of each pair of species from a number or from a mapping of "Si-O" or "O-Si"."""
    if not isinstance(given, Mapping):
        return dict.fromkeys(pairs, check_cutoff(name, given))
    found: dict[Pair, float] = {}
    for key, value in given.items():
        symbols = str(key).split("-")
        if len(symbols) != 2 or not set(symbols) <= set(chemical_symbols):
            raise ValueError(describe(name, 'a dict with keys such as "Si-O"', key))
        low, high = sorted(chemical_symbols.index(symbol) for symbol in symbols)
        found[low, high] = check_cutoff(f"{name}[{key!r}]", value)
    missing = [_name(pair) for pair in pairs if pair not in found]
    if missing:
        raise ValueError(describe(name, f"given for every pair of species; missing {missing}", dict(given)))
    return {pair: found[pair] for pair in pairs}


def _shortest_distances(frames: Sequence[Atoms], pairs: Sequence[Pair]) -> dict[Pair, float]:
    """Shortest distance (Å) of each pair of species in all frames, at most the sum of the covalent radii.

    The bound is for pairs that are never neighbours in the data: their shortest distance says nothing about repulsion.
    """
    shortest = {pair: float(covalent_radii[list(pair)].sum()) for pair in pairs}
    lowest = np.full((len(chemical_symbols), len(chemical_symbols)), np.inf)
    for start, chunk in chunks_of_frames(frames, 4096):
        neighbors = NeighborList.from_atoms(chunk, max(shortest.values()), first_frame=start)
        of_pair = neighbors.numbers[neighbors.centers], neighbors.numbers[neighbors.neighbors]
        np.minimum.at(lowest, of_pair, neighbors.distances)
    return {pair: min(r, float(lowest[pair])) for pair, r in shortest.items()}


@dataclass(frozen=True)
class Repulsion:
    """A `ZBL` with its constants in arrays, for evaluation.

    Attributes
    ----------
    species_index : ndarray of shape (119,)
        Row of each atomic number in ``constants``, -1 for species that the model does not know.
    constants : ndarray of shape (n_species, n_species, 4)
        Z1 Z2 e² / (4 pi eps0) in eV Å, 1 / screening length in 1/Å, inner and outer radius in Å.
    """

    species_index: NDArray[np.int64]
    constants: Array

    @classmethod
    def from_radii(cls, zbl: ZBL) -> Repulsion:
        """Constants of an `ZBL.explicit` repulsion."""
        pairs = {tuple(chemical_symbols.index(s) for s in name.split("-")): name for name in zbl.r_outer}
        species = sorted({z for pair in pairs for z in pair})
        index = np.full(len(chemical_symbols), -1)
        index[species] = np.arange(len(species))
        constants = np.zeros((len(species), len(species), 4))
        for (z1, z2), name in pairs.items():
            screening = 0.8854 * _BOHR / (z1**0.23 + z2**0.23)
            row = (_COULOMB * z1 * z2, 1.0 / screening, zbl.r_inner[name], zbl.r_outer[name])
            constants[index[z1], index[z2]] = constants[index[z2], index[z1]] = row
        return cls(index, constants)

    @property
    def range(self) -> float:
        """Distance (Å) from which on nothing is repelled."""
        return float(self.constants[:, :, 3].max())

    def of_pair(self, z1: int, z2: int, r: float) -> tuple[float, float]:
        """Energy (eV) and slope (eV/Å) of one pair of atoms at distance ``r`` (Å)."""
        from .._device.repulsion import switched_zbl  # imports Numba

        value, slope = switched_zbl(r, *self.constants[self.species_index[z1], self.species_index[z2]])
        return float(value), float(slope)

    def add_to(self, neighbors: NeighborList, energies: Array, gradient: Array | None) -> None:
        """Add the energy of each atom and the derivative with respect to each pair vector.

        Parameters
        ----------
        neighbors : NeighborList
            Pairs up to at least ``range``.
        energies : ndarray of shape (n_atoms,), eV
        gradient : ndarray of shape (n_pairs, 3) or None, eV/Å
        """
        repulsion_ops().add_repulsion(
            neighbors.first,
            neighbors.neighbors,
            self.species_index[neighbors.numbers],
            self.constants,
            neighbors.vectors,
            neighbors.distances,
            energies,
            np.empty((0, 3)) if gradient is None else gradient,
        )


def core_of(baseline: object) -> Repulsion | GlueTables | None:
    """What a potential has to evaluate of a baseline: a `ZBL.explicit` repulsion, a `Glue`, or nothing."""
    if isinstance(baseline, Glue):
        return baseline.tables()
    return Repulsion.from_radii(baseline) if isinstance(baseline, ZBL) else None
