"""What all kinds of generated structures share: plain copies, distances, strains, supercells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray

from ..._validation import describe
from ...exceptions import InvalidStructureError

__all__ = [
    "Details",
    "Made",
    "Plan",
    "are_too_close",
    "check_crystals",
    "nearest_distance",
    "plain_copy",
    "rattled",
    "strained",
    "supercell",
]

Array = NDArray[np.float64]
Details = dict[str, Any]

_REACH = 5.0  # Å, in which neighbours are looked for
_ALONE = 2.5  # Å, where there are none
_KEPT = ("initial_magmoms", "initial_charges")  # a label depends on them


@dataclass(frozen=True)
class Made:
    """One structure that a kind has made.

    Attributes
    ----------
    atoms : ase.Atoms
        Without labels.
    details : dict
        What distinguishes it from the others of its block, e.g. the volume.
    suffix : str
        Of its configuration type, where those of a block are several.
    """

    atoms: Atoms
    details: Details
    suffix: str = ""


@dataclass(frozen=True)
class Plan:
    """What a block of a recipe will make: its parameters have been checked, nothing is made yet.

    Attributes
    ----------
    total : int
        How many structures, at most.
    structures : iterator of Made
    """

    total: int
    structures: Iterator[Made] = field(repr=False)


def plain_copy(atoms: Atoms) -> Atoms:
    """A copy without labels, velocities, constraints and info; magnetic moments and charges stay."""
    result = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    for name in _KEPT:
        if atoms.has(name):
            result.set_array(name, atoms.arrays[name].copy())
    return result


def check_crystals(starts: Sequence[Atoms], kind: str) -> None:
    """Raise unless there are structures to start from, and all are periodic in three directions."""
    check_starts(starts, kind)
    for k, atoms in enumerate(starts):
        if not (atoms.pbc.all() and atoms.cell.rank == 3):
            raise InvalidStructureError(
                f"`{kind}` must start from crystals, periodic in three directions; got pbc {atoms.pbc.tolist()} in frame {k} "
                f"of the start ({atoms.symbols}). Give it a start of its own."
            )


def check_starts(starts: Sequence[Atoms], kind: str) -> None:
    """Raise unless there are structures to start from."""
    if not starts:
        raise ValueError(describe("start", f"given for {kind!r}", None, "Name a file of structures to start from."))


def check_atoms(atoms: Atoms, least: int, kind: str) -> None:
    """Raise where a cell holds too few atoms."""
    if len(atoms) < least:
        raise InvalidStructureError(
            f"`{kind}` must have a cell of at least {least} atoms; got {len(atoms)} ({atoms.symbols}). Raise `min_edge`, which "
            "repeats the cell until every edge is as long."
        )


def are_too_close(atoms: Atoms, share: float) -> bool:
    """Whether two atoms, periodic images included, are closer than a share of the sum of their covalent radii."""
    return bool(share > 0.0 and len(neighbor_list("i", atoms, share * covalent_radii[atoms.numbers])))


def nearest_distance(atoms: Atoms) -> float:
    """Median over atoms of the distance of the nearest neighbour, Å."""
    distances = neighbor_list("ijd", atoms, _REACH)
    nearest = np.full(len(atoms), np.inf)
    np.minimum.at(nearest, distances[0], distances[2])
    found = nearest[np.isfinite(nearest)]
    return float(np.median(found)) if len(found) else _ALONE


def strained(atoms: Atoms, strain: Array) -> Atoms:
    """A strained copy; the symmetric part counts, and of it what is along periodic directions.

    Parameters
    ----------
    atoms : ase.Atoms
    strain : ndarray of shape (3, 3)
    """
    strain = 0.5 * (strain + strain.T)
    periodic = atoms.pbc & atoms.cell.any(1)
    strain[~periodic] = strain[:, ~periodic] = 0.0
    result: Atoms = atoms.copy()
    result.set_cell(result.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    return result


def rattled(atoms: Atoms, width: float, rng: np.random.Generator) -> Atoms:
    """A copy with normally distributed displacements; ``width`` in Å, of each component."""
    result: Atoms = atoms.copy()
    if width > 0.0:
        result.positions += rng.normal(0.0, width, result.positions.shape)
    return result


def supercell(cell: Atoms, least: float) -> Atoms:
    """The cell repeated until every periodic edge is at least ``least`` Å."""
    lengths = np.where(cell.pbc, cell.cell.lengths(), np.inf)
    repeated: Atoms = cell.repeat([max(1, int(np.ceil(least / edge - 1e-3))) for edge in lengths])
    return repeated
