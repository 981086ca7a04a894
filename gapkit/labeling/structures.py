"""What is labelled: a structure as its extended XYZ text says, and the hash that names it."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_properties
from ase.io import read, write

from .._validation import describe
from ..exceptions import InvalidStructureError

__all__ = ["canonical", "from_text", "settings_text", "structure_hash", "to_text"]

_ARRAYS = ("initial_magmoms", "initial_charges")  # a label depends on them
_RESERVED = {*all_properties, "converged", "gapkit_hash", "gapkit_reason"}


def canonical(atoms: Atoms) -> Atoms:
    """Copy of a structure with what labels depend on, and digits that a file keeps (positions: 1e-8 Å).

    Parameters
    ----------
    atoms : ase.Atoms
        Its numbers, positions, cell, pbc, initial magnetic moments and charges are kept, and numbers and words in ``info``.

    Returns
    -------
    ase.Atoms

    Raises
    ------
    InvalidStructureError
        If there are no atoms, or a position or cell vector is not finite.
    """
    if not isinstance(atoms, Atoms):
        raise TypeError(describe("atoms", "an ase.Atoms", atoms))
    if len(atoms) == 0:
        raise InvalidStructureError("`atoms` must have at least one atom; got none.")
    for name, value in (("positions", atoms.positions), ("cell", atoms.cell.array)):
        if not np.isfinite(value).all():
            raise InvalidStructureError(
                f"`{name}` must be finite; got {value[~np.isfinite(value)][0]}. Do not propose this structure."
            )
    plain = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell.array, pbc=atoms.pbc)
    for name in _ARRAYS:
        if atoms.has(name) and np.any(atoms.arrays[name]):
            plain.set_array(name, np.asarray(atoms.arrays[name], float))
    for key, value in atoms.info.items():
        if key not in _RESERVED and isinstance(value, (str, bool, int, float, np.bool_, np.integer, np.floating)):
            plain.info[key] = " ".join(value.split()) if isinstance(value, str) else value  # a line break ends a header
    return from_text(to_text(plain))


def structure_hash(atoms: Atoms, settings: Mapping[str, Any] | None = None) -> str:
    """Name of a structure under some label settings.

    Parameters
    ----------
    atoms : ase.Atoms
        Positions and cell count to 1e-8 Å; ``info`` does not.
    settings : mapping, optional
        What distinguishes labels of one structure, e.g. functional and cutoff; what JSON can hold.

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    atoms = canonical(atoms)
    digest = hashlib.sha256(settings_text(settings).encode())
    lengths = {"positions": atoms.positions, "cell": atoms.cell.array, **{n: atoms.arrays[n] for n in _ARRAYS if atoms.has(n)}}
    for name, value in {"numbers": atoms.numbers, "pbc": atoms.pbc, **lengths}.items():
        integers = np.rint(value * 1e8) if name in lengths else value
        digest.update(name.encode() + integers.astype("<i8").tobytes())
    return digest.hexdigest()[:32]


def settings_text(settings: Mapping[str, Any] | None) -> str:
    """Label settings as JSON, the same text for the same settings."""
    try:
        return json.dumps(dict(settings or {}), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        rule = "a mapping of what JSON can hold"
        raise TypeError(describe("settings", rule, settings, "Use words, numbers and lists.")) from error


def to_text(atoms: Atoms) -> str:
    """One frame of extended XYZ, with its labels if it has some."""
    stream = io.StringIO()
    write(stream, atoms, format="extxyz")
    return stream.getvalue()


def from_text(text: str) -> Atoms:
    """Read one frame of extended XYZ."""
    atoms: Atoms = read(io.StringIO(text), format="extxyz")
    atoms.positions += 0.0  # -0 is 0
    for key, value in atoms.info.items():
        atoms.info[key] = value.item() if isinstance(value, np.generic) else value
    return atoms
