from __future__ import annotations

import json

import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from typer.testing import CliRunner

from gapkit.cli.main import app
from gapkit.datasets import load_silicon


@pytest.fixture
def files(tmp_path):
    """The shipped set in two files, and in one with energies in Hartree."""
    frames = load_silicon()
    write(tmp_path / "a.xyz", frames[:40])
    write(tmp_path / "b.xyz", frames[40:])
    wrong = []
    for atoms in frames:
        copy = atoms.copy()
        copy.calc = SinglePointCalculator(copy, **{**atoms.calc.results, "energy": atoms.get_potential_energy() / 27.2114})
        wrong.append(copy)
    write(tmp_path / "hartree.xyz", wrong)
    return tmp_path


def test_clean_set(files):
    result = CliRunner().invoke(app, ["check", str(files / "a.xyz"), str(files / "b.xyz")])
    assert result.exit_code == 0, result.output
    assert "no mistake found" in result.output
    assert "frames 40 to 93" in result.output
    assert "composition" in result.output


def test_json_and_exit_status(files):
    result = CliRunner().invoke(app, ["check", str(files / "hartree.xyz"), "--json"])
    assert result.exit_code == 1
    findings = json.loads(result.stdout)
    assert all(set(f) == {"id", "severity", "frames", "message", "remedy"} for f in findings)
    assert [f["id"] for f in findings if f["severity"] == "error"] == ["energy-unit"]
    assert "--energy-unit Hartree" in findings[0]["remedy"]


def test_wrong_cutoff(files):
    result = CliRunner().invoke(app, ["check", str(files / "a.xyz"), "--cutoff", "50"])
    assert result.exit_code == 1
    assert "`cutoff` must be a number at most 20" in result.stderr


def test_what_a_model_doubts(tmp_path):
    frames = load_silicon(config_types=["isolated_atom", "eos", "rattled", "md_1000K"])
    wrong = frames[20].copy()
    wrong.calc = SinglePointCalculator(
        wrong, energy=frames[20].get_potential_energy() + 0.1 * len(wrong), forces=frames[20].get_forces()
    )
    write(tmp_path / "train.xyz", [*frames[:20], wrong, *frames[21:]])
    train, model = str(tmp_path / "train.xyz"), str(tmp_path / "a.gap")
    small = ["--set", "soap.n_sparse=100", "--set", "soap.n_max=6", "--set", "soap.l_max=4"]
    result = CliRunner().invoke(app, ["fit", train, *small, "-o", model])
    assert result.exit_code == 0, result.output
    assert "unbalanced-weights" not in result.output
    result = CliRunner().invoke(app, ["check", train, "--model", model, "--loo", "--json"])
    findings = {f["id"]: f for f in json.loads(result.stdout)}
    assert findings["doubted-label"]["frames"] == [20]
    assert "off by +0.1 eV/atom" in findings["doubted-label"]["message"]
    result = CliRunner().invoke(app, ["check", train, "--model", model])
    assert result.exit_code == 1
    assert "must stand together" in result.stderr
    result = CliRunner().invoke(app, ["check", f"{train}@:30", "--model", model, "--loo"])
    assert result.exit_code == 1
    assert "must be the training set" in result.stderr


def test_a_fit_names_unbalanced_weights(tmp_path):
    write(tmp_path / "train.xyz", load_silicon(config_types=["isolated_atom", "rattled", "md_1000K"]))
    small = ["--set", "soap.n_sparse=100", "--set", "soap.n_max=6", "--set", "soap.l_max=4", "--set", "noise.energy=10"]
    result = CliRunner().invoke(app, ["fit", str(tmp_path / "train.xyz"), *small, "-o", str(tmp_path / "a.gap")])
    assert result.exit_code == 0, result.output
    assert "unbalanced-weights: energies weigh too little against forces" in result.stderr
    assert "--set noise.energy=" in result.stderr
