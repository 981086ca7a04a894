"""The seven classic failures: each has a set or run on which a command names it, and one on which it is silent."""

from __future__ import annotations

import json

import pytest
from ase import units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from typer.testing import CliRunner

from gapkit import SOAP, DotProduct, GAPRegressor, Noise, Term
from gapkit.cli.main import app
from gapkit.datasets import load_silicon
from tests.checks.test_coverage import copper

COLD = ["isolated_atom", "eos", "rattled", "md_300K"]
SMALL = ["--set", "soap.n_sparse=100", "--set", "soap.n_max=6", "--set", "soap.l_max=4"]


def run(*arguments: object):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code in (0, 1), result.output
    assert "Traceback" not in result.output
    return result


def named(*arguments: object) -> set[str]:
    """Ids that `gapkit check` has to say, information aside."""
    return {f["id"] for f in json.loads(run("check", *arguments, "--json").stdout) if f["severity"] != "info"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("data")
    write(path / "narrow.xyz", copper(24, 0.008))
    write(path / "wide.xyz", copper(24, 0.1))
    write(path / "cold.xyz", load_silicon(config_types=COLD))
    write(path / "hot.xyz", load_silicon(config_types=["md_2000K"]))
    write(path / "vacancy.xyz", load_silicon(config_types=["vacancy"]))
    write(path / "train.xyz", load_silicon("train"))
    write(path / "test.xyz", load_silicon("test"))
    hartree = []
    for atoms in load_silicon("train"):
        copy = atoms.copy()
        copy.calc = SinglePointCalculator(
            copy, **{**atoms.calc.results, "energy": atoms.get_potential_energy() / units.Hartree}
        )
        hartree.append(copy)
    write(path / "hartree.xyz", hartree)
    for name, frames in (("cold", load_silicon(config_types=COLD)), ("train", load_silicon("train"))):
        soap = Term(SOAP(5.0, 6, 4, 0.5), DotProduct(4), n_sparse=100)
        GAPRegressor([("soap", soap)], noise=Noise(), random_state=0).fit(frames).save(path / f"{name}.gap")
    return path


def test_biased_energy_range(folder):
    assert named(folder / "narrow.xyz") == {"energy-range"}
    assert named(folder / "wide.xyz") == set()


def test_narrow_temperature_range(folder):
    assert named(folder / "cold.xyz", "--test", folder / "hot.xyz") == {"temperature-range"}
    assert named(folder / "train.xyz", "--test", folder / "test.xyz") == set()


def test_too_short_cutoff(folder):
    assert named(folder / "train.xyz", "--cutoff", 3.0) == {"cutoff-too-short"}  # the second shell is at 3.84 Å
    assert named(folder / "train.xyz", "--cutoff", 5.0) == set()


def test_unit_confusion(folder):
    assert named(folder / "hartree.xyz") == {"energy-unit"}
    assert named(folder / "train.xyz") == set()


def test_unbalanced_weights(folder, tmp_path):
    for settings, expected in ((["--set", "noise.energy=10"], True), ([], False)):
        result = run("fit", folder / "train.xyz", *SMALL, *settings, "-o", tmp_path / "a.gap")
        assert result.exit_code == 0
        assert ("unbalanced-weights: energies weigh too little against forces" in result.stderr) == expected
        found = named(folder / "train.xyz", "--model", tmp_path / "a.gap", "--loo")
        assert ("unbalanced-weights" in found) == expected


def test_extrapolation(folder, tmp_path):
    for model, test, expected in (("cold", "vacancy", True), ("cold", "hot", True), ("train", "test", False)):
        result = run("evaluate", folder / f"{model}.gap", folder / f"{test}.xyz")
        assert result.exit_code == 0
        assert ("extrapolation: " in result.stderr) == expected, (model, test)
    numbers = json.loads(run("evaluate", folder / "cold.gap", folder / "vacancy.xyz", "--json").stdout)["extrapolation"]
    assert numbers
    assert json.loads(run("evaluate", folder / "train.gap", folder / "test.xyz", "--json").stdout)["extrapolation"] == []
    arguments = ("--steps", 4, "--every", 2, "--timestep", 0.1, "--temperature", 1, "--uncertainty", "exact")
    for start, expected in ((f"{folder / 'vacancy.xyz'}@{numbers[0]}", True), (f"{folder / 'cold.xyz'}@40", False)):
        result = run("md", folder / "cold.gap", start, *arguments, "-o", tmp_path / "run.traj")
        assert ("extrapolation: " in result.stderr) == expected, start


@pytest.mark.parametrize(("timestep", "drifts"), [(16.0, True), (1.0, False)])
def test_energy_drift(folder, tmp_path, timestep, drifts):
    arguments = ("--ensemble", "nve", "--temperature", 300, "--steps", 60, "--every", 3, "--timestep", timestep)
    result = run("md", folder / "train.gap", f"{folder / 'train.xyz'}@-1", *arguments, "-o", tmp_path / "run.traj")
    assert ("energy-drift: The energy drifts by" in result.stderr) == drifts, result.output
