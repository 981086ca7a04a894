"""The state of a run on disk: one file that names two others, and frames that were visited.

    state.json                what a run is at, in words and numbers; written last: it is the checkpoint
    model-000012.gap          the model that belongs to it
    walkers-000012.npz        where the walkers are
    visits/000000340.xyz      structures that were judged from turn 340 on, until the next such file

A run that was killed goes on from the state; what it had written since is written again, the same.
"""

from __future__ import annotations

import io
import json
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
from ase import Atoms
from ase.io import read
from ase.io.extxyz import key_val_str_to_dict

from ..exceptions import JournalError
from ..io import replacing
from ..labeling.structures import to_text
from ..model import GAPRegressor

__all__ = ["PHASES", "RunState", "read_visits", "visit_infos", "write_visits"]

PHASES = ("initial", "exploring", "closing", "verifying", "ended")
"""What a run goes through; from verifying it may go back to closing."""

_FILE = "state.json"
_FORMAT = 1


@dataclass
class RunState:
    """What a run is at.

    Attributes
    ----------
    phase : str
        One of `PHASES`.
    why : str
        Why it ended.
    settings : dict
        Those of the learner that a file can hold.
    turn, n_steps, n_checks : int
        Turns of all walkers, steps of all walkers, structures judged.
    threshold, predicted_rmse : float or None
        eV/Å.
    last_label : int
        ``n_checks`` when the last label was bought.
    proposed : list of str
        Hashes of the structures for which labels were asked, in order.
    n_used : int
        How many of these have been learnt from, or given up.
    recent : list of list of float
        Root mean square and largest standard deviation of the last states judged, eV/Å.
    squared : list of float
        Mean squared error over mean variance of the last labels, before they were learnt.
    ratios : list of float
        Largest error over largest calibrated standard deviation of these labels.
    rounds : int
        How often the run was verified.
    verification : list of str
        Hashes of the structures that verify it, while it is verified.
    following : dict
        Of `FollowingModel`.
    model, walkers : str
        Names of the files.
    number : int
        Of the checkpoint.
    events : list of dict
        What happened, for status and report.
    """

    phase: str = "initial"
    why: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    turn: int = 0
    n_steps: int = 0
    n_checks: int = 0
    last_label: int = 0
    threshold: float | None = None
    predicted_rmse: float | None = None
    proposed: list[str] = field(default_factory=list)
    n_used: int = 0
    recent: list[list[float]] = field(default_factory=list)
    squared: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    rounds: int = 0
    verification: list[str] = field(default_factory=list)
    following: dict[str, Any] = field(default_factory=dict)
    model: str = ""
    walkers: str = ""
    number: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)

    def record(self, kind: str, **details: Any) -> None:
        """Note that something happened."""
        self.events.append({"kind": kind, "time": round(time.time(), 3), "turn": self.turn, **details})

    @classmethod
    def read(cls, directory: Path) -> Self:
        """The checkpoint of a folder.

        Raises
        ------
        FileNotFoundError
            If there is none.
        JournalError
            If it is damaged, or of a newer gapkit.
        """
        path = directory / _FILE
        if not path.exists():
            raise FileNotFoundError(f"There is no {path}: nothing was learnt in this folder yet. Start a run.")
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if document.pop("format") != _FORMAT:
                raise ValueError("it was written by another gapkit")
            return cls(**{f.name: document[f.name] for f in fields(cls)})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise JournalError(
                f"{path} must be the state of a run; {type(error).__name__}: {error}. The labels beside it are whole: start a "
                "new run in another folder and merge them."
            ) from error

    def write(self, directory: Path, model: GAPRegressor | None, walkers: Sequence[Mapping[str, Any]]) -> None:
        """Write the checkpoint: the files that it names first, then the file that names them, then remove the older ones.

        Parameters
        ----------
        directory : Path
        model : GAPRegressor or None
            Written if it is not None; else the file of the last checkpoint is kept.
        walkers : sequence of mapping
            Their states.
        """
        self.number += 1
        if model is not None:
            self.model = f"model-{self.number:06d}.gap"
            model.save(directory / self.model)
        self.walkers = f"walkers-{self.number:06d}.npz"
        with replacing(directory / self.walkers) as stream:
            stream.write(_packed(walkers))
        with replacing(directory / _FILE) as stream:
            stream.write(json.dumps({"format": _FORMAT, **asdict(self)}, ensure_ascii=False, indent=1).encode())
        for pattern, kept in (("model-*.gap", self.model), ("walkers-*.npz", self.walkers)):
            for path in directory.glob(pattern):
                if path.name != kept:
                    path.unlink()

    def read_walkers(self, directory: Path) -> list[dict[str, Any]]:
        """States of the walkers."""
        return _unpacked((directory / self.walkers).read_bytes())


def _packed(walkers: Sequence[Mapping[str, Any]]) -> bytes:
    """Arrays as they are, everything else as JSON; no pickle."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    plain = []
    for number, state in enumerate(walkers):
        arrays |= {f"{number}.{name}": value for name, value in state.items() if isinstance(value, np.ndarray)}
        plain.append({name: value for name, value in state.items() if not isinstance(value, np.ndarray)})
    stream = io.BytesIO()
    arrays["plain"] = np.frombuffer(json.dumps(plain).encode(), np.uint8)
    np.savez(stream, **arrays)  # type: ignore[arg-type]  # names are free
    return stream.getvalue()


def _unpacked(content: bytes) -> list[dict[str, Any]]:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        states: list[dict[str, Any]] = json.loads(file["plain"].tobytes())
        for name in file.files:
            number, _, key = name.partition(".")
            if key:
                states[int(number)][key] = file[name]
    return states


def write_visits(directory: Path, first_turn: int, frames: Sequence[Atoms]) -> None:
    """Store structures that were judged from a turn on; a file of that turn is replaced."""
    folder = directory / "visits"
    folder.mkdir(exist_ok=True)
    with replacing(folder / f"{first_turn:09d}.xyz") as file:
        file.write("".join(to_text(atoms) for atoms in frames).encode())


def visit_infos(directory: Path, before_turn: int) -> list[dict[str, Any]]:
    """What `read_visits` finds in ``info``, without the atoms: a report of ten thousand structures needs no more."""
    found: list[dict[str, Any]] = []
    for path in sorted((directory / "visits").glob("*.xyz")):
        if int(path.stem) < before_turn:
            with open(path, encoding="utf-8") as file:
                for n_atoms in file:
                    found.append(key_val_str_to_dict(next(file)))
                    deque(islice(file, int(n_atoms)), maxlen=0)
    return [info for info in found if info["turn"] < before_turn]


def read_visits(directory: Path, before_turn: int | None = None) -> list[Atoms]:
    """Structures that were judged, in order.

    Parameters
    ----------
    directory : Path
        Of the run.
    before_turn : int, optional
        Only those of turns before this one; files of a run that was killed may go on beyond its state.
    """
    frames: list[Atoms] = []
    for path in sorted((directory / "visits").glob("*.xyz")):
        if before_turn is None or int(path.stem) < before_turn:
            frames += read(path, ":", format="extxyz")
    return [atoms for atoms in frames if before_turn is None or atoms.info["turn"] < before_turn]
