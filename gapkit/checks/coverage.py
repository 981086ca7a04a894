"""What a set covers: energies, temperatures, kinds of structures, elements, and the range of interactions."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence

import numpy as np
from ase import Atoms, units
from ase.data import covalent_radii
from numpy.typing import NDArray

from .._validation import check_cutoff
from ..descriptors import auto
from ..exceptions import NumericalWarning
from ..gp.observations import Labels, config_type_of
from .findings import Finding, numbered
from .probe import groups_of_one_cell

__all__ = ["check_composition", "check_cutoff_radius", "check_energy_range", "check_temperatures"]

Array = NDArray[np.float64]

KINDS = {
    "isolated atoms": r"(?i)isolated",
    "dimers": r"(?i)dimer",
    "defects": r"(?i:vacanc|interstit|defect|antisite|dislocation|gsf|stacking|grain|(^|_)gb)|^(s_)?[avi]([A-Z]|[avi]$)",
    "surfaces": r"(?i)surf|slab|terrace|adsor",
    "reaction paths": r"(?i)neb|path|reaction|removal|dissoc|scan|transition|irc",
    "strained": r"(?i)elastic|strain|eos|volume|shear|deform",
    "molecular dynamics": r"(?i)md|liquid|nvt|npt|nve|melt|amorph|traj|\d+ ?k$",
    "rattled": r"(?i)rattl|displac|phonon|normal.?mode",
    "random": r"(?i)random|rss|airss|pyxtal",
    "equilibrium": r"(?i)bulk|equilib|relax|ground|crystal|minimum|opt",
}
"""Kinds of structures, by what their ``config_type`` says."""

_COLDEST = 60.0  # K: what fluctuates less is one structure
_FEWEST = 10
_OUTSIDE = 0.2  # share of the test frames beyond the training set
_MARGIN = 0.25  # of the range of training energies
_SAME_VOLUME, _FEW = 0.05, 5  # relative; frames that say how hot a set is
_HOTTER = 1.5  # ratio of mean square forces, which grow with the temperature
_RARE = 5  # frames with an element
_SHELLS = {"molecules": 2.2, "hydrogen bonds": 3.0, "condensed": 1.55}
"""Cutoff over typical bond: two bonds of a chain, the next molecule, the second shell of every common crystal but diamond's."""


def check_energy_range(
    frames: Sequence[Atoms], labels: Sequence[Labels], test: Sequence[Atoms] | None, asked: Sequence[Labels]
) -> list[Finding]:
    """Finding energy-range: energies all from the bottom of one well, or test energies beyond those of the training set."""
    if test is not None:
        beyond, compared = _beyond(frames, labels, test, asked)
        if compared and len(beyond) >= max(2, _OUTSIDE * compared):
            text = (
                f"energies of {len(beyond)} of {compared} test frames are beyond those of the training set: {numbered(beyond)}"
            )
            remedy = "Add such structures to the training set, or watch the error bars: this is extrapolation."
            return [Finding("energy-range", "warning", text, remedy, tuple(beyond))]
    groups = [g for g in groups_of_one_cell(frames, labels) if len(g) >= _FEWEST]
    n_judged = sum(map(len, groups))
    if n_judged < 0.5 * len(frames):  # other cells: the range is one of strains
        return []
    hottest = max(_temperature(frames, labels, g) for g in groups)
    if hottest > _COLDEST:
        return []
    text = f"energies fluctuate as at {hottest:.0f} K: {n_judged} of {len(frames)} frames are from the bottom of one well"
    remedy = "Add molecular dynamics at and above the temperature of use, and strained or rattled structures."
    return [Finding("energy-range", "warning", text, remedy)]


def _temperature(frames: Sequence[Atoms], labels: Sequence[Labels], group: Sequence[int]) -> float:
    """At which harmonic atoms would have such a variance of the potential energy, 3/2 N (kT)²; K."""
    energies = np.array([labels[k].energy for k in group], float)
    return float(energies.std() / (units.kB * np.sqrt(1.5 * len(frames[group[0]]))))


def _beyond(
    frames: Sequence[Atoms], labels: Sequence[Labels], test: Sequence[Atoms], asked: Sequence[Labels]
) -> tuple[list[int], int]:
    ranges: dict[str, list[float]] = {}
    for atoms, y in zip(frames, labels, strict=True):
        if y.energy is not None:
            ranges.setdefault(_composition(atoms), []).append(y.energy / len(atoms))
    found, compared = [], 0
    for k, (atoms, y) in enumerate(zip(test, asked, strict=True)):
        known = ranges.get(_composition(atoms), [])
        if y.energy is not None and len(known) >= _FEWEST:
            compared += 1
            margin = _MARGIN * (max(known) - min(known))
            if not min(known) - margin <= y.energy / len(atoms) <= max(known) + margin:
                found.append(k)
    return found, compared


def _composition(atoms: Atoms) -> str:
    return str(atoms.symbols.formula.reduce()[0].format("hill"))


