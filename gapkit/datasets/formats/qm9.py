"""QM9 (GDB-9): xyz files with fifteen properties on the second line, as published (doi:10.1038/sdata.2014.22)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ase import Atoms

from ..units import Units
from .base import FileFormat, RawFrames, labelled

__all__ = ["QM9"]

_PROPERTIES = ("A", "B", "C", "mu", "alpha", "homo", "lumo", "gap", "r2", "zpve", "U0", "U", "H", "G", "Cv")
_KEPT = ("zpve", "U0", "U", "H", "G")  # those that are energies of the molecule, Hartree
_SECOND_LINE = re.compile(rb"^\s*\d+\s*\n\s*gdb\s*\d+\s")


def _read(path: Path, species: Sequence[str] | None) -> RawFrames:
    lines = path.read_text(encoding="utf-8").splitlines()
    frames: list[Atoms] = []
    start = 0
    while start < len(lines):
        if not lines[start].strip():
            start += 1
            continue
        try:
            frames.append(_molecule(lines[start:], f"molecule {len(frames)} of {path}"))
        except IndexError:
            raise ValueError(f"Molecule {len(frames)} of {path} must be complete; the file ends within it.") from None
        start += int(lines[start]) + 5  # counts, properties, atoms, frequencies, SMILES, InChI
    remark = "energy is U0, which contains the zero-point energy; the potential energy is the key U0_minus_zpve"
    return RawFrames(frames, Units("Hartree", "Å"), [remark], dict.fromkeys((*_KEPT, "U0_minus_zpve"), "energy"))


def _molecule(lines: Sequence[str], where: str) -> Atoms:
    count = int(lines[0])
    fields = lines[1].split()  # gdb, its number, then the properties
    if len(fields) != 2 + len(_PROPERTIES):
        raise ValueError(f"The second line of {where} must have 17 fields (gdb, a number, 15 properties); got {len(fields)}.")
    values = dict(zip(_PROPERTIES, (_number(x) for x in fields[2:]), strict=True))
    rows = [line.split() for line in lines[2 : 2 + count]]
    if len(rows) < count or not lines[4 + count]:
        raise IndexError
    atoms = Atoms([row[0] for row in rows], [[_number(x) for x in row[1:4]] for row in rows])
    atoms.info |= {"gdb": int(fields[1]), "smiles": lines[3 + count].split()[-1]}
    atoms.info |= {key: values[key] for key in _KEPT} | {"U0_minus_zpve": values["U0"] - values["zpve"]}
    return labelled(atoms, energy=values["U0"])


def _number(text: str) -> float:
    """A number, also with the exponent of Mathematica that some files have (6.8*^-6)."""
    return float(text.replace("*^", "e"))


QM9 = FileFormat("qm9", "QM9 xyz", lambda path, head: bool(_SECOND_LINE.match(head.replace(b"\r", b""))), _read)
