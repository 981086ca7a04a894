"""What a fitted model learns from its errors: how large its standard deviations should be."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any, Self

from ase import Atoms
from sklearn.utils.validation import check_is_fitted

from ..gp.calibration import Calibration, check_calibration
from ..gp.observations import Noise
from ..gp.posterior import RowFactor
from .calibrating import check_source, errors_left_out, errors_of_frames, misspecified
from .folding import solve
from .potential import Potential
from .terms import Term
from .training import SparseModel, TrainingSet

__all__ = ["CalibrationMethods"]


class CalibrationMethods:
    """Methods of `GAPRegressor` that need its errors on structures with labels."""

    potential_: Potential
    terms_: list[tuple[str, Term]]
    noise_: Noise
    factors_: dict[str, RowFactor]
    training_: TrainingSet | None
    calibration_: Calibration | None
    random_state: int | None
    verbose: int

    def calibrate(
        self,
        X: str | Sequence[Atoms] = "loo",
        *,
        method: str = "isotonic",
        by: str | None = None,
        misspecification: bool = False,
    ) -> Self:
        """Learn from errors how large standard deviations should be; all that are given from then on are calibrated.

        Standard deviations are those of the posterior, times a factor or through a non-decreasing function, separately for
        energies, forces and stresses.  The noise of the labels has no part in this.

        Parameters
        ----------
        X : "loo" or list of ase.Atoms, default "loo"
            "loo": each training structure (at most 300 of them) predicted without it, in closed form, from a second pass
            over the rows.  Or other structures with labels, as like as possible to those that are to be predicted.
        method : {"scale", "isotonic"}, default "isotonic"
            One factor, or a function.
        by : None, "species" or "config_type", default None
            Classes with factors of their own: the species of the atom (forces), or ``info["config_type"]``.
        misspecification : bool, default False
            Whether to widen the posterior first by what no weights of this model explain (pointwise optimal weights), until the
            next fit.  Its own part vanishes with the number of labels; this one does not.  Needs the training set, and
            structures to calibrate with.

        Returns
        -------
        GAPRegressor
            The estimator itself, with `calibration_`.

        Raises
        ------
        ValueError
            If there are fewer than 5 structures with labels, the model has no posterior, or "loo" is asked of a model from a
            file, which has no training structures.

        References
        ----------
        `gapkit.gp.calibration` has the formulas and their sources.
        """
        check_is_fitted(self, "potential_")
        check_calibration(method, by)
        if self.potential_.posterior is None:
            raise ValueError("calibrate needs a model with its posterior. Save it with posterior=True, or fit anew.")
        check_source(X, misspecification, has_training_set=self.training_ is not None)
        model, show = SparseModel(self.terms_, self.potential_.terms, self.noise_), bool(self.verbose)
        raw: Any = copy(self)
        raw.calibration_, raw.device = None, "cpu"  # which has standard deviations of forces and stresses
        if self.factors_:  # undoes what misspecification has widened before
            raw.potential_ = replace(self.potential_, posterior=solve(model, self.factors_)[0])
        if misspecification and self.training_ is not None:
            wide = misspecified(model, raw.potential_, self.training_, show=show)
            raw.potential_ = replace(self.potential_, posterior=wide)
        if isinstance(X, str) and self.training_ is not None:
            errors = errors_left_out(model, raw.potential_, self.training_, by, self.random_state, show=show)
        else:
            errors = errors_of_frames(raw, X, by)
        self.calibration_ = Calibration.fit(errors, method=method, by=by, source=X if isinstance(X, str) else "frames")
        self.potential_ = raw.potential_
        return self
