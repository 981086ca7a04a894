from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.verlet import VelocityVerlet
from numpy.testing import assert_allclose

from gapkit.datasets import Units, attach_labels, check_units, guess_units, load_silicon, read_frames
from gapkit.datasets.units import units_of
from gapkit.exceptions import InvalidLabelError

DATA = Path(__file__).parents[3] / "shared" / "data"


def test_factors():
    assert Units().factor("stress") == 1.0
    assert Units("Ha", "bohr").factor("forces") == units.Hartree / units.Bohr
    assert Units("rydberg", "a0").factor("stress") == units.Ry / units.Bohr**3
    assert Units("kJ/mol", "nm", "kcal/mol/Angstrom").factor("forces") == units.kcal / units.mol
    assert Units("kJ/mol").factor("energy") == units.kJ / units.mol
    assert_allclose(Units(stress="kbar").factor("stress"), 0.1 * units.GPa, rtol=1e-15)
    assert Units(stress="eV/Bohr**3").factor("stress") == Units(stress="eV/Bohr³").factor("stress") == 1.0 / units.Bohr**3
    assert not Units("eV", "Angstrom", "eV/Å").converted
    assert Units(stress="GPa").converted


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"energy": "cal"}, "`units.energy` must be one of eV, meV, Hartree, Ry, kcal/mol, kJ/mol; got 'cal'"),
        ({"length": "m"}, "`units.length` must be one of Å, Bohr, nm; got 'm'"),
        ({"forces": "N"}, "`units.forces` must be an energy divided by a length, e.g. 'Hartree/Bohr'; got 'N'. Energies: eV"),
        ({"stress": "Pa"}, "`units.stress` must be GPa, kbar, bar or an energy divided by a volume, .*; got 'Pa'"),
        ({"force": "eV/Å"}, "`units` must be one of 'energy', 'length', 'forces', 'stress'; got 'force'"),
    ],
)
def test_wrong_units(given, message):
    with pytest.raises(ValueError, match=message):
        units_of(given, Units())


def test_parts_replace_those_of_the_format():
    default = Units("Hartree", "Å", "Hartree/Bohr")
    assert units_of(None, default) == default
    assert units_of({"forces": "eV/Å"}, default) == Units("Hartree", "Å", "eV/Å")
    assert units_of({"energy": "Ry"}, default) == Units("Ry", "Å")  # Hartree/Bohr was meant for energies in Hartree


def test_everything_is_converted():
    atoms = bulk("Cu", "fcc", 3.6 / units.Bohr)
    atoms.info |= {"REF_energy": -0.5, "virial": np.diag([1.0, 2.0, 3.0]), "energy_sigma": 0.1, "other": 7.0}
    atoms.arrays["REF_forces"] = np.array([[0.1, 0.2, 0.3]])
    before = atoms.copy()
    (found,), keys = attach_labels([atoms], units=Units("Hartree", "Bohr"))
    volume = 3.6**3 / 4
    assert_allclose(found.get_volume(), volume, rtol=1e-12)
    assert_allclose(found.get_potential_energy(), -0.5 * units.Hartree, rtol=1e-15)
    assert_allclose(found.get_forces(), np.array([[0.1, 0.2, 0.3]]) * units.Hartree / units.Bohr, rtol=1e-15)
    assert_allclose(found.get_stress()[:3], -np.array([1, 2, 3]) * units.Hartree / volume, rtol=1e-12)
    assert_allclose(found.info["energy_sigma"], 0.1 * units.Hartree, rtol=1e-15)
    assert set(found.info) == {"energy_sigma", "other"}  # old labels would contradict
    assert "REF_forces" not in found.arrays
    assert before == atoms
    assert atoms.info["REF_energy"] == -0.5
    assert keys.units == Units("Hartree", "Bohr")


@pytest.fixture(scope="module")
def trajectory():
    """EMT copper, 1500 K: energies and forces that agree."""
    atoms = bulk("Cu", cubic=True)
    atoms.calc = EMT()
    rng = np.random.RandomState(0)
    atoms.rattle(0.1, rng=rng)
    atoms.set_momenta(rng.normal(size=(4, 3)) * np.sqrt(atoms.get_masses()[:, None] * units.kB * 1500))
    frames = []

    def keep():
        copy = atoms.copy()
        copy.calc = SinglePointCalculator(copy, energy=atoms.get_potential_energy(), forces=atoms.get_forces())
        frames.append(copy)

    run = VelocityVerlet(atoms, 3 * units.fs)
    run.attach(keep)
    run.run(60)
    return frames


