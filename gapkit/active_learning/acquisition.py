"""What a frame of a pool is worth, frame by frame: force standard deviations, chance, distance from what is known.

Every acquisition has ``bounds``, what each frame is worth before anything is picked; ``gain(k)``, what it is worth now, which
is never more than before; and ``take(k)``, which picks it and says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from ..gp.calibration import Calibration
from ..model import Potential, Prediction
from ..model.calibrating import calibrated
from ..model.derivative_spread import derivative_deviations
from ..model.fitting import CHUNK_ATOMS, chunks_of_frames
from ..model.progress import track
from ..neighbors import NeighborList
from .environments import Environments, EnvironmentSpace

__all__ = ["Acquisition", "Coverage", "Scores", "by_chance", "calibrated_force_std", "force_deviations", "largest_on_atom"]

Array = NDArray[np.float64]


class Acquisition(Protocol):
    """What `gapkit.active_learning.select.pick` asks of a method."""

    bounds: Array

    def gain(self, k: int) -> float:
        """What frame ``k`` is worth now."""

    def take(self, k: int) -> str:
        """Pick frame ``k``; the reason."""


class Scores:
    """Frames whose worth does not depend on what was picked.

    Parameters
    ----------
    bounds : ndarray of shape (n_frames,)
    reasons : sequence of str
        One per frame.
    """

    def __init__(self, bounds: Array, reasons: Sequence[str]) -> None:
        self.bounds, self.reasons = bounds, reasons

    def gain(self, k: int) -> float:
        """What frame ``k`` is worth."""
        return float(self.bounds[k])

    def take(self, k: int) -> str:
        """The reason of frame ``k``."""
        return self.reasons[k]


def by_chance(n: int, random_state: int | None) -> Scores:
    """Frames in random order."""
    return Scores(np.random.default_rng(random_state).permutation(n).astype(float), ["random"] * n)


def force_deviations(
    potential: Potential, calibration: Calibration | None, frames: Sequence[Atoms], method: str, *, show: bool
) -> Scores:
    """Frames by the standard deviations of their force components.

    Parameters
    ----------
    potential : Potential
        With its posterior.
    calibration : Calibration or None
        Applied to the standard deviations.
    frames : sequence of ase.Atoms
        The pool.
    method : {"max", "mean"}
        "max": the largest standard deviation, eV/Å; "mean": the mean variance, (eV/Å)².
    show : bool
        Whether to show a progress bar.

    Returns
    -------
    Scores
    """
    bounds, reasons = [], []
    chunks = list(chunks_of_frames(frames, CHUNK_ATOMS))
    for start, chunk in track(chunks, "force deviations", len(chunks), show=show):
        neighbors = NeighborList.from_atoms(chunk, potential.neighbor_range, first_frame=start)
        found, _ = derivative_deviations(potential, neighbors, frozenset(["forces"]))
        assert found is not None  # noqa: S101 - for the type checker: they were asked for
        for atoms, raw in zip(chunk, np.split(found, neighbors.first_atom[1:-1]), strict=True):
            std = calibrated_force_std(calibration, atoms, raw)
            reason = largest_on_atom(atoms, std)
            if method == "mean":
                bounds.append(float(np.mean(std**2)))
                reason = f"force std {np.sqrt(bounds[-1]):.3g} eV/Å (root mean square), {reason.removeprefix('force std ')}"
            else:
                bounds.append(float(std.max()))
            reasons.append(reason)
    return Scores(np.array(bounds), reasons)


def calibrated_force_std(calibration: Calibration | None, atoms: Atoms, std: Array) -> Array:
    """Calibrated standard deviations of force components, (n_atoms, 3), eV/Å; as they are without a calibration."""
    if calibration is None:
        return std
    (result,) = calibrated(calibration, [atoms], [Prediction(0.0, np.zeros(len(atoms)), forces_std=std)])
    calibrated_std: Array = result.forces_std
    return calibrated_std


def largest_on_atom(atoms: Atoms, std: Array) -> str:
    """What a user reads of the standard deviations of forces: the largest and its atom, counted from 0."""
    worst = int(np.argmax(std.max(axis=1)))
    return f"force std {std[worst].max():.3g} eV/Å on atom {worst} ({atoms.symbols[worst]})"


class Coverage:
    """Frames by the mean distance of their environments from the nearest known ones: sparse points and frames picked.

    Parameters
    ----------
    space : EnvironmentSpace
        Distances; its sparse points stand for the training set.
    show : bool
        Whether to show a progress bar.
    """

    def __init__(self, space: EnvironmentSpace, *, show: bool) -> None:
        self.space = space
        self.picked: list[Environments] = []
        known = space.sparse_points()
        frames = track(range(len(space.frames)), "distances", len(space.frames), show=show)
        self.nearest = [space.nearest(space.of(k), known) for k in frames]
        self.seen = np.zeros(len(space.frames), int)  # picks whose environments the distances of a frame include
        self.bounds = np.array([_mean_distance(squared) for squared in self.nearest])

    def gain(self, k: int) -> float:
        """Mean distance of the environments of frame ``k`` from the nearest known ones."""
        if self.seen[k] < len(self.picked):
            own = self.space.of(k)
            for other in self.picked[self.seen[k] :]:
                np.minimum(self.nearest[k], self.space.nearest(own, other), out=self.nearest[k])
            self.seen[k] = len(self.picked)
        return _mean_distance(self.nearest[k])

    def take(self, k: int) -> str:
        """Pick frame ``k``; the reason."""
        squared = self.nearest[k]
        self.picked.append(self.space.of(k))
        atom = int(np.argmax(squared))
        where = f"{np.sqrt(squared[atom]):.3g} on atom {atom} ({self.space.frames[k].symbols[atom]})"
        return f"kernel distance {_mean_distance(squared):.3g} (mean over atoms) from what is known, {where}"


def _mean_distance(squared: Array) -> float:
    return float(np.mean(np.sqrt(squared)))
