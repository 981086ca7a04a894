"""What is labelled before there is a model: the starting structures, rattled and strained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

__all__ = ["initial_structures"]

_RATTLE = (0.01, 0.1)  # of the distance of nearest neighbours: displacements (rms per component), first copy to last
_STRAIN = 0.04  # largest element of the strain
_REACH = 5.0  # Å, in which neighbours are looked for
_ALONE = 2.5  # Å, where there are none


def initial_structures(starts: Sequence[Atoms], n: int, random_state: int) -> list[Atoms]:
    """Structures from which a first model learns what atoms do near where exploration starts.

    Parameters
    ----------
    starts : sequence of ase.Atoms
        Each is among the result, without velocities.
    n : int
        How many copies with displaced atoms (1 to 10 % of the distance of nearest neighbours: as in warm to molten matter, so
        that the model knows how atoms repel each other) and, where a cell is periodic, up to 4 % of strain.
    random_state : int
        Seed.

    Returns
    -------
    list of ase.Atoms
    """
    rng = np.random.default_rng(random_state)
    result = []
    for atoms in starts:
        plain = atoms.copy()
        plain.calc = None
        plain.arrays.pop("momenta", None)
        result.append(plain)
    for k in range(n):
        copy = result[k % len(starts)].copy()
        if copy.pbc.any():
            strain = rng.uniform(-_STRAIN, _STRAIN, (3, 3))
            strain = 0.5 * (strain + strain.T)
            periodic = copy.pbc & copy.cell.any(1)
            strain[~periodic] = strain[:, ~periodic] = 0.0
            copy.set_cell(copy.cell.array @ (np.eye(3) + strain), scale_atoms=True)
        width = np.linspace(*_RATTLE, n)[k] * _nearest(starts[k % len(starts)])
        copy.positions += rng.normal(0.0, width, copy.positions.shape)
        result.append(copy)
    return result


def _nearest(atoms: Atoms) -> float:
    """Median over atoms of the distance of the nearest neighbour, Å."""
    distances = neighbor_list("ijd", atoms, _REACH)
    nearest = np.full(len(atoms), np.inf)
    np.minimum.at(nearest, distances[0], distances[2])
    found = nearest[np.isfinite(nearest)]
    return float(np.median(found)) if len(found) else _ALONE
