"""Frames that are the same structure with different labels."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from ase import Atoms

from ..exceptions import LabelWarning
from ..gp.observations import Labels

__all__ = ["warn_of_conflicts"]

_DIGITS = 6  # of Å: positions and cells equal to that are the same
_SAME_ENERGY = 1e-3  # eV per atom, the noise that a fit assumes by default
_SAME_FORCE = 0.05  # eV/Å, likewise


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


def _difference(one: Labels, other: Labels, n_atoms: int) -> str:
    """What differs by more than noise, in words; "" if nothing does."""
    if one.energy is not None and other.energy is not None and abs(one.energy - other.energy) > _SAME_ENERGY * n_atoms:
        return f"energies {one.energy:.6g} and {other.energy:.6g} eV"
    if one.forces is not None and other.forces is not None:
        largest = float(np.abs(one.forces - other.forces).max())
        if largest > _SAME_FORCE:
            return f"forces apart by {largest:.3g} eV/Å"
    return ""
