"""Loop over the pairs that are close enough to repel each other.

Array names end with their axes: p pair, i atom, s species, c Cartesian, k constant of a pair of species.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .._device.repulsion import switched_zbl
from . import njit

__all__ = ["add_repulsion"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]


@njit
def add_repulsion(
    first: Index,
    neighbour: Index,
    species_i: Index,
    constant_ssk: Array,
    vector_pc: Array,
    distance_p: Array,
    energy_i: Array,
    gradient_pc: Array,
) -> None:
    """Add half the energy of each pair to both of its atoms, and dE/dD_p to the gradient unless that has no rows.

    ``constant_ssk[s, t]`` = the four constants of `switched_zbl`.  Both directions of a pair are in the list: each has half.
    """
    with_gradient = gradient_pc.shape[0] > 0
    for i in range(first.size - 1):
        for p in range(first[i], first[i + 1]):
            s = species_i[i]
            t = species_i[neighbour[p]]
            r = distance_p[p]
            if r < constant_ssk[s, t, 3]:
                value, slope = switched_zbl(
                    r, constant_ssk[s, t, 0], constant_ssk[s, t, 1], constant_ssk[s, t, 2], constant_ssk[s, t, 3]
                )
                energy_i[i] += 0.5 * value
                if with_gradient:
                    for c in range(3):
                        gradient_pc[p, c] += 0.5 * slope * vector_pc[p, c] / r
