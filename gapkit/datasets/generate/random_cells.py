"""Random atoms in random cells, as in ab initio random structure searching (AIRSS).

References
----------
C. J. Pickard, R. J. Needs, J. Phys.: Condens. Matter 23, 053201 (2011).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.cell import Cell
from ase.data import covalent_radii
from ase.geometry import get_distances, minkowski_reduce
from ase.symbols import Symbols, string2symbols
from numpy.typing import NDArray

from ..._validation import check_integer, check_real, describe
from .base import Made, Plan

__all__ = ["draw_random", "numbers_of_formula", "random"]

_NEAREST = 0.85  # of the sum of covalent radii
_TRIES = 200  # to place an atom, before the cell is made larger
_LARGER = 1.05
_MOST = 2.0  # times the volume that was asked for: it cannot be had
_SPREAD = 0.2  # of the volume
_ANGLES = (60.0, 120.0)  # degrees
_LENGTHS = (0.7, 1.4)  # of cell vectors, relative to a cube


def random(
    starts: Sequence[Atoms],
    rng: np.random.Generator,
    *,
    composition: Any = None,
    n: int = 20,
    volume: float | None = None,
    nearest: float = _NEAREST,
) -> Plan:
    """Random atoms in random cells that keep their distances.

    Parameters
    ----------
    composition : str or list of str, optional
        Formulas of a cell, e.g. Ga4As4; default: those of the start.
    n : int
        Of each formula.
    volume : float, optional
        Å³ per atom, give or take 20 %; default: that of spheres with the covalent radii, filling half of the cell.
    nearest : float
        Shortest distance, relative to the sum of the covalent radii.
    """
    names = [composition] if isinstance(composition, str) else composition
    if names is None:
        names = list(dict.fromkeys(str(atoms.symbols) for atoms in starts))
    if not isinstance(names, list | tuple) or not names:
        raise ValueError(describe("random.composition", "given without a start", composition, "For example Si8."))
    formulas = [(str(name), numbers_of_formula(name, "random.composition")) for name in names]
    check_integer("random.n", n, at_least=1)
    if volume is not None:
        check_real("random.volume", volume, above=0.0, remedy="It is in Å³ per atom.")
    check_real("random.nearest", nearest, above=0.0, at_most=2.0)

    def structures() -> Iterator[Made]:
        for name, numbers in formulas:
            for _ in range(n):
                most = np.inf if volume is None else _MOST * volume
                yield Made(draw_random(numbers, rng, volume=volume, nearest=nearest, most=most), {"composition": name})

    return Plan(n * len(formulas), structures())


def numbers_of_formula(formula: Any, name: str) -> NDArray[np.int64]:
    """Atomic numbers of a formula.

    Raises
    ------
    ValueError
        If it is none.
    """
    try:
        numbers = Symbols.fromsymbols(string2symbols(formula)).numbers
        if not len(numbers) or min(numbers) < 1:
            raise ValueError("it has no atoms, or dummy atoms")
    except (KeyError, ValueError, AttributeError, TypeError, AssertionError) as error:
        raise ValueError(describe(name, "a formula such as 'Ga4As4'", formula)) from error
    return np.asarray(numbers)


def draw_random(
    numbers: NDArray[np.int64],
    rng: np.random.Generator,
    *,
    volume: float | None = None,
    nearest: float = _NEAREST,
    most: float = np.inf,
) -> Atoms:
    """A random structure whose atoms keep their distances.

    Parameters
    ----------
    numbers : ndarray of int
        Atomic numbers.
    rng : numpy.random.Generator
    volume : float, optional
        Å³ per atom, give or take 20 %; default: that of spheres with the covalent radii, filling half of the cell.  Where
        atoms find no place, it grows.
    nearest : float, default 0.85
        Shortest distance, relative to the sum of the covalent radii.
    most : float, optional
        Å³ per atom, to which the volume may grow.

    Raises
    ------
    ValueError
        If the distances cannot be had in that volume.
    """
    radii = covalent_radii[numbers]
    size = 2.0 * float(np.sum(4.0 / 3.0 * np.pi * radii**3)) if volume is None else volume * len(radii)
    size *= 1.0 + rng.uniform(-_SPREAD, _SPREAD)
    while True:
        shape = Cell.fromcellpar([*rng.uniform(*_LENGTHS, 3), *rng.uniform(*_ANGLES, 3)])
        if shape.volume > 0.3:  # of that of a box with these lengths, about: no flat cells
            cell = shape.array * (size / shape.volume) ** (1.0 / 3.0)
            positions = _placed(cell, radii, nearest, rng)
            own_images = minkowski_reduce(cell)[0]
            if positions is not None and np.linalg.norm(own_images, axis=1).min() >= 2.0 * nearest * radii.max():
                return Atoms(numbers, positions, cell=cell, pbc=True)
        size *= _LARGER
        if size > most * len(radii):
            raise ValueError(
                f"`volume` must leave room for distances of {nearest:g} times the sum of the covalent radii; got {volume:g} "
                f"Å³/atom, and twice that was too little. Raise `volume` or lower `nearest`."
            )


def _placed(cell: Any, radii: Any, share: float, rng: np.random.Generator) -> Any:
    """Random positions, or None where an atom finds no place."""
    positions = np.empty((0, 3))
    for k, radius in enumerate(radii):
        for _ in range(_TRIES):
            new = rng.uniform(0.0, 1.0, (1, 3)) @ cell
            apart = share * (radius + radii[:k])
            if k == 0 or (get_distances(new, positions, cell=cell, pbc=True)[1][0] >= apart).all():
                positions = np.vstack([positions, new])
                break
        else:
            return None
    return positions
