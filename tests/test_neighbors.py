from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import primitive_neighbor_list
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from gapkit.exceptions import InvalidStructureError
from gapkit.neighbors import NeighborList, check_structures


def random_atoms(seed: int, n: int, pbc: tuple[bool, bool, bool]) -> Atoms:
    """Triclinic cell, positions far outside it, no two atoms (or images) closer than 0.3 Å."""
    rng = np.random.default_rng(seed)
    while True:
        cell = np.diag(rng.uniform(1.5, 6.0, 3)) + rng.uniform(-1.0, 1.0, (3, 3))
        if abs(np.linalg.det(cell)) > 4.0:
            atoms = Atoms(f"Si{n}", positions=rng.uniform(-12.0, 12.0, (n, 3)), cell=cell, pbc=pbc)
            d = primitive_neighbor_list("d", pbc, cell, atoms.positions, 0.3)
            if len(d) == 0:
                return atoms


def as_set(i, j, shifts, vectors):
    order = np.lexsort((*np.asarray(shifts).T, j, i))
    return np.asarray(i)[order], np.asarray(j)[order], np.asarray(shifts)[order], np.asarray(vectors)[order]


@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 6),
    pbc=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    cutoff=st.floats(1.0, 6.0),
)
def test_same_pairs_as_ase_over_random_cells(seed, n, pbc, cutoff):
    atoms = random_atoms(seed, n, pbc)
    ours = NeighborList.from_atoms([atoms], cutoff)
    theirs = primitive_neighbor_list("ijSD", pbc, atoms.cell.array, atoms.positions, cutoff)
    for a, b in zip(as_set(ours.centers, ours.neighbors, ours.shifts, ours.vectors), as_set(*theirs), strict=True):
        assert_allclose(a, b, rtol=0, atol=1e-12)  # rounding of coordinates of about 10 Å
    assert (np.diff(ours.centers) >= 0).all()
    assert_array_equal(np.repeat(np.arange(n), np.diff(ours.first)), ours.centers)
    assert_array_equal(ours.reverse[ours.reverse], np.arange(len(ours.reverse)))
    assert_array_equal(ours.centers[ours.reverse], ours.neighbors)
    assert_array_equal(ours.shifts[ours.reverse], -ours.shifts)
    assert_allclose(ours.vectors[ours.reverse], -ours.vectors, rtol=0, atol=1e-12)
    assert_allclose(np.linalg.norm(ours.vectors, axis=1), ours.distances, rtol=1e-14)


def test_batch_equals_single_lists():
    frames = [bulk("Si"), Atoms("Si"), bulk("Si", cubic=True), Atoms("Si2", [[0, 0, 0], [0, 0, 2.0]])]
    batch = NeighborList.from_atoms(frames, 4.0)
    assert batch.n_structures == 4
    for k, atoms in enumerate(frames):
        single = NeighborList.from_atoms([atoms], 4.0)
        members = batch.structure[batch.centers] == k
        assert_array_equal(batch.centers[members] - batch.first_atom[k], single.centers)
        assert_array_equal(batch.neighbors[members] - batch.first_atom[k], single.neighbors)
        assert_array_equal(batch.vectors[members], single.vectors)
    assert [batch.has_stress(k) for k in range(4)] == [True, False, True, False]


def test_no_neighbours_at_all():
    lonely = NeighborList.from_atoms([Atoms("Si", cell=[20, 20, 20], pbc=True)], 5.0)
    assert len(lonely.centers) == 0
    assert lonely.first.tolist() == [0, 0]


def test_zero_cell_vector_in_a_direction_that_is_not_periodic():
    wire = Atoms("Si", cell=[3.0, 0, 0], pbc=(True, False, False))
    pairs = NeighborList.from_atoms([wire], 6.5)
    assert sorted(pairs.shifts[:, 0].tolist()) == [-2, -1, 1, 2]
    assert not pairs.has_stress(0)


def test_skin_keeps_pairs_until_an_atom_has_moved_half_of_it():
    atoms = bulk("Si", cubic=True).repeat(2)
    atoms.rattle(0.05, seed=0)
    pairs = NeighborList.from_atoms([atoms], 4.0, skin=1.0)
    moved = atoms.copy()
    moved.positions[3] += [0.3, 0.3, 0.2]  # 0.47 Å
    kept = pairs.update(moved)
    assert kept.neighbors is pairs.neighbors
    fresh = NeighborList.from_atoms([moved], 4.0)
    near = kept.distances < 4.0
    ours = as_set(*(a[near] for a in (kept.centers, kept.neighbors, kept.shifts, kept.vectors)))
    for a, b in zip(ours, as_set(fresh.centers, fresh.neighbors, fresh.shifts, fresh.vectors), strict=True):
        assert_allclose(a, b, rtol=0, atol=1e-12)
    moved.positions[3] += [0.1, 0.0, 0.0]  # now 0.54 Å from where the pairs were found
    assert kept.update(moved).neighbors is not pairs.neighbors


@pytest.mark.parametrize("change", ["cell", "pbc", "species", "size"])
def test_update_finds_pairs_anew_when_the_structure_changed(change):
    atoms = bulk("Si", cubic=True)
    pairs = NeighborList.from_atoms([atoms], 4.0, skin=1.0)
    other = atoms.copy()
    if change == "cell":
        other.set_cell(atoms.cell * 1.001)
    elif change == "pbc":
        other.pbc = (True, True, False)
    elif change == "species":
        other.numbers[0] = 6
    else:
        other += Atoms("Si", [[0.3, 2.6, 2.7]])
    new = pairs.update(other)
    fresh = NeighborList.from_atoms([other], 4.0, skin=1.0)
    assert new.neighbors is not pairs.neighbors
    assert_array_equal(new.vectors, fresh.vectors)
    assert_array_equal(new.numbers, other.numbers)


@pytest.mark.parametrize(
    ("frames", "error", "message"),
    [
        ([], ValueError, "at least one structure; got an empty list"),
        (Atoms("Si"), TypeError, r"Write \[atoms\]"),
        (["Si"], TypeError, "got str in frame 0"),
        ([Atoms("Si"), Atoms()], InvalidStructureError, "at least one atom; got none in frame 1"),
        ([Atoms("SiX", [[0, 0, 0], [2, 0, 0]])], InvalidStructureError, "dummy atom X in frame 0"),
        ([Atoms("Si", [[np.nan, 0, 0]])], InvalidStructureError, "Positions must be finite.*frame 0"),
        ([Atoms("Si", cell=[np.inf, 1, 1])], InvalidStructureError, "cell must be finite.*frame 0"),
        ([Atoms("Si", pbc=True)], InvalidStructureError, "independent cell vectors.*frame 0"),
        ([Atoms("Si", cell=[[3, 0, 0], [3, 0, 0], [0, 0, 3]], pbc=True)], InvalidStructureError, "independent cell vectors"),
    ],
)
def test_invalid_structures(frames, error, message):
    with pytest.raises(error, match=message):
        check_structures(frames)


def test_duplicate_atoms_are_named():
    atoms = bulk("Si", cubic=True)
    atoms.positions[5] = atoms.positions[2] + [0.01, 0, 0] + atoms.cell[0]
    with pytest.raises(InvalidStructureError, match=r"0.1 Å apart; got 0.01 Å between atoms 2 and 5 in frame 7"):
        NeighborList.from_atoms([bulk("Si"), atoms], 4.0, first_frame=6)
