"""Frames that are nearly the same: inside a set, and between a training and a test set."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ..datasets.pairs import distance
from ..descriptors import SOAP
from ..exceptions import NumericalWarning
from ..gp.observations import Labels
from .findings import Finding, numbered

__all__ = ["check_duplicates", "check_leak"]

Array = NDArray[np.float64]

_CUTOFF = 5.0  # Å
_MOST = 30000  # atoms of the frames that are compared
_BATCH = 50  # frames at a time
_DIGITS = 1e-3  # Å
_SAME = 1e-4  # of the length of a frame's descriptor
_SAME_ENERGY = 1e-4  # eV per atom
_MANY, _ALIKE = 0.05, 0.35  # of a set: the same structures; those that symmetry relates, of which strained crystals have many
_RELATED = 0.5  # of the usual distance of two frames: neighbours in time
_MANY_ATOMS, _NEVER = 16, 0.25  # in a crystal or liquid of so many atoms, independent frames are never that near
_LEAKS = 0.1  # of the test frames that can be judged
_FEWEST = 5
_SAMPLE, _MEMBERS = 40, 1000


def check_duplicates(frames: Sequence[Atoms], labels: Sequence[Labels], *, only_equal: bool = False) -> list[Finding]:
    """Finding duplicates: frames whose environments, on average, and energies are those of an earlier one.

    Symmetry, order of the atoms, choice and size of the cell do not matter, unless ``only_equal``.
    """
    chosen = [k for k, atoms in enumerate(frames) if len(atoms) > 1 or atoms.pbc.any()]
    chosen = chosen[: int(np.searchsorted(np.cumsum([len(frames[k]) for k in chosen]), _MOST)) + 1]
    if len(chosen) < 2:
        return []
    points = _average_environments([frames[k] for k in chosen])
    energies = [labels[k].energy for k in chosen]
    later: dict[int, int] = {}
    for i, j in sorted(cKDTree(points).query_pairs(_SAME)):
        one, other = energies[i], energies[j]
        ratio = len(frames[chosen[i]]), len(frames[chosen[j]])
        if one is None or other is None or abs(one / ratio[0] - other / ratio[1]) < _SAME_ENERGY:
            later.setdefault(chosen[j], chosen[i])
    equal = {k: first for k, first in later.items() if _one_structure(frames[k], frames[first])}
    later = equal if only_equal else later
    if not later:
        return []
    found = sorted(later)
    listed = ", ".join(f"{k} (as {later[k]})" for k in found[:3])
    text = f"{len(found)} frames repeat an earlier one, up to symmetry: {listed}{', ...' if len(found) > 3 else ''}"
    many = len(equal) >= max(2, _MANY * len(chosen)) or len(found) >= max(2, _ALIKE * len(chosen))
    severity = "warning" if many else "info"
    return [Finding("duplicates", severity, text, "Remove them: they count twice, and leak between parts.", tuple(found))]


def _one_structure(one: Atoms, other: Atoms) -> bool:
    """Whether two frames are equal as they stand."""
    if len(one) != len(other) or not (one.numbers == other.numbers).all():
        return False
    return bool(np.allclose(one.positions, other.positions, atol=_DIGITS) and np.allclose(one.cell, other.cell, atol=_DIGITS))


def _average_environments(frames: Sequence[Atoms]) -> Array:
    """One unit vector per frame: the mean SOAP of its atoms."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)
        compression = {"mode": "mu1nu1"} if len({s for atoms in frames for s in set(atoms.symbols)}) > 3 else None
        soap = SOAP(_CUTOFF, 6, 4, 0.4, average="outer", compression=compression).fit(frames)
        starts = range(0, len(frames), _BATCH)
        points = np.vstack([soap.transform(frames[k : k + _BATCH]) for k in starts])
    lengths = np.linalg.norm(points, axis=1)
    return np.asarray(points / np.maximum(lengths, 1e-300)[:, None])


def check_leak(train: Sequence[Atoms], test: Sequence[Atoms]) -> list[Finding]:
    """Finding train-test-leak: test frames that are neighbours in time of training frames, or the same.

    Frames of the same atoms in the same cell are compared.
    """
    groups: dict[tuple[bytes, ...], list[Atoms]] = {}
    for atoms in train:
        groups.setdefault(_of_one_cell(atoms), []).append(atoms)
    judged = [k for k, atoms in enumerate(test) if len(atoms) > 1 and len(groups.get(_of_one_cell(atoms), [])) >= _FEWEST]
    judged = judged[:: max(1, len(judged) // _SAMPLE)]
    limits: dict[tuple[bytes, ...], float] = {}
    near: list[int] = []
    for k in judged:
        key = _of_one_cell(test[k])
        if key not in limits:
            limits[key] = _nearness(groups[key])
        members = groups[key][:: max(1, len(groups[key]) // _MEMBERS)]
        if min(distance(atoms, test[k]) for atoms in members) < limits[key]:
            near.append(k)
    if len(near) < max(2, _LEAKS * len(judged)):
        return []
    text = (
        f"{len(near)} of {len(judged)} test frames that were looked at are as near to a training frame as neighbours in time "
    )
    text += f"are: {numbered(near)}. Errors on them measure memory"
    remedy = "Split by trajectory, or by blocks of time with gaps: `gapkit split`."
    return [Finding("train-test-leak", "warning", text, remedy, tuple(near))]


def _nearness(members: Sequence[Atoms]) -> float:
    """Distance below which a frame is a neighbour in time of one of these, Å; at least what is one structure."""
    half, every = len(members) // 2, max(1, len(members) // _SAMPLE)
    usual = float(np.median([distance(members[k], members[(k + half) % len(members)]) for k in range(0, len(members), every)]))
    steps = [distance(members[k], members[k + 1]) for k in range(0, len(members) - 1, every)]
    if np.median(steps) < _RELATED * usual:  # a trajectory, in order
        return max(1.1 * float(np.quantile(steps, 0.75)), _DIGITS)
    if len(members[0]) >= _MANY_ATOMS and members[0].pbc.all():  # so many coordinates are never near by chance
        return max(_NEVER * usual, _DIGITS)
    return _DIGITS


def _of_one_cell(atoms: Atoms) -> tuple[bytes, ...]:
    cell = np.round(atoms.cell.array, 3).tobytes() if atoms.pbc.any() else b""
    return atoms.numbers.tobytes(), atoms.pbc.tobytes(), cell
