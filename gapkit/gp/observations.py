r"""What is observed of a structure: labels, their noise, and every sign and unit, in this one place.

The model is a sum of local energies, :math:`E = \sum_e \epsilon_e` (eV).  With the gradient
:math:`g_p = \partial E / \partial D_p` with respect to each pair vector :math:`D_p = r_j + S \cdot \text{cell} - r_i`,

.. math::
    F_i = -\partial E / \partial r_i = \sum_{p \in i} (g_p - g_{\bar p}), \qquad
    \sigma_{ab} = \frac{1}{V} \frac{\partial E}{\partial \varepsilon_{ab}} = \frac{1}{V} \sum_p D_{p,a} \, g_{p,b}

where :math:`\bar p` is the reverse pair.  Stress has ASE's sign (positive: the cell wants to shrink) and Voigt order
xx yy zz yz xz xy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from .._backend import pair_ops
from .._validation import check_real, describe
from ..exceptions import InvalidLabelError
from ..neighbors import NeighborList

__all__ = ["KINDS", "VOIGT", "Labels", "Noise", "config_type_of", "forces_and_stresses", "labels_of", "voigt", "volumes"]

Array = NDArray[np.float64]

KINDS = ("energy", "forces", "stress")
"""The kinds of labels."""

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""Index pairs of the six stress components, in ASE's order."""


class Noise(BaseEstimator):  # type: ignore[misc]
    """Standard deviation of the labels around the model: what a fit may miss them by.

    Parameters
    ----------
    energy : float, default 1e-3
        eV per atom; a total energy of N atoms has ``energy * sqrt(N)``, as in QUIP.
    forces : float, default 0.05
        eV/Å, per component.
    stress : float, default 1e-2
        eV/Å³, per component.
    per_config_type : dict of str to Noise, optional
        Other values for frames whose ``info["config_type"]`` is the key.
    """

    def __init__(
        self,
        energy: float = 1e-3,
        forces: float = 0.05,
        stress: float = 1e-2,
        *,
        per_config_type: Mapping[str, Noise] | None = None,
    ) -> None:
        self.energy = energy
        self.forces = forces
        self.stress = stress
        self.per_config_type = per_config_type

    def check_parameters(self) -> None:
        """Raise ValueError or TypeError if a parameter is out of its range."""
        for name, unit in (("energy", "eV/atom"), ("forces", "eV/Å"), ("stress", "eV/Å³")):
            check_real(f"noise.{name}", getattr(self, name), above=0.0, remedy=f"It is a standard deviation in {unit}.")
        for name, noise in (self.per_config_type or {}).items():
            if not isinstance(noise, Noise):
                raise TypeError(describe(f"noise.per_config_type[{name!r}]", "a Noise", noise))
            noise.check_parameters()

    def classes(self) -> dict[str, Noise]:
        """The distinct noises by name: "" for the default, else the configuration type."""
        return {"": self, **(self.per_config_type or {})}

    def class_of(self, config_type: str) -> str:
        """Key into `classes` of a configuration type."""
        return config_type if config_type in (self.per_config_type or {}) else ""


@dataclass(frozen=True)
class Labels:
    """Labels of one frame; None where there is none.

    Attributes
    ----------
    energy : float or None
        Total energy, eV.
    forces : ndarray of shape (n_atoms, 3) or None
        eV/Å.
    stress : ndarray of shape (6,) or None
        eV/Å³, Voigt order.
    config_type : str
        ``info["config_type"]``, or "".
    """

    energy: float | None
    forces: Array | None
    stress: Array | None
    config_type: str


def config_type_of(atoms: Atoms) -> str:
    """The configuration type of a frame, "" if it has none."""
    return str(atoms.info.get("config_type", ""))


def labels_of(atoms: Atoms, frame: int, energy: float | None = None) -> Labels:
    """Labels of a frame as `ase.io.read` leaves them, checked.

    Parameters
    ----------
    atoms : ase.Atoms
        Frame with ``atoms.calc.results``.
    frame : int
        Number for messages.
    energy : float, optional
        Replaces the energy label, eV.

    Returns
    -------
    Labels

    Raises
    ------
    InvalidLabelError
        If a label is not finite or has the wrong shape.
    """
    results: dict[str, Any] = atoms.calc.results if isinstance(atoms.calc, Calculator) else {}
    value = results.get("energy") if energy is None else energy
    if value is not None:
        value = float(_finite("energy", np.asarray(value, float), (), frame))
    forces = results.get("forces")
    if forces is not None:
        forces = _finite("forces", np.asarray(forces, float), (len(atoms), 3), frame)
    stress = results.get("stress")
    if stress is not None:
        stress = np.asarray(stress, float)
        if stress.shape in ((3, 3), (9,)):
            stress = voigt(stress.reshape(3, 3))
        stress = _finite("stress", stress, (6,), frame)
        if not atoms.pbc.any() or atoms.cell.rank < 3:
            stress = None  # no volume, no stress
    return Labels(value, forces, stress, config_type_of(atoms))


def _finite(name: str, value: Array, shape: tuple[int, ...], frame: int) -> Array:
    if value.shape != shape:
        raise InvalidLabelError(f"`{name}` must have shape {shape}; got {value.shape} in frame {frame}. Correct the label.")
    if not np.isfinite(value).all():
        raise InvalidLabelError(
            f"`{name}` must be finite; got {value[~np.isfinite(value)][0]} in frame {frame}. "
            "Remove this label (the other labels of the frame stay useful) or recompute it."
        )
    return value


def volumes(neighbors: NeighborList) -> Array:
    """Cell volume of each structure, Å³."""
    result: Array = np.abs(np.linalg.det(neighbors.cells))
    return result


def forces_and_stresses(neighbors: NeighborList, gradient: Array) -> tuple[Array, list[Array | None]]:
    """Forces and stresses from the gradient of the energy with respect to pair vectors.

    Parameters
    ----------
    neighbors : NeighborList
        The pairs.
    gradient : ndarray of shape (n_pairs, 3)
        dE/d(pair vector), eV/Å.

    Returns
    -------
    forces : ndarray of shape (n_atoms, 3), eV/Å
    stresses : list of (ndarray of shape (6,), eV/Å³, or None where stress is not defined), one per structure
    """
    ops = pair_ops()
    forces = np.empty((neighbors.n_atoms, 3))
    ops.gather_forces(neighbors.first, neighbors.reverse, gradient, forces)
    virials = np.zeros((neighbors.n_structures, 3, 3))
    ops.gather_virials(neighbors.first, neighbors.structure, neighbors.vectors, gradient, virials)
    return forces, [
        voigt(virial / volume) if neighbors.has_stress(t) else None
        for t, (virial, volume) in enumerate(zip(virials, volumes(neighbors), strict=True))
    ]


def voigt(tensor: Array | Sequence[Sequence[float]]) -> Array:
    """Six components of the symmetric part of a 3 x 3 tensor."""
    t = np.asarray(tensor, float)
    return np.array([(t[a, b] + t[b, a]) / 2 for a, b in VOIGT])
