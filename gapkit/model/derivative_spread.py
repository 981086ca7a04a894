"""Standard deviations of forces and stresses from the posterior (DTC): exact, and as expensive as a row of the fit each.

With its row φ of the whitened design matrix, the variance of a component is its prior variance (`gapkit.gp.prior`) minus φ·φ
plus what the data leave open of φ.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..gp.observations import Labels
from ..gp.prior import rows_and_priors
from ..neighbors import NeighborList
from .potential import Potential
from .spread import deviations, with_amplitudes

__all__ = ["derivative_deviations"]

Array = NDArray[np.float64]


def derivative_deviations(
    potential: Potential, neighbors: NeighborList, wanted: frozenset[str]
) -> tuple[Array | None, list[Array | None] | None]:
    """Standard deviations of force components (n_atoms, 3), eV/Å, and stresses (6,) per structure, eV/Å³; None if not wanted.

    Raises
    ------
    MemoryError
        If the derivatives of the features of a structure do not fit.
    """
    of_stress = [neighbors.has_stress(t) and "stress" in wanted for t in range(neighbors.n_structures)]
    labels = [
        Labels(None, np.zeros((int(n), 3)) if "forces" in wanted else None, np.zeros(6) if stress else None, "")
        for n, stress in zip(np.diff(neighbors.first_atom), of_stress, strict=True)
    ]
    rows, priors = rows_and_priors(
        potential.terms, neighbors, labels, [term if potential.is_open(term) else None for term in potential.terms]
    )
    prior_forces, prior_stress = np.zeros(len(rows.forces)), np.zeros(len(rows.stress))
    for term, prior in zip(potential.terms, priors, strict=True):
        if prior is not None:
            prior_forces += term.delta**2 * prior.forces
            prior_stress += term.delta**2 * prior.stress
    forces = stresses = None
    if "forces" in wanted:
        forces = deviations(potential, prior_forces, with_amplitudes(potential.terms, rows.forces), "forces").reshape(-1, 3)
    if "stress" in wanted:
        found = iter(
            deviations(potential, prior_stress, with_amplitudes(potential.terms, rows.stress), "stresses").reshape(-1, 6)
        )
        stresses = [next(found) if stress else None for stress in of_stress]
    return forces, stresses
