"""Energies against forces: units, signs, drift, and whether they belong together at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.stats import spearmanr, theilslopes

from ..datasets import UnitGuess, Units
from ..datasets.unit_guess import causes
from ..gp.observations import Labels
from .findings import Finding
from .probe import Probe, groups_of_one_cell

__all__ = ["check_energies", "reduced_slope"]

Array = NDArray[np.float64]

_TOLERANCE = 0.22  # of the slope on a small model; neighbouring unit factors are further apart
_LEARNT = 0.9  # R² of forces from which the integral of a model can be trusted
_FEWEST = 10
_RELATED, _UNRELATED = 0.7, 0.5  # rank correlation of labelled and integrated energies
_FAR = 0.7  # of the logarithm of a slope that is no ratio of units: no small model is that wrong
_UNLIKELY = 8.0  # eV/Å: root mean square of forces; kcal/mol/Å are 23 times as large as eV/Å
_DRIFT = 0.9  # correlation of what is left with the place in the file
_ENERGIES = {"energy": "energy-unit", "forces": "force-unit"}


def check_energies(
    frames: Sequence[Atoms], labels: Sequence[Labels], probe: Probe | None, guess: UnitGuess, said: Units
) -> list[Finding]:
    """Findings energy-unit, force-unit, length-unit and force-energy-mismatch: at most one cause.

    Parameters
    ----------
    frames : sequence of ase.Atoms
    labels : sequence of Labels
    probe : Probe or None
        Model of the forces.
    guess : UnitGuess
        From pairs of near frames.
    said : Units
        Of the file.

    Returns
    -------
    list of Finding
    """
    sizes = {len(atoms) for atoms in frames if len(atoms) > 1}
    n_atoms = sizes.pop() if len(sizes) == 1 else 0
    if guess.ratio is not None and abs(guess.ratio - 1.0) > _TOLERANCE:
        by = f"along {guess.pairs} pairs of near frames, energies change by {guess.ratio:.4g} times the work of the forces"
        return [_named(guess.ratio, said, n_atoms, by, probe)]
    x, y, turn = _compared(frames, labels, probe)
    if probe is not None and probe.r2 >= _LEARNT and len(x) >= _FEWEST:
        drift = _drift(x, y, turn, len(frames))
        if drift is not None:
            return [drift]
        slope, correlation = reduced_slope(x, y)
        by = f"the energies of {len(x)} frames change by {slope:.3g} times those of a model fitted to the forces"
        off = slope < 0.0 or abs(np.log(abs(slope))) > 2.0 * _TOLERANCE
        if off and abs(correlation) >= _RELATED:
            by += f" (rank correlation {correlation:.2f})"
            if causes(slope, said, n_atoms, _TOLERANCE) or slope < 0.0 or abs(np.log(abs(slope))) > _FAR:
                return [_named(slope, said, n_atoms, by, probe)]
        if guess.ratio is None and abs(correlation) < _UNRELATED:
            text = f"energies do not follow the forces: their rank correlation with a model of the forces is {correlation:.2f}"
            return [_mismatch(f"{text}, though it predicts forces of other frames with R² {probe.r2:.3f}")]
    return _doubtful(guess, said, probe)


def reduced_slope(x: Array, y: Array) -> tuple[float, float]:
    """Slope of y against x where both have errors, and their rank correlation; neither minds a few outliers."""
    correlation = float(spearmanr(x, y).statistic)
    forward, backward = (float(theilslopes(a, b)[0]) for a, b in ((y, x), (x, y)))
    size = np.sqrt(abs(forward / backward)) if forward and backward else 0.0
    return float(np.copysign(max(size, 1e-12), correlation)), correlation


def _compared(frames: Sequence[Atoms], labels: Sequence[Labels], probe: Probe | None) -> tuple[Array, Array, Array]:
    """Predicted and labelled energies around their medians per cell, eV per square root of the atoms; place in the file."""
    if probe is None:
        return (np.zeros(0),) * 3
    predicted = dict(zip(probe.frames.tolist(), probe.energies.tolist(), strict=True))
    x: list[float] = []
    y: list[float] = []
    turn: list[float] = []
    for group in groups_of_one_cell(frames, labels):
        members = [k for k in group if k in predicted]
        if len(members) < 4:
            continue
        root = np.sqrt(len(frames[members[0]]))
        for values, found in ((x, [predicted[k] for k in members]), (y, [labels[k].energy for k in members])):
            numbers = np.array(found, float) / root
            values += (numbers - np.median(numbers)).tolist()
        turn += (np.array(members) - np.median(members)).tolist()
    return np.array(x), np.array(y), np.array(turn, float)


def _named(ratio: float, said: Units, n_atoms: int, by: str, probe: Probe | None) -> Finding:
    found = causes(ratio, said, n_atoms, _TOLERANCE)
    if not found:
        return _mismatch(f"{by}, which is no ratio of units")
    # slopes of small models are off by a tenth, and Hartree and forces in kcal/mol are not much further apart: look at sizes
    large = probe is not None and probe.force_rms > _UNLIKELY
    kind, text = next((c for c in found if c[0] == ("forces" if large else "energy")), found[0])
    cause, _, remedy = text.partition(": ")
    return Finding(_ENERGIES[kind], "error", f"{by}, {cause}", f"{remedy[0].upper()}{remedy[1:]}.")


def _mismatch(message: str) -> Finding:
    remedy = "Take both from the same calculation, the energy being that of which the forces are derivatives (free energy)."
    return Finding("force-energy-mismatch", "error", message, remedy)


def _drift(x: Array, y: Array, turn: Array, n_frames: int) -> Finding | None:
    """Energies that leave their forces steadily, frame by frame."""
    if np.ptp(turn) == 0.0:
        return None
    design = np.column_stack([x, turn])
    (slope, per_frame), *_ = np.linalg.lstsq(design, y, rcond=None)
    plain = y - x * float(x @ y) / max(float(x @ x), 1e-300)
    together = y - design @ np.array([slope, per_frame])
    # a true drift explains nearly all that forces do not, and leaves the slope near one
    if not (1.0 / 1.5 < slope < 1.5) or together.std() > (1.0 - _DRIFT) ** 0.5 * plain.std():
        return None
    if abs(per_frame) * np.ptp(turn) < 0.2 * np.ptp(x):
        return None
    text = f"energies drift by {1e3 * per_frame:.3g} meV/√atom from frame to frame, which the forces know nothing of"
    return _mismatch(f"{text} ({1e3 * per_frame * n_frames:.3g} over the file)")


def _doubtful(guess: UnitGuess, said: Units, probe: Probe | None) -> list[Finding]:
    """Units that agree with each other and are wrong all the same."""
    if guess.all_electron and guess.all_electron != said.energy:
        unit = guess.all_electron
        text = f"total energies are those of all electrons in {unit}, not in {said.energy}"
        return [Finding("energy-unit", "error", text, f"--energy-unit {unit}, and look at the forces, too.")]
    for doubt in guess.doubts:
        if "bond" in doubt or "covalent radii" in doubt:
            return [Finding("length-unit", "error", doubt.partition(": ")[0], "Give the right one: --length-unit Bohr?")]
        if "force constant" in doubt:
            return [Finding("force-unit", "warning", doubt.partition(": ")[0], "Give the right one with --force-unit.")]
    if probe is not None and probe.force_rms > _UNLIKELY:
        text = f"a root mean square of the forces of {probe.force_rms:.3g} eV/Å is unlike matter; 0.1 to 3 is usual"
        return [Finding("force-unit", "warning", text, "Give the right one with --force-unit, e.g. kcal/mol/Å.")]
    return []
