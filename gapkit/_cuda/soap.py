"""SOAP on a device: density expansion, power spectrum, their adjoints.

The layout is that of `gapkit._cpu.soap`: coefficients [e, d, lm, n], power spectrum in blocks of channels.  What the loops
there find out as they go (which channels an element multiplies) is in tables here: a thread needs no other's result.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .geometry import Geometry
from .launch import launch

__all__ = ["Density", "SoapLoops", "SoapTables"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]


class SoapTables(NamedTuple):
    """What `SoapLoops` needs of a descriptor, in NumPy: radial table, constants of the harmonics, channels.

    ``centre_sd``: what a centre of species s adds to density d, times ``central_n``; ``left``, ``right``: shapes
    (n_densities, n_channels) of both factors of the power spectrum, ``same``: whether they are one; the rest as in
    `gapkit._cpu.soap`.
    """

    reach: float
    segments: Array
    table: Array
    constants: Array
    density_s: Index
    weight_s: Array
    centre_sd: Array
    central_n: Array
    left: tuple[int, int]
    right: tuple[int, int]
    same: bool
    block_k3: Index
    factor_k: Array
    prefactor_l: Array


class Density(NamedTuple):
    """A chunk of environments on the device: range of atoms and of pairs, radial functions of the pairs and their slopes."""

    atoms: slice
    pairs: slice
    g: Any
    dg: Any


class SoapLoops:
    """Launches for one descriptor; arrays are CuPy's.

    Parameters
    ----------
    tables : SoapTables
        In NumPy.
    xp : module
        CuPy.
    """

    def __init__(self, tables: SoapTables, xp: Any) -> None:
        self.xp, self.same, self.reach = xp, tables.same, float(tables.reach)
        self.left, self.right = tables.left, tables.right
        self.n_densities, self.n_max = tables.centre_sd.shape[1], len(tables.central_n)
        self.l_max = tables.constants.shape[1] - 1
        self.n_lm = (self.l_max + 1) ** 2
        elements, factors = elements_of(tables)
        self.n_elements = len(elements)
        place = [
            (a, min(a + 4, (l + 1) ** 2) - 1, l * self.n_max + n, n, min(n + 1, self.n_max - 1))
            for l in range(self.l_max + 1)
            for a in _of_l(l)[::4]
            for n in range(0, self.n_max, 2)
        ]
        names = ("segments", "table", "constants", "density_s", "weight_s", "centre_sd", "central_n")
        self._of_radial = {name: xp.asarray(np.ascontiguousarray(getattr(tables, name))) for name in names}
        self._place, self._elements, self._factors = (xp.asarray(a) for a in (np.array(place, np.int64), elements, factors))
        self._of_left = [xp.asarray(a) for a in adjoint_lists(elements, self.l_max, tables.left, left=True, right=tables.same)]
        if not self.same:
            self._of_right = [xp.asarray(a) for a in adjoint_lists(elements, self.l_max, tables.right, left=False, right=True)]

    def bytes_per_atom(self, n_pairs: float) -> float:
        """Memory for an atom with so many pairs, without that of kernels."""
        n_functions = (self.l_max + 1) * self.n_max
        channels = self.n_densities * self.n_max + 2 * (self.left[0] * self.left[1] + self.right[0] * self.right[1])
        numbers = n_pairs * (self.n_lm + 2 * n_functions) + 2 * self.n_lm * channels + 4 * self.n_elements
        return 8.0 * float(numbers)

    def expand(self, geometry: Geometry, atoms: slice) -> tuple[Density, Any]:
        """Coefficients [e, d, lm, n] of a range of atoms, and what their adjoint needs."""
        xp, r, n_functions = self.xp, self._of_radial, (self.l_max + 1) * self.n_max
        pairs = geometry.pairs_of(atoms)
        n_pairs, n_atoms = pairs.stop - pairs.start, atoms.stop - atoms.start
        y, g, dg = xp.empty((self.n_lm, n_pairs)), xp.empty((n_pairs, n_functions)), xp.empty((n_pairs, n_functions))
        within = geometry.distances, self.reach
        launch("angular", n_pairs, pairs.start, geometry.vectors, *within, r["constants"], y)
        chunk = atoms.start, pairs.start, geometry.first
        launch("radial", n_functions, *chunk, *within, r["segments"], r["table"], g, dg, environments=n_atoms)
        c = xp.empty((n_atoms, self.n_densities, self.n_lm, self.n_max))
        of_species = r["density_s"], r["weight_s"], r["centre_sd"], r["central_n"]
        launch(
            "expand",
            len(self._place),
            *chunk,
            geometry.species,
            geometry.neighbors,
            *within,
            y,
            g,
            *of_species,
            self._place,
            c,
            environments=n_atoms,
        )
        return Density(atoms, pairs, g, dg), c

    def power_spectrum(self, left: Any, right: Any) -> Any:
        """Power spectrum [e, x] of two factors [e, d, lm, n]."""
        p = self.xp.empty((len(left), self.n_elements))
        launch("power", self.n_elements, left, right, self._elements, self._factors, p, environments=len(left))
        return p

    def coefficient_gradient(self, left: Any, right: Any, g: Any) -> tuple[Any, Any]:
        """dE/d(left) and dE/d(right), one array where both factors are, from dE/dp."""
        of_left = self._adjoint(g, right, left.shape, self._of_left)
        return of_left, of_left if self.same else self._adjoint(g, left, right.shape, self._of_right)

    def pair_gradient(self, geometry: Geometry, density: Density, of_coefficients: Any, gradient: Any) -> None:
        """Add dE/dD of every pair of a chunk, from dE/dc."""
        r, pairs = self._of_radial, density.pairs
        launch(
            "pair_gradient",
            pairs.stop - pairs.start,
            density.atoms.start,
            pairs.start,
            geometry.centers,
            geometry.neighbors,
            geometry.species,
            geometry.vectors,
            geometry.distances,
            self.reach,
            r["constants"],
            r["density_s"],
            r["weight_s"],
            density.g,
            density.dg,
            of_coefficients,
            gradient,
        )

    def _adjoint(self, g: Any, other: Any, shape: tuple[int, ...], lists: list[Any]) -> Any:
        place, first, element = lists
        result = self.xp.empty(shape)
        launch("adjoint", len(place), g, self._factors, other, place, first, element, result, environments=len(g))
        return result


def _of_l(l: int) -> range:
    return range(l * l, (l + 1) * (l + 1))


def elements_of(tables: SoapTables) -> tuple[Index, Array]:
    """Of each element of the power spectrum (d left, d right, l, n left, n right), and its factor; order: block, l, n, n'."""
    elements, factors = [], []
    for (d, b, triangle), factor in zip(tables.block_k3.tolist(), tables.factor_k.tolist(), strict=True):
        for l, prefactor in enumerate(tables.prefactor_l.tolist()):
            for i in range(tables.left[1]):
                for j in range(i if triangle else 0, tables.right[1]):
                    elements.append((d, b, l, i, j))
                    factors.append(prefactor * (1.0 if triangle and i == j else factor))
    return np.array(elements, np.int64).reshape(-1, 5), np.array(factors)


