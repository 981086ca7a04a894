"""The public names, what an import costs, and the compiled cache."""

from __future__ import annotations

import subprocess
import sys
import tokenize
from pathlib import Path

import gapkit
from gapkit import _cpu

PACKAGE = Path(gapkit.__file__).parent


def python(code: str, **environment: str) -> str:
    import os

    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


def test_public_names():
    assert set(gapkit.__all__) == {
        "ACSF", "RBF", "SOAP", "ZBL", "ActiveLearner", "Baseline", "Constant", "DScribe", "DotProduct", "GAPCalculator",
            "GAPRegressor", "Matern", "Noise", "PiecewisePolynomial", "Prediction", "QuipBasis", "SparseGPR", "Term",
            "ThreeBody", "TurboBasis", "TwoBody", "__version__", "from_gap_fit", "load", "select",
        }  # fmt: skip
    for name in gapkit.__all__:
        assert hasattr(gapkit, name)


def test_import_pulls_in_neither_numba_nor_cupy_nor_pictures():
    code = (
        "import gapkit, sys; print([m for m in ('numba', 'cupy', 'matplotlib.pyplot', 'dscribe', 'typer') if m in sys.modules])"
    )
    assert python(code).strip() == "[]"


def test_cache_moves_when_any_source_changes(tmp_path):
    """Numba's cache does not see edits in other files: the folder must carry their hash."""
    import shutil

    copy = tmp_path / "gapkit"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "*.xyz"))
    code = "import gapkit._cpu as c; print(c.__file__, c.cache_folder())"

    def folder() -> str:
        file, where = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout.split()
        assert file.startswith(str(tmp_path))
        return where

    before = folder()
    assert before.endswith(_cpu.source_hash())
    with open(copy / "_device" / "radial.py", "a") as file:
        file.write("# edited\n")
    assert folder() != before


def test_compiled_loops_are_cached_where_the_hash_says(tmp_path):
    code = (
        "from ase.build import bulk; from gapkit import SOAP; from gapkit import _cpu; atoms = bulk('Si'); atoms.rattle(0.1);"
        "print('features', SOAP(4.0, 4, 3).fit_transform([atoms]).tobytes().hex());"
        "print(_cpu.cache_folder(), _cpu.cache_is_empty())"
    )
    first = python(code, NUMBA_CACHE_DIR=str(tmp_path), NUMBA_NUM_THREADS="1")
    assert "gapkit: compiling its loops for this machine, once" in first
    assert f"{tmp_path}/gapkit/{_cpu.source_hash()} False" in first
    second = python(code, NUMBA_CACHE_DIR=str(tmp_path), NUMBA_NUM_THREADS="1")
    assert "compiling" not in second
    features = [next(line for line in output.splitlines() if line.startswith("features ")) for output in (first, second)]
    assert features[0] == features[1]  # what is compiled here and what is found compiled is one code, to the last bit


def test_a_cache_that_cannot_be_written_is_no_obstacle():
    code = "from ase.build import bulk; from gapkit import SOAP; print(SOAP(3.0, 1, 0).fit_transform([bulk('Si')]).shape)"
    output = python(code, NUMBA_CACHE_DIR="/proc/gapkit", NUMBA_NUM_THREADS="1")
    assert "(2, 1)" in output
    assert "is not writable. Set NUMBA_CACHE_DIR" in output


def test_files_stay_small():
    """A file answers one question: at most 450 lines, about 400 is the aim."""
    long = {str(p.relative_to(PACKAGE)): n for p in PACKAGE.rglob("*.py") if (n := len(p.read_text().splitlines())) > 450}
    assert not long


def test_no_code_is_executed_from_files():
    """A model file is data: no pickle, eval, exec or import by name anywhere in the package."""
    forbidden = {"pickle", "eval", "exec", "__import__", "import_module", "marshal", "shelve", "resolve_name"}
    others = {"testing.py": {"pickle"}, "contest.py": {"resolve_name"}}  # checks pickling; the command line names a calculator
    for path in PACKAGE.rglob("*.py"):
        with open(path, "rb") as file:
            names = {t.string for t in tokenize.tokenize(file.readline) if t.type == tokenize.NAME}
        assert not names & (forbidden - others.get(path.name, set())), path
