"""Materials Project, MPtrj, MatPES, maml/mlearn: JSON with pymatgen's structures, at any depth, labels beside them.

pymatgen is not needed: a structure is a lattice matrix and a list of sites.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from ..units import Units
from .base import FileFormat, RawFrames, labelled, voigt_from

__all__ = ["PYMATGEN"]

_TOTAL = ("energy", "uncorrected_total_energy", "uncorrected_energy", "e_0_energy")
_PER_ATOM = ("energy_per_atom", "uncorrected_energy_per_atom")
_FORCES = ("forces", "force")
_STRESS = ("stress", "virial_stress")
_NESTED = ("outputs", "output", "data", "results")  # where labels may be, seen from the structure's neighbours
_TYPE = ("config_type", "group", "tag", "tags")
_VASP_ORDER = ("xx", "yy", "zz", "xy", "yz", "xz")
_SIX = "six stress components were taken in VASP's order, xx yy zz xy yz xz: check the shear ones"
_SIGN = "stresses were taken as VASP's: kbar, positive when compressed"


def _read(path: Path, species: Sequence[str] | None) -> RawFrames:
    data = path.read_bytes()
    content = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    frames, remarks = [], []
    for k, (entry, name) in enumerate(_entries(content, "")):
        atoms, said = _frame(entry, f"structure {k} of {path}")
        if name:
            atoms.info["group"] = name
        frames.append(atoms)
        remarks += [text for text in said if text not in remarks]
    if not frames:
        raise ValueError(f"{path} must hold structures of pymatgen (a lattice with a matrix, and sites); got none.")
    return RawFrames(frames, Units("eV", "Å", stress="kbar"), remarks)


def _entries(node: Any, name: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Mappings that hold a structure, and the identifier above or in them: {id: {frame: {structure, energy, ...}}}."""
    if isinstance(node, list):
        for child in node:
            yield from _entries(child, name)
    elif isinstance(node, dict):
        if _is_structure(node):
            yield {"structure": node}, name
        elif isinstance(steps := node.get("ionic_steps"), list):
            yield from _entries(steps, str(node.get("task_id", name)))
        elif _is_structure(node.get("structure")):
            yield node, str(node.get("material_id", node.get("matpes_id", node.get("entry_id", name))))
        elif any(_is_structure(node.get(key, {}).get("structure")) for key in _NESTED if isinstance(node.get(key), dict)):
            key = next(key for key in _NESTED if isinstance(node.get(key), dict) and "structure" in node[key])
            yield {**node, "structure": node[key]["structure"]}, str(node.get("task_id", name))
        else:
            for key, child in node.items():
                if isinstance(child, (dict, list)):
                    yield from _entries(child, name or str(key))


def _is_structure(node: Any) -> bool:
    return (
        isinstance(node, dict)
        and isinstance(node.get("sites"), list)
        and ("lattice" in node or "Molecule" in str(node.get("@class")))
    )


def _frame(entry: Mapping[str, Any], where: str) -> tuple[Atoms, list[str]]:
    atoms = _atoms(entry["structure"], where)
    places = [entry, *(entry[key] for key in _NESTED if isinstance(entry.get(key), Mapping))]
    energy = _first(places, _TOTAL)
    if energy is None and (per_atom := _first(places, _PER_ATOM)) is not None:
        energy = float(per_atom) * len(atoms)
    forces, stress, said = _first(places, _FORCES), _first(places, _STRESS), []
    for key in _TYPE:
        if isinstance(entry.get(key), str):
            atoms.info["config_type"] = entry[key]
            break
    labelled(
        atoms, energy=None if energy is None else float(energy), forces=None if not forces else np.asarray(forces, dtype=float)
    )
    if stress is not None and np.size(stress):
        array = np.asarray(stress, dtype=float)
        said.append(_SIGN)
        if array.size == 6:
            array = voigt_from(dict(zip(_VASP_ORDER, array.ravel(), strict=True)))
            said.append(_SIX)
        atoms.info["stress"] = -array
    return atoms, said


def _first(places: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> Any:
    for place in places:
        for key in keys:
            if place.get(key) is not None:
                return place[key]
    return None


def _atoms(structure: Mapping[str, Any], where: str) -> Atoms:
    symbols, positions = [], []
    lattice = structure.get("lattice")
    cell = None if lattice is None else np.asarray(lattice["matrix"], dtype=float)
    for site in structure["sites"]:
        if len(site["species"]) != 1 or abs(site["species"][0]["occu"] - 1.0) > 1e-8:
            raise ValueError(f"Every site must be one whole atom; {where} has {site['species']!r}. Order the structure first.")
        symbols.append("".join(c for c in site["species"][0]["element"] if c.isalpha()))  # "Fe3+" is an Fe
        positions.append(site["xyz"] if "xyz" in site else np.asarray(site["abc"], dtype=float) @ cell)
    pbc = False if lattice is None else lattice.get("pbc", True)
    return Atoms(symbols, np.array(positions, dtype=float), cell=cell, pbc=pbc)


def _recognised(path: Path, head: bytes) -> bool:
    if path.suffix == ".gz":
        return ".json" in path.suffixes
    return head.lstrip()[:1] in (b"{", b"[") and (
        b'"lattice"' in head or b'"structure"' in head or b'"sites"' in head or b'"@class"' in head
    )


PYMATGEN = FileFormat("pymatgen", "pymatgen JSON (Materials Project, MPtrj, MatPES)", _recognised, _read)
