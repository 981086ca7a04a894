r"""From the error that a user tolerates to the standard deviation above which a label is bought.

The target is the root mean square error of force components over the states that are visited.  With calibrated standard
deviations the expected squared error of a state is the mean of its variances.  States whose largest standard deviation m is
above the threshold t are labelled, after which about t is left of m; so the error that a threshold leads to is

.. math:: \text{RMSE}^2(t) = \Big\langle r^2 \min(1, t / m)^2 \Big\rangle

over the states seen lately, with r the root mean square standard deviation of a state.  The threshold is where that is the
target.  But an average says little of single atoms, whose errors have heavier tails than a Gaussian; so a second bound comes
from the labels themselves: with q the 90 % quantile of the ratio between the largest error and the largest standard deviation
of a state, over the last labels, the threshold is at most 5 / q times the target.  Then nine of ten states at the threshold,
and more of those below, have no error of more than five times the target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.optimize import brentq

from ..model import GAPRegressor
from .acquisition import calibrated_force_std

__all__ = ["LARGE", "Judgement", "judge", "predicted_rmse", "threshold_of", "trust_of"]

Array = NDArray[np.float64]

LARGE = 5.0  # times the target: an error of a single component that should be rare
_QUANTILE = 0.9
_RATIO = 2.5  # largest error over largest standard deviation, before labels tell: about that of normal errors
_HALF = 0.5  # times the target is the least threshold
_LEAST = 0.1  # of the target: a label that would move a force by less is not worth buying
_BELIEF = 5  # states that count for the calibration as it is when errors correct it
_WILD = 25.0  # one state counts for no more than an error of five standard deviations


@dataclass(frozen=True)
class Judgement:
    """What the model says of one structure, and how much of it is known.

    Attributes
    ----------
    energy : float
        eV.
    forces, std : ndarray of shape (n_atoms, 3)
        Forces and their calibrated standard deviations, eV/Å.
    rms, largest : float
        Root mean square and largest component of ``std``.
    atom : int
        The atom with the largest.
    move : float
        By how much a label would change that component, eV/Å: the standard deviation times what a measurement with the noise
        of the model takes from it.
    """

    energy: float
    forces: Array
    std: Array
    rms: float
    largest: float
    atom: int
    move: float

    def moves(self, target: float) -> bool:
        """Whether a label would change the model."""
        return self.move > _LEAST * target


def judge(model: GAPRegressor, frames: Sequence[Atoms], trust: float = 1.0) -> list[Judgement]:
    """Exact standard deviations of the forces of structures.

    Parameters
    ----------
    model : GAPRegressor
        Fitted; its calibration, if any, is applied.
    frames : sequence of ase.Atoms
    trust : float
        Multiplies standard deviations: `trust_of`.

    Returns
    -------
    list of Judgement
    """
    raw_model = _without_calibration(model)
    result = []
    for atoms, p in zip(frames, raw_model.evaluate(frames, stress=False, uncertainty="exact", std=("forces",)), strict=True):
        raw = np.asarray(p.forces_std)
        std = trust * calibrated_force_std(model.calibration_, atoms, raw)
        where = np.unravel_index(int(np.argmax(std)), std.shape)
        noise = model.noise_.forces
        taken = raw[where] ** 2 / (raw[where] ** 2 + noise**2) if raw[where] > 0.0 else 0.0  # the gain of Kalman's filter
        rms, largest = float(np.sqrt(np.mean(std**2))), float(std[where])
        result.append(
            Judgement(float(p.energy), np.asarray(p.forces), std, rms, largest, int(where[0]), float(largest * taken))
        )
    return result


def _without_calibration(model: GAPRegressor) -> GAPRegressor:
    from copy import copy

    plain = copy(model)
    plain.calibration_ = None
    return plain


def predicted_rmse(rms: Sequence[float]) -> float:
    """Root mean square error of force components over states, from the root mean square standard deviation of each."""
    return float(np.sqrt(np.mean(np.square(rms)))) if len(rms) else float("nan")


def threshold_of(target: float, rms: Sequence[float], largest: Sequence[float], ratios: Sequence[float] = ()) -> float:
    """Largest standard deviation of a force component that needs no label.

    Parameters
    ----------
    target : float
        Root mean square error of force components that is tolerated, eV/Å.
    rms, largest : sequences of float
        Of the states seen lately: root mean square and largest standard deviation, eV/Å.
    ratios : sequence of float
        Largest error over largest standard deviation of the labels bought lately; values of 2.5 make them five.

    Returns
    -------
    float
        eV/Å, at least half the target.
    """
    ratio = float(np.quantile([*ratios, *[_RATIO] * (_BELIEF - len(ratios))], _QUANTILE))
    least, most = _HALF * target, max(_HALF, LARGE / ratio) * target
    if not len(rms):
        return min(target, most)
    r, m = np.asarray(rms, float), np.maximum(np.asarray(largest, float), 1e-300)

    def excess(t: float) -> float:
        return float(np.mean((r * np.minimum(1.0, t / m)) ** 2)) - target**2

    if excess(most) <= 0.0:
        return most
    return float(brentq(excess, least, most)) if excess(least) < 0.0 else least


def trust_of(squared: Sequence[float]) -> float:
    """Factor that standard deviations need besides the calibration, from the labels bought lately.

    Each label was predicted before it was learnt: nothing is more honest.  The calibration counts as five labels whose errors
    were as predicted.

    Parameters
    ----------
    squared : sequence of float
        Mean squared error over mean variance (calibrated) of each of these labels.

    Returns
    -------
    float
    """
    seen = np.minimum(np.asarray(squared, float), _WILD)
    return float(np.sqrt((_BELIEF + seen.sum()) / (_BELIEF + len(seen))))
