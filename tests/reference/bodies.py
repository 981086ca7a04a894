"""Pairs and triplets, one by one, from ASE's neighbour list: features, weights, group names, atoms."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, permutations

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


def clusters(atoms: Atoms, r_cut: float, width: float, order: int) -> Iterator[tuple[str, np.ndarray, float, tuple[int, ...]]]:
    """Every centre with every set of neighbours of its species: the distances, from the centre first; all the atoms."""
    i, j, vectors = neighbor_list("ijD", atoms, r_cut)
    for centre in range(len(atoms)):
        alike = np.flatnonzero((i == centre) & (atoms.numbers[j] == atoms.numbers[centre]))
        for others in combinations(alike, order - 1):
            points = [np.zeros(3), *vectors[list(others)]]
            x = np.array([np.linalg.norm(b - a) for a, b in combinations(points, 2)])
            name = "-".join([atoms.symbols[centre]] * order)
            yield name, x, float(np.prod([cutoff(r, r_cut, width) for r in x[: order - 1]])), (centre, *j[list(others)])


def cluster_kernel(x: np.ndarray, s: np.ndarray, order: int, theta: float) -> float:
    """QUIP's sum over permutations of the atoms, normalised; the distances as matrices."""

    def matrix(distances: np.ndarray) -> np.ndarray:
        result = np.zeros((order, order))
        result[np.triu_indices(order, 1)] = distances
        return result + result.T

    def total(a: np.ndarray, b: np.ndarray) -> float:
        moved = (matrix(a)[np.ix_(p, p)] for p in permutations(range(order)))
        return sum(np.exp(-np.sum((m - matrix(b)) ** 2) / (4 * theta**2)) for m in moved)  # every distance is there twice

    return total(x, s) / np.sqrt(total(x, x) * total(s, s))
