"""The examples of README.md and of the tutorial run as they stand."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest
from ase.build import bulk
from ase.io import write

from gapkit.datasets import load_silicon

ROOT = Path(__file__).resolve().parents[1]


def blocks(name: str) -> list[str]:
    text = (ROOT / name).read_text()
    if name.endswith(".md"):
        return re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    found = re.findall(r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)", text)
    return ["\n".join(line[4:] for line in block.splitlines()) for block in found]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["README.md", "docs/index.rst", "docs/five_minutes.rst"])
def test_python_examples(name, tmp_path, monkeypatch):
    small = load_silicon(config_types=["isolated_atom", "eos"])
    write(tmp_path / "train.xyz", small)
    write(tmp_path / "test.xyz", small[:5])
    write(tmp_path / "start.xyz", bulk("Si", cubic=True))
    monkeypatch.chdir(tmp_path)
    codes = blocks(name)
    assert codes
    for code in codes:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # fewer environments than sparse points: the set is tiny
            exec(compile(code, name, "exec"), {})


def test_commands_of_the_readme_exist():
    from typer.testing import CliRunner

    from gapkit.cli.main import app

    text = (ROOT / "README.md").read_text() + (ROOT / "docs/five_minutes.rst").read_text()
    commands = set(re.findall(r"^\s*gapkit (\w+)", text, re.MULTILINE))
    assert {"fit", "evaluate", "md", "show", "init", "demo"} <= commands
    for command in commands:
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0, command
    for target in re.findall(r"`make (\w+)`|^make (\w+)", text, re.MULTILINE):
        assert f"\n{''.join(target)}:" in (ROOT / "Makefile").read_text()


def test_loaded_picture_is_small():
    for path in (ROOT / "docs" / "images").glob("*.png"):
        assert path.stat().st_size < 500_000
