"""Isolated atoms and dimers of the species of a set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

from ..._validation import check_integer, check_real, describe
from .base import Made, Plan

__all__ = ["dimer", "isolated"]


def isolated(starts: Sequence[Atoms], rng: np.random.Generator, *, species: Any = None, box: float | None = None) -> Plan:
    """One atom of each species alone: what energies are relative to.

    Parameters
    ----------
    species : list of str, optional
        Default: those of the start.
    box : float, optional
        Edge of a cube around it, Å, for codes that need a cell; it is not periodic.
    """
    symbols = _species("isolated", species, starts)
    _check_box("isolated", box)
    return Plan(len(symbols), (Made(_boxed(Atoms(s), box), {"species": s}) for s in symbols))


def dimer(
    starts: Sequence[Atoms],
    rng: np.random.Generator,
    *,
    n: int = 20,
    nearest: float = 0.7,
    farthest: float = 6.0,
    species: Any = None,
    box: float | None = None,
) -> Plan:
    """Two atoms at distances that are denser where they are short, of each pair of species.

    Parameters
    ----------
    n : int
        Of each pair of species.
    nearest : float
        Shortest distance, relative to the sum of the covalent radii.
    farthest : float
        Longest distance, Å.
    species, box
        As for isolated atoms.
    """
    symbols = _species("dimer", species, starts)
    _check_box("dimer", box)
    check_integer("dimer.n", n, at_least=2)
    check_real("dimer.nearest", nearest, above=0.0)
    pairs = list(combinations_with_replacement(symbols, 2))
    shortest = [nearest * float(covalent_radii[[atomic_numbers[s] for s in pair]].sum()) for pair in pairs]
    check_real("dimer.farthest", farthest, above=max(shortest), remedy="It is in Å, and beyond the shortest distance.")

    def structures() -> Iterator[Made]:
        for pair, first in zip(pairs, shortest, strict=True):
            for distance in np.geomspace(first, farthest, n):
                atoms = Atoms("".join(pair), [(0.0, 0.0, 0.0), (0.0, 0.0, float(distance))])
                yield Made(_boxed(atoms, box), {"species": "-".join(pair), "distance": float(distance)})

    return Plan(n * len(pairs), structures())


def _species(kind: str, given: Any, starts: Sequence[Atoms]) -> list[str]:
    if given is None:
        found = sorted({s for atoms in starts for s in atoms.symbols})
        if not found:
            raise ValueError(describe(f"{kind}.species", "given without a start", None, "For example [Si, O]."))
        return found
    names = [given] if isinstance(given, str) else list(given) if isinstance(given, list | tuple) else []
    if not names or any(name not in atomic_numbers or name == "X" for name in names):
        raise ValueError(describe(f"{kind}.species", "a list of elements", given, "For example [Si, O]."))
    return names


def _check_box(kind: str, box: float | None) -> None:
    if box is not None:
        check_real(f"{kind}.box", box, above=0.0, remedy="It is in Å; 12 and more is usual.")


def _boxed(atoms: Atoms, box: float | None) -> Atoms:
    if box is not None:
        atoms.set_cell([box] * 3)
        atoms.center()
    return atoms
