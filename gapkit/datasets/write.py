"""Extended xyz files that appear whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from ase import Atoms
from ase.io import write

from ..io.replace import replacing

__all__ = ["write_frames"]


def write_frames(path: str | Path, frames: Sequence[Atoms]) -> None:
    """Write frames with their labels as extended xyz, in eV and Å; a file that is there keeps its content until all is written.

    Parameters
    ----------
    path : str or Path
    frames : sequence of ase.Atoms
    """
    with replacing(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="\n")
        if frames:  # ASE refuses to write none
            write(text, list(frames), format="extxyz")
        text.flush()
        text.detach()
