"""Energies by which the calculator of a baseline is recognised when a model is read: a file holds numbers, never code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from .._validation import describe
from ..exceptions import BaselineError
from .baseline import Baseline, wrap_calculator

__all__ = ["PROBE_TOLERANCE", "choose_probes", "decode_probes", "encode_probes", "recognise"]

PROBE_TOLERANCE = 1e-4
"""Largest difference of a probe's energy, eV/atom: above the noise of single precision, below what a model resolves."""

_FEWEST = 3

Probe = tuple[Atoms, float]


def choose_probes(baseline: object, frames: Sequence[Atoms]) -> list[Probe]:
    """A few small training structures with every species, and their energies by the calculator of a baseline.

    Parameters
    ----------
    baseline : Baseline or other
        From `gapkit.model.baseline.decide_baseline`.
    frames : list of ase.Atoms
        Training structures.

    Returns
    -------
    list of (ase.Atoms, float)
        Bare structures and energies, eV; empty without a calculator.
    """
    if not isinstance(baseline, Baseline):
        return []
    # isolated atoms come last: many calculators give 0 for them
    order = sorted(range(len(frames)), key=lambda k: (len(frames[k]) == 1, len(frames[k]), k))
    chosen: list[int] = []
    seen: set[int] = set()
    for k in order:
        if not set(frames[k].numbers) <= seen:
            chosen.append(k)
            seen |= set(frames[k].numbers)
    chosen += [k for k in order if k not in chosen][: max(0, _FEWEST - len(chosen))]
    result = []
    for k in chosen:
        bare = Atoms(frames[k].numbers, positions=frames[k].positions, cell=frames[k].cell, pbc=frames[k].pbc)
        result.append((bare, baseline.evaluate(bare, f"frame {k} without its info", forces=False, stress=False).energy))
    return result


def encode_probes(baseline: Baseline, probes: Sequence[Probe]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What a model file says of a baseline: text, and numbers as an entry of its document and arrays."""
    document = {
        "calculator": type(baseline.calculator).__name__,
        "name": str(baseline.name),
        "probe_energies": [energy for _, energy in probes],
    }
    arrays: dict[str, NDArray[Any]] = {}
    for k, (atoms, _) in enumerate(probes):
        arrays[f"probe_{k}_numbers"] = atoms.numbers
        arrays[f"probe_{k}_positions"] = atoms.positions
        arrays[f"probe_{k}_cell"] = atoms.cell.array
        arrays[f"probe_{k}_pbc"] = atoms.pbc
    return document, arrays


def decode_probes(document: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> list[Probe]:
    """Inverse of `encode_probes`."""
    result = []
    for k, energy in enumerate(document["probe_energies"]):
        numbers, positions, cell, pbc = (arrays[f"probe_{k}_{what}"] for what in ("numbers", "positions", "cell", "pbc"))
        result.append((Atoms(numbers, positions=positions, cell=cell, pbc=pbc), float(energy)))
    return result


def recognise(baseline: Any, document: Mapping[str, Any] | None, probes: Sequence[Probe], path: str | Path) -> Baseline | None:
    """The baseline of a model that is being read, if the given one is it.

    Parameters
    ----------
    baseline : Baseline, ase calculator or None
        What the caller gave.
    document : mapping or None
        What the file says of its baseline, if it has a calculator.
    probes : sequence of (ase.Atoms, float)
        Structures and the energies that the calculator must give, within `PROBE_TOLERANCE`.
    path : str or Path
        For messages.

    Returns
    -------
    Baseline or None

    Raises
    ------
    BaselineError
        If it is missing, not wanted, fails, or gives other energies.
    """
    baseline = wrap_calculator(baseline)
    if document is None:
        if baseline is not None:
            raise BaselineError(describe("baseline", f"None for {path}, which has no calculator under it", baseline))
        return None
    wanted = f"{document['name']} ({document['calculator']})" if document["name"] else str(document["calculator"])
    if baseline is None:
        raise BaselineError(
            f"{path} was fitted on top of the ASE calculator {wanted}, which a file cannot hold. "
            "Make it again in Python and write gapkit.load(path, baseline=calculator)."
        )
    if not isinstance(baseline, Baseline):
        raise TypeError(describe("baseline", "a Baseline or an ASE calculator", baseline))
    energies = np.array(
        [baseline.evaluate(atoms, f"a probe of {path}", forces=False, stress=False).energy for atoms, _ in probes]
    )
    errors = np.abs(energies - [energy for _, energy in probes]) / [len(atoms) for atoms, _ in probes]
    if errors.max(initial=0.0) > PROBE_TOLERANCE:
        k = int(np.argmax(errors))
        raise BaselineError(
            f"The baseline of {path} must give the energies that it gave at the fit; {baseline.describe()} is off by "
            f"{errors[k]:.3g} eV/atom ({energies[k]:.6f} instead of {probes[k][1]:.6f} eV for {probes[k][0].symbols}), more "
            f"than {PROBE_TOLERANCE:g}. The model was fitted on top of {wanted}: use the same parameters and version."
        )
    return Baseline(baseline.calculator, str(document["name"])) if not baseline.name else baseline
