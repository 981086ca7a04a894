"""The label ledger: what a fit is about to use, printed before it starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from ..gp.observations import config_type_of, labels_of

__all__ = ["LedgerRow", "label_ledger", "stress_sign"]


@dataclass(frozen=True)
class LedgerRow:
    """Labels of one configuration type.

    Attributes
    ----------
    config_type : str
        ``info["config_type"]``, "" for none; "all" for the sum.
    frames, atoms, energies, forces, stresses : int
        How many frames and atoms there are, and how many frames have each label.
    energy_per_atom : tuple of float or None
        Lowest and highest energy per atom, eV.
    force_rms : float or None
        Root mean square of the force components, eV/Å.
    pressure : tuple of float or None
        Lowest and highest -trace(stress)/3, GPa.
    """

    config_type: str
    frames: int
    atoms: int
    energies: int
    forces: int
    stresses: int
    energy_per_atom: tuple[float, float] | None
    force_rms: float | None
    pressure: tuple[float, float] | None


def label_ledger(frames: Sequence[Atoms]) -> list[LedgerRow]:
    """Count the labels per configuration type; the last row is the sum.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Structures with labels in ``atoms.calc.results``.

    Returns
    -------
    list of LedgerRow
    """
    types: Mapping[str, list[int]] = {}
    for k, atoms in enumerate(frames):
        types.setdefault(config_type_of(atoms), []).append(k)  # type: ignore[attr-defined]
    rows = [_row(name, frames, members) for name, members in types.items()]
    return [*rows, _row("all", frames, list(range(len(frames))))]


def _row(name: str, frames: Sequence[Atoms], members: Sequence[int]) -> LedgerRow:
    labels = [(frames[k], labels_of(frames[k], k)) for k in members]
    energies = [y.energy / len(atoms) for atoms, y in labels if y.energy is not None]
    forces = [y.forces.ravel() for _, y in labels if y.forces is not None]
    pressures = [-float(y.stress[:3].mean()) * 160.21766 for _, y in labels if y.stress is not None]
    return LedgerRow(
        config_type=name,
        frames=len(labels),
        atoms=sum(len(atoms) for atoms, _ in labels),
        energies=len(energies),
        forces=len(forces),
        stresses=len(pressures),
        energy_per_atom=(min(energies), max(energies)) if energies else None,
        force_rms=float(np.sqrt(np.mean(np.concatenate(forces) ** 2))) if forces else None,
        pressure=(min(pressures), max(pressures)) if pressures else None,
    )


def stress_sign(frames: Sequence[Atoms]) -> str:
    """Judge the sign of the stress labels: the bulk modulus is positive, so that tension grows with volume.

    Pairs of frames of one configuration type and formula whose volumes differ by 1 to 20 % vote; three quarters of at
    least ten votes decide.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Structures with labels.

    Returns
    -------
    str
        "as ASE's", "OPPOSITE to ASE's", or "not testable".
    """
    groups: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for k, atoms in enumerate(frames):
        stress = labels_of(atoms, k).stress
        if stress is not None and atoms.pbc.all() and len(atoms) > 1:
            key = (config_type_of(atoms), atoms.symbols.formula.format("hill"))
            groups.setdefault(key, []).append((atoms.get_volume(), float(stress[:3].sum())))
    votes: list[float] = []
    for values in groups.values():
        volume, trace = (np.array(v) for v in zip(*values, strict=True))
        ratio, difference = np.log(volume[:, None] / volume), trace[:, None] - trace
        counted = (ratio > 0.01) & (ratio < 0.2)
        votes += (difference[counted] > 0).tolist()
    if len(votes) < 10:
        return "not testable"
    share = float(np.mean(votes))
    return "as ASE's" if share > 0.75 else "OPPOSITE to ASE's" if share < 0.25 else "not testable"
