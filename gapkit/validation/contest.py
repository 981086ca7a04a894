"""Several potentials on one test set: accuracy, speed, memory."""

from __future__ import annotations

import multiprocessing
import re
import resource
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from time import perf_counter
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from numpy.typing import NDArray

from .._validation import describe
from ..calculator import GAPCalculator
from ..gp.observations import labels_of
from ..model import Prediction, load
from ..model.progress import track
from .metrics import ErrorRow, error_table

__all__ = ["Contestant", "Speed", "as_rows", "compare", "named_calculator", "predictions_of"]

Array = NDArray[np.float64]

_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_TIMED_SECONDS = 2.0  # that the timed evaluations take, once they are warm
_MOST_REPEATS = 5


@dataclass(frozen=True)
class Speed:
    """Cost of energy, forces and stress.

    Attributes
    ----------
    microseconds : float
        Per atom, best of up to five evaluations of the largest test structure; compilation and loading not included.
    n_atoms : int
        Size of that structure.
    memory : float
        MB: peak of a process that does nothing else, Python and libraries included.
    """

    microseconds: float
    n_atoms: int
    memory: float


@dataclass(frozen=True)
class Contestant:
    """A potential and how it did.

    Attributes
    ----------
    name : str
        As given.
    errors : ErrorRow
        Over all frames.
    by_type : list of ErrorRow
        Over every configuration type, and all.
    speed : Speed
        Time and memory.
    predictions : list of Prediction
        Energies are shifted (``shifted``) where those of the atoms are not known to be the ones of the labels.
    shifted : bool
        Whether a constant per species was fitted to the labels first: a calculator counts its energies from its own zero.
    """

    name: str
    errors: ErrorRow
    by_type: list[ErrorRow]
    speed: Speed
    predictions: list[Prediction]
    shifted: bool


def named_calculator(name: str) -> Any:
    """A calculator by what a user types: a model file (gapkit's or QUIP's XML), or ``module:Class``, made without arguments.

    Parameters
    ----------
    name : str
        Never take it from a file: a module is imported.

    Returns
    -------
    ase calculator

    Raises
    ------
    ValueError
        If it is none of these, or cannot be imported or made.
    """
    path = Path(name)
    if path.exists() or not _NAME.fullmatch(name):
        return GAPCalculator(load(path))
    try:
        made = resolve_name(name)()  # from the command line, never from a file
    except ImportError as error:
        raise ValueError(describe("model", "a file, or module:Class of an installed package", name, f"{error}.")) from None
    except (AttributeError, TypeError) as error:
        remedy = f"{error}. Write a module with a class or function that needs no arguments, and name that."
        raise ValueError(describe("model", "module:Class that can be called without arguments", name, remedy)) from None
    if not hasattr(made, "get_property"):
        raise ValueError(describe("model", "an ASE calculator", type(made).__name__, f"Correct {name}."))
    return made


def predictions_of(calculator: Any, frames: Sequence[Atoms], *, name: str = "", show: bool = False) -> list[Prediction]:
    """Energies, forces and stresses of an ASE calculator; stresses as far as it has them.

    Parameters
    ----------
    calculator : ase calculator
        Potential.
    frames : sequence of ase.Atoms
        Structures.
    name : str, optional
        For progress bar and messages.
    show : bool, default False
        Whether to show a progress bar.

    Returns
    -------
    list of Prediction

    Raises
    ------
    ValueError
        If it fails; the message names the frame.
    """
    result = []
    for k, atoms in enumerate(track(frames, name or "predictions", len(frames), show=show)):
        try:
            energy, forces, stress = _evaluate(calculator, atoms)
        except Exception as error:  # whatever a calculator raises
            raise ValueError(f"{name or 'The calculator'} failed in frame {k}: {type(error).__name__}: {error}") from error
        result.append(
            Prediction(energy=energy, energies=np.full(len(atoms), energy / len(atoms)), forces=forces, stress=stress)
        )
    return result


