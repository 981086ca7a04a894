"""FitSNAP: JSON files, one configuration each as a rule, in a folder per group."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from ..units import Units
from .base import FileFormat, RawFrames, labelled

__all__ = ["FITSNAP"]

_STYLES = {
    "Energy": {"electronvolt": "eV", "hartree": "Hartree", "kcalpermole": "kcal/mol"},
    "Lattice": {"angstrom": "Å", "bohr": "Bohr"},
    "Forces": {"electronvoltperangstrom": "eV/Å", "hartreeperbohr": "Hartree/Bohr", "kcalpermoleangstrom": "kcal/mol/Å"},
    "Stress": {"bar": "bar", "kbar": "kbar", "kb": "kbar", "gpa": "GPa"},
}
_DEFAULT = {"Energy": "electronvolt", "Lattice": "angstrom", "Forces": "electronvoltperangstrom", "Stress": "bar"}


def _read(path: Path, species: Sequence[str] | None) -> RawFrames:
    text = path.read_text(encoding="utf-8")
    if text.startswith("#"):  # the first line is a comment in many of them
        text = text.partition("\n")[2]
    content = json.loads(text)
    data_set = content["Dataset"] if isinstance(content, dict) else None
    if not isinstance(data_set, dict) or not isinstance(data_set.get("Data"), list):
        raise ValueError(f"{path} must be FitSNAP's JSON, {{'Dataset': {{'Data': [...]}}}}.")
    units = Units(*(_unit(data_set, kind, path) for kind in _STYLES))
    if str(data_set.get("PositionsStyle", "angstrom")).lower() != str(data_set.get("LatticeStyle", "angstrom")).lower():
        raise ValueError(f"Positions and lattice of {path} must have one unit of length; their styles differ.")
    frames = [_frame(entry, f"configuration {k} of {path}") for k, entry in enumerate(data_set["Data"])]
    for atoms in frames:
        atoms.info["config_type"] = path.parent.name  # FitSNAP's group
    return RawFrames(frames, units)


def _unit(data_set: dict[str, Any], kind: str, path: Path) -> str:
    style = str(data_set.get(f"{kind}Style", _DEFAULT[kind])).lower()
    if style not in _STYLES[kind]:
        raise ValueError(f"`{kind}Style` of {path} must be one of {', '.join(_STYLES[kind])}; got {style!r}.")
    return _STYLES[kind][style]


def _frame(entry: dict[str, Any], where: str) -> Atoms:
    try:
        symbols, positions, lattice = entry["AtomTypes"], entry["Positions"], entry["Lattice"]
    except KeyError as error:
        raise ValueError(f"`{error.args[0]}` must be there; it is missing in {where}.") from None
    atoms = Atoms(symbols, np.asarray(positions, dtype=float), cell=np.asarray(lattice, dtype=float), pbc=True)
    stress = entry.get("Stress")
    if stress is not None:  # LAMMPS's pressure tensor: positive when compressed
        stress = -np.asarray(stress, dtype=float)
    energy = entry.get("Energy")
    forces = None if entry.get("Forces") is None else np.asarray(entry["Forces"], dtype=float)
    labelled(atoms, energy=None if energy is None else float(energy), forces=forces)
    if stress is not None:
        atoms.info["stress"] = stress
    return atoms


FITSNAP = FileFormat("fitsnap", "FitSNAP JSON", lambda path, head: b'"Dataset"' in head and path.suffix == ".json", _read)
