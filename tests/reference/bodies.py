"""Pairs and triplets, one by one, from ASE's neighbour list: features, weights, group names, atoms."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.neighborlist import neighbor_list


def cutoff(r: float, r_cut: float, width: float) -> float:
    if r <= r_cut - width:
        return 1.0
    return 0.5 * (1 + np.cos(np.pi * (r - r_cut + width) / width)) if r < r_cut else 0.0


def named(*symbols: str) -> str:
    return "-".join(sorted(symbols, key=lambda s: atomic_numbers[s]))


def pairs(atoms: Atoms, r_cut: float, width: float) -> Iterator[tuple[str, np.ndarray, float, tuple[int, int]]]:
    """Every undirected pair once."""
    for i, j, d, s in zip(*neighbor_list("ijdS", atoms, r_cut), strict=True):
        if (i, tuple(s)) < (j, tuple(-s)):
            yield named(atoms.symbols[i], atoms.symbols[j]), np.array([d]), cutoff(d, r_cut, width), (int(i), int(j))


def triplets(atoms: Atoms, r_cut: float, width: float) -> Iterator[tuple[str, np.ndarray, float, tuple[int]]]:
    """Every centre with every unordered pair of neighbours."""
    i, j, vectors = neighbor_list("ijD", atoms, r_cut)
    for centre in range(len(atoms)):
        for a, b in combinations(np.flatnonzero(i == centre), 2):
            ra, rb = np.linalg.norm(vectors[a]), np.linalg.norm(vectors[b])
            low, high = named(atoms.symbols[j[a]], atoms.symbols[j[b]]).split("-")
            x = np.array([ra + rb, (ra - rb) ** 2, np.linalg.norm(vectors[a] - vectors[b])])
            yield f"{low}-{atoms.symbols[centre]}-{high}", x, cutoff(ra, r_cut, width) * cutoff(rb, r_cut, width), (centre,)
