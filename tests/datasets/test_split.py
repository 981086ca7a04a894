from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from numpy.testing import assert_array_equal

from gapkit.datasets import load_silicon, split


def crystals(n: int, kind: str, seed: int = 0) -> list[Atoms]:
    """Independent rattled crystals."""
    frames = []
    for k in range(n):
        atoms = bulk("Si", cubic=True)
        atoms.rattle(0.1, seed=1000 * seed + k)
        atoms.info["config_type"] = kind
        frames.append(atoms)
    return frames


def walk(n: int, memory: float, kind: str, seed: int = 0) -> list[Atoms]:
    """A trajectory: an Ornstein-Uhlenbeck process around the crystal that forgets in about ``memory`` frames."""
    rng, frames = np.random.default_rng(seed), []
    u, decay = rng.normal(size=(8, 3)), np.exp(-1.0 / memory)
    for _ in range(n):
        u = decay * u + np.sqrt(1 - decay**2) * rng.normal(size=(8, 3))
        atoms = bulk("Si", cubic=True)
        atoms.positions += 0.1 * u
        atoms.info["config_type"] = kind
        frames.append(atoms)
    return frames


def check_partition(found, n):
    everything = np.concatenate([*found.parts, found.left_out])
    assert_array_equal(np.sort(everything), np.arange(n))
    assert all((np.diff(part) > 0).all() for part in found.parts if len(part))


def test_independent_frames_in_proportion():
    frames = crystals(100, "a") + crystals(50, "b", 1) + crystals(10, "c", 2)
    found = split(frames, random_state=0)
    check_partition(found, 160)
    assert not len(found.left_out)
    assert found.groups == 160
    for start, stop, counts in ((0, 100, (80, 10, 10)), (100, 150, (40, 5, 5)), (150, 160, (8, 1, 1))):
        assert tuple(int(((p >= start) & (p < stop)).sum()) for p in found.parts) == counts


def test_seeded():
    frames = crystals(40, "a")
    first, same, other = (split(frames, random_state=seed) for seed in (0, 0, 1))
    for a, b in zip(first.parts, same.parts, strict=True):
        assert_array_equal(a, b)
    assert any(not np.array_equal(a, b) for a, b in zip(first.parts, other.parts, strict=True))


def test_neighbours_in_time_do_not_leak():
    """No training frame is within the memory of the walk from a test frame, and blocks are contiguous."""
    memory = 8
    found = split(walk(400, memory, "md"), random_state=0)
    check_partition(found, 400)
    train, validation, test = found.parts
    for part in (validation, test):
        assert len(part) == 40
        assert len(np.flatnonzero(np.diff(part) > 1)) == 0
        assert np.abs(train[:, None] - part).min() > memory
    assert 0 < len(found.left_out) < 120
    assert "long trajectories are cut" in found.how


def test_short_trajectories_stay_whole():
    frames = [a for seed in range(20) for a in walk(8, 20, "md", seed)]
    found = split(frames, random_state=0)
    check_partition(found, 160)
    assert not len(found.left_out)
    part = np.empty(160, int)
    for k, numbers in enumerate(found.parts):
        part[numbers] = k
    # a walk of 8 frames may break where it moves fast, yet most steps within walks stay within one part
    within = (np.diff(part) == 0)[np.arange(159) % 8 != 7]
    assert within.mean() > 0.97


def test_named_groups():
    frames = crystals(60, "a")
    for k, atoms in enumerate(frames):
        atoms.info["trajectory"] = f"run{k % 12}"  # not contiguous
    found = split(frames, (0.5, 0.25, 0.25), random_state=3)
    check_partition(found, 60)
    runs = [{frames[k].info["trajectory"] for k in part} for part in found.parts]
    assert not runs[0] & runs[1]
    assert not runs[0] & runs[2]
    assert not runs[1] & runs[2]
    assert [len(part) for part in found.parts] == [30, 15, 15]
    assert found.how == "frames of one trajectory"


def test_too_few_named_groups_are_not_used_unasked():
    frames = crystals(40, "a")
    for k, atoms in enumerate(frames):
        atoms.info["group"] = k // 20
    assert [len(part) for part in split(frames, random_state=0).parts] == [32, 4, 4]
    with pytest.raises(ValueError, match="2 groups"):
        split(frames, by="group", random_state=0)


def test_by_config_type_leaves_types_out():
    frames = crystals(20, "a") + crystals(20, "b", 1) + crystals(20, "c", 2) + crystals(20, "d", 3)
    found = split(frames, (0.5, 0.25, 0.25), by="config_type", stratify=False, random_state=0)
    assert sorted(len(part) for part in found.parts) == [20, 20, 40]
    kinds = [{frames[k].info["config_type"] for k in part} for part in found.parts]
    assert sum(map(len, kinds)) == 4


def test_isolated_atoms_are_for_training():
    frames = [Atoms("Si"), Atoms("O"), *crystals(20, "a")]
    for seed in range(5):
        assert {0, 1} <= set(split(frames, random_state=seed).parts[0].tolist())


def test_silicon():
    frames = load_silicon()
    found = split(frames, random_state=0)
    check_partition(found, len(frames))
    assert [len(part) for part in found.parts[1:]] == pytest.approx([9.4, 9.4], abs=2)


@pytest.mark.parametrize(
    ("fractions", "options", "message"),
    [
        ((0.8, 0.1), {}, "`fractions` must be at least two numbers that sum to 1"),
        ((1.0,), {}, "`fractions` must be"),
        ((1.2, -0.2), {}, "`fractions` must be"),
        ((0.8, 0.2), {"by": "run"}, "`by` must be a key in info of every frame; got 'run', which frame 0 does not have"),
        (
            (0.8, 0.2),
            {"by": "config_type"},
            r"Every part .* must get a group; 1 groups \(frames of one config_type\) fill 1 of 2",
        ),
    ],
)
def test_errors(fractions, options, message):
    with pytest.raises(ValueError, match=message):
        split(crystals(4, "a"), fractions, **options)


def test_a_part_may_be_empty():
    found = split(crystals(20, "a"), (0.9, 0.0, 0.1), random_state=0)
    assert [len(part) for part in found.parts] == [18, 0, 2]
