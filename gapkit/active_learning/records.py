"""What a run writes down: structures without what came with them, structures visited, errors of labels."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from numpy.typing import NDArray

from .explorers import Walker
from .target import Judgement

__all__ = ["interval", "is_labelled", "plain", "squared_ratio", "visited"]

Array = NDArray[np.float64]


def is_labelled(atoms: Atoms) -> bool:
    """Whether a structure has an energy and forces."""
    results = getattr(atoms.calc, "results", {})
    return "energy" in results and "forces" in results


def plain(atoms: Atoms) -> Atoms:
    """What is labelled: without velocities, predictions and what was noted of the walk."""
    bare = atoms.copy()
    bare.calc = None
    bare.arrays.pop("momenta", None)
    bare.info = {key: value for key, value in atoms.info.items() if key == "config_type"}
    return bare


def visited(atoms: Atoms, turn: int, walker: Walker, found: Judgement, threshold: float, action: str) -> Atoms:
    """A structure visited, with what the model said of it."""
    visit = atoms.copy()
    visit.info |= {
        "turn": turn,
        "walker": walker.name,
        "step": atoms.info.get("step", walker.n_steps),
        "std_max": found.largest,
        "std_rms": found.rms,
        "threshold": threshold,
        "action": action,
    }
    visit.calc = SinglePointCalculator(visit, energy=found.energy, forces=found.forces)
    return visit


def squared_ratio(error: Array, found: Judgement) -> float:
    """Mean squared error over mean variance; 1 where nothing was uncertain."""
    return float(np.mean(error**2) / found.rms**2) if found.rms > 0.0 else 1.0


def interval(squares: Array, seed: int) -> tuple[float, float]:
    """Nine of ten root mean squares of structures drawn again (bootstrap) are between these."""
    drawn = np.random.default_rng(seed).choice(squares, (2000, len(squares)))
    low, high = np.quantile(np.sqrt(drawn.mean(axis=1)), (0.05, 0.95))
    return float(low), float(high)
