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
from dataclasses import dataclass, replace
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
    energy_sigma : float or None
        Noise of this frame's total energy, eV; None: what `Noise` says.
    forces_sigma : ndarray of shape (n_atoms, 3) or None
        Noise of each component, eV/Å; NaN: what `Noise` says, infinite: the component is left out.
    stress_sigma : ndarray of shape (6,) or None
        Noise of each component, eV/Å³; NaN and infinite as for forces.
    """

    energy: float | None
    forces: Array | None
    stress: Array | None
    config_type: str
    energy_sigma: float | None = None
    forces_sigma: Array | None = None
    stress_sigma: Array | None = None

    def used(self, kind: str) -> NDArray[np.bool_]:
        """Which components of a label there are and are not left out, flat: one for energy, atom by atom x y z for forces."""
        if getattr(self, kind) is None:
            return np.zeros(0, bool)
        sigma = getattr(self, f"{kind}_sigma")
        result: NDArray[np.bool_] = ~np.isinf(np.ravel(np.nan if sigma is None else sigma))
        return np.broadcast_to(result, np.size(getattr(self, kind)))

    def force_atoms(self) -> NDArray[np.int64]:
        """Atoms with rows: those of which not all three force components are left out; ascending."""
        result: NDArray[np.int64] = np.flatnonzero(self.used("forces").reshape(-1, 3).any(axis=1))
        return result

    def with_some_forces(self, fraction: float, rng: np.random.Generator) -> Labels:
        """Leave the forces of the other atoms out, but for a random ``fraction`` on average; these keep all components."""
        if self.forces is None or fraction == 1.0:
            return self
        atoms = self.force_atoms()
        kept = rng.permutation(atoms)[: int(fraction * len(atoms) + rng.random())]  # rounded at random: right on average
        sigma = np.full(self.forces.shape, np.inf)
        sigma[kept] = np.nan if self.forces_sigma is None else self.forces_sigma[kept]
        return replace(self, forces_sigma=sigma)


def config_type_of(atoms: Atoms) -> str:
    """The configuration type of a frame, "" if it has none."""
    return str(atoms.info.get("config_type", ""))


def labels_of(atoms: Atoms, frame: int, energy: float | None = None) -> Labels:
    """Labels of a frame as `ase.io.read` leaves them, with their noise where the frame has its own, checked.

    Keys of the noise (standard deviations, absolute, as GAP users know them; the finer one counts): in ``info``
    ``energy_sigma`` (eV, of the total energy), ``force_sigma``, ``stress_sigma`` (one number, or one per component) or
    ``virial_sigma`` and ``virial_component_sigma`` (eV, divided by the volume), ``stress_mask`` (true: leave this component
    out); in ``arrays`` ``force_atom_sigma``, ``force_component_sigma``, ``force_mask`` (true: leave this atom out).

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
        If a label is not finite, or a label or its noise has the wrong shape or sign.
    """
    results: dict[str, Any] = atoms.calc.results if isinstance(atoms.calc, Calculator) else {}
    value = results.get("energy") if energy is None else energy
    energy_sigma = forces_sigma = stress_sigma = None
    if value is not None:
        energy_sigma = _energy_sigma(atoms, frame)
        value = None if energy_sigma == np.inf else float(_finite("energy", np.asarray(value, float), (), frame))
    forces = results.get("forces")
    if forces is not None:
        forces_sigma = _forces_sigma(atoms, frame)
        forces = _finite("forces", np.asarray(forces, float), (len(atoms), 3), frame, forces_sigma)
    stress = results.get("stress")
    if not atoms.pbc.any() or atoms.cell.rank < 3:
        stress = None  # no volume, no stress
    if stress is not None:
        stress = np.asarray(stress, float)
        if stress.shape in ((3, 3), (9,)):
            stress = voigt(stress.reshape(3, 3))
        stress_sigma = _stress_sigma(atoms, frame)
        stress = _finite("stress", stress, (6,), frame, stress_sigma)
    return Labels(value, forces, stress, config_type_of(atoms), energy_sigma, forces_sigma, stress_sigma)


def _energy_sigma(atoms: Atoms, frame: int) -> float | None:
    sigma = _sigma(atoms.info, "energy_sigma", (1,), frame)
    return None if sigma is None else float(sigma[0])


def _forces_sigma(atoms: Atoms, frame: int) -> Array | None:
    shape = (len(atoms), 3)
    sigma = _sigma(atoms.info, "force_sigma", (1, 1), frame)
    for key, columns in (("force_atom_sigma", 1), ("force_component_sigma", 3)):
        finer = _sigma(atoms.arrays, key, (len(atoms), columns), frame)
        sigma = sigma if finer is None else finer
    mask = atoms.arrays.get("force_mask")
    if mask is not None:
        sigma = np.full(shape, np.nan) if sigma is None else np.broadcast_to(sigma, shape)
        if np.size(mask) not in (len(atoms), 3 * len(atoms)):
            raise InvalidLabelError(
                f"`force_mask` must have 1 or 3 elements per atom; got shape {np.shape(mask)} in frame {frame}. Correct it."
            )
        sigma = np.where(np.asarray(mask, bool).reshape(len(atoms), -1), np.inf, sigma)
    return None if sigma is None else np.array(np.broadcast_to(sigma, shape))


def _stress_sigma(atoms: Atoms, frame: int) -> Array | None:
    sigma = _sigma(atoms.info, "virial_sigma", (1,), frame)
    components = _sigma(atoms.info, "virial_component_sigma", (3, 3), frame)
    sigma = sigma if components is None else voigt(components)
    sigma = None if sigma is None else sigma / atoms.get_volume()
    of_stress = _sigma(atoms.info, "stress_sigma", (6,) if np.size(atoms.info.get("stress_sigma")) > 1 else (1,), frame)
    sigma = sigma if of_stress is None else of_stress
    mask = atoms.info.get("stress_mask")
    if mask is not None:
        if np.size(mask) != 6:
            raise InvalidLabelError(
                f"`stress_mask` must have 6 elements (xx yy zz yz xz xy); got {np.size(mask)} in frame {frame}. Correct it."
            )
        sigma = np.where(np.asarray(mask, bool).reshape(6), np.inf, np.nan if sigma is None else sigma)
    return None if sigma is None else np.array(np.broadcast_to(sigma, (6,)))


def _sigma(place: Mapping[str, Any], key: str, shape: tuple[int, ...], frame: int) -> Array | None:
    """A noise of its own that a frame carries, None if it has none."""
    if place.get(key) is None:
        return None
    value = np.asarray(place[key], float)
    if value.size != np.prod(shape):
        raise InvalidLabelError(
            f"`{key}` must have {int(np.prod(shape))} elements; got shape {value.shape} in frame {frame}. Correct it."
        )
    if np.isnan(value).any() or (value <= 0.0).any():
        raise InvalidLabelError(
            f"`{key}` must be above 0; got {value.min()} in frame {frame}. It is a standard deviation; inf leaves a label out."
        )
    return value.reshape(shape)


def _finite(name: str, value: Array, shape: tuple[int, ...], frame: int, sigma: Array | None = None) -> Array:
    """The label if it is finite; components of infinite noise are left out of a fit, whatever they hold."""
    if value.shape != shape:
        raise InvalidLabelError(f"`{name}` must have shape {shape}; got {value.shape} in frame {frame}. Correct the label.")
    if sigma is not None:
        value = np.where(np.isinf(sigma), 0.0, value)
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
