"""Crystals that are strained, compressed and rattled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from ase import Atoms

from ..._validation import check_integer, check_real
from .base import Made, Plan, check_atoms, check_crystals, check_starts, rattled, strained, supercell

__all__ = ["rattle", "strain", "volume"]


def strain(starts: Sequence[Atoms], rng: np.random.Generator, *, n: int = 20, largest: float = 0.05) -> Plan:
    """Cells under random symmetric strains.

    Parameters
    ----------
    n : int
        Of each start.
    largest : float
        Largest element of the strain.
    """
    check_starts(starts, "strain")
    check_integer("strain.n", n, at_least=1)
    check_real("strain.largest", largest, above=0.0, at_most=0.5)
    for atoms in starts:
        if not atoms.pbc.any():
            check_crystals(starts, "strain")

    def structures() -> Iterator[Made]:
        for k, atoms in enumerate(starts):
            for _ in range(n):
                elements = rng.uniform(-largest, largest, (3, 3))
                yield Made(strained(atoms, elements), {"start": k})

    return Plan(n * len(starts), structures())


def volume(
    starts: Sequence[Atoms], rng: np.random.Generator, *, n: int = 11, smallest: float = 0.8, largest: float = 1.2
) -> Plan:
    """The same crystal at evenly spaced volumes, atoms at their fractions of the cell.

    Parameters
    ----------
    n : int
        Of each start.
    smallest, largest : float
        Volumes relative to that of the start.
    """
    check_crystals(starts, "volume")
    check_integer("volume.n", n, at_least=2)
    check_real("volume.smallest", smallest, above=0.1)
    check_real("volume.largest", largest, above=smallest, at_most=10.0)

    def structures() -> Iterator[Made]:
        for k, atoms in enumerate(starts):
            for ratio in np.linspace(smallest, largest, n):
                scaled = atoms.copy()
                scaled.set_cell(atoms.cell.array * ratio ** (1.0 / 3.0), scale_atoms=True)
                yield Made(scaled, {"start": k, "volume": float(ratio)})

    return Plan(n * len(starts), structures())


def rattle(
    starts: Sequence[Atoms],
    rng: np.random.Generator,
    *,
    n: int = 20,
    smallest: float = 0.02,
    largest: float = 0.2,
    min_edge: float = 6.0,
) -> Plan:
    """Normally distributed displacements of all atoms, of evenly spaced widths.

    Parameters
    ----------
    n : int
        Of each start.
    smallest, largest : float
        Widths of the first and the last copy, Å, of each component.
    min_edge : float
        Cells are repeated until every periodic edge is as long, Å.
    """
    check_starts(starts, "rattle")
    check_integer("rattle.n", n, at_least=1)
    check_real("rattle.smallest", smallest, above=0.0)
    check_real("rattle.largest", largest, at_least=smallest)
    check_real("rattle.min_edge", min_edge, at_least=0.0)
    cells = [supercell(atoms, min_edge) for atoms in starts]
    for cell in cells:
        check_atoms(cell, 2, "rattle")

    def structures() -> Iterator[Made]:
        for k, cell in enumerate(cells):
            for width in np.linspace(smallest, largest, n):
                yield Made(rattled(cell, float(width), rng), {"start": k, "width": float(width)})

    return Plan(n * len(starts), structures())
