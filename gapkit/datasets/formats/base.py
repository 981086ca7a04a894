"""What a reader of one format gives back, and small helpers that several readers share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers

from ..units import Units

__all__ = ["FileFormat", "RawFrames", "labelled", "missing", "numbers_of_types", "voigt_from"]


@dataclass
class RawFrames:
    """Frames as a file has them: numbers are in the units of the file.

    Attributes
    ----------
    frames : list of ase.Atoms
        Labels are in ``atoms.calc.results``; others to choose from in ``info`` and ``arrays``.
    units : Units
        Of these numbers: what the file says, or else what its format says.
    remarks : list of str
        What a user should hear: choices that the reader made, and labels that it did not take.
    others : dict of str to str
        Further labels in ``info`` or ``arrays`` that have these units, and their kind: "energy" or "forces".
    """

    frames: list[Atoms]
    units: Units = field(default_factory=Units)
    remarks: list[str] = field(default_factory=list)
    others: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FileFormat:
    """One format that is not ASE's.

    Parameters
    ----------
    name : str
        For ``--format``.
    title : str
        For messages.
    recognises : callable
        Of a path and the first 4096 bytes (empty for a folder); whether it is this format.
    read : callable
        Of a path and the species of its type numbers (or None).
    """

    name: str
    title: str
    recognises: Callable[[Path, bytes], bool]
    read: Callable[[Path, Sequence[str] | None], RawFrames]


def labelled(atoms: Atoms, **labels: Any) -> Atoms:
    """Attach those labels that are there and hold no NaN (data sets mark missing values so)."""
    found = {k: v for k, v in labels.items() if v is not None and not np.isnan(np.asarray(v, dtype=float)).any()}
    atoms.calc = SinglePointCalculator(atoms, **found)
    return atoms


def missing(package: str, what: str, error: ImportError) -> ImportError:
    """The error of a reader whose package, of the extra ``io``, is not installed; it says how to install it."""
    return ImportError(f"{what} needs the package {package}, which is not installed ({error}). Run: pip install 'gapkit[io]'")


def numbers_of_types(types: Any, names: Sequence[str] | None, where: str) -> list[int]:
    """Atomic numbers of integer types 0, 1, ...

    Raises
    ------
    ValueError
        If the names are missing, too few, or not elements.
    """
    needed = int(np.max(types)) + 1
    if names is None:
        raise ValueError(
            f"{where} numbers its species 0 to {needed - 1} and does not name them. Name them in this order: "
            "species=['Al', 'Ni'] in Python, --species Al,Ni on the command line."
        )
    unknown = [name for name in names if name not in atomic_numbers]
    if unknown or len(names) < needed:
        problem = f"{unknown[0]!r} is not an element" if unknown else f"there are {len(names)} names"
        raise ValueError(f"`species` must name the elements of the types 0 to {needed - 1} of {where}; {problem}.")
    return [atomic_numbers[names[int(t)]] for t in np.ravel(types)]


def voigt_from(named: dict[str, float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Six components in ASE's order from a mapping of "xx", "yz", ..."""
    return np.array([named[key] for key in ("xx", "yy", "zz", "yz", "xz", "xy")])
