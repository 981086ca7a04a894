"""Checks of a label: is it of the structure that was asked for, and can it be true."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.geometry import find_mic
from numpy.typing import NDArray

from ..exceptions import InvalidLabelError
from ..gp.observations import labels_of, voigt

__all__ = ["Limits", "checked_label"]

_CLOSE = 1e-3  # Å: the digits that codes print
_FEWEST = 5  # energies of one composition that say what is usual


@dataclass(frozen=True)
class Limits:
    """What a label may be; generous, so that only nonsense is beyond.

    Parameters
    ----------
    force : float, default 1000
        Largest force component, eV/Å.
    energy : float, default 10
        Largest distance of an energy per atom from the median of the known ones of the same composition, eV.
    medians : mapping of str to float
        Of energies per atom (eV) by composition; see `from_frames`.
    """

    force: float = 1000.0
    energy: float = 10.0
    medians: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_frames(cls, frames: Iterable[Atoms], *, force: float = 1000.0, energy: float = 10.0) -> Limits:
        """Limits around the energies of labelled structures; compositions with fewer than five of them have none.

        Parameters
        ----------
        frames : iterable of ase.Atoms
            With labels, e.g. the first training set.
        force, energy : float
            eV/Å and eV per atom.
        """
        known: dict[str, list[float]] = {}
        for k, atoms in enumerate(frames):
            value = labels_of(atoms, k).energy
            if value is not None:
                known.setdefault(_composition(atoms), []).append(value / len(atoms))
        medians = {name: float(np.median(values)) for name, values in known.items() if len(values) >= _FEWEST}
        return cls(force, energy, medians)


def checked_label(asked: Atoms, answer: Atoms, limits: Limits) -> Atoms:
    """The structure that was asked for, with the labels of the answer.

    Parameters
    ----------
    asked : ase.Atoms
        What was sent.
    answer : ase.Atoms
        What came back: structure, and energy, forces and perhaps stress in ``calc.results``.
    limits : Limits
        What is plausible.

    Returns
    -------
    ase.Atoms
        Copy of ``asked``; energy (eV), forces (eV/Å), stress (eV/Å³, where there is one) in ``calc.results``.

    Raises
    ------
    InvalidLabelError
        If it is another structure or its atoms are in another order, if a label is missing, not finite, not converged or
        beyond the limits.
    """
    _check_structure(asked, answer)
    if not answer.info.get("converged", True):
        raise InvalidLabelError("`converged` must be true; got False. The calculation stopped before its result settled.")
    results: dict[str, Any] = getattr(answer.calc, "results", {})
    energy, forces = (_finite(results, name, shape) for name, shape in (("energy", ()), ("forces", (len(asked), 3))))
    largest = np.unravel_index(np.abs(forces).argmax(), forces.shape)
    if abs(forces[largest]) > limits.force:
        atom = int(largest[0])
        raise InvalidLabelError(
            f"`forces` must be at most {limits.force:g} eV/Å; got {forces[largest]:.6g} on atom {atom} ({asked.symbols[atom]})."
        )
    usual, per_atom = limits.medians.get(_composition(asked)), float(energy) / len(asked)
    if usual is not None and abs(per_atom - usual) > limits.energy:
        raise InvalidLabelError(
            f"`energy` must be within {limits.energy:g} eV/atom of {usual:.6g}, the median of this composition; got "
            f"{per_atom:.6g} eV/atom."
        )
    kept: dict[str, Any] = {"energy": float(energy), "forces": forces}
    if results.get("stress") is not None and asked.pbc.any() and asked.cell.rank == 3:
        kept["stress"] = _finite(results, "stress", (6,))
    label = asked.copy()
    label.calc = SinglePointCalculator(label, **kept)
    return label


def _finite(results: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    if results.get(name) is None:
        raise InvalidLabelError(f"`{name}` must be there; got results {sorted(results)}.")
    value = np.asarray(results[name], float)
    if name == "stress" and value.shape == (3, 3):
        value = voigt(value)
    if value.shape != shape:
        raise InvalidLabelError(f"`{name}` must have shape {shape}; got {value.shape}.")
    if not np.isfinite(value).all():
        raise InvalidLabelError(f"`{name}` must be finite; got {value[~np.isfinite(value)][0]}.")
    return value


def _check_structure(asked: Atoms, answer: Atoms) -> None:
    if len(answer) != len(asked):
        raise InvalidLabelError(f"The label must have {len(asked)} atoms; got {len(answer)}.")
    if not (answer.pbc == asked.pbc).all():
        raise InvalidLabelError(f"`pbc` must be {asked.pbc.tolist()}; got {answer.pbc.tolist()}.")
    apart = np.abs(answer.cell.array - asked.cell.array).max()
    if not apart < _CLOSE:
        raise InvalidLabelError(f"`cell` must be the one that was asked for; got one that differs by {apart:.3g} Å.")
    same = (_distances(answer.positions, asked) < _CLOSE) & (answer.numbers == asked.numbers)
    if same.all():
        return
    first = int(np.flatnonzero(~same)[0])
    for other in np.flatnonzero(asked.numbers == answer.numbers[first]):
        if other != first and _distances(answer.positions[[first]], asked[[other]])[0] < _CLOSE:
            raise InvalidLabelError(
                f"Atoms must come back in the order they were sent in; got atom {other} ({asked.symbols[other]}) in the "
                f"place of atom {first}, and {int((~same).sum())} in all are elsewhere. Undo the sorting first."
            )
    if answer.numbers[first] != asked.numbers[first]:
        raise InvalidLabelError(f"Atom {first} must be {asked.symbols[first]}; got {answer.symbols[first]}.")
    moved = _distances(answer.positions, asked)[first]
    raise InvalidLabelError(f"Atoms must not be moved; got atom {first} {moved:.3g} Å from where it was sent.")


def _distances(positions: NDArray[np.float64], asked: Atoms) -> NDArray[np.float64]:
    """Distance of each position from that of the atom in its place, through the periodic boundaries."""
    if not np.isfinite(positions).all():
        raise InvalidLabelError("`positions` must be finite; got NaN or infinity.")
    difference = positions - asked.positions
    periodic = asked.pbc & asked.cell.any(1)
    result: NDArray[np.float64] = (
        find_mic(difference, asked.cell, periodic)[1] if periodic.any() else np.linalg.norm(difference, axis=1)
    )
    return result


def _composition(atoms: Atoms) -> str:
    """Reduced formula: Cu2Au2 and CuAu are one composition."""
    return str(atoms.symbols.formula.reduce()[0].format("hill"))
