"""Rows of a design matrix, label by label: sums over atoms of plain kernels and their chain-rule derivatives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ase import Atoms

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))

Feature = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""x (d,) -> values (m,) and their derivatives (m, d): kernels with m sparse points, or an explicit feature map."""


def dot_product(points: np.ndarray, zeta: float) -> Feature:
    return lambda x: ((points @ x) ** zeta, zeta * ((points @ x) ** (zeta - 1))[:, None] * points)


def rbf(points: np.ndarray, length: float) -> Feature:
    def feature(x):
        k = np.exp(-np.sum((x - points) ** 2, axis=1) / (2 * length**2))
        return k, -k[:, None] * (x - points) / length**2

    return feature


def linear_map(d: int) -> Feature:
    return lambda x: (x, np.eye(d))


def quadratic_map(d: int) -> Feature:
    """phi(x).phi(s) = (x.s)^2."""

    def feature(x):
        derivative = np.einsum("ac,b->abc", np.eye(d), x) + np.einsum("a,bc->abc", x, np.eye(d))
        return np.outer(x, x).ravel(), derivative.reshape(d * d, d)

    return feature


def label_rows(
    atoms: Atoms, soap: tuple[np.ndarray, np.ndarray, np.ndarray], features: dict[int, Feature]
) -> dict[str, np.ndarray]:
    """Rows of local energies, energy, forces and stress; columns of the species follow each other by atomic number."""
    x, dx, dx_strain = soap
    n = len(atoms)
    blocks = []
    for z in sorted(features):
        values, derivatives = zip(*(features[z](xi) for xi in x), strict=True)
        mask = (atoms.numbers == z).astype(float)
        value = np.array(values) * mask[:, None]
        derivative = np.array(derivatives) * mask[:, None, None]
        force = -np.einsum("imf,iacf->acm", derivative, dx).reshape(3 * n, -1)
        strain = np.einsum("imf,iabf->abm", derivative, dx_strain)
        stress = np.array([(strain[a, b] + strain[b, a]) / 2 for a, b in VOIGT])
        if atoms.cell.rank == 3:
            stress /= atoms.get_volume()
        blocks.append({"local": value, "energy": value.sum(axis=0)[None], "forces": force, "stress": stress})
    return {key: np.hstack([b[key] for b in blocks]) for key in blocks[0]}


def second_derivative(kernel: str, x: np.ndarray, s: np.ndarray) -> np.ndarray:
    """d2 k / dx ds of (x.s)^3, or of exp(-(x - s)^2 / (2 0.8^2))."""
    if kernel == "dot product":
        return 3 * (x @ s) ** 2 * np.eye(len(x)) + 6 * (x @ s) * np.outer(s, x)
    k = np.exp(-np.sum((x - s) ** 2) / (2 * 0.8**2))
    return k * (np.eye(len(x)) / 0.8**2 - np.outer(x - s, x - s) / 0.8**4)
