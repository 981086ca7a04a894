"""Standard deviations of forces and stresses from the posterior (DTC): exact, and as expensive as a row of the fit each.

With its row φ of the whitened design matrix, the variance of a component is its prior variance (`gapkit.gp.prior`) minus φ·φ
plus what the data leave open of φ.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..gp.design import SparseTerm, kernel_rows
from ..gp.observations import Labels
from ..gp.posterior import SparsePosterior
from ..gp.prior import prior_variances
from ..neighbors import NeighborList
from .spread import deviations, with_amplitudes

__all__ = ["derivative_deviations"]

Array = NDArray[np.float64]


def derivative_deviations(
    terms: Sequence[SparseTerm], posterior: SparsePosterior, neighbors: NeighborList, wanted: frozenset[str]
) -> tuple[Array | None, list[Array | None] | None]:
    """Standard deviations of force components (n_atoms, 3), eV/Å, and stresses (6,) per structure, eV/Å³; None if not wanted.

    Raises
    ------
    MemoryError
        If the derivatives of the features do not fit.
    """
    of_stress = [neighbors.has_stress(t) and "stress" in wanted for t in range(neighbors.n_structures)]
    labels = [
        Labels(None, np.zeros((int(n), 3)) if "forces" in wanted else None, np.zeros(6) if stress else None, "")
        for n, stress in zip(np.diff(neighbors.first_atom), of_stress, strict=True)
    ]
    rows = kernel_rows(terms, neighbors, labels)
    prior_forces, prior_stress = np.zeros(len(rows.forces)), np.zeros(len(rows.stress))
    for term in terms:
        if term.descriptor.one_per_atom:  # of pairs and triplets the part of the sparse points is all there is
            prior = prior_variances(term, neighbors, labels)
            prior_forces += term.delta**2 * prior.forces
            prior_stress += term.delta**2 * prior.stress
    forces = stresses = None
    if "forces" in wanted:
        forces = deviations(terms, posterior, prior_forces, with_amplitudes(terms, rows.forces), "forces").reshape(-1, 3)
    if "stress" in wanted:
        found = iter(deviations(terms, posterior, prior_stress, with_amplitudes(terms, rows.stress), "stresses").reshape(-1, 6))
        stresses = [next(found) if stress else None for stress in of_stress]
    return forces, stresses
