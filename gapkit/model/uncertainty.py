"""What an estimator offers beside `evaluate` of its posterior: samples, covariances, gradients of deviations."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import copy
from dataclasses import replace
from typing import Self

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from .._validation import check_choice, check_integer
from ..gp.calibration import Calibration
from ..gp.functionals import QUANTITIES
from ..gp.posterior import RowFactor
from ..gp.sparse_term import coefficients_from
from ..neighbors import NeighborList, check_structures
from .covariance import posterior_covariance
from .fitting import chunks_of_frames
from .potential import Potential, posterior_of
from .std_gradient import StdGradient, std_gradients
from .training import TrainingSet

__all__ = ["UncertaintyMethods"]

Array = NDArray[np.float64]

_BATCH_ATOMS = 1024


class UncertaintyMethods:
    """Methods of `GAPRegressor` that need its posterior and nothing else."""

    potential_: Potential
    factors_: dict[str, RowFactor]
    training_: TrainingSet | None
    table_errors_: dict[str, float]
    calibration_: Calibration | None

    def std_gradient(self, frames: Sequence[Atoms], weights: Sequence[Sequence[float]] | None = None) -> list[StdGradient]:
        """Sum of the standard deviations of the local energies, with its forces and stress: for dynamics that seek the unknown.

        Parameters
        ----------
        frames : list of ase.Atoms
            Structures.
        weights : list of array-like of shape (n_atoms,), optional
            Weight of each atom in the sum, for each structure; default 1.

        Returns
        -------
        list of StdGradient
            One per structure.  The deviations are those of `evaluate` with "exact", before any calibration.

        Raises
        ------
        ValueError
            If the model has no posterior, or the weights do not fit the structures.
        """
        check_is_fitted(self, "potential_")
        frames = check_structures(frames)
        given = [np.ones(len(atoms)) for atoms in frames] if weights is None else [np.asarray(w, float) for w in weights]
        if [w.shape for w in given] != [(len(atoms),) for atoms in frames]:
            raise ValueError("`weights` must have one number per atom of each frame. Correct their number, or leave them out.")
        result: list[StdGradient] = []
        for start, chunk in chunks_of_frames(frames, _BATCH_ATOMS):
            neighbors = NeighborList.from_atoms(chunk, self.potential_.neighbor_range, first_frame=start)
            result += std_gradients(self.potential_, neighbors, np.concatenate(given[start : start + len(chunk)]))
        return result

    def sample(self, n: int, random_state: int | None = None) -> list[Self]:
        """Draw whole potentials from the posterior: each conserves its energy, and their spread is the uncertainty.

        What the sparse points do not see of the prior is not in them: away from all of these the samples agree, where the
        deviations of `evaluate` grow.  They are not calibrated: multiply their spread by the factor that `calibration_` has
        found for a quantity of its kind.

        Parameters
        ----------
        n : int
            Number of potentials.
        random_state : int, optional
            Seed.

        Returns
        -------
        list of GAPRegressor
            Fitted copies without a posterior; they share the sparse points of this one.

        Raises
        ------
        ValueError
            If the model was saved without its posterior.
        """
        check_is_fitted(self, "potential_")
        check_integer("n", n, at_least=1)
        potential, result = self.potential_, []
        for weights in posterior_of(potential).sample(n, np.random.default_rng(random_state)):
            member = copy(self)
            drawn = coefficients_from(potential.terms, weights)
            member.potential_ = replace(potential, coefficients=drawn, posterior=None)
            member.factors_, member.training_, member.table_errors_, member.calibration_ = {}, None, {}, None
            result.append(member)
        return result

    def covariance(self, frames: Sequence[Atoms], of: Collection[str] = ("energy",)) -> Array:
        """Covariance of predictions with each other: of energy differences, of barriers, of averages over structures.

        For total and local energies it is exact, and so it is for forces and stresses; terms with many environments per atom
        enter with what their sparse points see, as everywhere.  It is not calibrated.

        Parameters
        ----------
        frames : list of ase.Atoms
            Structures.
        of : collection of {"energy", "energies", "forces", "stress"}, default ("energy",)
            Total energies, local energies, force components, stress components (no rows where a stress is not defined).

        Returns
        -------
        ndarray of shape (n, n)
            Structure by structure; within one always in the order total energy, local energies, forces atom by atom (x, y,
            z), stress in Voigt order.  eV, eV/Å and eV/Å³, multiplied.  Its diagonal holds the squares of the deviations that
            `evaluate` gives of a model that is not calibrated.

        Raises
        ------
        ValueError
            If the model has no posterior.
        MemoryError
            If the derivatives of the features do not fit.

        Examples
        --------
        The standard deviation of the difference between two energies::

            c = model.covariance([relaxed, saddle])
            np.sqrt(c[0, 0] + c[1, 1] - 2 * c[0, 1])
        """
        check_is_fitted(self, "potential_")
        for name in of:
            check_choice("of", name, QUANTITIES)
        neighbors = NeighborList.from_atoms(check_structures(frames), self.potential_.neighbor_range)
        return posterior_covariance(self.potential_, neighbors, frozenset(of))
