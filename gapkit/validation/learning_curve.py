"""How errors fall with the amount of data: the rows of the training set are folded once, and solved for on the way."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms

from .._validation import check_real, describe
from ..model import GAPRegressor
from ..model.folding import Factors, fold_rows, solve
from ..model.training import SparseModel
from ..neighbors import check_structures
from .metrics import ErrorRow, error_table

__all__ = ["FRACTIONS", "LearningPoint", "gain_of_doubling", "learning_curve"]

FRACTIONS = (0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
"""Parts of the training set at which `learning_curve` solves."""

_SLOPE = 3  # points


@dataclass(frozen=True)
class LearningPoint:
    """A model of part of the training set.

    Attributes
    ----------
    n_frames : int
        Structures that it was fitted to.
    n_labels : int
        Components of their labels.
    errors : ErrorRow
        On the test set.
    """

    n_frames: int
    n_labels: int
    errors: ErrorRow


def learning_curve(
    model: GAPRegressor,
    train: Sequence[Atoms],
    test: Sequence[Atoms],
    *,
    fractions: Sequence[float] = FRACTIONS,
    random_state: int | None = 0,
    show: bool = False,
) -> list[LearningPoint]:
    """Errors on a test set against the number of training structures, for the price of one fit.

    The sparse points, the noise, the amplitudes and the energies of isolated atoms are those of the model; its weights are of
    no account.  Structures are taken in a random order, each part containing the ones before.

    Parameters
    ----------
    model : GAPRegressor
        Fitted.
    train : list of ase.Atoms
        Structures with labels; those of the fit, or others of its species.
    test : list of ase.Atoms
        Structures with labels.
    fractions : sequence of float
        Parts of the training set, above 0 and at most 1; each takes at least one structure.
    random_state : int, optional
        Seed of the order.
    show : bool, default False
        Whether to show progress bars.

    Returns
    -------
    list of LearningPoint
        One for each number of structures, ascending.

    Raises
    ------
    ValueError
        If a fraction is out of bounds, or the model cannot be refitted.
    """
    for fraction in fractions:
        check_real("fractions", fraction, above=0.0, at_most=1.0, remedy="They are parts of the training set.")
    if model.potential_.posterior is None:
        raise ValueError(describe("model", "one that can be fitted, with its posterior", "one without", "Fit it with gapkit."))
    frames, test = check_structures(train, name="train"), check_structures(test, name="test")
    training = model.training_set(frames)
    order = np.random.default_rng(random_state).permutation(len(frames))
    counts = sorted({max(1, round(fraction * len(frames))) for fraction in fractions})
    parts = SparseModel(model.terms_, model.potential_.terms, model.noise_)
    partial = copy(model)
    partial.calibration_, partial.training_ = None, None
    factors: Factors = {}
    points, done = [], 0
    for count in counts:
        chunks = training.sample(order[done:count].tolist()).chunks(model.potential_.e0, model.noise_)
        fold_rows(parts, chunks, approximation=model.approximation, onto=factors, show=show)
        posterior, coefficients = solve(parts, factors)
        partial.potential_ = replace(model.potential_, coefficients=coefficients, posterior=posterior)
        n_labels = sum(factor.n_rows for factor in factors.values())
        points.append(LearningPoint(count, n_labels, error_table(test, partial.evaluate(test))[-1]))
        done = count
    return points


def gain_of_doubling(points: Sequence[LearningPoint]) -> dict[str, float]:
    """By which factor twice the data would divide the errors, from the slope of the last three points (logarithms of both).

    Parameters
    ----------
    points : sequence of LearningPoint
        From `learning_curve`.

    Returns
    -------
    dict of str to float
        For "energy_rmse", "forces_rmse", "stress_rmse", as far as there are labels; {} for fewer than two points.
    """
    last = points[-_SLOPE:]
    result: dict[str, float] = {}
    for name in ("energy_rmse", "forces_rmse", "stress_rmse"):
        errors = [getattr(point.errors, name) for point in last]
        if len(last) > 1 and all(errors):
            result[name] = float(2.0 ** -np.polyfit(np.log([point.n_frames for point in last]), np.log(errors), 1)[0])
    return result
