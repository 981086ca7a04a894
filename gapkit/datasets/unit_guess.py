r"""Which units a data set is probably in, with the evidence, and whether energies and forces contradict each other.

Energies must change by the work of the forces, :math:`\Delta E = -\frac12 \sum_i (F_i + F_i') \cdot \Delta r_i`: a finite
difference along pairs of near frames.  Where the ratio of both is that of two units, one of the units is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

from ..exceptions import InvalidLabelError
from ..gp.observations import labels_of
from .pairs import displacement, distance, runs_of_equal_atoms, same_cell
from .units import ENERGY_UNITS, Units

__all__ = ["UnitGuess", "causes", "check_units", "guess_units"]

_PAIRS = 300  # enough for a median
_NEAR = 0.2  # of the shortest distance: beyond, the trapezoidal rule is off by more than units can be told apart
_SAMPLE = 60  # frames whose nearest ones are looked for
_FEWEST = 5
_ENOUGH = 20  # pairs of a run, so that it need not be searched for others
_SAME = 0.07  # what the trapezoidal rule may be off; all units that near are named, the nearest first
_STIFFNESS = (0.3, 200.0)  # eV/Å²: soft solids to triple bonds, with a margin
_BOND = (0.62, 1.6)  # nearest distance over the sum of covalent radii; in Bohr it is twice as long


@dataclass(frozen=True)
class UnitGuess:
    """What the numbers of a data set say of its units.

    Attributes
    ----------
    ratio : float or None
        Energy change over the work of the forces, 1 where they agree; None: too few near pairs of frames, or no common value.
    pairs : int
        Pairs of frames that it is the median of.
    stiffness : float or None
        Median force constant along these pairs, eV/Å².
    bond : float or None
        Median nearest distance over the sum of covalent radii.
    all_electron : str
        The energy unit in which total energies are those of all electrons, "" if in none (pseudopotentials, shifted energies).
    evidence : tuple of str
        One sentence per finding.
    doubts : tuple of str
        Those that speak against the units as they are said to be.
    contradiction : str
        Why energies and forces cannot both have their units, with the remedy; "" if they can.
    """

    ratio: float | None
    pairs: int
    stiffness: float | None
    bond: float | None
    all_electron: str
    evidence: tuple[str, ...]
    doubts: tuple[str, ...]
    contradiction: str


def guess_units(frames: Sequence[Atoms], said: Units | None = None) -> UnitGuess:
    """Look at energies per atom, forces and distances, and at energy changes along trajectories.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        With labels in ``atoms.calc.results``, converted to eV and Å from the units that they are said to have.
    said : Units, optional
        These units; default eV and Å.

    Returns
    -------
    UnitGuess
    """
    said = said or Units()
    evidence, doubts = [], []
    ratio, stiffness, pairs, atoms_per_frame = _along_pairs(frames)
    contradiction = ""
    if pairs:
        text = f"along {pairs} pairs of near frames energies change by "
        text += "no common multiple of" if ratio is None else f"{ratio:.4g} times"
        evidence.append(f"{text} the work of the forces")
    if ratio is not None and abs(ratio - 1.0) > _SAME:
        contradiction = _explained(ratio, said, atoms_per_frame)
    if stiffness is not None:
        evidence.append(f"median force constant {stiffness:.3g} eV/Å² (1 to 80 is usual)")
        if not _STIFFNESS[0] < abs(stiffness) < _STIFFNESS[1]:
            text = f"a median force constant of {stiffness:.3g} eV/Å² is unlike matter"
            doubts.append(f"{text}: are the units of forces and lengths right?")
    bond = _bond_ratio(frames)
    if bond is not None:
        evidence.append(f"nearest neighbours are {bond:.2f} times the sum of covalent radii apart")
        if not _BOND[0] < bond < _BOND[1]:
            text = f"nearest neighbours are {bond:.2f} times the sum of covalent radii apart"
            doubts.append(f"{text}: is the length unit {said.length}?")
    evidence += _magnitudes(frames)
    unit = _all_electron_unit(frames, said)
    if unit:
        evidence.append(f"total energies are those of all electrons if their unit is {unit}")
        if unit != said.energy:
            doubts.append(f"the energies are those of all electrons in {unit}, not in {said.energy}: --energy-unit {unit}?")
    return UnitGuess(ratio, pairs, stiffness, bond, unit, tuple(evidence), tuple(doubts), contradiction)


def check_units(frames: Sequence[Atoms], said: Units | None = None) -> UnitGuess:
    """As `guess_units`, but refuse energies and forces that contradict each other.

    Raises
    ------
    InvalidLabelError
        If the ratio of energy changes and work is that of two units, or minus 1.
    """
    guess = guess_units(frames, said)
    if guess.contradiction:
        raise InvalidLabelError(guess.contradiction)
    return guess


def _along_pairs(frames: Sequence[Atoms]) -> tuple[float | None, float | None, int, int]:
    """Ratio of energy change and work, force constant, number of pairs, atoms per frame (0: not one number)."""
    ratios, stiffness, counts = [], [], []
    for i, j in _near_pairs(frames):
        first, second = labels_of(frames[i], i), labels_of(frames[j], j)
        if first.energy is None or second.energy is None or first.forces is None or second.forces is None:
            continue
        moved, rotation = displacement(frames[i], frames[j])
        end = second.forces @ rotation
        work = -0.5 * float(((first.forces + end) * moved).sum())
        length = float((moved**2).sum())
        if length > 0.0:
            stiffness.append(-float(((end - first.forces) * moved).sum()) / length)
            ratios.append((second.energy - first.energy, work, length))
            counts.append(len(frames[i]))
    change, work_done, squared = np.array(ratios).reshape(-1, 3).T
    signal = np.abs(work_done) / squared**1.5  # the error of the trapezoidal rule is of third order
    large = (signal >= np.median(signal)) & (work_done != 0.0) if len(signal) else np.zeros(0, bool)
    if large.sum() < _FEWEST:
        return None, None, 0, 0
    values = change[large] / work_done[large]
    median = float(np.median(values))
    agree = float(np.mean(np.abs(values - median) < 0.3 * abs(median))) >= 0.6
    same = counts[0] if len(set(counts)) == 1 else 0
    return median if agree and median != 0.0 else None, float(np.median(stiffness)), len(ratios), same


def _near_pairs(frames: Sequence[Atoms]) -> list[tuple[int, int]]:
    """Neighbours in the file, and nearest ones among samples, that are less than a fraction of a bond length apart."""
    found: list[tuple[int, int]] = []
    runs = [run for run in runs_of_equal_atoms(frames) if len(run) > 1 and len(frames[run[0]]) > 1]
    for run in runs:
        near = _NEAR * _shortest(frames[run[0]])
        allowed = max(_PAIRS // len(runs), 10)
        candidates = [(run[k], run[k + 1]) for k in range(0, len(run) - 1, max(1, (len(run) - 1) // allowed))]
        gaps = {(i, j): distance(frames[i], frames[j]) for i, j in candidates if same_cell(frames[i], frames[j])}
        if sum(gap < near for gap in gaps.values()) < min(allowed, _ENOUGH):  # not a trajectory: sets are often shuffled
            sample = run[:: max(1, len(run) // _SAMPLE)]
            for n, i in enumerate(sample[:-1]):
                others = [(distance(frames[i], frames[j]), j) for j in sample[n + 1 :] if same_cell(frames[i], frames[j])]
                gap, j = min(others, default=(np.inf, i))
                gaps[i, j] = gap
        found += [pair for pair, gap in gaps.items() if 0.0 < gap < near]
    return found


def _shortest(atoms: Atoms) -> float:
    distances = atoms.get_all_distances(mic=bool(atoms.pbc.any())) if len(atoms) <= 300 else atoms[:300].get_all_distances()
    return float(distances[~np.eye(len(distances), dtype=bool)].min())


def _explained(ratio: float, said: Units, n_atoms: int) -> str:
    """The sentence that names the units that would make energies and forces agree."""
    found = causes(ratio, said, n_atoms)
    if not found:
        return ""  # no units, something else: a finding of `gapkit check`
    start = f"Energies must change by the work of the forces; they change by {ratio:.4g} times as much"
    return f"{start}, {'; or '.join(text for _, text in found)}."


def causes(ratio: float, said: Units, n_atoms: int, tolerance: float = _SAME) -> list[tuple[str, str]]:
    """What would explain a ratio of energy changes and work, the nearest cause first.

    Parameters
    ----------
    ratio : float
        Energy change over the work of the forces.
    said : Units
        What the units are said to be.
    n_atoms : int
        Of every frame; 0 if they differ.
    tolerance : float
        Relative.

    Returns
    -------
    list of (str, str)
        "energy" or "forces", whichever would be wrong, and half a sentence with the remedy.
    """
    found: list[tuple[float, str, str]] = []

    def name(times: float, kind: str, text: str) -> None:
        if abs(times - 1.0) < tolerance:
            found.append((abs(times - 1.0), kind, text))

    name(-ratio, "forces", "as if forces were gradients: turn their sign")
    for unit, factor in ENERGY_UNITS.items():
        if unit != said.energy:
            text = f"as if energies were in {unit}, not in {said.energy}: --energy-unit {unit} (units={{'energy': {unit!r}}})"
            name(ratio * factor / said.factor("energy"), "energy", text)
        for length in ("Å", "Bohr"):
            other = replace(said, forces=f"{unit}/{length}")
            text = f"as if forces were in {other.forces}: --force-unit {other.forces} (units={{'forces': {other.forces!r}}})"
            if other.factor("forces") != said.factor("forces"):
                name(ratio * said.factor("forces") / other.factor("forces"), "forces", text)
    if n_atoms > 1:
        text = f"as if energies were per atom: multiply them by the number of atoms, {n_atoms}"
        name(ratio * n_atoms, "energy", text)
    return [(kind, text) for _, kind, text in sorted(found)]


def _bond_ratio(frames: Sequence[Atoms]) -> float | None:
    ratios = []
    for atoms in frames[:: max(1, len(frames) // 10)][:10]:
        if 1 < len(atoms) <= 500 or (len(atoms) == 1 and atoms.pbc.any()):
            largest = 2.0 * _BOND[1] * covalent_radii[atoms.numbers].max() * 2.0
            i, j, d = neighbor_list("ijd", atoms, largest)
            nearest = np.full(len(atoms), np.inf)
            np.minimum.at(nearest, i, d / (covalent_radii[atoms.numbers[i]] + covalent_radii[atoms.numbers[j]]))
            if np.isfinite(nearest).any():
                ratios.append(float(np.median(nearest[np.isfinite(nearest)])))
    return float(np.median(ratios)) if ratios else None


def _magnitudes(frames: Sequence[Atoms]) -> list[str]:
    labels = [(len(atoms), labels_of(atoms, k)) for k, atoms in enumerate(frames)]
    energies = [y.energy / n for n, y in labels if y.energy is not None]
    forces = [y.forces.ravel() for _, y in labels if y.forces is not None]
    found = [f"energies per atom {min(energies):.6g} to {max(energies):.6g} eV"] if energies else []
    if forces:
        found.append(f"force RMS {float(np.sqrt(np.mean(np.concatenate(forces) ** 2))):.4g} eV/Å (0.1 to 3 is usual)")
    return found


def _all_electron_unit(frames: Sequence[Atoms], said: Units) -> str:
    """The unit in which energies are the sum of those of neutral atoms with all electrons (Thomas-Fermi-Scott-Schwinger)."""
    ratios = []
    for k, atoms in enumerate(frames[:: max(1, len(frames) // 50)][:50]):
        energy, z = labels_of(atoms, k).energy, atoms.numbers.astype(float)
        if energy is not None and len(atoms) > 1:
            atomic = float((-0.7687 * z ** (7 / 3) + 0.5 * z**2 - 0.2699 * z ** (5 / 3)).sum())  # Hartree; 1 % for Z > 5
            ratios.append(energy / said.factor("energy") / (atomic * ENERGY_UNITS["Hartree"]))
    if not ratios:
        return ""
    median = float(np.median(ratios))
    return next((unit for unit, factor in ENERGY_UNITS.items() if unit != "meV" and abs(median * factor - 1.0) < 0.06), "")