def adjoint_lists(
    elements: Index, l_max: int, shape: tuple[int, int], *, left: bool, right: bool
) -> tuple[Index, Index, Index]:
    """What the body ``adjoint`` reads: places (d, lm, n, row), first entry of each row, entries (element, d, n of the other).

    Entries are those in which the channel (d, n) stands on the left, on the right, or both, with degree l.
    """
    x = np.arange(len(elements))
    parts = []
    if left:
        parts.append(np.column_stack([elements[:, [0, 2, 3]], x, elements[:, [1, 4]]]))
    if right:
        parts.append(np.column_stack([elements[:, [1, 2, 4]], x, elements[:, [0, 3]]]))
    entries = np.concatenate(parts)
    row = (entries[:, 0] * (l_max + 1) + entries[:, 1]) * shape[1] + entries[:, 2]
    order = np.argsort(row, kind="stable")
    first = np.zeros(shape[0] * (l_max + 1) * shape[1] + 1, np.int64)
    first[1:] = np.cumsum(np.bincount(row, minlength=len(first) - 1))
    place = [
        (d, a, n, (d * (l_max + 1) + l) * shape[1] + n)
        for d in range(shape[0])
        for l in range(l_max + 1)
        for a in _of_l(l)
        for n in range(shape[1])
    ]
    return np.array(place, np.int64), first, np.ascontiguousarray(entries[order, 3:])
