"""Standard deviations of local energies without a posterior, and their gradient: QUIP's local_gap_variance.

Environment by environment, what the sparse points leave open (`gapkit.gp.environment_variance`) is given to the atoms that
share its energy, times its weight squared; QUIP's sums over both orders of a pair or triplet count it twice.  Nothing else
enters: neither the data, nor the noise, nor the covariance between environments, so that there is no such deviation of a total
energy, a force or a stress.  Environments of a group without sparse points, which the model knows nothing of, do not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from ..descriptors import Features
from ..gp.observations import forces_and_stresses
from ..neighbors import NeighborList, check_structures
from .potential import Potential
from .spread import clipped
from .std_gradient import blocks

if TYPE_CHECKING:
    from .regressor import GAPRegressor

__all__ = ["PriorSpread", "prior_variance_gradient"]

Array = NDArray[np.float64]


class PriorSpread:
    """Collects environments as `gapkit.model.spread.Spread` does; only local energies have this deviation.

    Parameters
    ----------
    potential : Potential
        With or without a posterior.
    neighbors : NeighborList
        The structures.
    """

    def __init__(self, potential: Potential, neighbors: NeighborList) -> None:
        self.potential = potential
        self.variance, self.prior = np.zeros(neighbors.n_atoms), np.zeros(neighbors.n_atoms)

    def add(self, t: int, features: Features, kernels: Mapping[int, Array]) -> None:
        """Add a block of environments of term ``t``; ``kernels`` with the sparse points, of the groups that have them."""
        term = self.potential.terms[t]
        share = term.descriptor.multiplicity / features.owners.shape[1] * features.weights_or_ones**2
        for group, left_open in enumerate(self.potential.environment_variances[t]):
            members = np.flatnonzero(features.groups == group)
            if left_open is None or len(members) == 0:
                continue
            kernel = kernels.get(group)
            if kernel is None:
                kernel = term.kernel(term.seen(group, features.values[members]), term.seen(group, term.points[group]))
            prior, _ = left_open.prior(features.values[members])
            variance = prior - left_open.known(kernel)
            for atoms in features.owners[members].T:
                np.add.at(self.prior, atoms, share[members] * prior)
                np.add.at(self.variance, atoms, share[members] * variance)

    def results(self) -> tuple[Array, None]:
        """Standard deviations (eV) of the local energies; there are none of the total energies."""
        return np.sqrt(clipped(self.potential, self.variance, self.prior, "local energies")), None


def prior_variance_gradient(model: GAPRegressor, atoms: Atoms) -> Array:
    """Gradient of the sum of the squares of ``energies_std`` of ``evaluate(..., uncertainty="prior")``.

    It is QUIP's gap_variance_gradient.  Dynamics that seek unknown environments move along it; it is no uncertainty of forces.

    Parameters
    ----------
    model : GAPRegressor
        Fitted; it needs no posterior.
    atoms : ase.Atoms
        One structure.

    Returns
    -------
    ndarray of shape (n_atoms, 3)
        eV²/Å.

    Raises
    ------
    InvalidStructureError
        If the structure is invalid or contains a species that the model was not trained on.
    """
    check_is_fitted(model, "potential_")
    potential = model.potential_
    neighbors = NeighborList.from_atoms(check_structures([atoms]), potential.neighbor_range)
    gradient = np.zeros((len(neighbors.centers), 3))
    for term, of_groups in zip(potential.terms, potential.environment_variances, strict=True):
        n_times = term.descriptor.multiplicity
        for features in blocks(term, neighbors):
            weights = features.weights_or_ones
            slope, by_weight = np.zeros_like(features.values), np.zeros(len(weights))
            for group, left_open in enumerate(of_groups):
                members = np.flatnonzero(features.groups == group)
                if left_open is None or len(members) == 0:
                    continue
                variance, direct = left_open.with_slope(features.values[members])
                by_weight[members] = 2.0 * n_times * weights[members] * variance
                slope[members] = n_times * weights[members, None] ** 2 * direct
            of_weight = None if features.weights is None else by_weight
            gradient[features.block] += term.descriptor.pullback(features, slope, of_weight)
    return -forces_and_stresses(neighbors, gradient)[0]
