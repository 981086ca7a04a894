"""How uncertain a model is where it was trained: what is far beyond is extrapolation."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from ..exceptions import NumericalWarning
from ..neighbors import NeighborList
from .fitting import chunks_of_frames
from .potential import Potential
from .prediction import Prediction, predict

if TYPE_CHECKING:
    from .fitted import FittedModel

__all__ = ["BEYOND", "extrapolated", "largest_familiar_std"]

BEYOND = 1.5
"""Times the largest standard deviation of a local energy of the training set.  Structures of a test set drawn from the same
source stay below 1.0 in silicon, copper and ethanol; 2000 K after 300 K, vacancies after crystals, dissociation: 1.5 to 5."""

_ATOMS = 3000  # of the training set whose standard deviations are looked at, in evenly spaced structures
_CHUNK = 250  # atoms at a time: less memory than a chunk of rows takes


def largest_familiar_std(potential: Potential, frames: Sequence[Atoms]) -> float:
    """Largest standard deviation of a local energy in structures that a model was trained on.

    Parameters
    ----------
    potential : Potential
        With its posterior.
    frames : sequence of ase.Atoms
        Training structures.

    Returns
    -------
    float
        eV, not calibrated; 0 without a posterior, or if there are only single atoms.
    """
    frames = [atoms for atoms in frames if len(atoms) > 1]
    if potential.posterior is None or not frames:
        return 0.0
    step = int(np.ceil(sum(map(len, frames)) / _ATOMS))
    largest = 0.0
    for _, chunk in chunks_of_frames(frames[::step], _CHUNK):
        neighbors = NeighborList.from_atoms(chunk, potential.neighbor_range)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NumericalWarning)  # nobody asked for these predictions
            predictions = predict(potential, neighbors, forces=False, stress=False, uncertainty="exact", std=("energies",))
        for p in predictions:
            largest = max(largest, float(np.asarray(p.energies_std).max()))
    return largest


def extrapolated(model: FittedModel, predictions: Sequence[Prediction]) -> tuple[list[int], float]:
    """Structures with an atom that is far less certain than any of the training set.

    Parameters
    ----------
    model : FittedModel
        What predicted them.
    predictions : sequence of Prediction
        With ``energies_std`` of the posterior; those without are passed over.

    Returns
    -------
    numbers : list of int
        Of the structures.
    largest : float
        Largest standard deviation of a local energy, over the largest of the training set; 0.0 where it is not known.
    """
    known = model.familiar_std_
    stds = [np.nan if p.energies_std is None else float(np.max(p.energies_std)) for p in predictions]
    if not known or np.isnan(stds).all():
        return [], 0.0
    if model.calibration_ is not None:
        known = float(model.calibration_.apply("energies", known))
    ratios = np.array(stds) / known
    return [int(k) for k in np.flatnonzero(ratios > BEYOND)], float(np.nanmax(ratios))
