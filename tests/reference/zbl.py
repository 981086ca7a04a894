"""Ziegler-Biersack-Littmark repulsion, pair by pair in plain NumPy."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

COULOMB = 14.399645  # eV Å
BOHR = 0.529177  # Å


def zbl_pair(r: np.ndarray, z1: int, z2: int) -> np.ndarray:
    """Unswitched energy of a pair, eV."""
    x = r * (z1**0.23 + z2**0.23) / (0.8854 * BOHR)
    terms = zip((0.18175, 0.50986, 0.28022, 0.02817), (3.19980, 0.94229, 0.40290, 0.20162), strict=True)
    return COULOMB * z1 * z2 / r * sum(c * np.exp(-d * x) for c, d in terms)


def switch(r: np.ndarray, inner: float, outer: float) -> np.ndarray:
    """Quintic step: 1 below inner, 0 above outer."""
    t = np.clip((np.asarray(r) - inner) / (outer - inner), 0.0, 1.0)
    return 1.0 - t**3 * (10.0 - 15.0 * t + 6.0 * t**2)


def zbl_energies(atoms: Atoms, inner: dict[str, float], outer: dict[str, float]) -> np.ndarray:
    """Energy of each atom, eV: half of each of its pairs."""
    energies = np.zeros(len(atoms))
    for i, j, r in zip(*neighbor_list("ijd", atoms, max(outer.values())), strict=True):
        z1, z2 = sorted(int(z) for z in atoms.numbers[[i, j]])
        name = f"{Atoms([z1]).symbols}-{Atoms([z2]).symbols}"
        energies[i] += 0.5 * zbl_pair(r, z1, z2) * switch(r, inner[name], outer[name])
    return energies
