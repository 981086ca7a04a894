"""What a model was made of: the training data, their hash, the software; beside what its maker says of them."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from ase import Atoms
from ase import __version__ as ase_version

from .._version import __version__
from ..gp.observations import KINDS, Labels, config_type_of

__all__ = ["data_card", "software_card"]

Card = dict[str, Any]

_UNITS = {"length": "Å", "energy": "eV", "forces": "eV/Å", "stress": "eV/Å³"}


def data_card(frames: Sequence[Atoms], labels: Sequence[Labels]) -> Card:
    """Counts and hash of labelled structures, plain enough for JSON.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Structures.
    labels : sequence of Labels
        One per structure, as they were read (nothing subtracted).

    Returns
    -------
    dict
        ``frames``, ``atoms`` (by chemical symbol), ``config_types`` (frames of each), ``labels`` (components of each kind),
        ``units`` and ``sha256``: over numbers, positions, cells, periodicity and labels, in the order of the structures.
    """
    digest = hashlib.sha256()
    for atoms, y in zip(frames, labels, strict=True):
        digest.update(atoms.numbers.astype("<i8").tobytes())
        for array in (atoms.positions, atoms.cell.array, atoms.pbc, *(getattr(y, kind) for kind in KINDS)):
            digest.update(b"-" if array is None else np.asarray(array).astype("<f8").tobytes())
    return {
        "frames": len(frames),
        "atoms": dict(Counter(symbol for atoms in frames for symbol in atoms.symbols)),
        "config_types": dict(Counter(config_type_of(atoms) for atoms in frames)),
        "labels": {kind: int(sum(y.used(kind).sum() for y in labels)) for kind in KINDS},
        "units": dict(_UNITS),
        "sha256": digest.hexdigest(),
    }


def software_card() -> Card:
    """Versions of what computes a fit, and the commit of gapkit where it runs from a git checkout.

    Returns
    -------
    dict of str to str
    """
    versions = {
        "gapkit": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "ase": ase_version,
    }
    commit = _commit()
    return versions | ({"git": commit} if commit else {})


def _commit() -> str:
    """Of the checkout that gapkit is imported from, "-dirty" if files differ; empty for an installed package."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ""  # no git, or not its repository
