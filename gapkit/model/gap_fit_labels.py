"""Training structures as gap_fit reads them: labels and noise under its keys, by its rules."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read
from numpy.typing import NDArray

from .._validation import describe
from ..exceptions import InvalidLabelError, InvalidStructureError, LabelWarning
from ..gp.observations import Noise, config_type_of, voigt
from ..interop.gap_fit import GapFitCommand, Sigmas

__all__ = ["noise_of_types", "read_labelled"]

Array = NDArray[np.float64]

_OF_GAPKIT = (
    "config_type",
    "energy_sigma",
    "force_sigma",
    "stress_sigma",
    "virial_sigma",
    "virial_component_sigma",
    "stress_mask",
)
_OF_ATOMS = ("force_atom_sigma", "force_component_sigma", "force_mask")


def read_labelled(path: Path, command: GapFitCommand) -> tuple[list[Atoms], dict[str, dict[str, int]]]:
    """Read structures, and put labels and noise where a fit looks for them.

    Parameters
    ----------
    path : Path
        Extended XYZ, or another format that ASE reads.
    command : GapFitCommand

    Returns
    -------
    frames : list of ase.Atoms
        Periodic, with labels in ``atoms.calc.results``; the noise of virials, and all noise of single frames and atoms, is in
        ``atoms.info`` and ``atoms.arrays``.
    keys : dict of str to dict of str to int
        Kind of label -> key in the file -> number of frames.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    InvalidLabelError
        If a label has the wrong shape or no noise above 0, a key that the command names is in no frame, or there are labels
        that gapkit does not fit.
    InvalidStructureError
        If a frame has no lattice.
    """
    if not path.exists():
        raise FileNotFoundError(f"The training structures must exist; there is no {path}.")
    try:
        raw = read(path, ":")
    except Exception as error:  # ASE's readers raise whatever they meet
        raise ValueError(f"{path} must be complete extended XYZ; {type(error).__name__}: {error}. Correct the file.") from error
    keys: dict[str, dict[str, int]] = {"energy": {}, "forces": {}, "stress": {}}
    frames = [_labelled(atoms, command, f"frame {k} of {path}", keys) for k, atoms in enumerate(raw)]
    found = {key for counts in keys.values() for key in counts}
    for name in ("energy", "force", "virial", "stress"):
        if name in command.named and command.keys[name] not in found:
            raise InvalidLabelError(
                f"`{name}_parameter_name` must be a key of {path}; got {command.keys[name]!r}, which no frame has. Correct it, "
                "or leave it out."
            )
    aperiodic = sum(not atoms.pbc.all() for atoms in raw)
    if aperiodic:
        warnings.warn(
            f"{aperiodic} of {len(raw)} frames say that they are not periodic; gap_fit takes every frame for periodic in its "
            "Lattice, and so they are fitted. Is there enough vacuum?",
            LabelWarning,
            stacklevel=3,
        )
    return frames, keys


def noise_of_types(command: GapFitCommand, frames: Sequence[Atoms]) -> Noise:
    """Noise by configuration type; stresses, whose noise the frames bring along, get what is typical of them.

    Parameters
    ----------
    command : GapFitCommand
    frames : sequence of ase.Atoms
        From `read_labelled`.

    Returns
    -------
    Noise
    """
    types = {name: sigmas for name, sigmas in command.config_type_sigma.items() if name != "default"}
    members = {name: [atoms for atoms in frames if config_type_of(atoms) == name] for name in types}
    others = [atoms for atoms in frames if config_type_of(atoms) not in types]
    per_type = {name: _noise(sigmas, members[name] or frames) for name, sigmas in types.items()}
    noise = _noise(command.sigmas_of("default"), others or frames)
    return Noise(noise.energy, noise.forces, noise.stress, per_config_type=per_type or None)


def _noise(sigmas: Sigmas, frames: Sequence[Atoms]) -> Noise:
    """Numbers of 0 are for labels that do not occur: the default stands for them."""
    usual = Noise()
    own = [atoms.info["virial_sigma"] / atoms.get_volume() for atoms in frames if "virial_sigma" in atoms.info]
    return Noise(
        sigmas.energy if sigmas.energy > 0.0 else usual.energy,
        sigmas.force if sigmas.force > 0.0 else usual.forces,
        float(np.median(own)) if own else usual.stress,
    )


def _labelled(atoms: Atoms, command: GapFitCommand, where: str, keys: dict[str, dict[str, int]]) -> Atoms:
    """A copy with what gap_fit would fit, and nothing else that a fit would look at."""
    if atoms.cell.rank < 3:
        raise InvalidStructureError(f"Structures for gap_fit must have a Lattice; there is none in {where}. Add a large box.")
    _refuse_other_labels(atoms, command, where)
    result = atoms.copy()
    result.pbc = True
    for key in _OF_GAPKIT:
        result.info.pop(key, None)
    for key in _OF_ATOMS:
        result.arrays.pop(key, None)
    config_type = str(_value(atoms, command.keys["config_type"]) or "")
    if config_type:
        result.info["config_type"] = config_type
    labels: dict[str, Any] = {}
    for kind, key, value in _labels(atoms, command, where):
        labels[kind] = value
        keys[kind][key] = keys[kind].get(key, 0) + 1
    result.calc = SinglePointCalculator(result, **labels)
    _set_noise(result, atoms, command, command.sigmas_of(config_type), where)
    return result


def _labels(atoms: Atoms, command: GapFitCommand, where: str) -> list[tuple[str, str, Any]]:
    """Kind, key and value of the labels of a frame; of virial and stress the former counts."""
    found: list[tuple[str, str, Any]] = []
    key = command.keys["energy"]
    if (energy := _numbers(atoms, key, (1,), where)) is not None:
        found.append(("energy", key, float(energy.item())))
    key = command.keys["force"]
    if (forces := _numbers(atoms, key, (3 * len(atoms),), where)) is not None:
        found.append(("forces", key, forces.reshape(-1, 3)))
    key = command.keys["virial"]
    if (virial := _numbers(atoms, key, (9,), where)) is not None:
        return [*found, ("stress", key, -voigt(virial.reshape(3, 3)) / atoms.get_volume())]
    key = command.keys["stress"]
    if (stress := _numbers(atoms, key, (6, 9), where)) is not None:
        found.append(("stress", key, voigt(stress.reshape(3, 3)) if stress.size == 9 else stress.ravel()))
    return found


def _set_noise(result: Atoms, atoms: Atoms, command: GapFitCommand, sigmas: Sigmas, where: str) -> None:
    """Noise that belongs to this frame alone, under gapkit's keys, which are gap_fit's default ones."""
    stem, own = command.keys["sigma"], set()
    for name, size in (("energy", 1), ("force", 1), ("virial", 1), ("virial_component", 9)):
        value = _numbers(atoms, f"{name}_{stem}", (size,), where)
        if value is not None:
            result.info[f"{name}_sigma"] = float(value.item()) if size == 1 else value.reshape(3, 3)
            own.add(name.partition("_")[0])
    for name, columns in (("force_atom", 1), ("force_component", 3)):
        value = _numbers(atoms, f"{name}_{stem}", (columns * len(atoms),), where)
        if value is not None:
            result.arrays[f"{name}_sigma"] = value.reshape(-1, columns)
            own.add("force")
    mask = _value(atoms, command.keys["force_mask"])
    if mask is not None:
        result.arrays["force_mask"] = np.asarray(mask, bool)
    for kind, name, sigma in zip(("energy", "forces", "stress"), ("energy", "force", "virial"), sigmas[:3], strict=True):
        if kind not in result.calc.results or name in own:
            continue
        if sigma <= 0.0:
            remedy = f"It is the one of {where}; gap_fit stops there."
            raise InvalidLabelError(describe(f"{name}_sigma", "above 0 where there is such a label", sigma, remedy))
        per_atom = np.sqrt(len(atoms)) if command.sigma_per_atom else 1.0
        if name == "virial" or (name == "energy" and not command.sigma_per_atom):
            result.info[f"{name}_sigma"] = float(per_atom * sigma)


def _refuse_other_labels(atoms: Atoms, command: GapFitCommand, where: str) -> None:
    """Raise InvalidLabelError about labels that gap_fit would fit and gapkit does not."""
    for key, what in ((command.keys["local_property"], "local properties"), (f"n_{command.keys['hessian']}", "Hessians")):
        if _value(atoms, key) is not None:
            raise InvalidLabelError(f"gapkit does not fit {what}; got {key!r} in {where}. Remove or rename it.")


def _value(atoms: Atoms, key: str) -> Any:
    """What the frame holds under a key, None if nothing; ASE moves some of it to the results of a calculator."""
    places = (atoms.calc.results if isinstance(atoms.calc, Calculator) else {}, atoms.info, atoms.arrays)
    return next((place[key] for place in places if place.get(key) is not None), None)


def _numbers(atoms: Atoms, key: str, sizes: tuple[int, ...], where: str) -> Array | None:
    """The numbers under a key, None if there are none."""
    value = _value(atoms, key)
    if value is None:
        return None
    try:
        array = np.asarray(value, float)
    except (TypeError, ValueError):
        raise InvalidLabelError(f"`{key}` must be numbers; got {value!r} in {where}. Correct or remove it.") from None
    if array.size not in sizes:
        rule = " or ".join(map(str, sizes)) + " number" + "s" * (sizes != (1,))
        raise InvalidLabelError(f"`{key}` must be {rule}; got {array.size} in {where}. Correct it.")
    return array