def check_temperatures(
    frames: Sequence[Atoms], labels: Sequence[Labels], test: Sequence[Atoms], asked: Sequence[Labels]
) -> list[Finding]:
    """Finding temperature-range: test frames hotter than all training frames of their formula and volume, by their forces."""
    known: dict[str, list[tuple[float, float]]] = {}
    for atoms, y in zip(frames, labels, strict=True):
        if y.forces is not None and len(atoms) > 1:
            known.setdefault(str(atoms.symbols), []).append((_volume(atoms), float(np.mean(y.forces**2))))
    hotter, compared, ratios = [], 0, []
    for k, (atoms, y) in enumerate(zip(test, asked, strict=True)):
        volume = _volume(atoms)
        # compression gives large forces, too: not by heat
        squares = [square for v, square in known.get(str(atoms.symbols), []) if abs(v / volume - 1.0) < _SAME_VOLUME]
        if y.forces is None or len(atoms) < 2 or len(squares) < _FEW:
            continue
        compared += 1
        square = float(np.mean(y.forces**2))
        if square > _HOTTER * max(squares):  # a mean over all atoms, which fluctuates little
            hotter.append(k)
            ratios.append(square / float(np.mean(squares)))
    if not compared or len(hotter) < max(2, _OUTSIDE * compared):
        return []
    text = f"{len(hotter)} of {compared} test frames are hotter than the training set: squares of their forces, which grow "
    text += f"with the temperature, are {np.median(ratios):.2g} times as large: {numbered(hotter)}"
    remedy = "Add frames at the highest temperature of use; a model that never saw atoms that close extrapolates."
    return [Finding("temperature-range", "warning", text, remedy, tuple(hotter))]


def _volume(atoms: Atoms) -> float:
    """Å³ per atom; 1 without a full cell."""
    return float(atoms.get_volume() / len(atoms)) if atoms.pbc.any() and atoms.cell.rank == 3 else 1.0


def check_composition(frames: Sequence[Atoms], test: Sequence[Atoms] | None) -> list[Finding]:
    """Finding composition: shares of kinds of structures, rare elements, and elements that only the test set has."""
    found = []
    holders: dict[str, list[int]] = {}
    for k, atoms in enumerate(frames):
        for symbol in set(atoms.symbols):
            holders.setdefault(symbol, []).append(k)
    new = sorted({s for atoms in test or () for s in set(atoms.symbols)} - set(holders))
    if new:
        where = tuple(k for k, atoms in enumerate(test or ()) if set(new) & set(atoms.symbols))
        text = f"the test set has {', '.join(new)}, which the training set does not"
        found.append(Finding("composition", "error", text, "Add structures with these elements, or leave them out.", where))
    rare = {s: ks for s, ks in holders.items() if len(ks) < _RARE and len(frames) > 4 * _RARE}
    if rare:
        text = "; ".join(f"{s} is in {len(ks)} of {len(frames)} frames" for s, ks in sorted(rare.items()))
        remedy = "Add structures with it, or remove it: too few environments to learn from."
        found.append(Finding("composition", "warning", text, remedy, tuple(sorted({k for ks in rare.values() for k in ks}))))
    kinds = [kind_of(atoms) for atoms in frames]
    known = [kind for kind in kinds if kind]
    if known:
        shares = sorted(((kinds.count(kind) / len(kinds), kind) for kind in set(known)), reverse=True)
        parts = [f"{share:.0%} {kind}" for share, kind in shares]
        parts += [f"{1 - len(known) / len(kinds):.0%} of no kind that is known by name"] if len(known) < len(kinds) else []
        absent = [k for k in ("equilibrium", "strained", "molecular dynamics", "defects") if k not in known]
        remedy = "A model for all uses has near-equilibrium, strained, hot and defective structures in comparable shares"
        remedy += f"; here are none that are called {' or '.join(absent)}." if absent else "."
        found.append(Finding("composition", "info", ", ".join(parts), remedy))
    return found


def kind_of(atoms: Atoms) -> str:
    """Kind of structure (`KINDS`) by its ``config_type``; "" for none that is known."""
    if len(atoms) == 1 and not atoms.pbc.any():
        return "isolated atoms"
    name = config_type_of(atoms)
    return next((kind for kind, pattern in KINDS.items() if re.search(pattern, name)), "")


def check_cutoff_radius(frames: Sequence[Atoms], cutoff: float) -> list[Finding]:
    """Finding cutoff-too-short: a radius that does not reach what holds such systems together."""
    check_cutoff("cutoff", cutoff)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)
        summary = auto.summarize(frames)
    if not summary.bonds:
        return []
    own = [r for (low, high), r in summary.bonds.items() if low == high > 1]
    bond = min(max(own or summary.bonds.values()), 2.5 * float(covalent_radii[summary.species].max()))
    least = min(_SHELLS[summary.kind] * bond, summary.r_cut)
    if summary.kind == "hydrogen bonds":
        least = auto.SANE_CUTOFFS[summary.kind][0] - 1.0
    if cutoff >= least:
        return []
    what = "condensed matter" if summary.kind == "condensed" else summary.kind
    missed = "the next molecules" if summary.kind == "hydrogen bonds" else "the second shell"
    text = f"a cutoff of {cutoff:g} Å is too short for bonds of {bond:.2f} Å ({what}): it misses {missed}"
    remedy = f"Take at least {least:.1f} Å; {summary.r_cut:g} Å is what `gapkit fit` would take."
    return [Finding("cutoff-too-short", "warning", text, remedy)]
