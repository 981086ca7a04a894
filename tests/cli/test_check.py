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
