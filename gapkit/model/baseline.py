"""What lies under the Gaussian process: an ASE calculator or a repulsion, taken from the labels and added to predictions."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.data import chemical_symbols
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from .._validation import describe
from ..exceptions import BaselineError, LabelWarning
from ..gp.observations import Labels, forces_and_stresses, voigt
from ..neighbors import NeighborList
from .atomic_energies import AtomicEnergies
from .fitting import chunks_of_frames
from .glue import Glue, GlueTables
from .prediction import Prediction
from .progress import track
from .repulsion import ZBL, Repulsion, core_of

__all__ = ["Baseline", "add_baseline", "atomic_energies_above", "decide_baseline", "without_baseline", "wrap_calculator"]

Array = NDArray[np.float64]

_CHUNK_ATOMS = 4096


class Baseline(BaseEstimator):  # type: ignore[misc]
    """An ASE calculator under the Gaussian process, which then learns the difference (delta learning).

    Its energies, forces and stresses are taken from the labels before the fit and added to every prediction; standard
    deviations stay those of the Gaussian process.  Copies are the same object: a calculator is never copied.  A model file
    holds no calculator but energies to recognise it by: `gapkit.load` wants it again.

    Parameters
    ----------
    calculator : ase calculator
        EMT, Lennard-Jones, tblite, DFT-D3 or D4, MACE, ...: anything with energies and forces.  The energy is the one whose
        derivative the forces are (``free_energy``) if it has one.  Without stress, stress labels are left out (with a
        warning) and predictions have none.  Without energies of atoms, its energy is shared equally among them.
    name : str, default ""
        What it is, for people who read the model file, e.g. "MACE-MP-0b3 medium + D3(BJ)".

    Examples
    --------
    >>> from ase.calculators.lj import LennardJones
    >>> from gapkit import Baseline, GAPRegressor
    >>> model = GAPRegressor(baseline=Baseline(LennardJones(sigma=2.1, epsilon=1.0), name="LJ of Si"))
    """

    def __init__(self, calculator: Any, name: str = "") -> None:
        self.calculator = calculator
        self.name = name

    def __sklearn_clone__(self) -> Baseline:
        return self

    def __copy__(self) -> Baseline:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Baseline:
        return self

    def describe(self) -> str:
        """Name and class of the calculator, as messages and files call it."""
        kind = type(self.calculator).__name__
        return f"{self.name} ({kind})" if self.name else kind

    def evaluate(self, atoms: Atoms, where: str, *, forces: bool, stress: bool) -> Prediction:
        """Energies, forces and stress of one structure.

        Parameters
        ----------
        atoms : ase.Atoms
            The structure; not changed.
        where : str
            What messages call it: "frame 3".
        forces, stress : bool
            Whether to compute them.

        Returns
        -------
        Prediction
            Without stress where the calculator has none.

        Raises
        ------
        BaselineError
            If the calculator fails, or has no energy or forces, or they are not finite.
        """
        copy = atoms.copy()
        # most calculators compute all that they can when the most costly is asked for
        voigt_stress = self._get("stress", copy, where, (6,)) if stress else None
        all_forces = self._get("forces", copy, where, (len(atoms), 3)) if forces else None
        energy = self._get("free_energy", copy, where, ())
        energy = self._get("energy", copy, where, ()) if energy is None else energy
        if energy is None or (forces and all_forces is None):
            what = "energies" if energy is None else "forces"
            raise BaselineError(describe("baseline", f"a calculator with {what}", self.describe(), "Choose another."))
        energies = self._get("energies", copy, where, (len(atoms),))
        energies = np.zeros(len(atoms)) if energies is None else energies
        energies = energies + (float(energy) - energies.sum()) / len(atoms)  # what belongs to no atom is shared
        return Prediction(float(energy), energies, all_forces, voigt_stress)

    def _get(self, name: str, atoms: Atoms, where: str, shape: tuple[int, ...]) -> Array | None:
        """One property, checked; None where the calculator does not have it."""
        try:
            value = self.calculator.get_property(name, atoms)
        except PropertyNotImplementedError:
            return None
        except Exception as error:
            raise BaselineError(
                f"The baseline {self.describe()} failed in {where} ({atoms.get_chemical_formula()}): "
                f"{type(error).__name__}: {error}. Remove the frame, or choose a baseline that covers it."
            ) from error
        if value is None:
            return None
        array = np.array(value, float)
        if name == "stress" and array.shape in ((3, 3), (9,)):
            array = voigt(array.reshape(3, 3))
        if array.shape != shape or not np.isfinite(array).all():
            got = f"shape {array.shape}" if array.shape != shape else f"{array[~np.isfinite(array)][0]}"
            raise BaselineError(
                f"The baseline {self.describe()} must give finite {name} of shape {shape}; got {got} in {where}. "
                "Remove the frame, or choose a baseline that covers it."
            )
        return array


def _is_calculator(value: Any) -> bool:
    return callable(getattr(value, "get_property", None)) and not isinstance(value, type)


def wrap_calculator(baseline: Any) -> Any:
    """Put a bare ASE calculator into a `Baseline`, so that it is not copied; return anything else as it is."""
    return Baseline(baseline) if _is_calculator(baseline) else baseline


def decide_baseline(baseline: Any, automatic: bool, frames: Sequence[Atoms]) -> Baseline | ZBL | Glue | None:
    """The baseline that a fit uses; a model with automatic terms and no baseline gets a `ZBL`.

    Parameters
    ----------
    baseline : Baseline, ZBL, Glue, ase calculator or None
        As given to the estimator.
    automatic : bool
        Whether the terms of the model are automatic.
    frames : list of ase.Atoms
        Training structures, which decide about automatic radii.

    Returns
    -------
    Baseline, ZBL with radii in numbers, Glue, or None
    """
    baseline = wrap_calculator(ZBL() if baseline is None and automatic else baseline)
    if isinstance(baseline, (ZBL, Glue)):
        return baseline.explicit(frames)
    if not (baseline is None or isinstance(baseline, Baseline)):
        raise TypeError(describe("baseline", "a Baseline, a ZBL, a Glue, an ASE calculator or None", baseline))
    if baseline is not None and not _is_calculator(baseline.calculator):
        raise TypeError(describe("calculator", "an ASE calculator such as EMT()", baseline.calculator))
    return baseline


def without_baseline(
    baseline: Baseline | ZBL | Glue | None, frames: Sequence[Atoms], labels: Sequence[Labels], *, show: bool = False
) -> list[Labels]:
    """Labels minus what the baseline says: what the Gaussian process has to learn.

    Parameters
    ----------
    baseline : Baseline, ZBL, Glue or None
        From `decide_baseline`.
    frames, labels : sequences
        Training structures and their labels.
    show : bool, default False
        Whether to show a progress bar.

    Returns
    -------
    list of Labels
        None where there is no label; stresses are left out, with a warning, where the baseline has none.
    """
    if baseline is None:
        return list(labels)
    parts: Iterator[Prediction | None] = (
        _evaluations(baseline, frames, labels, show) if isinstance(baseline, Baseline) else _of_core(core_of(baseline), frames)
    )
    result = [y if part is None else _difference(y, part) for y, part in zip(labels, parts, strict=True)]
    lost = sum(y.stress is not None and new.stress is None for y, new in zip(labels, result, strict=True))
    if lost:
        warnings.warn(
            f"The stress labels of {lost} frames are left out: the baseline {baseline.describe()} gives no stress there, "
            "and the model will give none.",
            LabelWarning,
            stacklevel=3,
        )
    return result


def _evaluations(
    baseline: Baseline, frames: Sequence[Atoms], labels: Sequence[Labels], show: bool
) -> Iterator[Prediction | None]:
    """The calculator on each frame, for the labels that the frame has; None where it has none."""
    for k, atoms in enumerate(track(frames, "baseline", len(frames), show=show)):
        y = labels[k]
        if y.energy is None and y.forces is None and y.stress is None:
            yield None
        else:
            yield baseline.evaluate(atoms, f"frame {k}", forces=y.forces is not None, stress=y.stress is not None)


def _of_core(core: Repulsion | GlueTables | None, frames: Sequence[Atoms]) -> Iterator[Prediction | None]:
    """Energy, forces and stress of the core in each frame."""
    assert core is not None  # noqa: S101 - for the type checker
    for start, chunk in chunks_of_frames(frames, _CHUNK_ATOMS):
        neighbors = NeighborList.from_atoms(chunk, core.range, first_frame=start)
        energies, gradient = np.zeros(neighbors.n_atoms), np.zeros((len(neighbors.centers), 3))
        core.add_to(neighbors, energies, gradient)
        forces, stresses = forces_and_stresses(neighbors, gradient)
        for first, last, stress in zip(neighbors.first_atom[:-1], neighbors.first_atom[1:], stresses, strict=True):
            yield Prediction(float(energies[first:last].sum()), energies[first:last], forces[first:last], stress)


def _difference(labels: Labels, part: Prediction) -> Labels:
    return replace(
        labels,
        energy=None if labels.energy is None else labels.energy - part.energy,
        forces=None if labels.forces is None or part.forces is None else labels.forces - part.forces,
        stress=None if labels.stress is None or part.stress is None else labels.stress - part.stress,
    )


def atomic_energies_above(
    baseline: Baseline | ZBL | Glue | None, e0: AtomicEnergies, sources: Mapping[int, str]
) -> AtomicEnergies:
    """Energies of isolated atoms minus those of the baseline, where they were given and not found from differences.

    Parameters
    ----------
    baseline : Baseline, ZBL, Glue or None
        From `decide_baseline`.
    e0 : dict of int to float
        Of `fit_atomic_energies` on the labels `without_baseline`, eV.
    sources : mapping of int to str
        Where they come from.

    Returns
    -------
    dict of int to float
        What the model adds for each atom, eV.
    """
    if not isinstance(baseline, Baseline):
        return e0
    result = dict(e0)
    for z, source in sources.items():
        if source == "given":
            try:
                result[z] -= baseline.evaluate(Atoms([z]), "vacuum", forces=False, stress=False).energy
            except BaselineError as error:
                raise BaselineError(
                    f"The baseline {baseline.describe()} must give the energy of an isolated {chemical_symbols[z]} atom, "
                    f'which the given e0 contains; {error.__cause__ or error}. Use e0="auto".'
                ) from error
    return result


def add_baseline(
    baseline: Baseline | ZBL | Glue | None, predictions: Sequence[Prediction], frames: Sequence[Atoms], first_frame: int = 0
) -> list[Prediction]:
    """Add the calculator's part to predictions (that of a `ZBL` is in the potential already).

    Parameters
    ----------
    baseline : Baseline, ZBL, Glue or None
        Of the fit.
    predictions : sequence of Prediction
        What the potential says.
    frames : sequence of ase.Atoms
        The structures.
    first_frame : int, default 0
        What messages call the first of them.

    Returns
    -------
    list of Prediction
        No stress where the baseline has none.
    """
    if not isinstance(baseline, Baseline):
        return list(predictions)
    result = []
    for k, (p, atoms) in enumerate(zip(predictions, frames, strict=True), start=first_frame):
        part = baseline.evaluate(atoms, f"frame {k}", forces=p.forces is not None, stress=p.stress is not None)
        energies = p.energies + part.energies
        result.append(
            replace(
                p,
                energy=float(energies.sum()),
                energies=energies,
                forces=None if p.forces is None or part.forces is None else p.forces + part.forces,
                stress=None if p.stress is None or part.stress is None else p.stress + part.stress,
            )
        )
    return result
