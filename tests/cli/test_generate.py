"""gapkit generate."""

from __future__ import annotations

import json

import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read, write
from numpy.testing import assert_allclose
from typer.testing import CliRunner

from gapkit import SOAP, DotProduct, GAPRegressor, Noise, Term
from gapkit.cli.main import app
from gapkit.datasets import KINDS, generate
from tests.conftest import labelled


def run(*arguments: object, code: int = 0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "cu.xyz", [bulk("Cu", cubic=True), bulk("Cu", cubic=True, a=3.7)])
    (tmp_path / "label.py").write_text(
        "def make_calculator():\n    from ase.calculators.emt import EMT\n\n    return EMT()\n", encoding="utf-8"
    )
    return tmp_path


def test_kinds_and_parameters_on_the_command_line(folder):
    arguments = ("generate", folder / "cu.xyz@0", "--kinds", "volume,isolated", "--set", "volume.n=4", "--set", "strain.n=3")
    output = run(*arguments, "-o", folder / "new.xyz", "--seed", 3).output
    assert "volume" in output
    assert "wrote" in output
    frames = read(folder / "new.xyz", ":")
    assert [atoms.info["config_type"] for atoms in frames] == ["volume"] * 4 + ["isolated"] + ["strain"] * 3
    assert {atoms.info["gapkit_seed"] for atoms in frames} == {3}
    assert "must be a new file" in run(*arguments, "-o", folder / "new.xyz", code=1).output
    found = json.loads(run(*arguments, "-o", folder / "new.xyz", "--overwrite", "--json").stdout)
    assert found["frames"] == 8
    assert found["blocks"][0] == {"name": "volume", "kind": "volume", "frames": 4, "too_close": 0}
    assert found["labels"] is None


def test_a_recipe_with_labels_goes_on(folder):
    recipe = """\
start: cu.xyz
random_state: 5
driver: {calculator: emt}
labeler: {script: label.py, in_process: true}
volume: {n: 3, smallest: 0.9, largest: 1.1}
warm: {type: md, temperatures: [300], n: 1, equilibrate: 3, every: 2, min_edge: 0}
other: {type: strain, start: cu.xyz@1, n: 2}
"""
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    arguments = ("generate", "-c", folder / "recipe.yaml", "-o", folder / "train.xyz", "--json")
    found = json.loads(run(*arguments).stdout)
    assert (found["frames"], found["labels"]) == (10, {"done": 10, "bought": 10, "failed": []})
    frames = read(folder / "train.xyz", ":")
    assert {atoms.info["config_type"] for atoms in frames} == {"volume", "warm_300K", "other"}
    for atoms in frames:
        copy = atoms.copy()
        copy.calc = EMT()
        assert atoms.get_potential_energy() == pytest.approx(copy.get_potential_energy(), abs=1e-7)
        assert_allclose(atoms.get_forces(), copy.get_forces(), atol=1e-6)  # digits of extxyz
    (folder / "train.xyz").unlink()
    again = json.loads(run(*arguments).stdout)
    assert again["labels"] == {"done": 10, "bought": 0, "failed": []}
    assert again["blocks"] == []  # nothing was made again
    assert [a.get_potential_energy() for a in read(folder / "train.xyz", ":")] == [a.get_potential_energy() for a in frames]
    (folder / "train.xyz").unlink()
    assert "must be a new folder, or one of the same recipe" in run(*arguments, "--seed", 6, code=1).output
    assert run(*arguments, "--seed", 6, "--journal", folder / "others").exit_code == 0


def test_labels_by_processes(folder):
    arguments = ("--kinds", "isolated", "--label", "emt", "--workers", 2, "--json")
    found = json.loads(run("generate", folder / "cu.xyz", *arguments, "-o", folder / "new.xyz").stdout)
    assert found["labels"]["done"] == 1
    command = 'python -c "import sys; sys.exit(3)" {input} {output}'
    arguments = ("--kinds", "isolated", "--label", command)
    output = run("generate", folder / "cu.xyz", *arguments, "-o", folder / "bad.xyz", code=1).output
    assert "No structure could be labelled; the last reason: RuntimeError: exit status 3" in output
    assert not (folder / "bad.xyz").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kinds", "vacancies"], "Unknown kind: 'vacancies'. Did you mean 'vacancy'?"),
        ([], "`--kinds` must name what to make: isolated, dimer"),
        (["--kinds", "volume", "--set", "volume.nn=3"], "Unknown parameter of 'volume': 'nn'"),
        (["--kinds", "md"], "`driver` must be given for 'md'"),
        (["--kinds", "md", "--driver", "emtt"], "Unknown calculator: 'emtt'. Did you mean 'emt'?"),
        (["--kinds", "volume", "-o", "new.traj"], "`-o` must be a name that ends in .xyz"),
        (["--kinds", "volume", "--workers", "2"], "must stand with --label"),
        (["--kinds", "volume", "--min-distance", "2"], "`min_distance` must be a number"),
        (["--kinds", "random", "--set", "random.volume=3"], "`volume` must leave room for distances"),
    ],
)
def test_errors(folder, monkeypatch, arguments, message):
    monkeypatch.chdir(folder)
    result = run("generate", "cu.xyz", *arguments, code=1)
    assert message in result.output.replace("\n", " ")
    assert "Traceback" not in result.output
    assert not list(folder.glob("generated*"))


def test_a_model_drives(folder):
    soap = Term(SOAP(4.0, 4, 3, 0.5), DotProduct(2), n_sparse=20)
    frames = [labelled(atoms) for atoms in generate({"rattle": {"n": 8, "min_edge": 0}}, [bulk("Cu", cubic=True)]).frames]
    GAPRegressor([("soap", soap)], noise=Noise(), random_state=0).fit(frames).save(folder / "a.gap")
    arguments = ("generate", folder / "cu.xyz@0", "--kinds", "md", "--driver", folder / "a.gap", "--seed", 2, "--json")
    for setting in ("temperatures=[200]", "n=2", "every=5", "equilibrate=5", "min_edge=0"):
        arguments += ("--set", f"md.{setting}")
    found = json.loads(run(*arguments, "-o", folder / "1.xyz").stdout)
    assert found["blocks"] == [{"name": "md", "kind": "md", "frames": 2, "too_close": 0}]
    run(*arguments, "-o", folder / "2.xyz")
    one, two = (read(folder / f"{k}.xyz", ":") for k in (1, 2))
    assert [atoms.info["config_type"] for atoms in one] == ["md_200K"] * 2
    assert_allclose(one[1].positions, two[1].positions, rtol=0, atol=0)
    assert not one[1].calc  # structures without labels


def test_help_names_all_kinds():
    output = run("generate", "--help").output
    assert "Example:" in output
    assert all(kind in output for kind in KINDS if len(kind) < 8)  # longer words are broken
