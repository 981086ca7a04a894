from __future__ import annotations

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta

from gapkit.checks import check_frames
from gapkit.checks.coverage import kind_of
from gapkit.datasets import load_silicon
from tests.checks.test_findings import named
from tests.conftest import labelled


def copper(n, amplitude, strain=0.0, seed=0):
    """Cells of 8 atoms, rattled (Å) and stretched or compressed evenly, up to a strain."""
    rng = np.random.default_rng(seed)
    frames = []
    for k in range(n):
        atoms = bulk("Cu", cubic=True, a=3.6).repeat((2, 1, 1))
        atoms.set_cell(atoms.cell.array * (1.0 + strain * (2.0 * k / (n - 1) - 1.0)), scale_atoms=True)
        atoms.positions += rng.normal(0.0, amplitude, atoms.positions.shape)
        frames.append(labelled(atoms))
    return frames


@pytest.fixture(scope="module")
def trajectories():
    """Two independent runs of copper at 600 K, a frame every 10 fs; of the second only the end, when it has forgotten."""
    runs = []
    for seed in (1, 2):
        rng = np.random.RandomState(seed)
        atoms = bulk("Cu", cubic=True, a=3.6).repeat((2, 2, 1))
        atoms.calc = EMT()
        thermalize_momenta(atoms, temperature_K=1200, rng=rng)
        dynamics = Langevin(atoms, 5.0 * units.fs, temperature_K=600, friction=0.02 / units.fs, fixcm=False, rng=rng)
        dynamics.run(40)
        frames = []
        for _ in range(30):
            dynamics.run(2)
            copy = atoms.copy()
            copy.calc = SinglePointCalculator(copy, energy=atoms.get_potential_energy(), forces=atoms.get_forces())
            frames.append(copy)
        runs.append(frames)
    return runs


def test_biased_energy_range():
    (finding,) = [f for f in check_frames(copper(24, 0.008)) if f.severity != "info"]
    assert finding.id == "energy-range"
    assert "bottom of one well" in finding.message
    assert named(check_frames(copper(24, 0.1))) == set()


def test_narrow_temperature_range():
    cold = load_silicon(config_types=["isolated_atom", "eos", "rattled", "md_300K"])
    hot = load_silicon(config_types=["md_2000K"])
    (finding,) = [f for f in check_frames(cold, hot) if f.severity != "info"]
    assert finding.id == "temperature-range"
    assert set(finding.frames) <= set(range(len(hot)))
    squares = [np.mean([np.mean(a.get_forces() ** 2) for a in frames if len(a) == 16]) for frames in (hot, cold)]
    said = float(finding.message.split("temperature, are ")[1].split()[0])
    assert said == pytest.approx(squares[0] / squares[1], rel=0.25)  # a median against a mean of ten frames
    assert named(check_frames(load_silicon("train"), load_silicon("test"))) == set()


def test_extrapolation_in_volume():
    near, far = copper(16, 0.03, strain=0.01), copper(16, 0.03, strain=0.08, seed=1)
    (finding,) = [f for f in check_frames(near, far) if f.severity != "info"]
    assert finding.id == "energy-range"
    assert {0, 1, 14, 15} <= set(finding.frames)
    assert not {7, 8} & set(finding.frames)
    assert named(check_frames(far, near)) == set()


@pytest.mark.parametrize(("cutoff", "expected"), [(2.6, {"cutoff-too-short"}), (3.2, {"cutoff-too-short"}), (5.0, set())])
def test_cutoff(cutoff, expected):
    # the second shell of silicon is at 3.84 Å
    findings = check_frames(load_silicon(config_types=["rattled"]), cutoff=cutoff)
    assert {f.id for f in findings if f.id == "cutoff-too-short"} == expected


def test_elements():
    frames = copper(24, 0.1)
    other = frames[3].copy()
    other.symbols[0] = "Au"
    other = labelled(other)
    findings = check_frames([*frames[:20], other])
    assert named(findings) == {"composition"}
    assert "Au is in 1 of 21 frames" in findings[0].message
    findings = check_frames(frames, [*frames[:2], other])
    (finding,) = [f for f in findings if f.severity == "error"]
    assert (finding.id, finding.frames) == ("composition", (2,))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("AIMD-NVT", "molecular dynamics"),
        ("300K", "molecular dynamics"),
        ("Liquid", "molecular dynamics"),
        ("Vacancy", "defects"),
        ("s_iIn", "defects"),
        ("GSF_110", "defects"),
        ("Elastic_BCC", "strained"),
        ("Volume_A15", "strained"),
        ("Displaced_FCC", "rattled"),
        ("H-removal", "reaction paths"),
        ("Surface", "surfaces"),
        ("Bulk", "equilibrium"),
        ("Training_set", ""),
        ("Si8", ""),
    ],
)
def test_kinds(name, kind):
    atoms = bulk("Cu")
    atoms.info["config_type"] = name
    assert kind_of(atoms) == kind


def test_leak(trajectories):
    one, other = trajectories
    findings = check_frames(one[::2], one[1::2])
    assert named(findings) == {"train-test-leak"}
    assert named(check_frames(one[::2], other[::2])) == set()


def test_the_same_frames_in_both(trajectories):
    order = np.random.default_rng(0).permutation(30)
    shuffled = [trajectories[0][k] for k in order]
    assert "train-test-leak" in named(check_frames(shuffled, shuffled[:5]))
