"""Structures with labels from files: the usual keys are found, contradictions and empty labels are refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read
from numpy.typing import NDArray

from ..exceptions import InvalidLabelError
from ..gp.observations import voigt

__all__ = ["LABEL_KEYS", "LabelKeys", "attach_labels", "read_frames"]

LABEL_KEYS: dict[str, tuple[str, ...]] = {
    "energy": ("energy", "REF_energy", "dft_energy", "free_energy"),
    "forces": ("forces", "force", "REF_forces", "REF_force", "dft_forces", "dft_force"),
    "stress": (
        "stress",
        "REF_stress",
        "dft_stress",
        "virial",
        "virials",
        "REF_virial",
        "REF_virials",
        "dft_virial",
        "dft_virials",
    ),
}
"""Keys that are looked for, per kind of label; virials (eV) become stress = -virial / volume."""


@dataclass
class LabelKeys:
    """Under which keys the labels were found, and in how many frames.

    Attributes
    ----------
    found : dict of str to dict of str to int
        Kind -> key -> number of frames.
    """

    found: dict[str, dict[str, int]] = field(default_factory=lambda: {kind: {} for kind in LABEL_KEYS})

    def count(self, kind: str, keys: Sequence[str]) -> None:
        """Note the keys that one frame has for a kind of label."""
        for key in keys:
            self.found[kind][key] = self.found[kind].get(key, 0) + 1


def read_frames(
    path: str | Path,
    *,
    energy: str | None = None,
    forces: str | None = None,
    stress: str | None = None,
) -> tuple[list[Atoms], LabelKeys]:
    """Read all frames of a file with `ase.io.read` and attach their labels.

    Parameters
    ----------
    path : str or Path
        Any file that ASE reads.
    energy, forces, stress : str, optional
        Key of the label in ``info`` or ``arrays``; default: every usual key (`LABEL_KEYS`), which must agree.

    Returns
    -------
    frames : list of ase.Atoms
        Labels are in ``atoms.calc.results``, in eV, eV/Å, eV/Å³.
    keys : LabelKeys
        Where they were found.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is empty or ASE cannot read it.
    InvalidLabelError
        If keys contradict each other, a named key is missing, or a label is empty or has the wrong shape.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no file {path}.")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} must hold structures; got an empty file.")
    try:
        frames = read(path, ":")
    except Exception as error:  # ASE's readers raise whatever they meet
        raise ValueError(
            f"{path} must be a complete file in a format that ASE reads; {type(error).__name__}: {error}. "
            "Is it truncated, or does its name end unlike its format?"
        ) from error
    if not frames:
        raise ValueError(f"{path} must hold at least one structure; got none.")
    return attach_labels(frames, energy=energy, forces=forces, stress=stress, source=str(path))


def attach_labels(
    frames: Sequence[Atoms],
    *,
    energy: str | None = None,
    forces: str | None = None,
    stress: str | None = None,
    source: str = "the frames",
) -> tuple[list[Atoms], LabelKeys]:
    """Return copies of the frames whose labels are in ``atoms.calc.results`` under ASE's names; see `read_frames`."""
    wanted = {"energy": energy, "forces": forces, "stress": stress}
    keys, result = LabelKeys(), []
    for k, atoms in enumerate(frames):
        labels: dict[str, Any] = {}
        for kind, key in wanted.items():
            candidates = _candidates(atoms, kind, LABEL_KEYS[kind] if key is None else (key,), f"frame {k} of {source}")
            keys.count(kind, list(candidates))
            if candidates:
                labels[kind] = _agreed(candidates, kind, f"frame {k} of {source}")
        copy = atoms.copy()
        copy.calc = SinglePointCalculator(copy, **labels)
        result.append(copy)
    for kind, key in wanted.items():
        if key is not None and not keys.found[kind]:
            raise InvalidLabelError(f"The {kind} key {key!r} must exist in {source}; no frame has it. {_advice(frames, kind)}")
    return result, keys


def _candidates(atoms: Atoms, kind: str, keys: Sequence[str], where: str) -> dict[str, NDArray[np.float64]]:
    """Values under all keys that this frame has, converted to the label they stand for."""
    results = atoms.calc.results if isinstance(atoms.calc, Calculator) else {}
    found: dict[str, NDArray[np.float64]] = {}
    for key in keys:
        places = (results, atoms.info) if kind == "energy" else (results, atoms.info, atoms.arrays)
        for place in places:
            if place.get(key) is not None:
                found[key] = _convert(place[key], kind, key, atoms, where)
                break
    return found


def _convert(value: Any, kind: str, key: str, atoms: Atoms, where: str) -> NDArray[np.float64]:
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise InvalidLabelError(f"`{key}` must be numbers; got {value!r} in {where}. Correct or remove it.") from None
    if array.size == 0:
        raise InvalidLabelError(f"`{key}` must not be empty; it is in {where}. Remove the key or fill it.")
    if kind == "energy":
        if array.size != 1:
            raise InvalidLabelError(f"`{key}` must be one total energy; got shape {array.shape} in {where}.")
        return array.reshape(())
    if kind == "forces":
        if array.shape != (len(atoms), 3):
            raise InvalidLabelError(f"`{key}` must have shape {(len(atoms), 3)}; got {array.shape} in {where}.")
        return array
    if array.size not in (6, 9):
        raise InvalidLabelError(f"`{key}` must have 6 (Voigt) or 9 numbers; got {array.size} in {where}.")
    array = voigt(array.reshape(3, 3)) if array.size == 9 else array.reshape(6)
    if "virial" in key:
        if atoms.cell.rank < 3:
            raise InvalidLabelError(f"`{key}` needs a cell to become a stress; there is none in {where}. Remove the key.")
        array = -array / atoms.get_volume()
    return array


def _agreed(candidates: dict[str, NDArray[np.float64]], kind: str, where: str) -> Any:
    """The common value of all candidates."""
    (first_key, first), *others = candidates.items()
    for key, value in others:
        same = np.isclose(value, first, rtol=1e-6, atol=1e-6, equal_nan=True)
        if not same.all():
            index = tuple(int(i) for i in np.argwhere(~same)[0])
            raise InvalidLabelError(
                f"Two {kind} labels contradict each other in {where}: {first_key} = {float(first[index]):.8g} and {key} = "
                f"{float(value[index]):.8g}{f' (element {index})' if index else ''}. Say which one is meant: "
                f"read_frames(..., {kind}={first_key!r}), or on the command line --{kind}-key {first_key}."
            )
    return float(first) if kind == "energy" else first


def _advice(frames: Sequence[Atoms], kind: str) -> str:
    """Keys of the first frame that could be meant."""
    atoms = frames[0]
    names = sorted({*atoms.info, *atoms.arrays, *(atoms.calc.results if atoms.calc else {})} - {"numbers", "positions"})
    return f"Frame 0 has {', '.join(names) or 'no keys at all'}."
