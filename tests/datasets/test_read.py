from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from numpy.testing import assert_allclose

from gapkit.datasets import attach_labels, read_frames
from gapkit.exceptions import InvalidLabelError

HEADER = 'Lattice="5 0 0 0 5 0 0 0 5" Properties=species:S:1:pos:R:3{arrays} {info} pbc="T T T"'


def extxyz(tmp_path, info: str, arrays: str = "", columns: str = "", frames: int = 2):
    path = tmp_path / "frames.xyz"
    lines = []
    for _ in range(frames):
        lines += ["2", HEADER.format(info=info, arrays=arrays), f"Si 0 0 0 {columns}", f"Si 1.2 1.2 1.2 {columns}"]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("key", ["energy", "REF_energy", "dft_energy", "free_energy"])
@pytest.mark.parametrize("forces", ["forces", "force", "REF_forces", "dft_forces"])
@pytest.mark.parametrize("stress", ["stress", "virial", "virials", "REF_virial"])
def test_usual_keys(tmp_path, key, forces, stress):
    value = "1 0 0 0 2 0.5 0 0.5 3"
    path = extxyz(tmp_path, f'{key}=-7.5 {stress}="{value}"', f":{forces}:R:3", "0.1 0.2 0.3")
    frames, keys = read_frames(path)
    assert keys.found == {"energy": {key: 2}, "forces": {forces: 2}, "stress": {stress: 2}}
    results = frames[1].calc.results
    assert results["energy"] == -7.5
    assert_allclose(results["forces"], [[0.1, 0.2, 0.3]] * 2)
    sign = 1.0 if stress == "stress" else -1.0 / 125.0  # stress = -virial / volume
    assert_allclose(results["stress"], sign * np.array([1, 2, 3, 0.5, 0, 0]))


def test_keys_that_agree_are_one_label(tmp_path):
    path = extxyz(tmp_path, 'energy=-7.5 REF_energy=-7.5000001 stress="1 0 0 0 1 0 0 0 1" virial="-125 0 0 0 -125 0 0 0 -125"')
    frames, keys = read_frames(path)
    assert frames[0].get_potential_energy() == -7.5
    assert keys.found["energy"] == {"energy": 2, "REF_energy": 2}


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (
            "energy=-7.5 free_energy=-7.9",
            r"Two energy labels contradict .* frame 0 of .*: energy = -7.5 and free_energy = -7.9. .*--energy-key energy",
        ),
        ('stress="1 0 0 0 1 0 0 0 1" virial="1 0 0 0 1 0 0 0 1"', r"Two stress labels .* stress = 1 and virial = -0.008"),
        ("energy=abc", "`energy` must be numbers; got 'abc' in frame 0"),
        ('energy="1 2 3"', r"`energy` must be one total energy; got shape \(3,\)"),
        ('REF_stress="1 2 3"', r"`REF_stress` must have 6 \(Voigt\) or 9 numbers; got 3"),
    ],
)
def test_contradictions_and_wrong_shapes(tmp_path, info, message):
    with pytest.raises(InvalidLabelError, match=message):
        read_frames(extxyz(tmp_path, info))


def test_one_candidate_can_be_named(tmp_path):
    path = extxyz(tmp_path, "energy=-7.5 free_energy=-7.9 my_energy=-8.0")
    assert read_frames(path, energy="free_energy")[0][0].get_potential_energy() == -7.9
    assert read_frames(path, energy="my_energy")[0][0].get_potential_energy() == -8.0
    with pytest.raises(InvalidLabelError, match=r"energy key 'E' must exist in .*; no frame has it. Frame 0 has .*my_energy"):
        read_frames(path, energy="E")


def test_empty_label_is_refused():
    atoms = bulk("Si")
    atoms.info["REF_energy"] = np.array([])
    with pytest.raises(InvalidLabelError, match="`REF_energy` must not be empty; it is in frame 0"):
        attach_labels([atoms])


