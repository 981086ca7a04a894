"""CP2K: main outputs of single points, and trajectories (-pos-1.xyz with -frc-1.xyz and -1.cell beside it).

ASE reads neither with labels, and dpdata drops the stress of CP2K 2025 (in bar) without a word.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import iread

from ..units import Units
from .base import FileFormat, RawFrames, labelled

__all__ = ["CP2K", "CP2K_TRAJECTORY"]

_NUMBER = r"[-+]?\d+\.\d*(?:[Ee][-+]?\d+)?"
_ENERGY = re.compile(rf"^ ENERGY\| Total FORCE_EVAL.*?\[(a\.u\.|hartree)\]:?\s+({_NUMBER})", re.MULTILINE)
_VECTOR = re.compile(
    rf"^ CELL\| Vector [abc] \[angstrom\]:?\s+({_NUMBER})\s+({_NUMBER})\s+({_NUMBER})\s+\|[abc]\| =\s+({_NUMBER})", re.MULTILINE
)
_PERIODICITY = re.compile(r"^ CELL\| Periodicity\s+(\w+)", re.MULTILINE)
_STRESS = re.compile(
    r"^ STRESS\| Analytical stress tensor \[(\w+)\]\s*\n STRESS\|\s+x\s+y\s+z\s*\n((?: STRESS\|\s+[xyz].*\n){3})", re.MULTILINE
)
_COMMENT = re.compile(rb"^\s*\d+\s*\n\s*i =\s*\d+,.*E =\s*[-\d.]+")


def _read(path: Path, species: Sequence[str] | None) -> RawFrames:
    text = path.read_text(encoding="utf-8", errors="replace")
    runs = [m.start() for m in re.finditer(r"^ CP2K\| version string", text, re.MULTILINE)] or [0]
    frames: list[Atoms] = []
    units: set[str] = set()
    for start, end in zip(runs, [*runs[1:], len(text)], strict=True):
        atoms, unit = _run(text[start:end], f"{path}, run {len(frames)}")
        frames.append(atoms)
        units |= {unit} - {""}
    if len(units) > 1:
        raise ValueError(f"Stresses in {path} must have one unit; got {' and '.join(sorted(units))}. Split the file.")
    return RawFrames(frames, Units("Hartree", "Å", "Hartree/Bohr", units.pop() if units else ""))


def _run(text: str, where: str) -> tuple[Atoms, str]:
    energies = _ENERGY.findall(text)
    if len(energies) != 1:
        raise ValueError(
            f"{where} must be a single point with one energy; it has {len(energies)}. Of dynamics and relaxations read the "
            "trajectory, PROJECT-pos-1.xyz, with PROJECT-frc-1.xyz and PROJECT-1.cell beside it."
        )
    if "SCF run NOT converged" in text:
        raise ValueError(f"{where} must be converged; CP2K says that its SCF run is not. Raise MAX_SCF.")
    atoms_table = _after(text, "ATOMIC COORDINATES IN ANGSTROM")
    if not atoms_table:
        raise ValueError(f"{where} must list the coordinates; it does not. Set PRINT_LEVEL MEDIUM.")
    kind = 2 if not atoms_table[0][2].isdigit() else 3  # atom, kind, element, Z, x, y, z
    atoms = Atoms([row[kind] for row in atoms_table], [[float(x) for x in row[kind + 2 : kind + 5]] for row in atoms_table])
    vectors = [[float(x) for x in row] for row in _VECTOR.findall(text)[-3:]]
    if len(vectors) == 3:
        # components are printed with three digits, lengths with six
        atoms.set_cell([np.array(v[:3]) * (v[3] / np.linalg.norm(v[:3])) for v in vectors])
    periodic = _PERIODICITY.search(text)
    atoms.pbc = [c in (periodic.group(1) if periodic else "NONE") for c in "XYZ"]
    forces = _after(text, "ATOMIC FORCES in [a.u.]") or _after(text, "FORCES| Atomic forces [hartree/bohr]")
    labelled(atoms, energy=float(energies[0][1]), forces=_numbers(forces, len(atoms), where) if forces else None)
    stress = _STRESS.search(text)
    if "STRESS|" in text and stress is None:
        raise ValueError(f"The stress tensor of {where} must be one of CP2K's known layouts; it is not, and is not ignored.")
    if stress is not None:  # CP2K's is positive when compressed
        atoms.info["stress"] = -np.array([[float(x) for x in line.split()[2:5]] for line in stress.group(2).splitlines()])
    return atoms, stress.group(1) if stress else ""


def _after(text: str, title: str) -> list[list[str]]:
    """Rows of the first table below a title: lines that begin with an integer, once its prefix is cut."""
    rows: list[list[str]] = []
    for line in text.partition(title)[2].splitlines()[1:]:
        words = line.removeprefix(" FORCES|").split()
        if words and words[0].isdigit():
            rows.append(words)
        elif rows:
            break
    return rows


def _numbers(rows: list[list[str]], count: int, where: str) -> Any:
    table = [row[3:6] if not _is_number(row[2]) else row[1:4] for row in rows]
    if len(table) != count:
        raise ValueError(f"{where} must have {count} forces; got {len(table)}.")
    return np.array(table, dtype=float)


def _is_number(text: str) -> bool:
    return bool(re.fullmatch(_NUMBER, text))


def _read_trajectory(path: Path, species: Sequence[str] | None) -> RawFrames:
    frames = list(iread(path, ":", format="xyz"))
    comments = [line for line in path.read_text().splitlines() if " E =" in line]
    if len(comments) != len(frames):
        raise ValueError(f"Every frame of {path} must have an energy in its comment; {len(comments)} of {len(frames)} have.")
    files = {part: path.with_name(path.name.replace("-pos-", part)) for part in ("-frc-", "-")}
    forces = list(iread(files["-frc-"], ":", format="xyz")) if files["-frc-"].exists() and "-pos-" in path.name else None
    cell_file = files["-"].with_suffix(".cell")
    cells = np.loadtxt(cell_file, ndmin=2) if cell_file.exists() and "-pos-" in path.name else None
    for name, found in (("forces", forces), ("cells", cells)):
        if found is not None and len(found) != len(frames):
            raise ValueError(f"{path} must have as many frames as its file of {name}; got {len(frames)} and {len(found)}.")
    remarks = [] if forces else [f"there is no {files['-frc-'].name} beside it: no forces"]
    remarks += [] if cells is not None else [f"there is no {cell_file.name} beside it: no cell, not periodic"]
    for k, atoms in enumerate(frames):
        energy = float(comments[k].split("E =")[1].split()[0].rstrip(","))
        # the file of forces is an xyz file whose coordinates are forces
        labelled(atoms, energy=energy, forces=forces[k].positions if forces else None)
        if cells is not None:  # step, time, three vectors, volume
            atoms.set_cell(cells[k, 2:11].reshape(3, 3))
            atoms.pbc = True
    return RawFrames(frames, Units("Hartree", "Å", "Hartree/Bohr"), remarks)


CP2K = FileFormat("cp2k", "CP2K output", lambda path, head: b"CP2K|" in head or b"PROGRAM STARTED AT" in head, _read)
CP2K_TRAJECTORY = FileFormat("cp2k-xyz", "CP2K trajectory", lambda path, head: bool(_COMMENT.match(head)), _read_trajectory)
