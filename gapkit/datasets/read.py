"""Structures with labels from files: the usual keys are found, contradictions and empty labels are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.formats import string2index
from numpy.typing import NDArray

from ..exceptions import InvalidLabelError
from ..gp.observations import voigt
from .formats import UNITLESS, read_raw
from .units import Units, scale_structure, units_of

__all__ = ["LABEL_KEYS", "LabelKeys", "attach_labels", "file_and_index", "read_frames", "without_labels"]

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

_NOISE_KEYS = {
    "energy_sigma": "energy",
    "force_sigma": "forces",
    "force_atom_sigma": "forces",
    "force_component_sigma": "forces",
    "stress_sigma": "stress",
    "virial_sigma": "energy",
    "virial_component_sigma": "energy",
}


@dataclass
class LabelKeys:
    """Under which keys the labels were found, and in how many frames.

    Attributes
    ----------
    found : dict of str to dict of str to int
        Kind -> key -> number of frames.
    units : Units
        Of the file; labels were converted from them to eV and Å.
    format : str
        Of the file; "" if there was none.
    remarks : list of str
        Choices of the reader that a user should hear of.
    """

    found: dict[str, dict[str, int]] = field(default_factory=lambda: {kind: {} for kind in LABEL_KEYS})
    units: Units = field(default_factory=Units)
    format: str = ""
    remarks: list[str] = field(default_factory=list)

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
    format: str | None = None,
    units: Mapping[str, str] | Units | None = None,
    species: Sequence[str] | None = None,
) -> tuple[list[Atoms], LabelKeys]:
    """Read all frames of a file or folder, find their labels and convert them to eV and Å.

    Parameters
    ----------
    path : str or Path
        Any file that ASE reads, with ``@`` and an index or slice if only some frames are meant (``big.xyz@::100``,
        ``run.traj@-1``); or one of `gapkit.datasets.FORMATS`: MD17/rMD17/sGDML npz, ANI HDF5, QM9 xyz, DeePMD-kit
        folders, RuNNer/n2p2 input.data, MTP cfg, FitSNAP and pymatgen JSON, CP2K output and trajectories.
    energy, forces, stress : str, optional
        Key of the label in ``info`` or ``arrays``; default: every usual key (`LABEL_KEYS`), which must agree.
    format : str, optional
        One of these formats, of ASE's, or ``dpdata:NAME``; default: recognised by content, then by name.
    units : mapping of str to str or Units, optional
        Units of the file where they are not the usual ones of its format: keys energy, length, forces, stress of `Units`.
    species : sequence of str, optional
        Elements of the types 0, 1, ... in formats that number them (MTP; DeePMD-kit without a type map).

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
        If the file is empty, has no such frames, not recognised or damaged, or units are given for a format that has its own.
    ImportError
        If the format needs a package of the extra ``io``.
    InvalidLabelError
        If keys contradict each other, a named key is missing, or a label is empty or has the wrong shape.
    """
    asked = Path(path)
    path, chosen = file_and_index(asked)
    if path.is_file() and path.stat().st_size == 0:
        raise ValueError(f"{path} must hold structures; got an empty file.")
    raw, name = read_raw(path, format, species, chosen)
    if not raw.frames:
        raise ValueError(f"{asked} must hold at least one structure; got none.")
    if units and name not in UNITLESS:
        raise ValueError(
            f"`units` must not be given for {path}: it is {name}, whose reader converts to eV and Å; got {units!r}."
        )
    actual = units_of(units, raw.units)
    result, keys = attach_labels(raw.frames, energy=energy, forces=forces, stress=stress, source=str(asked), units=actual)
    for atoms in result:
        _convert_others(atoms, raw.others, actual)
    keys.format, keys.remarks = name, raw.remarks
    return result, keys


def file_and_index(path: Path) -> tuple[Path, str]:
    """A file, and which of its frames are meant, a slice in ASE's notation: what ``name@index`` says.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the index is none.
    """
    if path.exists():  # names may have an @
        return path, ":"
    name, at, index = path.name.rpartition("@")
    file = path.with_name(name) if name else path
    if not at or not file.exists():
        raise FileNotFoundError(f"There is no file {file if at and name else path}.")
    try:
        chosen = string2index(index)
    except ValueError:
        chosen = index
    if isinstance(chosen, int):  # as a slice, which is empty where there is none
        return file, f"{chosen}:{chosen + 1 if chosen != -1 else ''}"
    if not isinstance(chosen, slice):
        raise ValueError(f"{path} must end in an index or a slice, such as @-1 or @0:1000:10; got @{index}.")
    return file, index


def attach_labels(
    frames: Sequence[Atoms],
    *,
    energy: str | None = None,
    forces: str | None = None,
    stress: str | None = None,
    source: str = "the frames",
    units: Units | None = None,
) -> tuple[list[Atoms], LabelKeys]:
    """Return copies of the frames whose labels are in ``atoms.calc.results`` under ASE's names; see `read_frames`.

    ``units`` are those of the frames, default eV and Å.  If they are others, the copies are in eV and Å, and do not keep the
    labels under their old keys, where they would contradict.
    """
    wanted = {"energy": energy, "forces": forces, "stress": stress}
    units = units or Units()
    keys, result = LabelKeys(units=units), []
    for k, atoms in enumerate(frames):
        labels: dict[str, Any] = {}
        for kind, key in wanted.items():
            candidates = _candidates(atoms, kind, LABEL_KEYS[kind] if key is None else (key,), f"frame {k} of {source}", units)
            keys.count(kind, list(candidates))
            if candidates:
                labels[kind] = _agreed(candidates, kind, f"frame {k} of {source}")
        copy = atoms.copy()
        if units.converted:
            scale_structure(copy, units)
            _drop_labels(copy, [key for key in wanted.values() if key])
            _convert_others(copy, _NOISE_KEYS, units)
        copy.calc = SinglePointCalculator(copy, **labels)
        result.append(copy)
    for kind, key in wanted.items():
        if key is not None and not keys.found[kind]:
            raise InvalidLabelError(f"The {kind} key {key!r} must exist in {source}; no frame has it. {_advice(frames, kind)}")
    return result, keys


def _candidates(atoms: Atoms, kind: str, keys: Sequence[str], where: str, units: Units) -> dict[str, NDArray[np.float64]]:
    """Values under all keys that this frame has, converted to the label they stand for."""
    results = atoms.calc.results if isinstance(atoms.calc, Calculator) else {}
    found: dict[str, NDArray[np.float64]] = {}
    for key in keys:
        places = (results, atoms.info) if kind == "energy" else (results, atoms.info, atoms.arrays)
        for place in places:
            if place.get(key) is not None:
                found[key] = _convert(place[key], kind, key, atoms, where, units)
                break
    return found


def without_labels(frames: Sequence[Atoms], keys: LabelKeys) -> list[Atoms]:
    """Copies that keep labels in ``atoms.calc.results`` only, so that a file written of them says each once."""
    result = []
    for atoms in frames:
        copy = atoms.copy()
        copy.calc = atoms.calc
        _drop_labels(copy, [key for found in keys.found.values() for key in found])
        result.append(copy)
    return result


def _drop_labels(atoms: Atoms, named: Sequence[str]) -> None:
    for key in {*named, *(key for keys in LABEL_KEYS.values() for key in keys)}:
        atoms.info.pop(key, None)
        atoms.arrays.pop(key, None)


def _convert_others(atoms: Atoms, kinds: Mapping[str, str], units: Units) -> None:
    for key, kind in kinds.items():
        for place in (atoms.info, atoms.arrays):
            if key in place:
                place[key] = np.asarray(place[key], dtype=float) * units.factor(kind)


def _convert(value: Any, kind: str, key: str, atoms: Atoms, where: str, units: Units) -> NDArray[np.float64]:
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise InvalidLabelError(f"`{key}` must be numbers; got {value!r} in {where}. Correct or remove it.") from None
    if array.size == 0:
        raise InvalidLabelError(f"`{key}` must not be empty; it is in {where}. Remove the key or fill it.")
    factor = units.factor(kind)
    if kind == "energy":
        if array.size != 1:
            raise InvalidLabelError(f"`{key}` must be one total energy; got shape {array.shape} in {where}.")
        array = array.reshape(())
    elif kind == "forces":
        if array.shape != (len(atoms), 3):
            raise InvalidLabelError(f"`{key}` must have shape {(len(atoms), 3)}; got {array.shape} in {where}.")
    else:
        if array.size not in (6, 9):
            raise InvalidLabelError(f"`{key}` must have 6 (Voigt) or 9 numbers; got {array.size} in {where}.")
        array = voigt(array.reshape(3, 3)) if array.size == 9 else array.reshape(6)
        if "virial" in key:
            if atoms.cell.rank < 3:
                raise InvalidLabelError(f"`{key}` needs a cell to become a stress; there is none in {where}. Remove the key.")
            factor = -units.factor("energy") / (atoms.get_volume() * units.factor("length") ** 3)
    converted: NDArray[np.float64] = array if factor == 1.0 else array * factor
    return converted


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
                + (" Forces are derivatives of free_energy." if kind == "energy" and "free_energy" in candidates else "")
            )
    return float(first) if kind == "energy" else first


def _advice(frames: Sequence[Atoms], kind: str) -> str:
    """Keys of the first frame that could be meant."""
    atoms = frames[0]
    names = sorted({*atoms.info, *atoms.arrays, *(atoms.calc.results if atoms.calc else {})} - {"numbers", "positions"})
    return f"Frame 0 has {', '.join(names) or 'no keys at all'}."
