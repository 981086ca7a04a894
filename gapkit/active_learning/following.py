"""How the model of a run follows its labels: incremental fits, sparse points where they are missing, full fits now and then.

A label is folded into the triangular factors of the model in a time that does not depend on how many came before.  Where the
forces of a frame stay uncertain although it is labelled, the sparse points do not reach it, and the environments of the last
labels that the sparse points leave most uncertain before any data become sparse points themselves.  When the number of labels
has grown by 30 % since the last time, everything is chosen anew: sparse points (no fewer than there are), what is automatic or
optimised, and the calibration (by leaving out each structure); so that all full fits together cost about four times the last.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from sklearn.base import clone

from ..gp.calibration import Calibration
from ..model import GAPRegressor, load
from ..model.estimate import resident_memory
from ..model.training import TrainingSet
from .target import judge

__all__ = ["FollowingModel"]

_GROWTH = 1.3  # labels since the last full fit, as a ratio
_WAIT = 0.15  # of the labels: as many must pass before sparse points are added again
_MORE = 0.2  # of the sparse points, and
_SHARE = 2  # one in so many environments of these labels, are added at most
_CALIBRATED = 5  # structures that a calibration needs


class FollowingModel:
    """The model of a run and the labels that it has learnt from.

    Parameters
    ----------
    template : GAPRegressor
        What is fitted, again and again; not changed.

    Attributes
    ----------
    regressor : GAPRegressor or None
        Fitted to ``frames``.
    frames : list of ase.Atoms
        Training structures in the order in which they were learnt.
    """

    def __init__(self, template: GAPRegressor) -> None:
        self.template = template
        self.regressor: GAPRegressor | None = None
        self.frames: list[Atoms] = []
        self._n_full = self._n_grown = 0

    @property
    def fitted(self) -> GAPRegressor:
        """The fitted model."""
        if self.regressor is None:
            raise RuntimeError("The model has not been fitted yet.")
        return self.regressor

    def start(self, frames: Sequence[Atoms]) -> dict[str, Any]:
        """Fit to the first structures; the record of the fit."""
        self.frames = list(frames)
        return self._recorded("full", self._fit_anew)

    def learn(self, label: Atoms, threshold: float, trust: float) -> dict[str, Any]:
        """Learn from one more structure.

        Parameters
        ----------
        label : ase.Atoms
            With energy and forces.
        threshold : float
            Sparse points are added where a force component keeps a larger standard deviation, eV/Å.
        trust : float
            Multiplies standard deviations.

        Returns
        -------
        dict
            The record of the fit.
        """
        self.frames.append(label)
        if len(self.frames) >= _GROWTH * self._n_full:
            return self._recorded("full", self._fit_anew)
        before = self.fitted.n_sparse_
        record = self._recorded("incremental", lambda: self._fit_more(label, threshold, trust))
        return record | ({"how": "grown"} if record["n_sparse"] > before else {})

    def believing(self, pending: Sequence[Atoms]) -> GAPRegressor:
        """The model as it would be if it had the labels of structures and they were as it predicts.

        Its predictions are those of the model, and its standard deviations are those after these labels: they depend on where
        labels are, not on their values.

        Parameters
        ----------
        pending : sequence of ase.Atoms
            Structures whose labels are being computed.

        Returns
        -------
        GAPRegressor
        """
        if not pending:
            return self.fitted
        believed = []
        for atoms, p in zip(pending, self.fitted.evaluate(pending), strict=True):
            known = atoms.copy()
            stress = {} if p.stress is None else {"stress": p.stress}
            known.calc = SinglePointCalculator(known, energy=p.energy, forces=p.forces, **stress)
            believed.append(known)
        return copy(self.fitted).partial_fit(believed)

    def calibration_by(self, labels: Sequence[Atoms]) -> Calibration | None:
        """What structures that were not learnt yet say of the standard deviations; None where they are too few."""
        if len(labels) < _CALIBRATED:
            return None
        model = copy(self.fitted)
        model.calibration_ = None
        return model.calibrate(list(labels)).calibration_

    def state(self) -> dict[str, Any]:
        """What `restore` needs besides the file of the model and the training structures."""
        return {"n_full": self._n_full, "n_grown": self._n_grown}

    def restore(self, path: Path, frames: Sequence[Atoms], state: dict[str, Any]) -> None:
        """Go on with the model of a file, which was fitted to ``frames``."""
        self.frames = list(frames)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is to be said of the labels was recorded when they were learnt
            self.regressor = load(path).set_params(verbose=0).remember(self.frames)
        self._n_full, self._n_grown = int(state["n_full"]), int(state["n_grown"])

    def _fit_anew(self) -> None:
        regressor = self._with_points_of_now().fit(self.frames)
        if len(self.frames) >= _CALIBRATED:
            try:
                regressor.calibrate("loo")
            except ValueError:  # fewer structures than five that are not isolated atoms
                regressor.calibration_ = None
        self.regressor = regressor
        self._n_full = self._n_grown = len(self.frames)

    def _with_points_of_now(self) -> GAPRegressor:
        """The template, with as many sparse points as the model has grown to."""
        regressor: GAPRegressor = clone(self.template)
        if self.regressor is None or regressor.terms is None:
            return regressor
        now = [term.n_points for term in self.regressor.potential_.terms]
        for (_, term), n in zip(regressor.named_terms(), now, strict=True):
            if isinstance(term.n_sparse, int):
                term.set_params(n_sparse=max(term.n_sparse, n))
        return regressor

    def _fit_more(self, label: Atoms, threshold: float, trust: float) -> None:
        self.regressor = copy(self.fitted).partial_fit([label])
        n_new = len(self.frames) - self._n_grown
        if n_new < max(1.0, _WAIT * len(self.frames)):
            return
        (known,) = judge(self.regressor, [label], trust)
        if known.largest > threshold:
            self._grow(n_new)

    def _grow(self, n_new: int) -> None:
        """Sparse points from the last labels; the rows of all structures are computed again."""
        grown, new = copy(self.fitted), self.frames[-n_new:]
        n_points = min(math.ceil(_MORE * grown.n_sparse_), sum(len(atoms) for atoms in new) // _SHARE)
        assert grown.training_ is not None  # noqa: S101 - for the type checker: it was fitted here, or remembers
        grown.training_ = TrainingSet(grown.training_.frames[:-n_new], grown.training_.labels[:-n_new])  # new ones come again
        self.regressor = grown.partial_fit(new, add_sparse=max(1, n_points))
        self._n_grown = len(self.frames)

    def _recorded(self, how: str, fit: Any) -> dict[str, Any]:
        start = time.perf_counter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fit()
        model = self.fitted
        of_forces = model.calibration_.maps.get("forces") if model.calibration_ is not None else None
        return {
            "how": how,
            "n_labels": len(self.frames),
            "n_atoms": sum(len(atoms) for atoms in self.frames),
            "n_sparse": model.n_sparse_,
            "seconds": round(time.perf_counter() - start, 3),
            "scale": None if of_forces is None else of_forces.scale,
            "memory_mb": round(resident_memory() / 1e6, 1),
            "messages": sorted({str(w.message) for w in caught}),
        }
