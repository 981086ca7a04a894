"""MTP: the .cfg files of MLIP (not AtomEye's .cfg, which ASE reads)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from ..units import Units
from .base import FileFormat, RawFrames, labelled, numbers_of_types, voigt_from

__all__ = ["MTP"]


def _read(path: Path, species: Sequence[str] | None) -> RawFrames:
    text = path.read_text(encoding="utf-8")
    frames = []
    for k, block in enumerate(text.split("BEGIN_CFG")[1:]):
        where = f"configuration {k} of {path}"
        if "END_CFG" not in block:
            raise ValueError(f"{where[0].upper()}{where[1:]} must end with END_CFG; is the file truncated?")
        lines = [line.strip() for line in block.split("END_CFG")[0].splitlines() if line.strip()]
        try:
            frames.append(_configuration(lines, species, where))
        except (IndexError, KeyError) as error:
            raise ValueError(f"{where[0].upper()}{where[1:]} must have the sections of MLIP's format; {error!r}.") from None
    return RawFrames(frames, Units("eV", "Å"))


def _configuration(lines: Sequence[str], species: Sequence[str] | None, where: str) -> Atoms:
    at = {line.split()[0].rstrip(":").lower(): k for k, line in enumerate(lines) if line[0].isalpha()}
    for name in ("stress", "virial"):
        if name in at:  # MLIP itself refuses them or gives them other signs
            raise ValueError(
                f"Stresses must be under PlusStress; {where} has {lines[at[name]].split()[0]}. Convert it with MLIP."
            )
    size = int(lines[at["size"] + 1])
    cell = []
    for line in lines[at["supercell"] + 1 : at["supercell"] + 4] if "supercell" in at else []:
        if line[0].isalpha():
            break
        cell.append([float(x) for x in line.split()])
    columns = lines[at["atomdata"]].split()[1:]
    rows = [line.split() for line in lines[at["atomdata"] + 1 : at["atomdata"] + 1 + size]]
    data = {name: np.array([float(row[j]) for row in rows]) for j, name in enumerate(columns)}
    if len(rows) != size:
        raise ValueError(f"AtomData of {where} must have {size} lines; got {len(rows)}.")
    if "id" in data:  # MLIP wants them in order; other writers may not keep it
        order = np.argsort(data["id"], kind="stable")
        data = {name: column[order] for name, column in data.items()}
    numbers = numbers_of_types(data["type"].astype(int), species, where)
    full = np.zeros((3, 3))
    full[: len(cell)] = np.reshape(cell, (len(cell), 3))
    atoms = Atoms(numbers, cell=full, pbc=[k < len(cell) for k in range(3)])
    if "cartes_x" in data:
        atoms.positions = np.column_stack([data[f"cartes_{c}"] for c in "xyz"])
    else:
        atoms.positions = np.column_stack([data[f"direct_{c}"] for c in "xyz"]) @ full
    if "plusstress" in at:  # a virial: eV, positive when compressed; attach_labels makes a stress of it
        names, values = lines[at["plusstress"]].split()[1:], lines[at["plusstress"] + 1].split()
        atoms.info["virial"] = voigt_from(dict(zip(names, map(float, values), strict=True)))
    for line in lines:
        if line.startswith("Feature") and len(line.split()) >= 3:
            atoms.info[f"mtp_{line.split()[1]}"] = " ".join(line.split()[2:])
    energy = float(lines[at["energy"] + 1]) if "energy" in at else None
    forces = np.column_stack([data[c] for c in ("fx", "fy", "fz")]) if "fx" in data else None
    return labelled(atoms, energy=energy, forces=forces)


MTP = FileFormat("mtp", "MTP .cfg (MLIP)", lambda path, head: b"BEGIN_CFG" in head, _read)
