"""What is labelled before there is a model: the starting structures, rattled and strained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

__all__ = ["initial_structures"]

_RATTLE = (0.02, 0.15)  # Å, standard deviations of displacements, from the first copy to the last
_STRAIN = 0.03  # largest element of the strain


def initial_structures(starts: Sequence[Atoms], n: int, random_state: int) -> list[Atoms]:
    """Structures from which a first model learns what atoms do near where exploration starts.

    Parameters
    ----------
    starts : sequence of ase.Atoms
        Each is among the result, without velocities.
    n : int
        How many copies with displaced atoms (0.02 to 0.15 Å) and, where a cell is periodic, up to 3 % of strain.
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
        width = np.linspace(*_RATTLE, n)[k]
        copy.positions += rng.normal(0.0, width, copy.positions.shape)
        result.append(copy)
    return result
