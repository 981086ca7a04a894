"""Stresses against energies and forces: signs, units, virials, and constants that are missing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from ..datasets.units import ENERGY_UNITS, STRESS_UNITS
from ..gp.observations import Labels
from .energies import reduced_slope
from .findings import Finding
from .ledger import stress_sign
from .probe import Probe
from .strain import strain_pairs

__all__ = ["check_stresses"]

Array = NDArray[np.float64]

_FEWEST = 12
_RELATED = 0.7
_TOLERANCE = 0.2  # of the logarithm of a slope along strains
_MODEL_TOLERANCE = 1.1  # of one on a model of forces, which never saw a strain; units are factors of ten and more apart
_OFFSET = 1.0  # GPa
_BETTER = 3.0  # times less is left unexplained with a constant than without
_LEARNT = 0.9  # R² of forces from which a model is asked
_UNRELATED = 0.3

_UNITS = {**STRESS_UNITS, "Hartree/Bohr^3": ENERGY_UNITS["Hartree"] / float(units.Bohr) ** 3}


def check_stresses(frames: Sequence[Atoms], labels: Sequence[Labels], probe: Probe | None) -> list[Finding]:
    """Findings stress-sign and stress-energy-mismatch: at most one.

    Parameters
    ----------
    frames : sequence of ase.Atoms
    labels : sequence of Labels
    probe : Probe or None
        Model of the forces, asked where no two frames differ by a small strain.

    Returns
    -------
    list of Finding
    """
    pairs = strain_pairs(frames, labels)
    if len(pairs) >= _FEWEST and np.ptp(pairs[:, 1]) > 0.0:
        return _from_pairs(pairs)
    found = _from_model(frames, labels, probe)
    if not found and stress_sign(frames).startswith("OPPOSITE"):
        found = [_sign("the stress falls where the volume grows")]
    return found


def _from_pairs(pairs: Array) -> list[Finding]:
    change, work, trace, volume = pairs.T
    by = f"along {len(pairs)} pairs of slightly strained frames, energies change by"
    (slope,), left = _least_squares(change, work[:, None])
    (with_constant, constant), less = _least_squares(change, np.column_stack([work, trace]))
    better = left > _BETTER * less
    factor = with_constant if better else slope
    agree = np.corrcoef(change - (constant * trace if better else 0.0), work)[0, 1]
    if abs(agree) < _RELATED or factor == 0.0:
        text = f"{by} amounts unrelated to the work of the stresses (correlation {agree:.2f})"
        return [_mismatch(text, "Take energy and stress from the same calculation.")]
    if abs(np.log(abs(factor))) > _TOLERANCE or factor < 0.0:
        (of_virial,), left_of_virial = _least_squares(change, (work / volume)[:, None])
        virial = of_virial if left_of_virial <= left else 0.0
        return [_named(float(factor), float(virial), f"{by} {factor:.3g} times the work of the stresses", _TOLERANCE)]
    offset = -constant / units.GPa
    if better and abs(offset) > _OFFSET:
        text = f"the diagonal stress differs from the derivative of the energy by {offset:+.2f} GPa ({len(pairs)} pairs)"
        remedy = "Likely a Pulay stress of the fixed basis: raise the cutoff, or do not fit diagonal stress tightly."
        return [Finding("stress-energy-mismatch", "warning", text, remedy)]
    return []


def _least_squares(y: Array, design: Array) -> tuple[Array, float]:
    """Coefficients without the twentieth of the rows that fits worst, and the root mean square that is left of the others."""
    scale = np.where(np.abs(design).max(axis=0) > 0.0, np.abs(design).max(axis=0), 1.0)
    kept = np.ones(len(y), bool)
    for _ in range(3):
        solution, *_ = np.linalg.lstsq(design[kept] / scale, y[kept], rcond=None)
        left = np.abs(y - design / scale @ solution)
        kept = left <= np.quantile(left, 0.95)
    return solution / scale, float(np.sqrt(np.mean(left[kept] ** 2)))


def _from_model(frames: Sequence[Atoms], labels: Sequence[Labels], probe: Probe | None) -> list[Finding]:
    """Deviatoric stresses against those of a model of the forces; the pressure is what forces say least of."""
    if probe is None or probe.r2 < _LEARNT:
        return []
    x, y, volumes = [], [], []
    for k, predicted in zip(probe.frames.tolist(), probe.stresses, strict=True):
        given = labels[k].stress
        if given is not None and predicted is not None and frames[k].pbc.all():
            x.append(_deviatoric(predicted))
            y.append(_deviatoric(given))
            volumes.append(np.full(6, frames[k].get_volume()))
    if len(x) < _FEWEST or np.ptp(np.concatenate(y)) == 0.0:
        return []
    model, label, volume = (np.concatenate(v) for v in (x, y, volumes))
    slope, correlation = reduced_slope(label, model)
    by = f"stresses of a model fitted to the forces are {slope:.3g} times the labelled ones ({len(x)} frames, "
    by += f"rank correlation {correlation:.2f})"
    if abs(correlation) < _RELATED:
        if abs(correlation) > _UNRELATED:
            return []
        text = f"stresses do not follow the forces: their rank correlation with a model of the forces is {correlation:.2f}"
        return [_mismatch(text, "Take forces and stress from the same calculation.")]
    if slope < 0.0 or abs(np.log(abs(slope))) > _MODEL_TOLERANCE:
        virial, _ = reduced_slope(label / volume, model)
        return [_named(slope, virial, by, _MODEL_TOLERANCE)]
    return []


def _deviatoric(stress: Array) -> Array:
    result = np.array(stress, float)
    result[:3] -= result[:3].mean()
    return result


def _named(factor: float, of_virial: float, by: str, tolerance: float) -> Finding:
    """The cause: what labels would have to be multiplied by."""

    def near(value: float, wanted: float) -> bool:
        return bool(value * wanted > 0.0 and abs(np.log(value / wanted)) < tolerance)

    if near(factor, -1.0):
        return _sign(by)
    for sign, told in ((1.0, ""), (-1.0, ", and turn its sign")):
        for name, unit in _UNITS.items():
            if near(factor, sign * unit):
                text = f"{by}, as if stress were in {name}{' with the opposite sign' if told else ''}"
                return _mismatch(text, f"--stress-unit {name}{told}.")
    if near(of_virial, -1.0) or near(of_virial, 1.0):
        text = f"{by}, as if the stress label held virials (eV)"
        sign_of = "" if of_virial < 0.0 else ", with the sign of virials, which is opposite to that of stresses"
        return _mismatch(text, f"Name them virial{sign_of}; stress = -virial / volume.")
    return _mismatch(f"{by}, which is no ratio of units", "Take energy, forces and stress from the same calculation.")


def _sign(by: str) -> Finding:
    remedy = "Turn the sign: ASE's stress is positive where the cell wants to shrink; VASP and many others print the opposite."
    return Finding("stress-sign", "error", f"{by}: their sign is opposite to ASE's", remedy)


def _mismatch(text: str, remedy: str) -> Finding:
    return Finding("stress-energy-mismatch", "error", text, remedy)
