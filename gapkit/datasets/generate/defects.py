"""Point defects: vacancies, pairs of them, interstitial atoms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from ase import Atom, Atoms
from ase.data import atomic_numbers
from ase.geometry import get_distances
from scipy.spatial import Voronoi

from ..._validation import check_integer, check_real
from ...exceptions import ConfigError
from .base import Array, Made, Plan, check_atoms, check_crystals, nearest_distance, rattled, supercell

__all__ = ["divacancy", "interstitial", "vacancy", "voids"]

_SAME = 0.05  # Å: sites and distances that differ by less are one
_DUMBBELL = 0.8  # of the distance of nearest neighbours: between the two atoms of a dumbbell


def _cells(starts: Sequence[Atoms], kind: str, n: int, min_edge: float, rattle: float, least: int) -> list[Atoms]:
    check_crystals(starts, kind)
    check_integer(f"{kind}.n", n, at_least=1)
    check_real(f"{kind}.min_edge", min_edge, at_least=0.0)
    check_real(f"{kind}.rattle", rattle, at_least=0.0)
    cells = [supercell(atoms, min_edge) for atoms in starts]
    for cell in cells:
        check_atoms(cell, least, kind)
    return cells


def vacancy(
    starts: Sequence[Atoms], rng: np.random.Generator, *, n: int = 5, min_edge: float = 8.0, rattle: float = 0.05
) -> Plan:
    """Supercells without one atom, another one each time.

    Parameters
    ----------
    n : int
        Of each start.
    min_edge : float
        Cells are repeated until every edge is as long, Å.
    rattle : float
        Width of the displacements of all atoms, Å, of each component.
    """
    cells = _cells(starts, "vacancy", n, min_edge, rattle, 2)

    def structures() -> Iterator[Made]:
        for k, cell in enumerate(cells):
            order = rng.permutation(len(cell))
            for number in range(n):
                site = int(order[number % len(cell)])
                copy = rattled(cell, rattle, rng)
                details = {"start": k, "removed": f"{copy.symbols[site]}{site}"}
                del copy[site]
                yield Made(copy, details)

    return Plan(n * len(cells), structures())


def divacancy(
    starts: Sequence[Atoms], rng: np.random.Generator, *, n: int = 5, min_edge: float = 8.0, rattle: float = 0.05
) -> Plan:
    """Supercells without two atoms: nearest neighbours, then those of the second shell, and so on.

    Parameters
    ----------
    n : int
        Of each start.
    min_edge, rattle : float
        As for a vacancy.
    """
    cells = _cells(starts, "divacancy", n, min_edge, rattle, 3)

    def structures() -> Iterator[Made]:
        for k, cell in enumerate(cells):
            for number in range(n):
                first = int(rng.integers(len(cell)))
                distances = cell.get_distances(first, np.arange(len(cell)), mic=True)
                order = np.argsort(distances, kind="stable")[1:]
                shells = np.split(order, np.flatnonzero(np.diff(distances[order]) > _SAME) + 1)
                second = int(rng.choice(shells[number % len(shells)]))
                copy = rattled(cell, rattle, rng)
                del copy[[first, second]]
                yield Made(copy, {"start": k, "distance": float(distances[second])})

    return Plan(n * len(cells), structures())


def interstitial(
    starts: Sequence[Atoms],
    rng: np.random.Generator,
    *,
    n: int = 6,
    species: str | None = None,
    min_edge: float = 8.0,
    rattle: float = 0.05,
) -> Plan:
    """Supercells with one atom more: in voids of the crystal, largest first, and as dumbbells in random directions, in turns.

    Parameters
    ----------
    n : int
        Of each start.
    species : str, optional
        Of the atom; default: each of the crystal in turn.
    min_edge, rattle : float
        As for a vacancy.
    """
    if species is not None and species not in atomic_numbers:
        raise ConfigError(f"`interstitial.species` must be an element; got {species!r}. For example Si.")
    cells = _cells(starts, "interstitial", n, min_edge, rattle, 1)

    def structures() -> Iterator[Made]:
        for k, cell in enumerate(cells):
            sites, radii = voids(starts[k])
            symbols = [species] if species else sorted(set(cell.symbols))
            bond = nearest_distance(cell)
            for number in range(n):
                symbol = symbols[number // 2 % len(symbols)]
                copy = rattled(cell, rattle, rng)
                if number % 2 == 0:
                    site = number // 2 % len(sites)
                    copy.append(Atom(symbol, sites[site]))
                    details = {"start": k, "added": symbol, "site": "void", "radius": float(radii[site])}
                else:
                    host, direction = int(rng.integers(len(copy))), rng.normal(size=3)
                    half = 0.5 * _DUMBBELL * bond * direction / np.linalg.norm(direction)
                    copy.append(Atom(symbol, copy.positions[host] + half))
                    copy.positions[host] -= half
                    details = {"start": k, "added": symbol, "site": "dumbbell"}
                yield Made(copy, details)

    return Plan(n * len(cells), structures())


def voids(atoms: Atoms) -> tuple[Array, Array]:
    """Where a crystal has most room: vertices of its Voronoi cells, one for each distance to the nearest atom.

    Parameters
    ----------
    atoms : ase.Atoms
        Periodic in three directions.

    Returns
    -------
    positions : ndarray of shape (n, 3)
        Å, those farthest from atoms first.
    radii : ndarray of shape (n,)
        Distance to the nearest atom, Å.
    """
    images = atoms.repeat((5, 5, 5)) if len(atoms) < 8 else atoms.repeat((3, 3, 3))
    vertices = Voronoi(images.positions).vertices
    half = 2 if len(atoms) < 8 else 1
    fractions = np.linalg.solve(atoms.cell.array.T, vertices.T).T - half
    fractions = fractions[((fractions > -1e-6) & (fractions < 1.0 - 1e-6)).all(1)]
    positions = fractions @ atoms.cell.array
    radii = get_distances(positions, atoms.positions, cell=atoms.cell, pbc=True)[1].min(axis=1)
    order = np.lexsort((*np.round(fractions, 4).T, -np.round(radii, 3)))
    kept: list[int] = []
    for k in order:
        if not kept or radii[kept[-1]] - radii[k] > _SAME:
            kept.append(int(k))
    return positions[kept], radii[kept]
