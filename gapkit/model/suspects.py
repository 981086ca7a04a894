"""Labels that are probably wrong: one structure with two of them, energies far from those of their like."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from ase import Atoms

from ..exceptions import LabelWarning
from ..gp.observations import Labels

__all__ = ["warn_of_conflicts", "warn_of_outliers"]

_DIGITS = 6  # of Å: positions and cells equal to that are the same
_SAME_ENERGY = 1e-3  # eV per atom, the noise that a fit assumes by default
_SAME_FORCE = 0.05  # eV/Å, likewise
_FAR = 10.0  # eV per atom; chemistry is done in less
_FEWEST = 5  # frames of one composition that say what is usual


def warn_of_conflicts(frames: Sequence[Atoms], labels: Sequence[Labels]) -> None:
    """Warn, once for all, of frames with the species, positions and cell of an earlier one but other energies or forces.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Training structures.
    labels : sequence of Labels
        Their labels.
    """
    seen: dict[tuple[bytes, ...], int] = {}
    found: list[str] = []
    for k, atoms in enumerate(frames):
        numbers = atoms.numbers.tobytes(), atoms.pbc.tobytes()
        lengths = (np.round(a, _DIGITS) + 0.0 for a in (atoms.positions, atoms.cell.array))  # + 0.0: -0 is 0
        first = seen.setdefault((*numbers, *(a.tobytes() for a in lengths)), k)
        difference = _difference(labels[first], labels[k], len(atoms)) if first < k else ""
        if difference:
            found.append(f"frames {first} and {k} ({difference})")
    if found:
        warnings.warn(
            f"{len(found)} frames are the same structure as an earlier one with other labels: {', '.join(found[:3])}"
            f"{', ...' if len(found) > 3 else ''}. No model meets both; a fit lies between. Remove the wrong ones.",
            LabelWarning,
            stacklevel=4,
        )


def warn_of_outliers(frames: Sequence[Atoms], labels: Sequence[Labels]) -> None:
    """Warn, once for all, of energies more than 10 eV per atom from the median of their type and composition.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Training structures.
    labels : sequence of Labels
        Their labels.
    """
    groups: dict[tuple[object, ...], list[tuple[int, float]]] = {}
    for k, (atoms, y) in enumerate(zip(frames, labels, strict=True)):
        if y.energy is not None and len(atoms) > 1 and y.used("energy").all():
            species, counts = np.unique(atoms.numbers, return_counts=True)
            composition = (*species.tolist(), *np.round(counts / len(atoms), 6).tolist())
            groups.setdefault((y.config_type, *composition), []).append((k, y.energy / len(atoms)))
    found = []
    for members in groups.values():
        median = float(np.median([energy for _, energy in members]))
        if len(members) >= _FEWEST:
            found += [f"frame {k} ({e:.6g} eV/atom, median {median:.6g})" for k, e in members if abs(e - median) > _FAR]
    if found:
        warnings.warn(
            f"{len(found)} energies are more than {_FAR:g} eV/atom from the others of their composition: {', '.join(found[:3])}"
            f"{', ...' if len(found) > 3 else ''}. Remove what is wrong, or give it an energy_sigma of its own.",
            LabelWarning,
            stacklevel=4,
        )


def _difference(one: Labels, other: Labels, n_atoms: int) -> str:
    """What differs by more than noise, in words; "" if nothing does."""
    if one.energy is not None and other.energy is not None and abs(one.energy - other.energy) > _SAME_ENERGY * n_atoms:
        return f"energies {one.energy:.6g} and {other.energy:.6g} eV"
    if one.forces is not None and other.forces is not None:
        largest = float(np.abs(one.forces - other.forces).max())
        if largest > _SAME_FORCE:
            return f"forces apart by {largest:.3g} eV/Å"
    return ""