def _evaluate(calculator: Any, atoms: Atoms) -> tuple[float, Array, Array | None]:
    atoms = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    atoms.calc = calculator
    forces = atoms.get_forces()
    energy = float(atoms.get_potential_energy(force_consistent=_has_free_energy(calculator)))
    stress = None
    if atoms.cell.rank == 3 and atoms.pbc.any():
        try:
            stress = np.array(atoms.get_stress())
        except (PropertyNotImplementedError, NotImplementedError):
            stress = None
    return energy, np.array(forces), stress


def _has_free_energy(calculator: Any) -> bool:
    return "free_energy" in getattr(calculator, "implemented_properties", ())


def compare(names: Sequence[str], frames: Sequence[Atoms], *, show: bool = False) -> list[Contestant]:
    """Let potentials predict the same labelled frames, each in a process of its own.

    Parameters
    ----------
    names : sequence of str
        As for `named_calculator`.
    frames : sequence of ase.Atoms
        Structures with labels.
    show : bool, default False
        Whether to show progress bars.

    Returns
    -------
    list of Contestant
        In the order of the names.
    """
    result = []
    bare = [Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc) for atoms in frames]
    for name in names:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            predictions, speed, shifted = process.submit(_run, name, bare, show).result()
        if shifted:
            predictions = _shifted(frames, predictions)
        rows = error_table(frames, predictions)
        result.append(Contestant(name, rows[-1], rows, speed, predictions, shifted))
    return result


def _run(name: str, frames: Sequence[Atoms], show: bool) -> tuple[list[Prediction], Speed, bool]:
    """Predictions and cost of one potential; and whether its energies have a zero of their own."""
    calculator = named_calculator(name)
    predictions = predictions_of(calculator, frames, name=Path(name).name, show=show)
    microseconds, n_atoms = _time(calculator, frames)
    return predictions, Speed(microseconds, n_atoms, _peak_memory()), not isinstance(calculator, GAPCalculator)


def _shifted(frames: Sequence[Atoms], predictions: Sequence[Prediction]) -> list[Prediction]:
    """Predictions with a constant per species fitted to the labels (least squares, minimum norm)."""
    energies = [labels_of(atoms, k).energy for k, atoms in enumerate(frames)]
    species = sorted({int(z) for atoms in frames for z in atoms.numbers})
    counts = np.array([[np.count_nonzero(atoms.numbers == z) for z in species] for atoms in frames], float)
    known = [k for k, energy in enumerate(energies) if energy is not None]
    if not known:
        return list(predictions)
    error = np.array([energy - p.energy for energy, p in zip(energies, predictions, strict=True) if energy is not None])
    sizes = counts[known].sum(axis=1)
    constants = np.linalg.lstsq(counts[known] / sizes[:, None], error / sizes, rcond=None)[0]
    return [
        Prediction(p.energy + float(shift), p.energies + shift / len(p.energies), p.forces, p.stress)
        for p, shift in zip(predictions, counts @ constants, strict=True)
    ]


def _time(calculator: Any, frames: Sequence[Atoms]) -> tuple[float, int]:
    """Microseconds per atom on the largest frame, a little moved every time, since calculators keep results."""
    largest = max(frames, key=len).copy()
    best, spent = np.inf, 0.0
    for k in range(_MOST_REPEATS):
        largest.rattle(1e-3, seed=k)
        start = perf_counter()
        _evaluate(calculator, largest)
        seconds = perf_counter() - start
        best, spent = min(best, seconds), spent + seconds
        if spent > _TIMED_SECONDS:
            break
    return 1e6 * best / len(largest), len(largest)


def _peak_memory() -> float:
    """Most that this process has used so far, MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)


def as_rows(contestants: Sequence[Contestant]) -> list[Mapping[str, Any]]:
    """The results as plain numbers, for JSON.

    Parameters
    ----------
    contestants : sequence of Contestant
        From `compare`.

    Returns
    -------
    list of mapping
        One per potential.
    """
    return [
        {
            "name": one.name,
            "errors": [vars(row) for row in one.by_type],
            "microseconds_per_atom": one.speed.microseconds,
            "atoms_timed": one.speed.n_atoms,
            "memory_mb": one.speed.memory,
            "energies_shifted": one.shifted,
        }
        for one in contestants
    ]
