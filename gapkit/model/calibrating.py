"""Calibration of a fitted model: leave-one-out errors to learn from, and predictions with calibrated deviations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from .._validation import describe
from ..gp.calibration import Calibration, ErrorSample
from ..gp.misspecification import misspecification_factor, widened
from ..gp.observations import KINDS, config_type_of
from ..gp.posterior import SparsePosterior
from ..neighbors import check_structures
from .atomic_energies import isolated_atoms
from .fitting import collect_labels
from .folding import whitened_rows
from .labelled_errors import classes_of, joined, labelled_errors
from .left_out import left_out, rows_of_some
from .potential import Potential, posterior_of
from .progress import track
from .training import SparseModel, TrainingSet

if TYPE_CHECKING:
    from .fitted import FittedModel

__all__ = ["calibrated", "check_source", "errors_left_out", "errors_of_frames", "misspecified"]

_MOST_STRUCTURES = 300  # that are left out one by one


def check_source(X: Any, misspecification: bool, *, has_training_set: bool) -> None:
    """Raise ValueError unless there is something to calibrate with."""
    if isinstance(X, str) and X != "loo":
        raise ValueError(describe("X", "'loo' or a list of structures with labels", X))
    if isinstance(X, str) and misspecification:
        remedy = "A structure that is left out would have to take its own part of the widening along. Give structures."
        raise ValueError(describe("X", "a list of structures with misspecification=True", X, remedy))
    if not has_training_set and (isinstance(X, str) or misspecification):
        remedy = "a model file does not hold it. Give structures, or the training set to `remember`."
        raise ValueError(f"calibrate needs the training set for 'loo' and misspecification; {remedy}")


def errors_of_frames(model: FittedModel, X: Sequence[Atoms], by: str | None) -> dict[str, ErrorSample]:
    """Errors of a model without calibration on structures with labels; isolated atoms are left out, which define themselves."""
    frames = check_structures(X, name="X")
    collect_labels(frames)
    alone = set(isolated_atoms(frames, model.potential_.neighbor_range))
    frames = [atoms for k, atoms in enumerate(frames) if k not in alone]
    predictions = model.evaluate(frames, uncertainty="exact", std=("energy", "forces", "stress"))
    return labelled_errors(frames, predictions, by=by)


def errors_left_out(
    model: SparseModel,
    potential: Potential,
    training: TrainingSet,
    by: str | None,
    random_state: int | None,
    *,
    show: bool,
) -> dict[str, ErrorSample]:
    """Leave-one-out errors of at most 300 training structures, a seeded sample, by kind of label.

    Parameters
    ----------
    model : SparseModel
        The fitted model.
    potential : Potential
        The same, with the posterior of all structures.
    training : TrainingSet
        The structures.
    by : None, "species" or "config_type"
        Classes of the errors.
    random_state : int or None
        Seed of the sample.
    show : bool
        Whether to show a progress bar.

    Returns
    -------
    dict of str to ErrorSample
        Total energies in eV, forces in eV/Å, stresses in eV/Å³.
    """
    parts = {kind: list[ErrorSample]() for kind in KINDS}
    with_prior = any(potential.is_open(term) for term in potential.terms)
    posterior = posterior_of(potential)
    for rows in rows_of_some(
        model.sparse, training, potential.e0, model.noise, _MOST_STRUCTURES, random_state, unexplained=with_prior, show=show
    ):
        residuals, deviations = left_out(model, posterior, rows, potential.approximation)
        atoms = training.frames[rows.number]
        for kind in KINDS:
            members = np.flatnonzero(rows.kind == kind)
            if len(members):
                names, scale = classes_of(atoms, kind, by), rows.divisor[members]
                parts[kind].append(
                    ErrorSample(
                        residuals[members] * scale,
                        deviations[members] * scale,
                        np.full(len(members), rows.number),
                        None if names is None else names[rows.place[members]],
                    )
                )
    return {kind: joined(samples) for kind, samples in parts.items() if samples}


def misspecified(model: SparseModel, potential: Potential, training: TrainingSet, *, show: bool) -> SparsePosterior:
    """The posterior widened by what no weights explain, from a pass over all rows; see `gapkit.gp.misspecification`."""
    posterior, fitc = posterior_of(potential), potential.approximation == "fitc"
    delta = np.repeat([term.delta for term in model.sparse], [term.n_points for term in model.sparse])
    variances = np.array([term.delta**2 for term in model.sparse])

    def blocks() -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]]:
        chunks = training.chunks(potential.e0, model.noise)
        for chunk in track(chunks, "misspecification", len(chunks), show=show):
            for block in whitened_rows(model.sparse, chunk, unexplained=fitc):
                of_class = getattr(model.noise.classes()[chunk.noise_class], block.kind)
                sigma = np.where(np.isnan(block.own), of_class, block.own)
                if block.unexplained is not None:
                    sigma = np.sqrt(sigma**2 + variances @ block.unexplained)
                used = np.isfinite(sigma)
                phi = block.phi[used] * delta
                yield phi, block.target[used] - phi @ posterior.weights, sigma[used]

    return widened(posterior, misspecification_factor(posterior, blocks()))


def calibrated(calibration: Calibration, frames: Sequence[Atoms], predictions: Sequence[Any]) -> list[Any]:
    """Predictions with calibrated standard deviations."""
    return [replace(p, **_deviations(calibration, atoms, p)) for atoms, p in zip(frames, predictions, strict=True)]


def _deviations(calibration: Calibration, atoms: Atoms, prediction: Any) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    for kind in ("energy", "energies", "forces", "stress"):
        std = getattr(prediction, f"{kind}_std")
        if std is not None:
            result = calibration.apply(kind, std, _class_of(calibration.by, kind, atoms))
            changed[f"{kind}_std"] = float(result) if kind == "energy" else result
    return changed


def _class_of(by: str | None, kind: str, atoms: Atoms) -> NDArray[np.str_] | None:
    """Class of each atom, for forces and local energies, or of the structure."""
    if by == "config_type":
        return np.full(len(atoms) if kind in ("energies", "forces") else (), config_type_of(atoms))
    return np.array(atoms.get_chemical_symbols()) if by == "species" and kind == "forces" else None
