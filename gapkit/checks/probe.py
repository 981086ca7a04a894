"""A small model of the forces, which says what energies and stresses should be.

Its energies are integrals of the forces: where the cell stays the same, labelled energies follow them with slope 1.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from numpy.typing import NDArray

from ..descriptors import SOAP, auto
from ..exceptions import LabelWarning, NumericalWarning
from ..gp.observations import Labels, Noise
from ..kernels import DotProduct
from ..model import GAPRegressor, Term

__all__ = ["Probe", "fit_probe", "groups_of_one_cell"]

Array = NDArray[np.float64]

_FRAMES, _FEWEST = 60, 8  # of the fit
_ATOMS = 1500  # about as many atoms, so that it takes seconds
_PREDICTED = 4500  # atoms whose labels are compared
_SPARSE = 300
_CUTOFF = 5.0  # Å
_NOISE = 0.05  # of the root mean square of the forces: what so small a model misses
_COMPRESSED = 4  # with more species than that, features would be thousands


@dataclass(frozen=True)
class Probe:
    """What a model of the forces predicts.

    Attributes
    ----------
    frames : ndarray of int, shape (n,)
        Frames that were predicted.
    energies : ndarray of shape (n,)
        eV, up to a constant per composition.
    stresses : list of (ndarray of shape (6,) or None)
        eV/Å³.
    force_errors : ndarray of shape (n,)
        Root mean square error of the forces of each frame, eV/Å.
    force_rms : float
        Root mean square of the labelled forces, eV/Å.
    r2 : float
        R² of the forces of frames that were left out.
    """

    frames: NDArray[np.intp]
    energies: Array
    stresses: list[Array | None]
    force_errors: Array
    force_rms: float
    r2: float


def groups_of_one_cell(frames: Sequence[Atoms], labels: Sequence[Labels]) -> list[list[int]]:
    """Frames with energies and forces that have the same atoms in the same cell, largest groups first."""
    groups: dict[tuple[bytes, ...], list[int]] = {}
    for k, (atoms, y) in enumerate(zip(frames, labels, strict=True)):
        if len(atoms) > 1 and y.energy is not None and y.forces is not None:
            cell = np.round(atoms.cell.array, 3).tobytes() if atoms.pbc.any() else b""
            groups.setdefault((np.sort(atoms.numbers).tobytes(), atoms.pbc.tobytes(), cell), []).append(k)
    return sorted(groups.values(), key=len, reverse=True)


def fit_probe(frames: Sequence[Atoms], labels: Sequence[Labels]) -> Probe | None:
    """Fit a SOAP model to the forces of a sample, one in four frames left out to judge it.

    Parameters
    ----------
    frames : sequence of ase.Atoms
    labels : sequence of Labels

    Returns
    -------
    Probe or None
        None if there are too few frames with forces.
    """
    order = _order(frames, labels)
    sizes = np.cumsum([len(frames[k]) for k in order])
    sample = order[: max(_FEWEST, min(_FRAMES, int(np.searchsorted(sizes, _ATOMS)) + 1))]
    if len(sample) < _FEWEST:
        return None
    left_out, fitted = sample[::4], [k for n, k in enumerate(sample) if n % 4]
    squares = [labels[k].forces for k in sample]
    rms = float(np.sqrt(np.mean(np.concatenate([f.ravel() for f in squares if f is not None]) ** 2)))
    if rms == 0.0:
        return None
    with warnings.catch_warnings():
        for category in (LabelWarning, NumericalWarning):  # about its settings, which nobody chose
            warnings.simplefilter("ignore", category)
        summary = auto.summarize([frames[k] for k in sample])
        compression = {"mode": "mu1nu1"} if len(summary.species) > _COMPRESSED else None
        soap = SOAP(min(summary.r_cut, _CUTOFF), 4, 3, 0.5, compression=compression)
        # amplitude (rms times 1 Å) and noise grow with the forces: whatever their unit, the model is the same
        model = GAPRegressor(
            [Term(soap, DotProduct(4), delta=rms, n_sparse=_SPARSE)], noise=Noise(forces=_NOISE * rms), e0=0.0, random_state=0
        )
        model.fit([_with_forces(frames[k], labels[k]) for k in fitted])
        chosen = sorted({*sample, *order[: int(np.searchsorted(sizes, _PREDICTED)) + 1]} & _known(frames, model.species_))
        predictions = dict(zip(chosen, model.evaluate([frames[k] for k in chosen]), strict=True))
    misses = {k: _difference(labels[k], p.forces) for k, p in predictions.items()}
    held = [k for k in left_out if k in misses]
    if not held:
        return None
    wrong = np.concatenate([misses[k].ravel() for k in held])
    right = np.concatenate([f.ravel() for k in held if (f := labels[k].forces) is not None])
    return Probe(
        np.array(chosen, np.intp),
        np.array([p.energy for p in predictions.values()]),
        [p.stress for p in predictions.values()],
        np.array([np.sqrt(np.mean(m**2)) for m in misses.values()]),
        rms,
        1.0 - float(np.mean(wrong**2) / max(np.mean(right**2), 1e-300)),
    )


def _order(frames: Sequence[Atoms], labels: Sequence[Labels]) -> list[int]:
    """Frames that can be compared with each other, in turns from each cell and in random order, then the others."""
    rng = np.random.RandomState(0)
    groups = groups_of_one_cell(frames, labels)
    queues = [rng.permutation(g).tolist() for g in groups if len(g) >= 4]
    rest = [k for g in groups if len(g) < 4 for k in g]
    # every other turn goes to frames of cells of their own: strained ones, which stresses are compared on
    others = rng.permutation(rest).tolist() if rest else []
    order: list[int] = []
    while any(queues) or others:
        for queue in queues:
            if queue:
                order.append(queue.pop())
            if others and len(order) % 3 == 0:
                order.append(others.pop())
        if not any(queues):
            order += others
            others = []
    return order


def _known(frames: Sequence[Atoms], species: Sequence[str]) -> set[int]:
    return {k for k, atoms in enumerate(frames) if set(atoms.symbols) <= set(species)}


def _with_forces(atoms: Atoms, labels: Labels) -> Atoms:
    copy = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    copy.calc = SinglePointCalculator(copy, forces=labels.forces)
    return copy


def _difference(labels: Labels, forces: Array | None) -> Array:
    if labels.forces is None or forces is None:
        return np.zeros((0, 3))
    return np.asarray(labels.forces - forces)
