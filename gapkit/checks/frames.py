"""Labels of single frames: outliers, calculations that did not converge, net forces, isolated atoms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from ..gp.observations import Labels
from .findings import Finding, numbered
from .probe import Probe, groups_of_one_cell

__all__ = ["check_convergence", "check_isolated_atoms", "check_net_forces", "check_outliers"]

Array = NDArray[np.float64]

_FLAGS = ("converged", "scf_converged", "is_converged", "electronic_converged")
_DIGITS = 5  # of Å: frames equal to that are one structure
_SAME_ENERGY, _SAME_FORCE = 2e-3, 0.05  # eV per atom, eV/Å
_NET = 0.02  # of the root mean square of the forces, per atom: egg-box effects and rounding stay below
_NET_LEAST = 5e-3  # eV/Å
_FAR = 10.0  # eV per atom; chemistry is done in less
_COMPRESSED = 0.75  # of the usual volume
_HUGE = 100.0  # eV/Å: beyond what relaxes
_FEWEST = 8
_DEVIATIONS = 12.0  # robust standard deviations; one model has heavier tails than a Gaussian
_MATTERS = 5e-3  # eV per atom, below which nobody minds
_LEARNT = 0.8  # R² of forces
_BINDING = (-0.5, 15.0)  # eV per atom


def check_outliers(frames: Sequence[Atoms], labels: Sequence[Labels], probe: Probe | None) -> list[Finding]:
    """Finding outlier: labels far from those of their like, or from what the other frames' forces say."""
    reasons: dict[int, str] = {}
    groups: dict[tuple[object, ...], list[tuple[int, float]]] = {}
    for k, (atoms, y) in enumerate(zip(frames, labels, strict=True)):
        if y.forces is not None and len(y.forces) and np.abs(y.forces).max() > _HUGE:
            reasons[k] = f"a force of {np.abs(y.forces).max():.4g} eV/Å"
        if y.energy is not None and len(atoms) > 1:
            species, counts = np.unique(atoms.numbers, return_counts=True)
            groups.setdefault((*species.tolist(), *(counts / len(atoms)).round(6)), []).append((k, y.energy / len(atoms)))
    for members in groups.values():
        # strong compression costs that much, and is no mistake
        volumes = {k: frames[k].get_volume() / len(frames[k]) for k, _ in members if frames[k].pbc.all()}
        usual = float(np.median(list(volumes.values()))) if volumes else 1.0
        alike = [(k, e) for k, e in members if volumes.get(k, usual) > _COMPRESSED * usual]
        median = float(np.median([energy for _, energy in alike])) if alike else 0.0
        if len(alike) >= _FEWEST:
            reasons |= {k: f"{e:.6g} eV/atom, median {median:.6g}" for k, e in alike if abs(e - median) > _FAR}
    for k, text in _against_model(frames, labels, probe).items():
        reasons.setdefault(k, text)
    if not reasons:
        return []
    found = sorted(reasons)
    listed = "; ".join(f"frame {k}: {reasons[k]}" for k in found[:3])
    text = f"{len(found)} frames have labels far from those of their like: {listed}{'; ...' if len(found) > 3 else ''}"
    remedy = "Look at them, and compute them again or remove them; give those that are right an energy_sigma of their own."
    return [Finding("outlier", "warning", text, remedy, tuple(found))]


def _against_model(frames: Sequence[Atoms], labels: Sequence[Labels], probe: Probe | None) -> dict[int, str]:
    if probe is None or probe.r2 < _LEARNT:
        return {}
    reasons: dict[int, str] = {}
    place = {int(k): n for n, k in enumerate(probe.frames)}
    for group in groups_of_one_cell(frames, labels):  # only of their like did the model see enough
        members = [k for k in group if k in place]
        if len(members) < _FEWEST:
            continue
        n_atoms, rows = len(frames[members[0]]), [place[k] for k in members]
        given = np.array([labels[k].energy or 0.0 for k in members]) / n_atoms
        least = max(_MATTERS, 0.5 * float(np.ptp(np.quantile(given, [0.1, 0.9]))))
        for k, gap in zip(members, _robust(given - probe.energies[rows] / n_atoms, least), strict=True):
            if gap:
                reasons[k] = f"energy {1e3 * gap:+.3g} meV/atom from what the forces of the others say"
        errors = probe.force_errors[rows]
        for k, gap in zip(members, _robust(errors, 0.5 * probe.force_rms), strict=True):
            if gap > 0.0:
                reasons.setdefault(k, f"forces {gap:.3g} eV/Å further from those of a small model than usual")
    return reasons


def _robust(values: Array, least: float) -> Array:
    """Distances from the median that are too large, else 0."""
    gaps = values - np.median(values)
    spread = 1.4826 * float(np.median(np.abs(gaps)))
    return np.where(np.abs(gaps) > max(_DEVIATIONS * spread, least), gaps, 0.0)


