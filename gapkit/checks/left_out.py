"""What a fitted model says of its training structures without each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..gp.observations import Noise
from ..model import GAPRegressor
from ..model.left_out import left_out, rows_of_some
from ..model.potential import posterior_of
from ..model.training import SparseModel

__all__ = ["LeftOut", "check_remembers", "left_out_residuals", "sparse_model"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LeftOut:
    """Residuals of one structure, predicted without it.

    Attributes
    ----------
    frame : int
        Its number in the training set.
    kind : ndarray of str of shape (n,)
        "energy", "forces" or "stress".
    residual : ndarray of shape (n,)
        Label minus prediction; energies divided by √N, so that they compare with `Noise`.
    deviation, sigma : ndarray of shape (n,)
        Standard deviations of the prediction and of the label, likewise.
    divisor : ndarray of shape (n,)
        √N for energies, else 1.
    place : ndarray of int of shape (n,)
        Which component of its kind: atoms x y z for forces, Voigt for stress.
    """

    frame: int
    kind: NDArray[np.str_]
    residual: Array
    deviation: Array
    sigma: Array
    divisor: Array
    place: NDArray[np.int64]


def sparse_model(model: GAPRegressor, noise: Noise | None = None) -> SparseModel:
    """The sparse model of an estimator, perhaps with another noise."""
    return SparseModel(model.terms_, model.potential_.terms, model.noise_ if noise is None else noise)


def check_remembers(model: GAPRegressor) -> None:
    """Raise ValueError unless a model has its posterior and its training set."""
    if model.potential_.posterior is None or model.training_ is None:
        raise ValueError(
            "A model that is asked for its doubts must have its posterior and its training set; save it with posterior=True, "
            "and give the training set to `remember`."
        )


def left_out_residuals(
    model: GAPRegressor,
    *,
    show: bool = False,
) -> Sequence[LeftOut]:
    """Leave-one-out residuals of the training structures, isolated atoms left aside.

    Parameters
    ----------
    model : GAPRegressor
        Fitted, with its posterior and training set (`GAPRegressor.remember`).
    show : bool, default False
        Whether to show a progress bar.

    Returns
    -------
    sequence of LeftOut

    Raises
    ------
    ValueError
        If the model has no posterior or no training set.
    """
    check_remembers(model)
    training, potential = model.training_, model.potential_
    assert training is not None  # noqa: S101 - for the type checker
    sparse, posterior = sparse_model(model), posterior_of(potential)
    with_prior = any(potential.is_open(term) for term in potential.terms)
    rows = rows_of_some(
        sparse.sparse,
        training,
        potential.e0,
        sparse.noise,
        len(training.frames),
        0,
        unexplained=with_prior,
        show=show,
    )
    found = []
    for one in rows:
        residual, deviation = left_out(sparse, posterior, one, potential.approximation)
        found.append(LeftOut(one.number, one.kind, residual, deviation, one.sigma(sparse.noise), one.divisor, one.place))
    return found
