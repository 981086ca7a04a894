"""gapkit learn: from nothing to a model and a report, and what users get wrong."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import yaml
from ase.build import bulk
from ase.io import read, write
from typer.testing import CliRunner

from gapkit import load
from gapkit.cli.learn import _EXAMPLES
from gapkit.cli.learn_config import learner_from_config, read_learn_config
from gapkit.cli.main import app

SMALL = """\
target_force_error: 0.1
max_labels: 30
start: start.xyz
labeler: {calculator: emt, in_process: true}
explorer: {type: md, temperature: [300, 2000], time: 1.0, timestep: 5.0}
model:
  soap: {r_cut: 4.2, n_max: 4, l_max: 3, zeta: 3, n_sparse: 60}
  noise: {energy: 2e-3, forces: 0.03, stress: 0.02}
"""


def gapkit(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "learn.yaml").write_text(SMALL)
    write(tmp_path / "start.xyz", bulk("Au", cubic=True), format="extxyz")
    return tmp_path


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ran")
    (folder / "learn.yaml").write_text(SMALL)
    write(folder / "start.xyz", bulk("Au", cubic=True), format="extxyz")
    result = gapkit("learn", "run", folder)
    assert result.exit_code == 0, result.output
    return folder, result.output


def test_run(ran):
    folder, output = ran
    assert "verified" in output
    assert load(folder / "model.gap").calibration_ is not None
    page = (folder / "report.html").read_text()
    for word in (
        "Learning curve",
        "Error bars against true errors",
        "Walker 0",
        "Every label and its reason",
        "initial structure",
    ):
        assert word in page
    assert not re.search(r'(src|href)="(?!data:)', page)  # self-contained


def test_status(ran):
    folder, _ = ran
    found = json.loads(gapkit("learn", "status", folder, "--json").output)
    assert found["phase"] == "ended"
    assert found["labels"]["done"] > 10
    assert found["labels"]["failed"] == found["labels"]["pending"] == 0
    assert found["target"] == 0.1
    assert "ended" in gapkit("learn", "status", folder).output


def test_audit_and_report_with_committee(ran, tmp_path):
    folder = shutil.copytree(ran[0], tmp_path / "moved")
    result = gapkit("learn", "audit", folder, "--every", 2)
    assert result.exit_code == 0, result.output
    assert "5 x target" in result.output
    assert json.loads((folder / "audit.json").read_text())["n_audited"] > 5
    assert gapkit("learn", "report", folder, "--committee", 2).exit_code == 0
    page = (folder / "report.html").read_text()
    assert "Posterior and committee" in page
    assert "committee of 2" in page
    assert "states that the run did not label were labelled afterwards" in page


def test_run_again_and_resume(ran):
    folder, _ = ran
    again = gapkit("learn", "run", folder)
    assert again.exit_code == 1
    assert "Resume it" in again.output
    assert gapkit("learn", "resume", folder).exit_code == 0


def test_report_of_a_run_that_has_hardly_begun(folder):
    """Killed after the first label, and before: there is a page all the same."""
    from gapkit.labeling import Journal

    with Journal(folder / "labels") as journal:
        journal.propose(bulk("Au", cubic=True), "initial structure")
    assert gapkit("learn", "report", folder).exit_code == 0
    assert "not ended" in (folder / "report.html").read_text()
    assert json.loads(gapkit("learn", "status", folder, "--json").output)["labels"]["pending"] == 1


def test_nothing_there(tmp_path):
    for command in ("run", "resume", "status", "report", "audit"):
        result = gapkit("learn", command, tmp_path / "nowhere")
        assert result.exit_code == 1, command
        assert "There is no" in result.output


@pytest.mark.parametrize("example", _EXAMPLES)
def test_examples_are_complete(example, tmp_path):
    """Every example is written, its settings are understood, and its explorer starts; labels may need other packages."""
    result = gapkit("learn", "init", tmp_path / "run", "--example", example)
    assert result.exit_code == 0, result.output
    config = read_learn_config(tmp_path / "run")
    assert config["target_force_error"] > 0
    if "script" in config["labeler"] and example != "silicon-melt":  # tblite and gpaw need not be there
        config["labeler"] = {"calculator": "emt"}
        (tmp_path / "run" / "learn.yaml").write_text(yaml.safe_dump(config))
    learner, executor = learner_from_config(tmp_path / "run")
    assert len(learner.explorer.walkers(0)) == len(read(tmp_path / "run" / "start.xyz", ":"))
    if executor is not None:
        executor.shutdown()
    assert gapkit("learn", "init", tmp_path / "run", "--example", example).exit_code == 1  # nothing is overwritten


def test_script_and_command(folder):
    (folder / "code.py").write_text("from ase.calculators.emt import EMT\ndef make_calculator():\n    return EMT()\n")
    (folder / "label.py").write_text("")
    text = SMALL.replace("{calculator: emt, in_process: true}", "{script: code.py, workers: 2, timeout: 60}")
    (folder / "learn.yaml").write_text(text)
    learner, executor = learner_from_config(folder)
    executor.shutdown()
    assert learner.max_pending == 2
    label = learner.labeler.label(bulk("Au", cubic=True))
    assert label.calc.results["forces"].shape == (4, 3)
    text = SMALL.replace("{calculator: emt, in_process: true}", '{command: "python label.py {input} {output}"}')
    (folder / "learn.yaml").write_text(text)
    learner, executor = learner_from_config(folder)
    executor.shutdown()
    assert str(folder / "label.py") in learner.labeler.command


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("max_labels", "max_label", "Did you mean 'max_labels'"),
        ("target_force_error: 0.1\n", "", "must have the key 'target_force_error'"),
        ("calculator: emt", "calculator: emtt", "Did you mean 'emt'"),
        ("calculator: emt", "calculator: emt, command: x", "must have one of"),
        ("in_process: true", "in_process: true, workers: 2", "one label at a time"),
        ("type: md", "type: mdd", "Did you mean 'md'"),
        ("timestep", "timestp", "Did you mean 'timestep'"),
        ("start.xyz", "begin.xyz", "There is no file"),
        ("calculator: emt", "script: code.py", "there is no"),
        ("r_cut", "rcut", "Did you mean 'r_cut'"),
        ("time: 1.0", "time: -1", "`time` must be"),
        ("0.1", "-0.1", "`target_force_error` must be"),
    ],
)
def test_bad_settings(folder, old, new, message):
    assert old in SMALL
    (folder / "learn.yaml").write_text(SMALL.replace(old, new, 1))
    result = gapkit("learn", "run", folder)
    assert result.exit_code == 1
    assert message in " ".join(result.output.split())
    assert not (folder / "state.json").exists()


def test_estimate():
    found = json.loads(gapkit("learn", "estimate", "--minutes", 30, "--nodes", 2, "--workers", 10, "--json").output)
    assert found[0]["node_hours"] == 15000  # 15,000 labels of half an hour on two nodes
    assert found[0]["wall_hours"] == 750
    assert found[1]["n_labels"] == 2000
    assert gapkit("learn", "estimate").exit_code == 1
