from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from ase.io import read, write
from typer.testing import CliRunner

from gapkit import SOAP, DotProduct, GAPRegressor, Noise, Term
from gapkit.cli.main import app
from tests.conftest import copper_gold


def run(*arguments: object, code: int = 0):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def folder(alloy, tmp_path_factory):
    path = tmp_path_factory.mktemp("select")
    soap = Term(SOAP(4.0, 3, 2, 0.5), DotProduct(2), n_sparse=10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = GAPRegressor([soap], noise=Noise(0.01, 0.1, 0.05), baseline=None, random_state=0).fit(alloy[:4])
    model.save(path / "model.gap")
    model.save(path / "small.gap", posterior=False)
    pool = [copper_gold(seed, (True, True, True)) for seed in range(60, 66)]
    close = pool[0].copy()
    close.positions[1] = close.positions[0] + (0.9, 0, 0)
    write(path / "pool.xyz", [*pool, pool[1], close])
    return path


def test_reasons_are_in_the_file(folder, tmp_path):
    output = run("select", folder / "model.gap", folder / "pool.xyz", "-n", 3, "-o", tmp_path / "picked.xyz").output
    assert "3 of 8 frames, method batch" in output
    assert "left out  frame 7: atoms 0 (Cu) and 1 (Au) are 0.90 Å apart" in output
    picked, pool = read(tmp_path / "picked.xyz", ":"), read(folder / "pool.xyz", ":")
    assert [a.info["gapkit_pick"] for a in picked] == [1, 2, 3]
    for atoms in picked:
        assert atoms.info["gapkit_reason"].startswith("force std ")
        np.testing.assert_allclose(atoms.positions, pool[atoms.info["gapkit_frame"]].positions, atol=1e-7)  # 8 digits
    assert sorted(p.name for p in tmp_path.iterdir()) == ["picked.xyz"]


def test_json(folder, tmp_path):
    arguments = ("-n", 20, "-o", tmp_path / "picked.xyz", "--method", "fps", "--json")
    found = json.loads(run("select", folder / "model.gap", folder / "pool.xyz", *arguments).stdout)
    assert sorted(p["frame"] for p in found["picked"]) == [0, 1, 2, 3, 4, 5]
    assert [p["pick"] for p in found["picked"]] == [1, 2, 3, 4, 5, 6]
    assert found["twins"] == [{"frame": 6, "of": 1}]
    assert [e["frame"] for e in found["excluded"]] == [7]


def test_too_few(folder, tmp_path):
    output = run("select", folder / "model.gap", folder / "pool.xyz", "-n", 20, "-o", tmp_path / "p.xyz", "--seed", 1).output
    assert "left out  1 frames that repeat a pick" in output
    assert "picked    6 of the 20 asked for" in output
    every = run("select", folder / "model.gap", folder / "pool.xyz", "-n", 2, "-o", tmp_path / "p.xyz", "--d-min", 9).output
    assert "picked    0 of the 2 asked for" in every


def test_without_posterior(folder, tmp_path):
    arguments = (folder / "small.gap", folder / "pool.xyz", "-n", 2, "-o", tmp_path / "p.xyz")
    assert "'fps' or 'random' for a model without posterior" in run("select", *arguments, code=1).output
    assert not (tmp_path / "p.xyz").exists()
    run("select", *arguments, "--method", "random")
    assert len(read(tmp_path / "p.xyz", ":")) == 2
