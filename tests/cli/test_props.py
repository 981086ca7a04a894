"""gapkit props, gapkit compare: as a user runs them."""

from __future__ import annotations

import json

import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write
from typer.testing import CliRunner

from gapkit import RBF, SOAP, DotProduct, GAPRegressor, Noise, Term, TwoBody
from gapkit.cli.main import app
from gapkit.datasets import load_silicon
from gapkit.validation import compare, named_calculator
from tests.conftest import labelled


def run(*arguments: object, code: int = 0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("props")
    term = Term(SOAP(r_cut=4.0, n_max=3, l_max=3), DotProduct(zeta=2), n_sparse=20)
    frames = load_silicon(config_types=["eos", "strained"])
    model = GAPRegressor([term], noise=Noise(0.01, 0.2, 0.01), random_state=0).fit(frames)
    model.save(path / "si.gap")
    model.calibrate("loo").save(path / "calibrated.gap")
    model.save(path / "mean.gap", posterior=False)
    write(path / "si.xyz", bulk("Si", a=5.5))
    write(path / "test.xyz", load_silicon(config_types=["strained"])[:4])
    return path


def test_properties_with_reference_and_report(folder):
    (folder / "dft.json").write_text('{"a": 5.47, "C11": 153.0, "phonon_X_1": 4.2}')
    command = ["props", folder / "calibrated.gap", folder / "si.xyz", "--samples", 4, "--only", "eos,elastic,phonons"]
    output = run(*command, "--reference", folder / "dft.json", "--report", folder / "r.html").output
    words = " ".join(output.split())  # lines wrap
    for text in (
        "Si2, cubic, Fd-3m",
        "bulk modulus",
        "C44",
        "phonon X 1-2",
        "error/std",
        "times the factors of the calibration",
    ):
        assert text in words
    page = (folder / "r.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert "http" not in page.replace("http://www.w3.org", "")  # self-contained
    assert "(reference 5.47)" in page


def test_json_has_numbers_curves_and_units(folder):
    result = run(
        "props", folder / "si.gap", folder / "si.xyz", "--samples", 4, "--only", "elastic,dynamics", "--steps", 100, "--json"
    )
    content = json.loads(result.stdout)
    assert content["crystal"] == {"space_group": "Fd-3m", "system": "cubic"}
    assert content["samples"] == 4
    assert content["properties"]["C11"]["unit"] == "GPa"
    assert content["properties"]["C11"]["std"] > 0
    assert len(content["properties"]["rdf"]["value"]) == len(content["properties"]["rdf"]["std"]) == 160
    again = run("props", folder / "si.gap", folder / "si.xyz", "--samples", 4, "--only", "elastic", "--json")
    assert json.loads(again.stdout)["properties"]["C11"] == content["properties"]["C11"]  # one seed, one result


def test_without_posterior(folder, tmp_path):
    """A model saved without, and QUIP's XML: no error bars, and they say so."""
    term = Term(TwoBody(r_cut=4.5), RBF(0.5), n_sparse=8)
    pairs = GAPRegressor([term], noise=Noise(0.01, 0.2, 0.01), random_state=0)
    pairs.fit(load_silicon(config_types=["eos"])).save(tmp_path / "pairs.gap", posterior=False)
    run("export", tmp_path / "pairs.gap", tmp_path / "quip.xml")
    values = []
    for model in (tmp_path / "pairs.gap", tmp_path / "quip.xml"):
        content = json.loads(run("props", model, folder / "si.xyz", "--only", "eos", "--json").stdout)
        assert "std" not in content["properties"]["a"]
        assert any("no error bars" in text for text in content["remarks"])
        values.append(content["properties"]["a"]["value"])
    assert values[0] == pytest.approx(values[1], abs=1e-6)
    assert "no error bars" in run("props", folder / "mean.gap", folder / "si.xyz", "--only", "eos").output


def test_errors_are_sentences(folder):
    assert "`only` must be one of" in run("props", folder / "si.gap", folder / "si.xyz", "--only", "bands", code=1).output
    assert "`samples`" in run("props", folder / "si.gap", folder / "si.xyz", "--samples", -1, code=1).output
    assert "`models` must be" in run("compare", folder / "test.xyz", code=1).output


def test_calculators_by_name(folder, tmp_path, monkeypatch):
    assert isinstance(named_calculator("ase.calculators.emt:EMT"), EMT)
    for name, text in (
        ("no_such_module:Thing", "No module named"),
        ("ase.calculators.emt:Thing", "has no attribute"),
        ("pathlib:Path", "must be an ASE calculator"),
        ("ase.calculators.singlepoint:SinglePointCalculator", "called without arguments"),
    ):
        with pytest.raises(ValueError, match=text):
            named_calculator(name)
    with pytest.raises(OSError, match=r"nothing\.gap"):
        named_calculator("nothing.gap")
    # a file is read as a model, whatever its name looks like: nothing is imported for it
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ase.calculators.emt:EMT").write_text("no model")
    with pytest.raises(ValueError, match="must be a gapkit model"):
        named_calculator("ase.calculators.emt:EMT")


def test_comparison(folder, tmp_path):
    """A model, and a calculator with another zero of energy that is exact but for it."""
    frames = [labelled(bulk("Cu", a=a)) for a in (3.5, 3.6, 3.7)]
    for atoms in frames:
        atoms.calc.results["energy"] += 100.0
    (exact,) = compare(["ase.calculators.emt:EMT"], frames)
    assert exact.shifted
    assert exact.errors.energy_rmse == pytest.approx(0.0, abs=1e-6)  # meV/atom
    assert exact.errors.forces_rmse == pytest.approx(0.0, abs=1e-9)
    assert exact.errors.stress_rmse == pytest.approx(0.0, abs=1e-9)
    assert exact.speed.microseconds > 0
    assert 50 < exact.speed.memory < 5000
    output = run("compare", folder / "si.gap", folder / "test.xyz", "--report", tmp_path / "c.html").output
    for text in ("si.gap", "force RMSE", "µs/atom", "memory (MB)"):
        assert text in output
    assert (tmp_path / "c.html").read_text().count("data:image/png;base64,") == 1


def test_a_failing_calculator_names_the_frame():
    frames = [labelled(bulk("Cu")), labelled(bulk("Cu"))]
    frames[1].symbols = "Si"  # which EMT does not know
    with pytest.raises(ValueError, match=r"EMT failed in frame 1: NotImplementedError"):
        compare(["ase.calculators.emt:EMT"], frames)
