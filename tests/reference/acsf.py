"""Symmetry functions as their formulas read: plain Python over neighbours and pairs of neighbours; the truth of the tests."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list


def acsf(atoms: Atoms, species: list[int], r_cut: float, g2, g3, g4, g5) -> np.ndarray:
    def f(r: float) -> float:
        return 0.5 * (np.cos(np.pi * r / r_cut) + 1.0) if r < r_cut else 0.0

    i_list, j_list, vectors = neighbor_list("ijD", atoms, r_cut)
    result = []
    for i in range(len(atoms)):
        mine = [(species.index(atoms.numbers[j]), d) for a, j, d in zip(i_list, j_list, vectors, strict=True) if a == i]
        features = []
        for s in range(len(species)):
            distances = [np.linalg.norm(d) for t, d in mine if t == s]
            features.append(sum(f(r) for r in distances))
            features += [sum(np.exp(-eta * (r - shift) ** 2) * f(r) for r in distances) for eta, shift in g2]
            features += [sum(np.cos(kappa * r) * f(r) for r in distances) for kappa in g3]
        for high in range(len(species)):
            for low in range(high + 1):
                triplets = [(d, e) for k, (s, d) in enumerate(mine) for t, e in mine[:k] if sorted((s, t)) == [low, high]]
                for narrow, parameters in ((True, g4), (False, g5)):
                    for eta, zeta, sign in parameters:
                        total = 0.0
                        for d, e in triplets:
                            a, b, c = np.linalg.norm(d), np.linalg.norm(e), np.linalg.norm(d - e)
                            angle = 2.0 ** (1 - zeta) * (1 + sign * (d @ e) / (a * b)) ** zeta
                            square = a**2 + b**2 + (c**2 if narrow else 0.0)
                            total += angle * np.exp(-eta * square) * f(a) * f(b) * (f(c) if narrow else 1.0)
                        features.append(total)
        result.append(features)
    return np.array(result)
