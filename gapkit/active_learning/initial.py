"""What is labelled before there is a model: the starting structures, rattled and strained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from ..datasets.generate.base import nearest_distance, rattled, strained

__all__ = ["initial_structures"]

_RATTLE = (0.01, 0.1)  # of the distance of nearest neighbours: displacements (rms per component), first copy to last
_STRAIN = 0.04  # largest element of the strain


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
            copy = strained(copy, rng.uniform(-_STRAIN, _STRAIN, (3, 3)))
        width = np.linspace(*_RATTLE, n)[k] * nearest_distance(starts[k % len(starts)])
        result.append(rattled(copy, float(width), rng))
    return result
