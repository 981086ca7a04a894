"""RuNNer and n2p2: input.data, through ASE's reader, before its conversion (n2p2 does not prescribe units)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ase.io.runner.reader import read_runnerdata
from ase.io.runner.runneratoms import Units as RunnerUnits

from ..units import Units
from .base import FileFormat, RawFrames

__all__ = ["RUNNER"]


def _read(path: Path, species: Sequence[str] | None) -> RawFrames:
    text = path.read_text(encoding="utf-8")
    if len(re.findall(r"^\s*begin\b", text, re.MULTILINE)) != len(re.findall(r"^\s*end\b", text, re.MULTILINE)):
        raise ValueError(f"Every structure of {path} must have a begin and an end; is the file truncated?")
    raw = {"input_units": RunnerUnits.ASE, "output_units": RunnerUnits.ASE}  # the numbers as they are
    with open(path, encoding="utf-8") as file:  # given a path, the reader closes it too early
        frames = list(read_runnerdata(file, slice(None), **raw))
    return RawFrames(frames, Units("Hartree", "Bohr"))


def _recognised(path: Path, head: bytes) -> bool:
    lines = [line.split() for line in head.splitlines() if line.strip() and not line.lstrip().startswith(b"#")]
    return bool(lines) and lines[0][0] == b"begin" and any(line[0] == b"atom" for line in lines)


RUNNER = FileFormat("runner", "RuNNer/n2p2 input.data", _recognised, _read)
