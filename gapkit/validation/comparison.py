"""Several kinds of error bars against the same errors: the posterior, a committee, another model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from ..gp.calibration import ErrorSample
from ..model import Prediction
from . import uncertainty as metrics
from .uncertainty_rows import error_samples

__all__ = ["ErrorBarComparison", "compare_error_bars"]

Array = NDArray[np.float64]

_ENOUGH = 20  # values below which ranks and tails say nothing


@dataclass(frozen=True)
class ErrorBarComparison:
    """Quality and cost of one kind of error bars, for one kind of label.

    Attributes
    ----------
    name : str
        Whose error bars.
    kind : {"energy", "forces", "stress"}
        Energies are per atom.
    n_structures, n_values : int
        Size.
    rmse : float
        Of the predictions, meV/atom, eV/Å or GPa.
    scale : float
        Root mean square of error / standard deviation; 1 is right, and raw ones are too small by this factor.
    rank_correlation : float or None
        Spearman's, between the size of the error and the standard deviation.
    auroc : float or None
        Of the 5 % largest errors; 1 is best, 0.5 is chance.
    miscalibration : float
        Area between the calibration curve and the diagonal, 0 to 0.5.
    miscalibration_scaled : float or None
        The same after one factor for all, which is learned on one half of the structures and used on the other.
    fit_seconds : float or None
        Time of the fit.
    evaluate_seconds : float
        Time of predictions with standard deviations, per structure.
    """

    name: str
    kind: str
    n_structures: int
    n_values: int
    rmse: float
    scale: float
    rank_correlation: float | None
    auroc: float | None
    miscalibration: float
    miscalibration_scaled: float | None
    fit_seconds: float | None
    evaluate_seconds: float


def compare_error_bars(
    frames: Sequence[Atoms],
    predictors: Mapping[str, Callable[[Sequence[Atoms]], list[Prediction]]],
    *,
    fit_seconds: Mapping[str, float] | None = None,
) -> list[ErrorBarComparison]:
    """Let each predict the same labelled frames; what its error bars are worth, and what they cost.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Structures with labels that nobody was fitted to.
    predictors : mapping of str to callable
        Name -> function of the frames that returns predictions with standard deviations.
    fit_seconds : mapping of str to float, optional
        What the fits took.

    Returns
    -------
    list of ErrorBarComparison
        By kind of label, for each predictor that has standard deviations of it.

    Examples
    --------
    >>> from gapkit import SOAP, DotProduct, GAPRegressor, Noise, Term
    >>> from gapkit.active_learning import Committee
    >>> from gapkit.datasets import load_silicon
    >>> frames = load_silicon(config_types=["rattled"])
    >>> soap = Term(SOAP(r_cut=4.0, n_max=3, l_max=2), DotProduct(zeta=2), n_sparse=12)
    >>> model = GAPRegressor([soap], noise=Noise(0.01, 0.2, 0.1), random_state=0).fit(frames[::2])
    >>> committee = Committee(model, 3, random_state=0).fit(frames[::2])
    >>> rows = compare_error_bars(
    ...     frames[1::2],
    ...     {
    ...         "posterior": lambda some: model.evaluate(some, uncertainty="exact", std=("energy", "forces")),
    ...         "committee": committee.evaluate,
    ...     },
    ...     fit_seconds={"committee": committee.fit_seconds_},
    ... )
    >>> [(row.name, row.kind) for row in rows][:3]
    [('posterior', 'energy'), ('committee', 'energy'), ('posterior', 'forces')]
    """
    samples, seconds = {}, {}
    for name, predictor in predictors.items():
        start = perf_counter()
        predictions = predictor(frames)
        seconds[name] = (perf_counter() - start) / len(frames)
        samples[name] = error_samples(frames, predictions)
    return [
        _compared(name, kind, found[kind], (fit_seconds or {}).get(name), seconds[name])
        for kind in ("energy", "forces", "stress")
        for name, found in samples.items()
        if kind in found and len(found[kind].std)
    ]


def _compared(name: str, kind: str, sample: ErrorSample, fit_seconds: float | None, seconds: float) -> ErrorBarComparison:
    r, s = sample.residual, sample.std
    ranks = len(r) >= _ENOUGH and np.ptp(s) > 0.0 and np.ptp(np.abs(r)) > 0.0
    return ErrorBarComparison(
        name=name,
        kind=kind,
        n_structures=len(np.unique(sample.structure)),
        n_values=len(r),
        rmse=float(np.sqrt(np.mean(r**2))),
        scale=float(np.sqrt(metrics.zms(r, s))),
        rank_correlation=metrics.rank_correlation(r, s) if ranks else None,
        auroc=metrics.large_error_auroc(r, s) if ranks else None,
        miscalibration=metrics.miscalibration_area(r, s),
        miscalibration_scaled=_scaled_area(sample),
        fit_seconds=fit_seconds,
        evaluate_seconds=seconds,
    )


def _scaled_area(sample: ErrorSample) -> float | None:
    """Miscalibration area with one factor, each half of the structures scaled by what the other says."""
    half = np.unique(sample.structure, return_inverse=True)[1] % 2 == 1
    if not half.any():
        return None
    scaled: Array = sample.std.copy()
    for mine, other in ((half, ~half), (~half, half)):
        factor = np.sqrt(metrics.zms(sample.residual[other], sample.std[other]))
        if factor == 0.0:
            return None
        scaled[mine] *= factor
    return metrics.miscalibration_area(sample.residual, scaled)
