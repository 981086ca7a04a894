"""Labels that a fitted model doubts: far from what it predicts without their structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from ase import Atoms

from ..gp.observations import KINDS, config_type_of
from ..model import GAPRegressor
from .findings import Finding
from .left_out import LeftOut, left_out_residuals

__all__ = ["check_doubts"]

_FACTOR = 5.0  # times what is usual for structures of its type
_FEWEST = 8  # structures that say what is usual
_LEAST = 4.0  # standard deviations
_BEYOND_NOISE = 3.0  # times the noise of the label
_SHOWN = 5
_NAMES = {"energy": "energies", "forces": "forces", "stress": "stresses"}
_UNITS = {"energy": "eV/atom", "forces": "eV/Å", "stress": "eV/Å³"}


def check_doubts(model: GAPRegressor, *, show: bool = False) -> list[Finding]:
    """Finding doubted-label: labels far from what the model says without them, and farther than others of their type.

    Parameters
    ----------
    model : GAPRegressor
        Fitted, with its posterior and training set (`GAPRegressor.remember`).
    show : bool, default False
        Whether to show a progress bar.

    Returns
    -------
    list of Finding
        One for each kind of label.

    Raises
    ------
    ValueError
        If the model has no posterior or no training set.
    """
    residuals = left_out_residuals(model, show=show)
    frames = model.training_.frames if model.training_ is not None else []
    findings = []
    for kind in KINDS:
        worst = {r.frame: _worst(r, kind) for r in residuals if (r.kind == kind).any()}
        doubted = _far_from_others({k: z for k, (z, _, _) in worst.items()}, frames)
        doubted = {k: usual for k, usual in doubted.items() if abs(worst[k][1]) > _BEYOND_NOISE * worst[k][2]}
        if doubted:
            order = sorted(doubted, key=lambda k: -worst[k][0])
            said = [
                f"{k} (off by {worst[k][1]:+.2g} {_UNITS[kind]}, z = {worst[k][0]:.0f}; usual {doubted[k]:.2g})" for k in order
            ]
            whose = "1 frame is" if len(order) == 1 else f"{len(order)} frames are"
            text = f"{_NAMES[kind]}: {whose} labelled otherwise than the model says without them: "
            text += "; ".join(said[:_SHOWN]) + ("; ..." if len(said) > _SHOWN else "")
            remedy = "Compute these labels again, remove the frames, or give them an energy_sigma or force_sigma of their own."
            remedy += " If they are right, add structures like them: the model does not know their kind."
            findings.append(Finding("doubted-label", "warning", text, remedy, tuple(order)))
    return findings


def _worst(one: LeftOut, kind: str) -> tuple[float, float, float]:
    """Largest residual of a structure in standard deviations; the residual, and the noise of its label (energies per atom)."""
    rows = np.flatnonzero(one.kind == kind)
    z = np.abs(one.residual[rows]) / np.hypot(one.deviation[rows], one.sigma[rows])
    k = rows[int(np.argmax(z))]
    scale = 1.0 / one.divisor[k]  # residual times √N is that of the total energy
    return float(z.max()), float(one.residual[k] * scale), float(one.sigma[k] * scale)


def _far_from_others(z: Mapping[int, float], frames: Sequence[Atoms]) -> dict[int, float]:
    """Frames far beyond others of their type, each with what is usual there.

    Deviations of a posterior are too small where the model cannot be right; by which factor, the other frames say.  Those that
    are found do not count among the others.
    """
    kinds = {k: config_type_of(frames[k]) for k in z}
    found: dict[int, float] = {}
    while True:
        rest = {k: value for k, value in z.items() if k not in found}
        if len(rest) < _FEWEST:
            return found
        middle = float(np.median(list(rest.values())))
        new = {}
        for k, value in rest.items():
            others = [v for j, v in rest.items() if j != k and kinds[j] == kinds[k]]
            if len(others) >= _FEWEST - 1:
                usual = max(middle, float(np.quantile(others, 0.75)))
            else:
                usual = max(middle, float(np.quantile([v for j, v in rest.items() if j != k], 0.9)))
            if value > max(_LEAST, _FACTOR * usual):
                new[k] = usual
        if not new:
            return found
        found |= new
