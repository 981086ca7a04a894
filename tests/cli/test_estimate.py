"""The command says what `estimate_fit` finds, for the model that `gapkit fit` would fit."""

from __future__ import annotations

import json

import pytest
from ase.io import write
from typer.testing import CliRunner

from gapkit.cli.main import app
from gapkit.model import memory

SMALL = ["--set", "soap.r_cut=4.0", "--set", "soap.n_max=3", "--set", "soap.l_max=2", "--set", "soap.n_sparse=20"]


@pytest.fixture(scope="module")
def train(alloy, tmp_path_factory):
    path = tmp_path_factory.mktemp("estimate") / "train.xyz"
    write(path, alloy)
    return path


def run(*arguments: object, code: int = 0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result


def test_table(train):
    output = run("estimate", train, *SMALL).output
    for text in (
        "labels of", "10 frames, 56 atoms", "sparse points", "forces", "168", "rows: chunk", "descriptors", "folding",
        "largest", "MB with the posterior", "it fits:", "GB are available",
    ):  # fmt: skip
        assert text in output


def test_json_with_a_configuration(train, tmp_path):
    (tmp_path / "gap.yaml").write_text("soap: {r_cut: 4.0, n_max: 3, l_max: 2}\nnoise: {forces: 0.1, slab: {forces: 0.2}}\n")
    cost = json.loads(run("estimate", train, "-c", tmp_path / "gap.yaml", "--set", "soap.n_sparse=24", "--json").stdout)
    assert cost["sparse_points"] == {"soap": 24}
    assert cost["rows"] == {
        "energy:": 5, "forces:": 84, "stress:": 30, "energy:slab": 5, "forces:slab": 84, "stress:slab": 30
    }  # fmt: skip
    assert cost["fits"]
    assert cost["total_seconds"] == pytest.approx(sum(cost["seconds"].values()))
    assert cost["peak_memory"] == pytest.approx(cost["before"] + max(sum(parts.values()) for parts in cost["memory"].values()))


def test_errors_are_one_sentence(train, tmp_path, monkeypatch):
    assert "Did you mean 'r_cut'?" in run("estimate", train, "--set", "soap.rcut=4", code=1).output
    monkeypatch.setattr(memory, "available_memory", lambda: 1000.0)
    output = run("fit", train, *SMALL, "-o", tmp_path / "m.gap", code=1).output.replace("\n", " ")
    assert "A fit must fit in memory" in output
    assert "Traceback" not in output
    assert not (tmp_path / "m.gap").exists()
