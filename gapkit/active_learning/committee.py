r"""The committee of the older literature, for comparison: models fitted independently, whose disagreement is the error bar.

Each member is fitted to a bootstrap sample of the frames and chooses its own sparse points; with predictions :math:`E_k` of K
members,

.. math:: E_\text{std}^2 = \frac{1}{K - 1} \sum_k (E_k - \bar E)^2

and likewise for local energies, forces and stresses.  It takes K fits and K evaluations for what the posterior of one model
gives at once, and a standard deviation from K numbers is itself uncertain by about :math:`1 / \sqrt{2 (K - 1)}`: 35 % for five.

References
----------
H. S. Seung, M. Opper, H. Sompolinsky, COLT (1992): query by committee.  B. Efron, Ann. Stat. 7, 1 (1979): the bootstrap.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Self

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from .._validation import check_integer
from ..model import GAPRegressor, Prediction
from ..neighbors import check_structures

__all__ = ["Committee"]

_SEEDS = 2**31 - 1


class Committee(BaseEstimator):  # type: ignore[misc]
    """Independently fitted models whose disagreement is the standard deviation.

    Parameters
    ----------
    model : GAPRegressor
        What each member is a copy of; need not be fitted.  What it leaves to the data is decided once, from all frames.
    n_models : int, default 5
        Members, at least 2.
    random_state : int, optional
        Seed of the bootstrap samples and of the sparse points.

    Attributes
    ----------
    models_ : list of GAPRegressor
        The members.
    samples_ : list of ndarray of int
        Which frames each was fitted to, repeats included.
    fit_seconds_ : float
        Wall-clock time of all fits.
    """

    def __init__(self, model: GAPRegressor, n_models: int = 5, random_state: int | None = None) -> None:
        self.model = model
        self.n_models = n_models
        self.random_state = random_state

    def fit(self, frames: Sequence[Atoms]) -> Self:
        """Fit all members.

        Single atoms, which energies of isolated atoms come from, are in every sample; and so is a frame with each species that
        a sample would miss.

        Parameters
        ----------
        frames : list of ase.Atoms
            Structures with labels.

        Returns
        -------
        Committee
            Itself.
        """
        check_integer("n_models", self.n_models, at_least=2, remedy="One model has nothing to disagree with.")
        frames = check_structures(frames)
        start = perf_counter()
        settled = self.model.explicit(frames)
        rng = np.random.default_rng(self.random_state)
        self.models_: list[GAPRegressor] = []
        self.samples_ = [_bootstrap(frames, rng) for _ in range(self.n_models)]
        for sample in self.samples_:
            member = clone(settled).set_params(random_state=int(rng.integers(_SEEDS)))
            self.models_.append(member.fit([frames[k] for k in sample]))
        self.fit_seconds_ = perf_counter() - start
        return self

    def evaluate(self, frames: Sequence[Atoms]) -> list[Prediction]:
        """Mean predictions of the members, with their standard deviations.

        Parameters
        ----------
        frames : list of ase.Atoms
            Structures.

        Returns
        -------
        list of Prediction
            One per structure; ``energy_std`` is that of the total energy, the E_std of the literature.  Not calibrated.
        """
        check_is_fitted(self, "models_")
        votes = zip(*(model.evaluate(frames) for model in self.models_), strict=True)
        return [_united(of_members) for of_members in votes]


def _bootstrap(frames: Sequence[Atoms], rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices of frames drawn with replacement, and of those that no member can do without."""
    single = [k for k, atoms in enumerate(frames) if len(atoms) == 1]
    others = np.array([k for k, atoms in enumerate(frames) if len(atoms) > 1], int)
    drawn = others[rng.integers(len(others), size=len(others))] if len(others) else others
    needed = {*single}
    for z in sorted({int(z) for atoms in frames for z in atoms.numbers}):
        if not any(z in frames[k].numbers for k in (*drawn, *needed)):
            needed.add(int(rng.choice([k for k in others if z in frames[k].numbers])))
    return np.sort(np.concatenate([drawn, np.array(sorted(needed), int)]))


def _united(members: Sequence[Prediction]) -> Prediction:
    energies = np.array([p.energies for p in members])
    totals = np.array([p.energy for p in members])
    forces = np.array([p.forces for p in members])
    with_stress = members[0].stress is not None
    stress = np.array([p.stress for p in members]) if with_stress else None
    return Prediction(
        energy=float(totals.mean()),
        energies=energies.mean(axis=0),
        forces=forces.mean(axis=0),
        stress=None if stress is None else stress.mean(axis=0),
        energy_std=float(totals.std(ddof=1)),
        energies_std=energies.std(axis=0, ddof=1),
        forces_std=forces.std(axis=0, ddof=1),
        stress_std=None if stress is None else stress.std(axis=0, ddof=1),
    )
