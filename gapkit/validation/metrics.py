"""Errors of predictions against labels, per configuration type or species."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray
from sklearn.metrics import r2_score

from .._validation import check_choice
from ..gp.observations import config_type_of, labels_of
from ..model import GAPRegressor, Prediction

__all__ = ["ErrorRow", "Residuals", "error_table", "force_rmse", "residuals"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Residuals:
    """Labels and predictions side by side, over all frames that have the label.

    Attributes
    ----------
    energy, energy_predicted : ndarray of shape (n_energies,)
        eV/atom.
    energy_std : ndarray of shape (n_energies,) or None
        Predicted standard deviation, eV/atom.
    forces, forces_predicted : ndarray of shape (n_components,)
        eV/Å.
    stress, stress_predicted : ndarray of shape (n_components,)
        GPa.
    """

    energy: Array
    energy_predicted: Array
    energy_std: Array | None
    forces: Array
    forces_predicted: Array
    stress: Array
    stress_predicted: Array


@dataclass(frozen=True)
class ErrorRow:
    """Errors of one configuration type, or of the forces on one species; None where there is no such label.

    Attributes
    ----------
    config_type : str
        "all" for all together; a chemical symbol in a table by species.
    frames : int
        Number of structures.
    energy_mae, energy_rmse : float or None
        meV/atom.
    forces_mae, forces_rmse : float or None
        eV/Å.
    stress_rmse : float or None
        GPa.
    energy_r2, forces_r2, stress_r2 : float or None
        Coefficients of determination of energy per atom, force and stress components; None where all labels are equal.
    """

    config_type: str
    frames: int
    energy_mae: float | None
    energy_rmse: float | None
    forces_mae: float | None
    forces_rmse: float | None
    stress_rmse: float | None
    energy_r2: float | None = None
    forces_r2: float | None = None
    stress_r2: float | None = None


def residuals(frames: Sequence[Atoms], predictions: Sequence[Prediction]) -> Residuals:
    """Collect labels and predictions.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Structures with labels.
    predictions : sequence of Prediction
        One per structure.

    Returns
    -------
    Residuals
    """
    energy: list[tuple[float, float, float]] = []
    forces: list[tuple[Array, Array]] = []
    stress: list[tuple[Array, Array]] = []
    for k, (atoms, p) in enumerate(zip(frames, predictions, strict=True)):
        labels, n = labels_of(atoms, k), len(atoms)
        if labels.energy is not None and labels.used("energy").any():
            energy.append((labels.energy / n, p.energy / n, np.nan if p.energy_std is None else p.energy_std / n))
        if labels.forces is not None and p.forces is not None:
            used = labels.used("forces")
            forces.append((labels.forces.ravel()[used], p.forces.ravel()[used]))
        if labels.stress is not None and p.stress is not None:
            used = labels.used("stress")
            stress.append((labels.stress[used] / units.GPa, p.stress[used] / units.GPa))
    e = np.array(energy).reshape(-1, 3).T
    f = np.concatenate([np.array(pair) for pair in forces] or [np.empty((2, 0))], axis=1)
    s = np.concatenate([np.array(pair) for pair in stress] or [np.empty((2, 0))], axis=1)
    std = e[2] if e.size and np.isfinite(e[2]).all() else None
    return Residuals(e[0], e[1], std, f[0], f[1], s[0], s[1])


def error_table(frames: Sequence[Atoms], predictions: Sequence[Prediction], *, by: str = "config_type") -> list[ErrorRow]:
    """Errors per configuration type, the last row over all frames; or of the forces per species.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Structures with labels.
    predictions : sequence of Prediction
        One per structure.
    by : {"config_type", "species"}, default "config_type"
        What a row is; by species there are no energies and stresses, and no last row.

    Returns
    -------
    list of ErrorRow
    """
    check_choice("by", by, ("config_type", "species"))
    if by == "species":
        return _species_rows(frames, predictions)
    types: dict[str, list[int]] = {}
    for k, atoms in enumerate(frames):
        types.setdefault(config_type_of(atoms), []).append(k)
    groups = [*types.items(), ("all", list(range(len(frames))))]
    return [_row(name, residuals([frames[k] for k in m], [predictions[k] for k in m]), len(m)) for name, m in groups]


def _species_rows(frames: Sequence[Atoms], predictions: Sequence[Prediction]) -> list[ErrorRow]:
    nothing = np.empty(0)
    rows = []
    for symbol in dict.fromkeys(symbol for atoms in frames for symbol in atoms.symbols):
        label, value = [nothing], [nothing]
        n_frames = 0
        for k, (atoms, p) in enumerate(zip(frames, predictions, strict=True)):
            forces, member = labels_of(atoms, k).forces, atoms.symbols == symbol
            n_frames += bool(member.any())
            if forces is not None and p.forces is not None:
                label.append(forces[member].ravel())
                value.append(p.forces[member].ravel())
        pair = np.concatenate(label), np.concatenate(value)
        rows.append(_row(symbol, Residuals(nothing, nothing, None, *pair, nothing, nothing), n_frames))
    return rows


def _row(name: str, r: Residuals, n: int) -> ErrorRow:
    energy, forces, stress = r.energy_predicted - r.energy, r.forces_predicted - r.forces, r.stress_predicted - r.stress

    def mae(x: Array, scale: float = 1.0) -> float | None:
        return scale * float(np.mean(np.abs(x))) if x.size else None

    def rmse(x: Array, scale: float = 1.0) -> float | None:
        return scale * float(np.sqrt(np.mean(x**2))) if x.size else None

    def r2(label: Array, value: Array) -> float | None:
        return float(r2_score(label, value)) if label.size > 1 and np.ptp(label) > 0.0 else None

    return ErrorRow(
        name,
        n,
        mae(energy, 1e3),
        rmse(energy, 1e3),
        mae(forces),
        rmse(forces),
        rmse(stress),
        r2(r.energy, r.energy_predicted),
        r2(r.forces, r.forces_predicted),
        r2(r.stress, r.stress_predicted),
    )


def force_rmse(model: GAPRegressor, X: Sequence[Atoms], y: Any = None) -> float:
    """Negative root mean square error of the force components, eV/Å: a scorer for scikit-learn (greater is better).

    Parameters
    ----------
    model : GAPRegressor
        Fitted.
    X : list of ase.Atoms
        Structures with forces.
    y : None
        Ignored.

    Returns
    -------
    float

    Examples
    --------
    >>> from sklearn.model_selection import cross_val_score
    >>> from gapkit import GAPRegressor, SOAP, DotProduct, Term
    >>> from gapkit.datasets import load_silicon
    >>> model = GAPRegressor([Term(SOAP(4.0, 4, 2), DotProduct(2), n_sparse=20)], random_state=0)
    >>> scores = cross_val_score(model, load_silicon(config_types=["rattled"]), scoring=force_rmse, cv=2)
    >>> bool((scores < 0).all())
    True
    """
    r = residuals(X, model.evaluate(X, stress=False))
    return -float(np.sqrt(np.mean((r.forces_predicted - r.forces) ** 2)))
