"""Pairs of the device's cell list are those of vesin, for any cell."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.geometry import complete_cell
from numpy.testing import assert_allclose

from gapkit._cuda.launch import launched_by
from gapkit._cuda.neighbors import find_pairs
from gapkit.neighbors import NeighborList
from tests.cuda import fake_cupy
from tests.cuda.launchers import by_loops
from tests.cuda.needs import gpucheck

gpucheck()


def rattled(cell, n, pbc, seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    atoms = Atoms("Si" * n, scaled_positions=rng.uniform(-spread, spread, (n, 3)), cell=cell, pbc=pbc)
    atoms.numbers[rng.uniform(size=n) < 0.4] = 6
    return atoms


CASES = {
    "cubic": (bulk("Si", cubic=True).repeat(3), 4.5),
    "primitive, smaller than the cutoff": (bulk("Si"), 7.0),
    "triclinic, unwrapped": (rattled([[7, 0, 0], [3, 8, 0], [-2, 4, 9]], 40, True, spread=3.0), 4.0),
    "needle": (rattled([[2.5, 0, 0], [0.3, 2.7, 0], [0, 0.5, 60]], 30, True), 5.0),
    "slab": (rattled([[8, 0, 0], [2, 7, 0], [0, 0, 30]], 50, [True, True, False], spread=0.4), 4.0),
    "wire": (rattled([[6, 1, 0], [0, 9, 0], [0, 3, 9]], 40, [True, False, False]), 5.0),
    "molecule without a cell": (Atoms("SiC2", [[0, 0, 0], [1.6, 0, 0], [0, 0, 7.0]]), 4.0),
    "far apart": (Atoms("Si2", [[0, 0, 0], [0, 0, 9e4]]), 4.0),
    "alone": (Atoms("Si"), 4.0),
    "large": (bulk("Si", cubic=True).repeat(6), 5.0),
}


@pytest.mark.parametrize("name", CASES)
def test_pairs_are_those_of_vesin(name):
    atoms, cutoff = CASES[name]
    xp = fake_cupy.module()
    species = np.searchsorted([6, 14], atoms.numbers)
    cell = complete_cell(atoms.cell.array)
    with launched_by(by_loops):
        positions = xp.asarray(atoms.positions)
        found = find_pairs(positions, cell, atoms.pbc, species, 2, cutoff - 0.5, xp, skin=0.5)
        moved = found.move(positions)
    assert not moved.get().any()
    order, first = found.atoms.get(), found.first.get()
    i, j, shift, reverse = (getattr(found, k).get() for k in ("centers", "neighbors", "shifts", "reverse"))
    assert sorted(order) == list(range(len(atoms)))
    assert (np.diff(species[order]) >= 0).all()
    assert_allclose(first, np.searchsorted(i, np.arange(len(atoms) + 1)))
    for k in range(len(atoms)):
        assert (np.diff(species[order][j[first[k] : first[k + 1]]]) >= 0).all()
    oracle = VesinPairs(atoms, cutoff)
    assert {(a, b, *s) for a, b, s in zip(order[i], order[j], shift.tolist(), strict=True)} == oracle.pairs
    assert len(i) == oracle.n
    assert (i[reverse] == j).all()
    assert (j[reverse] == i).all()
    assert (shift[reverse] == -shift).all()
    assert_allclose(found.vectors.get()[reverse], -found.vectors.get(), rtol=0, atol=0)
    assert_allclose(found.distances.get(), np.linalg.norm(found.vectors.get(), axis=1), rtol=1e-15)


class VesinPairs:
    def __init__(self, atoms, cutoff):
        # random positions may be closer than a NeighborList accepts: vesin itself
        from vesin import NeighborList as Finder

        box = complete_cell(atoms.cell.array)
        finder = Finder(cutoff=cutoff, full_list=True)
        i, j, s = finder.compute(points=atoms.positions, box=box, periodic=atoms.pbc, quantities="ijS")
        self.pairs, self.n = {(a, b, *c) for a, b, c in zip(i, j, s.tolist(), strict=True)}, len(i)


def test_vectors_are_those_of_the_cpu():
    atoms = bulk("Si", cubic=True).repeat(2)
    atoms.rattle(0.3, seed=1)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.1), scale_atoms=True)
    xp, cpu = fake_cupy.module(), NeighborList.from_atoms([atoms], 5.0)
    with launched_by(by_loops):
        positions = xp.asarray(atoms.positions)
        found = find_pairs(positions, atoms.cell.array, atoms.pbc, np.zeros(len(atoms), int), 1, 5.0, xp)
        found.move(positions)
    order = found.atoms.get()
    key = np.column_stack([order[found.centers.get()], order[found.neighbors.get()], found.shifts.get()])
    of_cpu = np.column_stack([cpu.centers, cpu.neighbors, cpu.shifts])
    assert (key[np.lexsort(key.T)] == of_cpu[np.lexsort(of_cpu.T)]).all()
    # the same formula; compilers may or may not contract it
    assert_allclose(found.vectors.get()[np.lexsort(key.T)], cpu.vectors[np.lexsort(of_cpu.T)], rtol=0, atol=1e-14)
