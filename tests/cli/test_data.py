"""gapkit convert and gapkit split."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase import units
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.io import read, write
from numpy.testing import assert_allclose
from typer.testing import CliRunner

from gapkit.cli.main import app
from gapkit.datasets import load_silicon, read_frames

KCAL = units.kcal / units.mol


def run(*arguments: object, code: int = 0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def rmd17(tmp_path_factory):
    """EMT in kcal/mol and Å: energies and forces agree, and are shifted to total energies of all electrons."""
    atoms = molecule("CH3CH2OH")
    rng = np.random.default_rng(0)
    energies, positions, forces = [], [], []
    for _ in range(40):
        copy = atoms.copy()
        copy.positions += 0.02 * rng.normal(size=(9, 3))
        copy.calc = EMT()
        energies.append(copy.get_potential_energy() / KCAL - 97200.0)
        forces.append(copy.get_forces() / KCAL)
        positions.append(copy.positions)
    path = tmp_path_factory.mktemp("data") / "rmd17_ethanol.npz"
    np.savez(path, nuclear_charges=atoms.numbers, coords=positions, energies=energies, forces=forces)
    return path


def test_convert(rmd17, tmp_path):
    output = run("convert", rmd17, tmp_path / "ethanol.xyz").output
    assert "kcal/mol, Å, kcal/mol/Å of md17, converted to eV, eV/Å, eV/Å³" in output
    assert "times the work of the forces" in output
    assert "all electrons if their unit is kcal/mol" in output
    assert "warning" not in output
    frames, keys = read_frames(tmp_path / "ethanol.xyz")
    assert keys.found == {"energy": {"energy": 40}, "forces": {"forces": 40}, "stress": {}}
    assert not keys.units.converted
    with np.load(rmd17) as data:
        assert_allclose([a.get_potential_energy() for a in frames], data["energies"] * KCAL, rtol=1e-14)
        assert_allclose([a.get_forces() for a in frames], data["forces"] * KCAL, atol=1e-8)  # digits of extxyz
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ethanol.xyz"]


def test_convert_refuses_contradicting_units(rmd17, tmp_path):
    arguments = ("convert", rmd17, tmp_path / "ethanol.xyz", "--energy-unit", "Hartree", "--force-unit", "kcal/mol/Å")
    output = run(*arguments, code=1).output
    assert "as if energies were in kcal/mol, not in Hartree: --energy-unit kcal/mol" in output
    assert "--no-unit-check" in output
    assert not list(tmp_path.iterdir())
    run(*arguments, "--no-unit-check")
    output = run("convert", rmd17, tmp_path / "wrong.xyz", "--energy-unit", "eV").output  # consistent, yet not what it is
    assert "those of all electrons in kcal/mol, not in eV" in output


def test_keys_of_a_converted_file_are_said_once(tmp_path):
    frames = load_silicon(config_types=["eos"])
    for atoms in frames:
        atoms.info["REF_energy"] = atoms.get_potential_energy() / units.Ry
        atoms.arrays["REF_forces"] = atoms.get_forces() / units.Ry
        atoms.info["energy_sigma"] = 0.1
        atoms.calc = None
    write(tmp_path / "a.xyz", frames)
    run("convert", tmp_path / "a.xyz", tmp_path / "b.xyz", "--energy-unit", "Ry")
    found, keys = read_frames(tmp_path / "b.xyz")
    assert keys.found["energy"] == {"energy": len(frames)}
    energies = [a.get_potential_energy() for a in load_silicon(config_types=["eos"])]
    assert_allclose([a.get_potential_energy() for a in found], energies, rtol=1e-14)
    assert_allclose(found[0].info["energy_sigma"], 0.1 * units.Ry, rtol=1e-14)
    assert found[0].info["config_type"] == "eos"
    assert "REF_forces" not in found[0].arrays


def test_convert_errors(rmd17, tmp_path):
    assert "must be a name that ends in .xyz or .extxyz" in run("convert", rmd17, tmp_path / "a.db", code=1).output
    write(tmp_path / "a.xyz", load_silicon()[:2])
    assert "must be another file than IN" in run("convert", tmp_path / "a.xyz", tmp_path / "a.xyz", code=1).output
    assert "must be another file than IN" in run("convert", f"{tmp_path / 'a.xyz'}@0", tmp_path / "a.xyz", code=1).output
    assert "There is no file" in run("convert", tmp_path / "none.npz", tmp_path / "b.xyz", code=1).output
    output = run("convert", rmd17, tmp_path / "b.xyz", "--energy-unit", "cal", code=1).output
    assert "`units.energy` must be one of eV, meV, Hartree" in output
    assert "Example:" in run("convert", "--help").output


def test_split(tmp_path):
    frames = load_silicon()
    write(tmp_path / "all.xyz", frames)
    output = run("split", tmp_path / "all.xyz", "--fractions", 0.7, 0.15, 0.15, "-o", tmp_path / "sets", "--seed", 1).output
    assert "train" in output
    assert "in time" in output
    parts = {name: read(tmp_path / "sets" / f"{name}.xyz", ":") for name in ("train", "validation", "test")}
    sizes = {name: len(part) for name, part in parts.items()}
    assert sizes["validation"] == pytest.approx(0.15 * len(frames), abs=2)
    assert sizes["test"] == pytest.approx(0.15 * len(frames), abs=2)
    energies = {a.get_potential_energy() for part in parts.values() for a in part}
    assert energies <= {a.get_potential_energy() for a in frames}
    arguments = ("split", tmp_path / "all.xyz", "--fractions", 0.7, 0.15, 0.15, "-o", tmp_path / "sets", "--seed", 1, "--json")
    assert "Add --overwrite to replace them" in run(*arguments, code=1).output
    found = json.loads(run(*arguments, "--overwrite").stdout)
    assert {name: len(found[name]) for name in sizes} == sizes
    everything = found["train"] + found["validation"] + found["test"] + found["left_out"]
    assert sorted(everything) == list(range(len(frames)))


def test_split_by_key_without_validation(tmp_path):
    write(tmp_path / "all.xyz", load_silicon(config_types=["eos", "strained", "rattled"]))
    arguments = ("--fractions", 0.5, 0, 0.5, "--by", "config_type", "--no-stratify")
    run("split", tmp_path / "all.xyz", *arguments, "-o", tmp_path / "sets")
    assert sorted(p.name for p in (tmp_path / "sets").iterdir()) == ["test.xyz", "train.xyz"]
    kinds = [{a.info["config_type"] for a in read(tmp_path / "sets" / f"{name}.xyz", ":")} for name in ("train", "test")]
    assert not kinds[0] & kinds[1]
    output = run("split", tmp_path / "all.xyz", "--fractions", 0.5, 0.4, 0.4, "-o", tmp_path / "other", code=1).output
    assert "`fractions` must be at least two numbers that sum to 1" in output
    assert not (tmp_path / "other").exists()
