"""Energies of isolated atoms: the constant per species that the Gaussian process does not have to learn."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray

from .._validation import check_real, describe
from ..descriptors.base import species_of
from ..exceptions import InvalidLabelError, LabelWarning
from ..gp.observations import Labels
from ..neighbors import NeighborList

__all__ = ["AtomicEnergies", "fit_atomic_energies", "isolated_atoms"]

AtomicEnergies = dict[int, float]
"""Atomic number -> energy of the isolated atom, eV."""


def isolated_atoms(frames: Sequence[Atoms], neighbor_range: float) -> list[int]:
    """Indices of frames that hold one atom without any neighbour (no image either) within the range."""
    return [
        k
        for k, atoms in enumerate(frames)
        if len(atoms) == 1 and len(NeighborList.from_atoms([atoms], neighbor_range, first_frame=k).centers) == 0
    ]


def fit_atomic_energies(
    frames: Sequence[Atoms], labels: Sequence[Labels], e0: object, neighbor_range: float
) -> tuple[AtomicEnergies, dict[int, str]]:
    """Energy of each species' isolated atom.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Training structures.
    labels : sequence of Labels
        Their labels.
    e0 : "auto", float, or dict of str to float
        "auto": from isolated-atom frames; species without one by least squares of the energy per atom on the others.
    neighbor_range : float
        Range of the model, Å.

    Returns
    -------
    energies : dict of int to float
        eV.
    sources : dict of int to str
        "given", "isolated atom", "least squares" or "zero" for each species.

    Raises
    ------
    InvalidLabelError
        If two isolated-atom frames of one species disagree by more than 1 meV.
    """
    species = species_of(frames)
    if isinstance(e0, Mapping):
        unknown = [s for s in e0 if s not in chemical_symbols]
        missing = [chemical_symbols[z] for z in species if chemical_symbols[z] not in e0]
        if unknown or missing:
            raise ValueError(
                describe("e0", f"a dict with one energy per species; missing {missing}, unknown {unknown}", dict(e0))
            )
        return {z: check_real("e0", e0[chemical_symbols[z]]) for z in species}, dict.fromkeys(species, "given")
    if e0 != "auto":
        value = check_real("e0", e0, remedy='Write "auto", one number, or {"Si": -0.8, ...}.')
        return dict.fromkeys(species, value), dict.fromkeys(species, "given")
    energies: AtomicEnergies = {}
    for k in isolated_atoms(frames, neighbor_range):
        energy, z = labels[k].energy, int(frames[k].numbers[0])
        if energy is None:
            continue
        if abs(energies.setdefault(z, energy) - energy) > 1e-3:
            raise InvalidLabelError(
                f"Isolated atoms of one species must have one energy; got {energies[z]} and {energy} eV for "
                f"{chemical_symbols[z]} (frame {k}). Keep the frame with the right spin state."
            )
    sources = dict.fromkeys(energies, "isolated atom")
    rest = [z for z in species if z not in energies]
    if rest:
        fitted, source = _least_squares(frames, labels, energies, rest)
        energies.update(fitted)
        sources.update(dict.fromkeys(rest, source))
    return energies, sources


def _least_squares(
    frames: Sequence[Atoms], labels: Sequence[Labels], known: AtomicEnergies, rest: Sequence[int]
) -> tuple[AtomicEnergies, str]:
    """Minimum-norm solution of E/N = sum_z (n_z / N) e_z over the frames with a species of unknown energy."""
    fractions, targets = [], []
    for atoms, label in zip(frames, labels, strict=True):
        counts = np.array([np.count_nonzero(atoms.numbers == z) for z in rest])
        if label.energy is not None and counts.any():
            fixed = sum(known[z] * np.count_nonzero(atoms.numbers == z) for z in known)
            fractions.append(counts / len(atoms))
            targets.append((label.energy - fixed) / len(atoms))
    if not targets:
        names = ", ".join(chemical_symbols[z] for z in rest)
        warnings.warn(
            f"No frame with an energy contains {names}: the energy of the isolated atom is set to 0, so only energy "
            "differences mean something. Add an isolated-atom frame or give e0.",
            LabelWarning,
            stacklevel=2,
        )
        return dict.fromkeys(rest, 0.0), "zero"
    matrix = np.array(fractions)
    solution, _, rank, _ = np.linalg.lstsq(matrix, np.array(targets), rcond=1e-10)
    if rank < len(rest):
        warnings.warn(
            "The compositions of the training set leave combinations of atomic energies undetermined: "
            + "; ".join(_combination(v, rest) for v in np.linalg.svd(matrix)[2][rank:])
            + ". The smallest solution is taken: energies of these compositions are right, those of others are not. Add "
            "isolated-atom frames or give e0.",
            LabelWarning,
            stacklevel=2,
        )
    return {z: float(e) for z, e in zip(rest, solution, strict=True)}, "least squares"


def _combination(vector: NDArray[np.float64], species: Sequence[int]) -> str:
    """Write a vector of coefficients as "1 e0(H) - 2 e0(O)"."""
    large = vector[np.abs(vector) > 1e-6]
    scaled = vector / np.abs(large).min() * np.sign(large[0])
    parts = [(float(c), chemical_symbols[z]) for c, z in zip(scaled, species, strict=True) if abs(c) > 1e-6]
    text = " ".join(f"{'-' if c < 0 else '+'} {abs(c):.3g} e0({symbol})" for c, symbol in parts)
    return text.removeprefix("+ ")
