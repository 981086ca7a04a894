from __future__ import annotations

import lzma
import tempfile
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.calculators.singlepoint import SinglePointCalculator

from gapkit.checks import IDS, SEVERITIES, check_frames
from gapkit.datasets import Units, load_silicon, read_frames
from tests.conftest import SHARED

MD = ["md_300K", "md_1000K", "md_2000K"]


def relabelled(frames, change):
    """Copies with other labels: `change` gets the frame, its number and the labels, and returns the labels."""
    result = []
    for k, atoms in enumerate(frames):
        copy = atoms.copy()
        copy.calc = SinglePointCalculator(copy, **change(atoms, k, dict(atoms.calc.results)))
        result.append(copy)
    return result


def scaled(frames, **factors):
    return relabelled(frames, lambda atoms, k, y: {name: value * factors.get(name, 1.0) for name, value in y.items()})


def named(findings):
    """Ids that a user has to act on."""
    assert {f.id for f in findings} <= set(IDS)
    assert [SEVERITIES.index(f.severity) for f in findings] == sorted(SEVERITIES.index(f.severity) for f in findings)
    return {f.id for f in findings if f.severity != "info"}


@pytest.fixture(scope="module")
def silicon():
    return load_silicon()


@pytest.fixture(scope="module")
def md():
    return load_silicon(config_types=MD)


def test_shipped_set_is_clean(silicon):
    findings = check_frames(silicon)
    assert named(findings) == set()
    (shares,) = [f for f in findings if f.id == "composition"]
    assert "32% molecular dynamics" in shares.message  # 30 of 94


@pytest.mark.parametrize(
    ("factors", "expected", "remedy"),
    [
        ({"energy": 1.0 / units.Hartree}, "energy-unit", "Hartree"),
        ({"energy": units.mol / units.kcal}, "energy-unit", "kcal/mol"),
        ({"forces": units.mol / units.kcal}, "force-unit", "kcal/mol/Å"),
        ({"forces": -1.0}, "force-unit", "urn their sign"),
    ],
)
def test_units_by_neighbours(silicon, factors, expected, remedy):
    findings = check_frames(scaled(silicon, **factors))
    assert named(findings) == {expected}
    assert remedy in findings[0].remedy + findings[0].message
    assert findings[0].severity == "error"


@pytest.mark.parametrize(
    ("factors", "expected"),
    [({"energy": 1.0 / units.Hartree}, "energy-unit"), ({"forces": units.Bohr / units.Hartree}, "force-unit")],
)
def test_units_by_a_model_of_the_forces(md, factors, expected):
    # snapshots 400 fs apart: no two are near, the integral of a model must say it
    assert named(check_frames(scaled(md, **factors, stress=0.0))) == {expected}


def test_units_in_the_remedy_start_from_those_of_the_file(silicon):
    (finding, *_) = check_frames(scaled(silicon, energy=units.Hartree), units=Units(energy="Hartree", forces="eV/Å"))
    assert finding.id == "energy-unit"
    assert "not in Hartree" in finding.message


def test_energies_of_other_frames(md):
    order = np.random.default_rng(0).permutation(len(md))
    wrong = relabelled(md, lambda atoms, k, y: {**y, "energy": md[order[k]].get_potential_energy()})
    assert named(check_frames(wrong)) == {"force-energy-mismatch"}


def test_drift(md):
    # 0.3 eV a frame, 9 eV in all: the spread of the energies is 1.2 eV
    findings = check_frames(relabelled(md, lambda atoms, k, y: {**y, "energy": y["energy"] + 0.3 * k}))
    assert named(findings) == {"force-energy-mismatch"}
    assert "drift" in findings[0].message
    drift = float(findings[0].message.split("by ")[1].split()[0])
    assert drift == pytest.approx(300.0 / 4.0, rel=0.1)  # meV a frame over √16 atoms; 10 %: what the small model is off by


@pytest.mark.parametrize(
    ("factor", "expected"),
    [(-1.0, "stress-sign"), (10.0 / units.GPa, "stress-energy-mismatch"), (-10.0 / units.GPa, "stress-energy-mismatch")],
)
def test_stress_by_strains(silicon, factor, expected):
    findings = check_frames(scaled(silicon, stress=factor))
    assert named(findings) == {expected}
    assert ("kbar" in findings[0].message) == (factor != -1.0)


def test_virials_called_stress(silicon):
    wrong = relabelled(silicon, lambda atoms, k, y: {n: -atoms.get_volume() * v if n == "stress" else v for n, v in y.items()})
    findings = check_frames(wrong)
    assert named(findings) == {"stress-energy-mismatch"}
    assert "virial" in findings[0].message