def test_forces_of_the_wrong_length():
    atoms = bulk("Si")
    atoms.calc = SinglePointCalculator(atoms, energy=0.0)
    atoms.calc.results["forces"] = np.zeros((3, 3))
    with pytest.raises(InvalidLabelError, match=r"`forces` must have shape \(2, 3\); got \(3, 3\)"):
        attach_labels([atoms])


def test_virial_without_a_cell():
    atoms = Atoms("Si2", [[0, 0, 0], [0, 0, 2]])
    atoms.info["virial"] = np.eye(3)
    with pytest.raises(InvalidLabelError, match="`virial` needs a cell to become a stress"):
        attach_labels([atoms])


def test_partial_labels_stay_partial(tmp_path, alloy):
    write(tmp_path / "a.xyz", [alloy[0], alloy[1].copy()])
    frames, keys = read_frames(tmp_path / "a.xyz")
    assert keys.found == {"energy": {"energy": 1}, "forces": {"forces": 1}, "stress": {"stress": 1}}
    assert frames[1].calc.results == {}
    assert frames[0].info["config_type"] == "slab"


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("none.xyz", None, FileNotFoundError, "There is no file"),
        ("empty.xyz", "", ValueError, "must hold structures; got an empty file"),
        ("cut.xyz", '3\nLattice="5 0 0 0 5 0 0 0 5"\nSi 0 0 0\nSi 1', ValueError, "complete file in a format that ASE reads"),
        ("what.dat", "nothing\nASE knows\n", ValueError, "complete file in a format that ASE reads"),
    ],
)
def test_bad_files(tmp_path, name, content, error, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(error, match=message):
        read_frames(tmp_path / name)


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        ("0", [0]),
        ("-1", [11]),
        (":", list(range(12))),
        ("2:9:3", [2, 5, 8]),
        ("-3:", [9, 10, 11]),
        ("::5", [0, 5, 10]),
        (":100", list(range(12))),
    ],
)
@pytest.mark.parametrize("name", ["a.xyz", "a.traj", "a.db", "a.npz"])
def test_some_frames_of_a_file(tmp_path, name, index, expected):
    frames = []
    for k in range(12):
        atoms = bulk("Cu")
        atoms.calc = SinglePointCalculator(atoms, energy=float(k), forces=np.zeros((1, 3)))
        frames.append(atoms)
    if name == "a.npz":  # MD17, one of gapkit's own readers
        arrays = {"nuclear_charges": [29], "coords": np.zeros((12, 1, 3)), "forces": np.zeros((12, 1, 3))}
        np.savez(tmp_path / name, energies=np.arange(12.0), **arrays)
    else:
        write(tmp_path / name, frames)
    unit = read_frames(tmp_path / name)[0][1].get_potential_energy()  # of MD17: kcal/mol
    found, keys = read_frames(f"{tmp_path / name}@{index}")
    assert_allclose([atoms.get_potential_energy() / unit for atoms in found], expected, rtol=1e-12)
    assert keys.found["energy"] == {"energy": len(expected)}


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("frames.xyz@7", ValueError, "frames.xyz must hold frames @7:8; it has none there"),
        ("frames.xyz@5:9", ValueError, "frames.xyz must hold frames @5:9; it has none there"),
        ("frames.xyz@first", ValueError, "must end in an index or a slice, such as @-1 or @0:1000:10; got @first"),
        ("none.xyz@0", FileNotFoundError, "There is no file .*none.xyz"),
    ],
)
def test_frames_that_are_not_there(tmp_path, name, error, message):
    extxyz(tmp_path, "energy=-1.0")
    with pytest.raises(error, match=message):
        read_frames(tmp_path / name)


def test_a_name_with_an_at_is_a_name(tmp_path):
    path = extxyz(tmp_path, "energy=-1.0").rename(tmp_path / "run@300.xyz")
    assert len(read_frames(path)[0]) == 2
