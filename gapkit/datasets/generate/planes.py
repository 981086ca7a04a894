"""Plane defects of crystals: surfaces, terraces, stacking faults, grain boundaries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import surface as ase_surface
from ase.neighborlist import neighbor_list

from ..._validation import check_integer, check_real, describe
from .base import Made, Plan, check_crystals, nearest_distance, rattled

__all__ = ["cut_crystal", "grain_boundary", "make_slab", "stacking_fault", "surface", "terrace"]

Face = tuple[int, int, int]

_SAME_PLANE = 0.05  # Å
_MERGED = 0.75  # of the distance of nearest neighbours: atoms of two grains that are closer are one


def cut_crystal(conventional: Atoms, face: Face) -> tuple[Atoms, float]:
    """One layer of a crystal between two planes, the cut where planes are farthest apart.

    Parameters
    ----------
    conventional : ase.Atoms
        Conventional cell.
    face : (h, k, l)
        Miller indices in it.

    Returns
    -------
    layer : ase.Atoms
        Periodic in three directions; the first two vectors are in the plane, normal to z, the third leads from one layer to
        the next, and the cut is at z = 0.
    height : float
        Of the layer along z, Å.
    """
    # ASE stacks layers as they are in the crystal, but its third vector forgets how: repeated, it gives another crystal
    two = ase_surface(conventional, face, 2)
    layer = two[: len(conventional)]
    plane = np.array([*two.cell.array[:2], (0.0, 0.0, 1.0)])
    up = two.positions[len(layer)] - two.positions[0]
    up -= np.rint(np.linalg.solve(plane.T, up) * (1, 1, 0)) @ plane  # as upright as can be
    layer.set_cell([*plane[:2], up])
    layer.pbc = True
    height = float(up[2])
    fractions = np.sort(layer.get_scaled_positions()[:, 2] % 1.0)
    gaps = np.diff(np.append(fractions, fractions[0] + 1.0))
    widest = int(np.flatnonzero(gaps > gaps.max() - _SAME_PLANE / height)[0])  # the first of those as wide
    cut = fractions[widest] + gaps[widest] / 2
    layer.set_scaled_positions((layer.get_scaled_positions() - (0.0, 0.0, cut)) % 1.0)
    return layer, height


def make_slab(conventional: Atoms, face: Face, *, thickness: float = 12.0, vacuum: float = 15.0) -> Atoms:
    """A slab, cut where planes are farthest apart.

    Parameters
    ----------
    conventional : ase.Atoms
        Conventional cell of the crystal.
    face : (h, k, l)
        Miller indices.
    thickness : float, default 12
        Of the slab at least, Å.
    vacuum : float, default 15
        Å.

    Returns
    -------
    ase.Atoms
        Periodic along the surface; the third vector is normal to it.
    """
    layer, height = cut_crystal(conventional, face)
    slab: Atoms = layer.repeat((1, 1, int(np.ceil(thickness / height))))
    slab.set_cell([slab.cell[0], slab.cell[1], (0.0, 0.0, slab.cell[2, 2])])
    slab.pbc = (True, True, False)
    slab.wrap()
    slab.center(vacuum=vacuum / 2, axis=2)
    return slab


def surface(
    starts: Sequence[Atoms],
    rng: np.random.Generator,
    *,
    faces: Any = ((1, 0, 0), (1, 1, 0), (1, 1, 1)),
    n: int = 3,
    thickness: float = 10.0,
    vacuum: float = 12.0,
    min_edge: float = 5.0,
    rattle: float = 0.05,
) -> Plan:
    """Slabs: the first of each face as it is cut, the others rattled.

    Parameters
    ----------
    faces : list of [h, k, l]
        Miller indices in the cell of the start; give a conventional one.
    n : int
        Of each face of each start.
    thickness, vacuum : float
        Å.
    min_edge : float
        The slab is repeated until its edges along the surface are as long, Å.
    rattle : float
        Å.
    """
    indices = _checked("surface", starts, faces, n, thickness, rattle)
    _check_lengths("surface", vacuum=vacuum, min_edge=min_edge)

    def structures() -> Iterator[Made]:
        for k, atoms in enumerate(starts):
            for face in indices:
                slab = _widened(make_slab(atoms, face, thickness=thickness, vacuum=vacuum), min_edge, min_edge)
                for number in range(n):
                    yield Made(rattled(slab, rattle if number else 0.0, rng), {"start": k, "face": _name(face)})

    return Plan(n * len(indices) * len(starts), structures())


def terrace(
    starts: Sequence[Atoms],
    rng: np.random.Generator,
    *,
    faces: Any = ((1, 0, 0), (1, 1, 1)),
    n: int = 2,
    thickness: float = 8.0,
    vacuum: float = 12.0,
    width: float = 14.0,
    min_edge: float = 5.0,
    rattle: float = 0.05,
) -> Plan:
    """Slabs of which half of the uppermost layer is missing: two steps, and terraces between them.

    Parameters
    ----------
    faces, n, thickness, vacuum, rattle
        As for surfaces.
    width : float
        Of the cell across the steps at least, Å: two terraces.
    min_edge : float
        Of the cell along the steps at least, Å.
    """
    indices = _checked("terrace", starts, faces, n, thickness, rattle)
    _check_lengths("terrace", vacuum=vacuum, width=width, min_edge=min_edge)

    def structures() -> Iterator[Made]:
        for k, atoms in enumerate(starts):
            for face in indices:
                slab = _widened(make_slab(atoms, face, thickness=thickness, vacuum=vacuum), width, min_edge, least=2)
                heights = np.unique(np.round(slab.positions[:, 2], 3))
                gaps = np.diff(heights)
                wide = np.flatnonzero(gaps > gaps.max() - _SAME_PLANE)[-1]
                upper = slab.positions[:, 2] > heights[wide] + 0.5 * gaps[wide]
                across = np.round(slab.get_scaled_positions()[:, 0], 6) % 1.0
                del slab[np.flatnonzero(upper & (across < 0.5))]
                for number in range(n):
                    yield Made(rattled(slab, rattle if number else 0.0, rng), {"start": k, "face": _name(face)})

    return Plan(n * len(indices) * len(starts), structures())


def stacking_fault(
    starts: Sequence[Atoms],
    rng: np.random.Generator,
    *,
    faces: Any = ((1, 1, 1),),
    n: int = 10,
    thickness: float = 10.0,
    rattle: float = 0.02,
) -> Plan:
    """Crystals of which one half is shifted along a plane by a random vector: points of the generalised stacking fault surface.

    Parameters
    ----------
    faces, n, rattle
        As for surfaces.
    thickness : float
        Distance of faults, which are periodic, at least, Å.
    """
    indices = _checked("stacking_fault", starts, faces, n, thickness, rattle)

    def structures() -> Iterator[Made]:
        for k, atoms in enumerate(starts):
            for face in indices:
                layer, height = cut_crystal(atoms, face)
                crystal = layer.repeat((1, 1, int(np.ceil(thickness / height))))
                for _ in range(n):
                    shift = rng.uniform(0.0, 1.0, 2)
                    fault = rattled(crystal, rattle, rng)
                    cell = fault.cell.array.copy()
                    cell[2] += shift @ cell[:2]  # the image above is shifted: one fault a cell, at z = 0
                    fault.set_cell(cell)
                    yield Made(fault, {"start": k, "face": _name(face), "shift": [float(s) for s in shift]})

    return Plan(n * len(indices) * len(starts), structures())


def grain_boundary(
    starts: Sequence[Atoms],
    rng: np.random.Generator,
    *,
    faces: Any = ((2, 1, 0), (3, 1, 0)),
    n: int = 5,
    thickness: float = 8.0,
    rattle: float = 0.02,
) -> Plan:
    """Symmetric tilt boundaries: a crystal and its mirror image behind a plane, shifted along it by a random vector.

    Of cubic crystals (2 1 0) and (3 1 0) are Σ5 boundaries, (1 1 1) and (1 1 2) the coherent and incoherent twin.  Of two atoms
    closer than 0.75 times the distance of nearest neighbours one is removed.  A cell has two boundaries.

    Parameters
    ----------
    faces, n, rattle
        As for surfaces.
    thickness : float
        Of each of the two grains at least, Å.
    """
    indices = _checked("grain_boundary", starts, faces, n, thickness, rattle)

    def structures() -> Iterator[Made]:
        for k, atoms in enumerate(starts):
            bond = nearest_distance(atoms)
            for face in indices:
                layer, height = cut_crystal(atoms, face)
                grain = layer.repeat((1, 1, int(np.ceil(thickness / height))))
                top = float(grain.cell[2, 2])
                for _ in range(n):
                    shift = rng.uniform(0.0, 1.0, 2)
                    mirror = grain.copy()
                    mirror.positions[:, 2] = 2.0 * top - mirror.positions[:, 2]
                    mirror.positions += shift @ grain.cell.array[:2]
                    both = grain + mirror
                    both.set_cell([grain.cell[0], grain.cell[1], (0.0, 0.0, 2.0 * top)])
                    both.wrap()
                    merged = _merged(both, _MERGED * bond)
                    details = {"start": k, "face": _name(face), "shift": [float(s) for s in shift]}
                    yield Made(rattled(merged, rattle, rng), {**details, "removed": len(both) - len(merged)})

    return Plan(n * len(indices) * len(starts), structures())


def _merged(atoms: Atoms, distance: float) -> Atoms:
    """Remove the second of every two atoms that are closer."""
    first, second = neighbor_list("ij", atoms, distance)
    gone: set[int] = set()
    for i, j in zip(first.tolist(), second.tolist(), strict=True):
        if i < j and i not in gone:
            gone.add(j)
    result: Atoms = atoms.copy()
    del result[sorted(gone)]
    return result


def _widened(slab: Atoms, first: float, second: float, least: int = 1) -> Atoms:
    a, b = slab.cell.lengths()[:2]
    repeated: Atoms = slab.repeat((max(least, int(np.ceil(first / a - 1e-3))), max(1, int(np.ceil(second / b - 1e-3))), 1))
    return repeated


def _checked(kind: str, starts: Sequence[Atoms], faces: Any, n: int, thickness: float, rattle: float) -> list[Face]:
    check_crystals(starts, kind)
    check_integer(f"{kind}.n", n, at_least=1)
    check_real(f"{kind}.thickness", thickness, above=0.0, at_most=1000.0)
    check_real(f"{kind}.rattle", rattle, at_least=0.0)
    rows = list(faces) if isinstance(faces, list | tuple) else []
    for row in rows or [None]:
        is_face = isinstance(row, list | tuple) and len(row) == 3 and all(type(i) is int for i in row) and any(row)
        if not is_face:
            rule = "a list of Miller indices [h, k, l]"
            raise ValueError(describe(f"{kind}.faces", rule, faces, "For example [[1, 1, 1]]."))
    return [(h, k, l) for h, k, l in rows]


def _check_lengths(kind: str, **lengths: float) -> None:
    for name, value in lengths.items():
        check_real(f"{kind}.{name}", value, at_least=0.0, remedy="It is in Å.")


def _name(face: Face) -> str:
    return "".join(map(str, face))