def written(frames, actual: Units):
    """Frames with numbers in these units."""
    result = []
    for atoms in frames:
        scale = 1 / actual.factor("length")
        copy = Atoms(atoms.numbers, atoms.positions * scale, cell=atoms.cell.array * scale, pbc=atoms.pbc)
        labels = {"energy": atoms.get_potential_energy() / actual.factor("energy")}
        copy.calc = SinglePointCalculator(copy, **labels, forces=atoms.get_forces() / actual.factor("forces"))
        result.append(copy)
    return result


def test_consistent_units_are_silent(trajectory):
    guess = check_units(trajectory)
    assert abs(guess.ratio - 1) < 0.01  # the trapezoidal rule at 3 fs
    assert guess.doubts == ()
    said = Units("Hartree", "Bohr")
    frames, _ = attach_labels(written(trajectory, said), units=said)
    assert_allclose(check_units(frames, said).ratio, guess.ratio, rtol=1e-8)


@pytest.mark.parametrize(
    ("actual", "remedy"),
    [
        (Units("Hartree", "Å", "eV/Å"), "as if energies were in Hartree, not in eV: --energy-unit Hartree"),
        (Units("kcal/mol", "Å", "eV/Å"), "energies were in kcal/mol, not in eV"),
        (Units("kJ/mol", "Å", "eV/Å"), "energies were in kJ/mol, not in eV"),
        (Units("Ry", "Å", "eV/Å"), "energies were in Ry, not in eV"),
        (Units("eV", "Å", "kcal/mol/Å"), "forces were in kcal/mol/Å: --force-unit kcal/mol/Å"),
        (Units("eV", "Å", "Hartree/Bohr"), "forces were in Hartree/Bohr: --force-unit Hartree/Bohr"),
        (Units("eV", "Å", "Ry/Bohr"), "forces were in Ry/Bohr"),
        (Units("eV", "Å", "eV/Bohr"), "forces were in eV/Bohr"),
    ],
)
def test_contradictions_are_refused(trajectory, actual, remedy):
    with pytest.raises(InvalidLabelError, match="Energies must change") as caught:
        check_units(written(trajectory, actual))
    assert remedy in str(caught.value)
    frames, _ = attach_labels(written(trajectory, actual), units=actual)
    check_units(frames, actual)  # and the remedy helps


def test_gradients_and_energies_per_atom_are_refused(trajectory):
    for factor_energy, factor_forces, message in ((1, -1, "forces were gradients"), (0.25, 1, "energies were per atom")):
        frames = []
        for atoms in trajectory:
            copy = atoms.copy()
            labels = {"energy": factor_energy * atoms.get_potential_energy(), "forces": factor_forces * atoms.get_forces()}
            copy.calc = SinglePointCalculator(copy, **labels)
            frames.append(copy)
        with pytest.raises(InvalidLabelError, match=message):
            check_units(frames)


def test_doubts(trajectory):
    in_bohr, _ = attach_labels(written(trajectory, Units("Hartree", "Bohr")))
    assert any("is the length unit Å?" in text for text in guess_units(in_bohr).doubts)
    water = Atoms("OH2", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    water.calc = SinglePointCalculator(water, energy=-76.4)  # Hartree, B3LYP
    guess = guess_units([water])
    assert guess.all_electron == "Hartree"
    assert "--energy-unit Hartree?" in guess.doubts[0]
    assert guess.ratio is None


def test_silicon_is_silent():
    guess = check_units(load_silicon())
    assert guess.doubts == ()
    assert abs(guess.ratio - 1) < 0.05


@pytest.mark.reference
@pytest.mark.parametrize("name", ["rmd17_ethanol", "mlearn_Si", "mlearn_Cu", "mlearn_Ni", "snap_Ta", "3bpa"])
def test_published_sets_are_silent(name):
    path = DATA / name / "train.xyz"
    if not path.exists():
        pytest.skip("needs ../shared/data")
    guess = check_units(read_frames(path)[0])
    assert guess.doubts == ()
    assert guess.ratio is None or abs(guess.ratio - 1) < 0.07