def test_pulay_stress(silicon):
    offset = 3.0 * units.GPa * np.array([1, 1, 1, 0, 0, 0])
    wrong = relabelled(silicon, lambda atoms, k, y: {n: v + offset if n == "stress" else v for n, v in y.items()})
    (finding,) = [f for f in check_frames(wrong) if f.severity != "info"]
    assert (finding.id, finding.severity) == ("stress-energy-mismatch", "warning")
    # the set itself has -0.4 GPa of a fixed basis of 300 eV, see data/README.md
    assert float(finding.message.split("by ")[1].split()[0]) == pytest.approx(3.0, abs=0.6)


def test_stress_by_a_model_of_the_forces(md):
    assert named(check_frames(scaled(md, stress=-1.0))) == {"stress-sign"}


def test_outlier(silicon):
    wrong = relabelled(silicon, lambda atoms, k, y: {**y, "energy": y["energy"] + 20.0 * (k == 70) * len(atoms)})
    (finding,) = [f for f in check_frames(wrong) if f.severity != "info"]
    assert (finding.id, finding.frames) == ("outlier", (70,))


def test_outlier_that_only_forces_tell(md):
    # 0.3 eV an atom is within the range of the energies at 2000 K
    wrong = relabelled(md, lambda atoms, k, y: {**y, "energy": y["energy"] + 0.3 * (k == 3) * len(atoms)})
    (finding,) = [f for f in check_frames(wrong) if f.severity != "info"]
    assert (finding.id, finding.frames) == ("outlier", (3,))


def test_unconverged(silicon):
    flagged = [atoms.copy() for atoms in silicon]
    for copy, atoms in zip(flagged, silicon, strict=True):
        copy.calc = atoms.calc
    flagged[5].info["converged"] = False
    (finding,) = [f for f in check_frames(flagged) if f.severity != "info"]
    assert (finding.id, finding.frames, finding.severity) == ("unconverged", (5,), "error")


def test_one_structure_with_two_labels(silicon):
    again = relabelled(silicon[60:61], lambda atoms, k, y: {**y, "energy": y["energy"] + 0.5})
    (finding,) = [f for f in check_frames([*silicon, *again]) if f.severity != "info"]
    assert (finding.id, finding.frames) == ("unconverged", (94,))


def test_net_force(silicon):
    push = np.array([0.1, 0.0, 0.0])
    wrong = relabelled(silicon, lambda atoms, k, y: {**y, "forces": y["forces"] + push * (k in (20, 21) and len(atoms) > 1)})
    (finding,) = [f for f in check_frames(wrong) if f.severity != "info"]
    assert (finding.id, finding.frames) == ("net-force", (20, 21))
    assert "0.1 eV/Å" in finding.message


def test_duplicates(silicon):
    moved = silicon[40].repeat((1, 1, 1))  # another choice of the cell and of the order of the atoms
    moved.positions += 0.7
    moved.wrap()
    order = np.arange(len(moved))[::-1]
    moved = moved[order]
    moved.calc = SinglePointCalculator(moved, energy=silicon[40].get_potential_energy(), forces=silicon[40].get_forces()[order])
    (finding,) = [f for f in check_frames([*silicon, moved]) if f.id == "duplicates"]
    assert (finding.frames, finding.severity) == ((94,), "info")
    many = check_frames([*silicon, *silicon[40:50]])
    assert named(many) == {"duplicates"}


def test_isolated_atoms(silicon):
    without = [atoms for atoms in silicon if len(atoms) > 1]
    (finding,) = [f for f in check_frames(without) if f.id == "isolated-atoms"]
    assert finding.severity == "info"
    wrong = relabelled(silicon, lambda atoms, k, y: {**y, "energy": y["energy"] - 100.0 * (len(atoms) == 1)})
    assert named(check_frames(wrong)) == {"isolated-atoms"}


@pytest.mark.reference
@pytest.mark.parametrize(
    "name", ["3bpa", "mlearn_Si", "rmd17_ethanol", "snap_InP", "snap_Ta", "si_random_crystals", "water_pbe0ts"]
)
def test_published_sets_are_clean(shared_data, name):
    (path,) = (SHARED / name).glob("train.xyz*")
    assert named(check_frames(read_frames(_unpacked(path))[0])) == set()


@pytest.mark.reference
@pytest.mark.parametrize(("name", "offset"), [("mlearn_Cu", 2.7), ("mlearn_Ni", 3.1)])
def test_published_sets_with_pulay_stress(shared_data, name, offset):
    # their READMEs say the offsets, from the uniaxial scan
    (finding,) = [f for f in check_frames(read_frames(SHARED / name / "train.xyz")[0]) if f.severity != "info"]
    assert finding.id == "stress-energy-mismatch"
    assert float(finding.message.split("by ")[1].split()[0]) == pytest.approx(offset, abs=0.4)


def _unpacked(path):
    """By name, ASE seeks in a compressed file, and takes minutes."""
    if path.suffix != ".xz":
        return path
    plain = Path(tempfile.mkdtemp()) / path.stem
    plain.write_bytes(lzma.decompress(path.read_bytes()))
    return plain