def check_convergence(frames: Sequence[Atoms], labels: Sequence[Labels], *, compare: bool = True) -> list[Finding]:
    """Finding unconverged: frames that say so, or, if labels can be compared, one structure with two of them."""
    said = [k for k, atoms in enumerate(frames) if any(_is_false(atoms.info.get(flag, True)) for flag in _FLAGS)]
    found = []
    if said:
        text = f"{len(said)} frames say that they did not converge: {numbered(said)}"
        remedy = "Remove them, or compute them again with more steps or another mixing."
        found.append(Finding("unconverged", "error", text, remedy, tuple(said)))
    if not compare:
        return found
    seen: dict[tuple[bytes, ...], int] = {}
    two: list[tuple[int, int]] = []
    for k, (atoms, y) in enumerate(zip(frames, labels, strict=True)):
        lengths = (np.round(a, _DIGITS) + 0.0 for a in (atoms.positions, atoms.cell.array))  # + 0.0: -0 is 0
        key = (atoms.numbers.tobytes(), atoms.pbc.tobytes(), *(a.tobytes() for a in lengths))
        first = seen.setdefault(key, k)
        if first < k and _differ(labels[first], y, len(atoms)):
            two.append((first, k))
    if two:
        listed = ", ".join(f"{i} and {j}" for i, j in two[:3])
        text = f"{len(two)} frames are the same structure as an earlier one with other labels: {listed}"
        remedy = "One of each did not converge or has other settings: keep the right one."
        found.append(Finding("unconverged", "error", text, remedy, tuple(j for _, j in two)))
    return found


def _is_false(value: object) -> bool:
    return value is False or str(value).strip().lower() in ("false", "f", "0", "no")


def _differ(one: Labels, other: Labels, n_atoms: int) -> bool:
    if one.energy is not None and other.energy is not None and abs(one.energy - other.energy) > _SAME_ENERGY * n_atoms:
        return True
    return one.forces is not None and other.forces is not None and np.abs(one.forces - other.forces).max() > _SAME_FORCE


def check_net_forces(frames: Sequence[Atoms], labels: Sequence[Labels]) -> list[Finding]:
    """Finding net-force: forces that do not sum to zero."""
    whole = (k for k, y in enumerate(labels) if y.used("forces").all())
    rows = [(k, f) for k in whole if (f := labels[k].forces) is not None and len(f) > 1]
    if not rows:
        return []
    rms = float(np.sqrt(np.mean(np.concatenate([f.ravel() for _, f in rows]) ** 2)))
    limit = max(_NET * rms, _NET_LEAST)
    net = {k: float(np.linalg.norm(f.mean(axis=0))) for k, f in rows}
    found = [k for k, value in net.items() if value > limit]
    if not found:
        return []
    worst = max(found, key=lambda k: net[k])
    text = f"forces of {len(found)} frames do not sum to zero: up to {net[worst]:.3g} eV/Å per atom, in frame {worst}"
    remedy = "Subtract the mean force where it is rounding; else look for constraints, an external field, or a coarse grid."
    return [Finding("net-force", "warning", text, remedy, tuple(found))]


def check_isolated_atoms(frames: Sequence[Atoms], labels: Sequence[Labels]) -> list[Finding]:
    """Finding isolated-atoms: there are none (good to know), or they do not fit the rest."""
    single = {
        atoms.symbols[0]: y.energy
        for atoms, y in zip(frames, labels, strict=True)
        if len(atoms) == 1 and y.energy is not None and _is_isolated(atoms)
    }
    species = sorted({s for atoms in frames for s in set(atoms.symbols)})
    missing = [s for s in species if s not in single]
    if missing:
        text = f"no isolated atom of {', '.join(missing)}: their energies will be the best constants, not those of free atoms"
        remedy = "Add one frame for each, in a large box, at the same level of theory (spin-polarised), if bonds are to break."
        return [Finding("isolated-atoms", "info", text, remedy)]
    binding = []
    for atoms, y in zip(frames, labels, strict=True):
        if len(atoms) > 1 and y.energy is not None:
            binding.append((sum(single[s] for s in atoms.symbols) - y.energy) / len(atoms))
    usual = float(np.median(binding)) if binding else 1.0
    if _BINDING[0] < usual < _BINDING[1]:
        return []
    text = f"with the energies of the isolated atoms, the median binding energy is {usual:.4g} eV per atom"
    remedy = "Compute the atoms at the same level of theory, with the same pseudopotentials."
    return [Finding("isolated-atoms", "warning", text, remedy)]


def _is_isolated(atoms: Atoms) -> bool:
    return not atoms.pbc.any() or bool(np.linalg.norm(atoms.cell.array[atoms.pbc], axis=1).min() > 7.0)
