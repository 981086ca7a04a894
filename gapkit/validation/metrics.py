"""Errors of predictions against labels, per configuration type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

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
    """Errors of one configuration type; None where there is no such label.

    Attributes
    ----------
    config_type : str
        "all" for the sum.
    frames : int
        Number of structures.
    energy_mae, energy_rmse : float or None
        meV/atom.
    forces_mae, forces_rmse : float or None
        eV/Å.
    stress_rmse : float or None
        GPa.
    """

    config_type: str
    frames: int
    energy_mae: float | None
    energy_rmse: float | None
    forces_mae: float | None
    forces_rmse: float | None
    stress_rmse: float | None


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
        if labels.energy is not None:
            energy.append((labels.energy / n, p.energy / n, np.nan if p.energy_std is None else p.energy_std / n))
        if labels.forces is not None and p.forces is not None:
            forces.append((labels.forces.ravel(), p.forces.ravel()))
        if labels.stress is not None and p.stress is not None:
            stress.append((labels.stress / units.GPa, p.stress / units.GPa))
    e = np.array(energy).reshape(-1, 3).T
    f = np.concatenate([np.array(pair) for pair in forces] or [np.empty((2, 0))], axis=1)
    s = np.concatenate([np.array(pair) for pair in stress] or [np.empty((2, 0))], axis=1)
    std = e[2] if e.size and np.isfinite(e[2]).all() else None
    return Residuals(e[0], e[1], std, f[0], f[1], s[0], s[1])


def error_table(frames: Sequence[Atoms], predictions: Sequence[Prediction]) -> list[ErrorRow]:
    """Errors per configuration type; the last row is over all frames.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Structures with labels.
    predictions : sequence of Prediction
        One per structure.

    Returns
    -------
    list of ErrorRow
    """
    types: dict[str, list[int]] = {}
    for k, atoms in enumerate(frames):
        types.setdefault(config_type_of(atoms), []).append(k)
    groups = [*types.items(), ("all", list(range(len(frames))))]
    return [_row(name, residuals([frames[k] for k in m], [predictions[k] for k in m]), len(m)) for name, m in groups]


def _row(name: str, r: Residuals, n: int) -> ErrorRow:
    energy, forces, stress = r.energy_predicted - r.energy, r.forces_predicted - r.forces, r.stress_predicted - r.stress

    def mae(x: Array, scale: float = 1.0) -> float | None:
        return scale * float(np.mean(np.abs(x))) if x.size else None

    def rmse(x: Array, scale: float = 1.0) -> float | None:
        return scale * float(np.sqrt(np.mean(x**2))) if x.size else None

    return ErrorRow(name, n, mae(energy, 1e3), rmse(energy, 1e3), mae(forces), rmse(forces), rmse(stress))


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
