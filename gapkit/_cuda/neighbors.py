"""Neighbour list on the device: cell list, Verlet skin; the pairs are those of vesin.

Atoms are numbered anew, by species and then by bin: environments of one species follow each other, and so do atoms that
are close.  Every number of pairs and of atoms here is of that order; ``atoms`` says which atom was given where.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .geometry import Geometry
from .launch import launch

__all__ = ["find_pairs"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

_BINS_PER_ATOM = 4  # most bins are empty beyond that
_MARGIN = 1e-9  # of a bin: coordinates at its edge are rounded to either side


def find_pairs(
    positions: Any,
    cell: Array,
    pbc: NDArray[np.bool_],
    species: Index,
    n_species: int,
    cutoff: float,
    xp: Any,
    *,
    skin: float = 0.0,
) -> Geometry:
    """All pairs closer than ``cutoff + skin``.

    Parameters
    ----------
    positions : CuPy array of shape (n_atoms, 3)
        Å, wrapped into the cell or not.
    cell : ndarray of shape (3, 3)
        Three independent vectors as rows, Å; those of directions that are not periodic only define coordinates.
    pbc : ndarray of shape (3,)
        Periodic directions.
    species : ndarray of shape (n_atoms,)
        Index of the species of each atom.
    n_species : int
        Number of species.
    cutoff : float
        Largest distance that matters, Å.
    xp : module
        CuPy.
    skin : float, default 0
        Extra range for molecular dynamics, Å.

    Returns
    -------
    Geometry
    """
    n_atoms, cutoff = len(species), cutoff + skin
    inverse: Array = np.linalg.inv(cell).astype(float)
    low, width = _box(positions, inverse, pbc, xp)
    heights = 1.0 / np.linalg.norm(inverse, axis=0)
    count = np.maximum(np.floor(heights * width / cutoff), 1.0)
    count = np.minimum(count, np.ceil(np.cbrt(_BINS_PER_ATOM * n_atoms) * count / np.cbrt(count.prod()))).astype(np.int64)
    # a bin farther than that begins at least the cutoff away
    reach = np.ceil(cutoff * count / (heights * width) * (1.0 + _MARGIN)).astype(np.int64)
    reach = np.where(pbc, reach, np.minimum(reach, count - 1))
    on_device = {"cell": cell, "inverse": inverse, "periodic": pbc.astype(np.int64), "count": count, "reach": reach}
    on_device |= {"low": low, "scale": count / width, "voigt": np.array([0, 4, 8, 5, 2, 1])}
    d = {name: xp.asarray(np.ascontiguousarray(value)) for name, value in on_device.items()}
    given = xp.asarray(species)
    bins, wraps, keys = xp.empty((n_atoms, 3), np.int64), xp.empty((n_atoms, 3), np.int64), xp.empty(n_atoms, np.int64)
    launch(
        "bin_of", n_atoms, positions, d["inverse"], d["periodic"], d["low"], d["scale"], d["count"], given, bins, wraps, keys
    )
    atoms = xp.argsort(keys)
    start = xp.searchsorted(keys[atoms], xp.arange(n_species * int(count.prod()) + 1) * n_atoms)
    bins, wraps, ordered = bins[atoms], wraps[atoms], positions[atoms]
    first, n_row = xp.zeros(n_atoms + 1, np.int64), xp.empty(n_atoms, np.int64)
    of_search = d["periodic"], d["count"], d["reach"], n_species, bins, wraps, start, first, n_row

    def rows(write: int, n_pairs: int) -> tuple[Any, Any, Any]:
        pairs = xp.empty(n_pairs, np.int64), xp.empty(n_pairs, np.int64), xp.empty((n_pairs, 3), np.int64)
        launch("row", n_atoms, write, cutoff * cutoff, ordered, d["cell"], *of_search, *pairs)
        return pairs

    rows(0, 0)
    first[1:] = xp.cumsum(n_row)
    host_first = xp.asnumpy(first)
    n_pairs = int(host_first[-1])
    centers, neighbors, shifts = rows(1, n_pairs)
    reverse = xp.empty(n_pairs, np.int64)
    launch("reverse", n_pairs, first, centers, neighbors, shifts, reverse)
    return Geometry(
        skin=skin,
        atoms=atoms,
        species=given[atoms],
        first=first,
        centers=centers,
        neighbors=neighbors,
        shifts=shifts,
        reverse=reverse,
        cell=d["cell"],
        voigt=d["voigt"],
        reference=ordered,
        vectors=xp.empty((n_pairs, 3)),
        distances=xp.empty(n_pairs),
        host_first=host_first,
        species_counts=np.bincount(species, minlength=n_species),
    )


def _box(positions: Any, inverse: Array, pbc: NDArray[np.bool_], xp: Any) -> tuple[Array, Array]:
    """Where fractional coordinates begin and how far they reach: the cell in periodic directions, else the atoms."""
    low, width = np.zeros(3), np.ones(3)
    if not pbc.all():
        fractional = positions @ xp.asarray(inverse)
        ends = xp.asnumpy(xp.stack([fractional.min(axis=0), fractional.max(axis=0)]))
        low = np.where(pbc, low, ends[0])
        width = np.where(pbc, width, np.maximum(ends[1] - ends[0], 1e-6))
    return low, width
