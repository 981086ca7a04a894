"""Errors of predictions with their standard deviations, as calibration and its metrics want them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from .._validation import check_choice
from ..gp.calibration import CLASSES, ErrorSample
from ..gp.observations import config_type_of, labels_of
from .prediction import Prediction

__all__ = ["classes_of", "joined", "labelled_errors"]


def labelled_errors(
    frames: Sequence[Atoms], predictions: Sequence[Prediction], *, by: str | None = None
) -> dict[str, ErrorSample]:
    """Errors and standard deviations of everything that has a label and a standard deviation.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Structures with labels.
    predictions : sequence of Prediction
        One per structure, with standard deviations.
    by : None, "species" or "config_type"
        What the classes of the samples are; energies and stresses have no species.

    Returns
    -------
    dict of str to ErrorSample
        Total "energy" (eV), "forces" (eV/Å) and "stress" (eV/Å³), as far as there are any; structures are numbered as in
        ``frames``.
    """
    check_choice("by", by, CLASSES)
    parts: dict[str, list[ErrorSample]] = {"energy": [], "forces": [], "stress": []}
    for k, (atoms, p) in enumerate(zip(frames, predictions, strict=True)):
        labels = labels_of(atoms, k)
        triples = {
            "energy": (labels.energy, p.energy, p.energy_std),
            "forces": (labels.forces, p.forces, p.forces_std),
            "stress": (labels.stress, p.stress, p.stress_std),
        }
        for kind, (label, value, std) in triples.items():
            if label is None or value is None or std is None:
                continue
            residual = np.ravel(np.asarray(label) - value)
            names = classes_of(atoms, kind, by)
            whole = ErrorSample(residual, np.ravel(std), np.full(len(residual), k), names)
            parts[kind].append(whole.part(labels.used(kind)))
    return {kind: joined(samples) for kind, samples in parts.items() if samples}


def classes_of(atoms: Atoms, kind: str, by: str | None) -> NDArray[np.str_] | None:
    """Class of each component of a kind of label; None where there are no classes."""
    if by == "config_type":
        return np.full({"energy": 1, "forces": 3 * len(atoms), "stress": 6}[kind], config_type_of(atoms))
    return np.repeat(atoms.get_chemical_symbols(), 3) if by == "species" and kind == "forces" else None


def joined(samples: Sequence[ErrorSample]) -> ErrorSample:
    """All errors of one kind."""
    residual, std, structure = (np.concatenate([s[i] for s in samples]) for i in range(3))
    names = [s.classes for s in samples if s.classes is not None]
    return ErrorSample(residual, std, structure, np.concatenate(names) if names else None)
