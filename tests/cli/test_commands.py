from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.io import read, write
from numpy.testing import assert_allclose
from typer.testing import CliRunner

import gapkit
from gapkit.cli.main import app
from gapkit.gp.calibration import Calibration
from gapkit.model.labelled_errors import labelled_errors
from tests.conftest import copper_gold

SMALL = ["--set", "soap.r_cut=4.0", "--set", "soap.n_max=3", "--set", "soap.l_max=2", "--set", "soap.n_sparse=20"]


def run(*arguments: object, code: int = 0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def folder(alloy, tmp_path_factory):
    path = tmp_path_factory.mktemp("cli")
    write(path / "train.xyz", alloy)
    write(path / "start.xyz", copper_gold(90, (True, True, True), n=8))
    run("fit", path / "train.xyz", *SMALL, "-o", path / "model.gap")
    return path


def test_fit_prints_ledger_configuration_and_errors(folder, tmp_path):
    result = run("fit", folder / "train.xyz", *SMALL, "-o", tmp_path / "m.gap")
    for text in (
        "slab", "energies", "keys      energy: energy (10)", "eV, eV/Å, eV/Å³ assumed", "stress is",
        "r_cut: 4.0", "baseline: {type: zbl, r_inner: {Cu-Cu: ", "e0        ", "least squares",
        "errors on the training set", "wrote",
    ):  # fmt: skip
        assert text in result.output
    model = gapkit.load(tmp_path / "m.gap")
    assert model.named_terms()[0][1].n_sparse == 20
    assert set(model.baseline.r_outer) == {"Cu-Cu", "Cu-Au", "Au-Au"}


def test_fit_with_and_without_a_repulsion(folder, tmp_path):
    config = tmp_path / "gap.yaml"
    config.write_text("soap: {r_cut: 4.0, n_max: 3, l_max: 2, n_sparse: 20}\nbaseline: {type: zbl, r_inner: 0.8}\n")
    output = run("fit", folder / "train.xyz", "-c", config, "-o", tmp_path / "m.gap").output
    assert "baseline: {type: zbl, r_inner: {Cu-Cu: 0.8, Cu-Au: 0.8, Au-Au: 0.8}, r_outer: {Cu-Cu: " in output  # resolved
    assert "baseline: {type: zbl, r_inner: {Cu-Cu: 0.8" in run("show", tmp_path / "m.gap").output
    output = run("fit", folder / "train.xyz", *SMALL, "--set", "baseline=null", "-o", tmp_path / "m.gap").output
    assert "zbl" not in output
    assert gapkit.load(tmp_path / "m.gap").baseline is None


GAP_FIT = """gap_fit at_file=train.xyz "gap={distance_2b cutoff=4.0 covariance_type=ard_se theta_uniform=0.5 delta=1.0
    n_sparse=10 sparse_method=uniform}" force_parameter_name=forces "default_sigma={0.001 0.05 0.05 0.0}" e0={Cu:0.1:Au:0.2}"""


def test_fit_as_gap_fit(folder, alloy, tmp_path, monkeypatch):
    """Names of files are relative to the working directory, as for gap_fit."""
    monkeypatch.chdir(folder)
    output = run("fit", "--gap-fit", GAP_FIT, "-o", tmp_path / "m.gap").output
    for text in (
        "labels of at_file",
        "gapkit chooses those of distance_2b (uniform) itself; --points-from takes them from gap_fit's XML",
        "keys      energy: energy (10); forces: forces (10); stress: stress (10)",
        "jitter: 1.0e-10",
        "e0        Cu 0.1 eV (given), Au 0.2 eV (given)",
        "168 forces",
    ):
        assert text in output
    assert "5 of 10 frames say that they are not periodic" in output
    model = gapkit.load(tmp_path / "m.gap")
    assert (model.jitter, model.n_sparse_, model.noise.forces) == (1e-10, 30, 0.05)
    write(tmp_path / "few.xyz", alloy[1::2])
    output = run("fit", tmp_path / "few.xyz", "--gap-fit", GAP_FIT, "-o", tmp_path / "m.gap").output
    assert "labels of " + str(tmp_path / "few.xyz") in output
    assert "energy: energy (5)" in output
    assert "jitter: 1.0e-10" in run("show", tmp_path / "m.gap").output


def test_a_model_on_a_calculator_is_for_python(alloy, folder, tmp_path):
    model = gapkit.load(folder / "model.gap").set_params(baseline=EMT()).fit(alloy)
    model.save(tmp_path / "m.gap")
    assert "on top of the ASE calculator EMT, which a file cannot hold" in run("show", tmp_path / "m.gap", code=1).output


def test_fit_with_a_config_file(folder, tmp_path):
    run("init", folder / "train.xyz", "-o", tmp_path / "gap.yaml")
    text = (tmp_path / "gap.yaml").read_text()
    assert "block for each configuration type" in text
    assert "slab" in text
    assert "soap: {" in text
    assert "baseline: {type: zbl, r_inner: {Cu-Cu: " in text
    run("fit", folder / "train.xyz", "-c", tmp_path / "gap.yaml", *SMALL, "-o", tmp_path / "m.gap")
    assert gapkit.load(tmp_path / "m.gap").named_terms()[0][1].descriptor.r_cut == 4.0
    run("init", "-o", tmp_path / "gap.yaml", code=1)  # never overwritten


def test_evaluate(folder, tmp_path):
    result = run(
        "evaluate", folder / "model.gap", folder / "train.xyz", "-o", tmp_path / "p.xyz", "--report", tmp_path / "r.html"
    )
    assert "energy MAE (meV/atom)" in result.output
    frames = read(tmp_path / "p.xyz", ":")
    model = gapkit.load(folder / "model.gap")
    for atoms, p in zip(frames, model.evaluate(frames, uncertainty="exact"), strict=True):
        assert atoms.info["gapkit_energy"] == pytest.approx(p.energy)
        assert atoms.info["gapkit_energy_std"] == pytest.approx(p.energy_std, rel=1e-5)
        assert_allclose(atoms.arrays["gapkit_forces"], p.forces, rtol=0, atol=1e-7)
        assert_allclose(atoms.arrays["gapkit_local_energy"], p.energies, rtol=0, atol=1e-7)
        assert atoms.get_potential_energy() != p.energy  # the label is still there
    for text in ("R²  energy per atom", "forces on", "error bars of", "mean z²", "miscalibration area (chance)"):
        assert text in result.output
    assert "90 % interval" in result.output  # gapkit fit has calibrated the model
    page = (tmp_path / "r.html").read_text()
    assert "energy RMSE" in page
    assert "<h2>Error bars</h2>" in page
    assert "The model is calibrated: isotonic from leave-one-out errors" in page
    assert page.count("data:image/png;base64") == 5  # by type, by species, parity, error bars, map
    for name in ("gapkit_forces_std", "gapkit_local_energy_std"):
        assert (frames[0].arrays[name] > 0).all()
    assert frames[0].info["gapkit_stress_std"].shape == (6,)


def test_fit_with_a_card_and_a_report(folder, tmp_path):
    config = tmp_path / "gap.yaml"
    config.write_text("soap: {r_cut: 4.0, n_max: 3, l_max: 2, n_sparse: 20}\ncard: {dft: {code: EMT}, citation: 10.1/x}\n")
    run("fit", folder / "train.xyz", "-c", config, "-o", tmp_path / "m.gap", "--report", tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    for text in ("These are the structures of the fit", "training structures", "code EMT", "10.1/x", "sha256"):
        assert text in page
    output = run("show", tmp_path / "m.gap").output
    assert "card: {dft: {code: EMT}, citation: 10.1/x}" in output
    assert "10 structures (5 slab, 5 bulk), sha256 " in output
    assert json.loads(run("show", tmp_path / "m.gap", "--json").stdout)["card"]["given"]["dft"] == {"code": "EMT"}
    config.write_text("soap: {}\ncard: {date: 2026-01-01}\n")
    assert "Quote dates" in run("fit", folder / "train.xyz", "-c", config, "-o", tmp_path / "m.gap", code=1).output


def test_fit_without_each_type(folder, tmp_path):
    page = tmp_path / "r.html"
    command = ("fit", folder / "train.xyz", *SMALL, "-o", tmp_path / "m.gap", "--no-calibrate", "--leave-out")
    output = run(*command, "each", "--report", page).output
    assert "extrapolation: fits without some configuration types" in output
    assert "<h2>Extrapolation</h2>" in page.read_text()
    assert "of groups among ['slab', 'bulk']; got 'liquid'" in run(*command, "liquid", code=1).output


def test_learning_curve(folder, tmp_path):
    model, train = folder / "model.gap", folder / "train.xyz"
    output = run("evaluate", model, train, "--std", "none", "--learning-curve", train, "--report", tmp_path / "r.html").output
    assert "learning curve: fits to parts of" in output
    assert "<h2>Learning curve</h2>" in (tmp_path / "r.html").read_text()
    found = json.loads(run("evaluate", model, train, "--std", "none", "--learning-curve", train, "--json").stdout)
    assert [point["n_frames"] for point in found["learning_curve"]] == [1, 2, 4, 7, 10]
    assert found["learning_curve"][-1]["errors"]["forces_rmse"] == pytest.approx(found["errors"][-1]["forces_rmse"], rel=1e-8)


def test_evaluate_json(folder):
    tables = json.loads(run("evaluate", folder / "model.gap", folder / "train.xyz", "--json").stdout)
    assert [row["config_type"] for row in tables["errors"]] == ["slab", "bulk", "all"]
    assert tables["errors"][-1]["energy_mae"] > 0
    assert tables["errors"][-1]["energy_r2"] < 1
    assert [row["config_type"] for row in tables["force_errors_by_species"]] == ["Cu", "Au"]
    assert {(row["kind"], row["group"]) for row in tables["error_bars"]} == {
        ("energy", "slab"), ("energy", "bulk"), ("energy", "all")
    }  # fmt: skip


@pytest.mark.parametrize(
    ("std", "kinds"), [("none", set()), ("forces", {"forces"}), ("stress, energy", {"energy", "stress"}), ("all", None)]
)
def test_evaluate_computes_the_error_bars_that_are_asked_for(folder, std, kinds):
    tables = json.loads(run("evaluate", folder / "model.gap", folder / "train.xyz", "--json", "--std", std).stdout)
    found = {row["kind"] for row in tables["error_bars"]}
    assert found == ({"energy", "forces", "stress"} if kinds is None else kinds)


def test_a_report_of_many_atoms_leaves_out_slow_error_bars(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("gapkit.cli.evaluate._MODERATE", 10)
    arguments = (
        "evaluate",
        folder / "model.gap",
        folder / "train.xyz",
        "--report",
        tmp_path / "r.html",
        "-o",
        tmp_path / "p.xyz",
    )
    assert "are left out for 56 atoms; --std all computes them" in run(*arguments).output
    assert "gapkit_forces_std" not in read(tmp_path / "p.xyz").arrays
    run(*arguments, "--std", "forces")
    assert "gapkit_forces_std" in read(tmp_path / "p.xyz").arrays


def test_a_calibrated_model_says_so(folder, tmp_path, monkeypatch):
    model, frames = gapkit.load(folder / "model.gap"), read(folder / "train.xyz", ":")
    predictions = model.evaluate(frames, uncertainty="exact", std=("energy", "forces", "stress"))
    model.calibration_ = Calibration.fit(
        labelled_errors(frames, predictions, by="species"), method="scale", by="species", source="loo"
    )
    monkeypatch.setattr("gapkit.cli.evaluate.load", lambda path: model)
    output = run("evaluate", folder / "model.gap", folder / "train.xyz", "--report", tmp_path / "r.html").output
    assert "in 90 % interval" in output
    assert "The model is calibrated: scale per species from leave-one-out errors: energy ×" in (tmp_path / "r.html").read_text()


def test_evaluate_without_labels(folder, tmp_path):
    frames = [a.copy() for a in read(folder / "train.xyz", ":")]
    write(tmp_path / "bare.xyz", frames)
    run("evaluate", folder / "model.gap", tmp_path / "bare.xyz", "-o", tmp_path / "p.xyz", "--report", tmp_path / "r.html")
    assert len(read(tmp_path / "p.xyz", ":")) == len(frames)


def test_show(folder):
    output = run("show", folder / "model.gap").output
    for text in ("Cu, Au", "least squares", "20", "r_cut: 4.0", "zeta: 4"):
        assert text in output
    card = json.loads(run("show", folder / "model.gap", "--json").stdout)
    assert card["species"] == ["Cu", "Au"]
    assert sum(card["sparse_points"]["soap"].values()) == gapkit.load(folder / "model.gap").n_sparse_
    assert card["config"]["soap"]["r_cut"] == 4.0


@pytest.mark.parametrize("ensemble", ["nve", "nvt"])
def test_md(folder, tmp_path, ensemble):
    run(
        "md", folder / "model.gap", folder / "start.xyz", "--temperature", 100, "--steps", 20, "--every", 5,
        "--ensemble", ensemble, "--uncertainty", "exact", "-o", tmp_path / "run.traj",
    )  # fmt: skip
    assert len(read(tmp_path / "run.traj", ":")) == 5
    with open(tmp_path / "run.csv") as file:
        rows = list(csv.DictReader(file))
    assert [int(r["step"]) for r in rows] == [0, 5, 10, 15, 20]
    total = np.array([float(r["total_eV"]) for r in rows])
    assert float(rows[0]["energy_std_eV"]) > 0
    if ensemble == "nve":
        assert np.ptp(total) < 0.02
    last = read(tmp_path / "run_last.xyz")
    assert_allclose(last.positions, read(tmp_path / "run.traj").positions, rtol=0, atol=1e-7)


def test_md_stops_where_forces_are_not_known(folder, tmp_path):
    arguments = ["md", folder / "model.gap", folder / "start.xyz", "--steps", 20, "--every", 5, "--timestep", 4]
    limits = []
    for k, limit in enumerate((1e3, 1e-9)):
        output = run(*arguments, "--stop-above", limit, "-o", tmp_path / f"{k}.traj").output
        with open(tmp_path / f"{k}.csv") as file:
            rows = list(csv.DictReader(file))
        assert float(rows[-1]["largest_force_std_eV_per_A"]) > 0.0
        limits.append((len(rows), "stopped at step" in output))
    assert limits == [(5, False), (1, True)]


def test_error_bars_without_a_posterior(folder, tmp_path):
    gapkit.load(folder / "model.gap").save(tmp_path / "small.gap", posterior=False)
    run("evaluate", tmp_path / "small.gap", folder / "train.xyz", "--uncertainty", "prior", "-o", tmp_path / "p.xyz")
    frames = read(tmp_path / "p.xyz", ":")
    for atoms, p in zip(frames, gapkit.load(tmp_path / "small.gap").evaluate(frames, uncertainty="prior"), strict=True):
        assert_allclose(atoms.arrays["gapkit_local_energy_std"], p.energies_std, rtol=0, atol=1e-7)
        assert "gapkit_energy_std" not in atoms.info
    evaluate = ("evaluate", tmp_path / "small.gap", folder / "train.xyz")
    for arguments, text in (
        (("--std", "energies"), "None or 'prior' for a model without posterior"),
        (("--uncertainty", "prior", "--std", "forces"), "('energies',) for uncertainty='prior'"),
        (("--uncertainty", "quick"), "`uncertainty` must be one of 'exact', 'fast', 'prior'"),
    ):
        assert text in run(*evaluate, *arguments, code=1).output
    md = ("md", tmp_path / "small.gap", folder / "start.xyz", "--steps", 2, "--every", 1, "-o", tmp_path / "run.traj")
    run(*md, "--uncertainty", "prior")
    with open(tmp_path / "run.csv") as file:
        rows = list(csv.DictReader(file))
    assert "energy_std_eV" not in rows[0]
    (p,) = gapkit.load(tmp_path / "small.gap").evaluate([read(folder / "start.xyz")], uncertainty="prior")
    assert float(rows[0]["largest_local_energy_std_eV"]) == pytest.approx(p.energies_std.max(), rel=1e-6)


def test_md_is_reproducible(folder, tmp_path):
    for name in ("a", "b"):
        run("md", folder / "model.gap", folder / "start.xyz", "--steps", 5, "--seed", 7, "-o", tmp_path / f"{name}.traj")
    assert_allclose(read(tmp_path / "a.traj").positions, read(tmp_path / "b.traj").positions, rtol=0, atol=0)


def test_doctor():
    output = run("doctor").output
    for text in (gapkit.__version__, "numba", "threads", "cache", "µs/atom"):
        assert text in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "{f}/none.xyz"], "There is no file"),
        (["fit", "{f}/train.xyz", "--set", "soap.rcut=4"], "Did you mean 'r_cut'?"),
        (["fit", "{f}/train.xyz", "--energy-key", "E"], "energy key 'E' must exist"),
        (["fit", "{f}/train.xyz", "-o", "{f}/no/such/folder/m.gap"], "folder of the output must exist"),
        (["fit"], "TRAIN must be given without --gap-fit"),
        (["fit", "{f}/train.xyz", "--points-from", "gap.xml"], "--points-from only with it"),
        (["fit", "--gap-fit", "gap={{", "--set", "soap.r_cut=4"], "`--gap-fit` must stand without --config, --set"),
        (["fit", "--gap-fit", "gap={{soap"], "must close every brace and quotation mark"),
        (["fit", "--gap-fit", "at_file=a"], "must hold 'gap'; missing"),
        (["evaluate", "{f}/train.xyz", "{f}/train.xyz"], "must be a gapkit model"),
        (
            ["evaluate", "{f}/model.gap", "{f}/train.xyz", "--std", "force"],
            "`std` must be one of 'energy', 'energies', 'forces'",
        ),
        (["show", "{f}/none.gap"], "No such file"),
        (["md", "{f}/model.gap", "{f}/start.xyz", "--temperature", "-5"], "`temperature` must be a number above 0"),
        (["md", "{f}/model.gap", "{f}/start.xyz", "--steps", "0"], "`steps` must be an integer of at least 1"),
        (["md", "{f}/model.gap", "{f}/start.xyz", "--timestep", "100"], "`timestep` must be"),
    ],
)
def test_errors_are_one_sentence_without_a_traceback(folder, arguments, message):
    result = run(*(a.format(f=folder) for a in arguments), code=1)
    text = result.output.replace("\n", " ")
    assert message in text
    assert "error:" in text
    assert "Traceback" not in text


def test_debug_shows_the_traceback(folder):
    result = CliRunner().invoke(app, ["--debug", "show", str(folder / "none.gap")])
    assert isinstance(result.exception, FileNotFoundError)
    CliRunner().invoke(app, ["show", str(folder / "model.gap")])  # leaves the option as it was


@pytest.mark.parametrize("command", ["demo", "init", "estimate", "fit", "evaluate", "show", "md", "doctor"])
def test_every_command_has_help_with_an_example(command):
    assert f"gapkit {command}" in run(command, "--help").output


def test_version():
    assert run("--version").output.strip() == f"gapkit {gapkit.__version__}"
