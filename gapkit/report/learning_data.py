"""What a report needs of a learning run, read from its folder in whatever state that is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.io.extxyz import key_val_str_to_dict
from numpy.typing import NDArray

from ..active_learning.status import WorkingTime, read_entries, read_state, run_status, seconds_since_1970
from ..exceptions import JournalError
from ..labeling import Entry

__all__ = ["LearningRun", "RunLabel", "Trajectory", "read_run"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RunLabel:
    """One label of a run: what the journal and the events say of it.

    Attributes
    ----------
    entry : Entry
        Of the journal.
    proposed, labelled, lost : dict
        Events; empty where there is none.
    """

    entry: Entry
    proposed: dict[str, Any]
    labelled: dict[str, Any]
    lost: dict[str, Any]


@dataclass(frozen=True)
class Trajectory:
    """What was judged along the way of one walker, in that order.

    Attributes
    ----------
    step, temperature, std_max, threshold : ndarray of shape (n_visits,)
        Temperature in K and NaN where there is none; eV/Å.
    action : ndarray of str of shape (n_visits,)
        "go on", "label", "no gain" or "retreat".
    """

    step: Array
    temperature: Array
    std_max: Array
    threshold: Array
    action: NDArray[np.str_]


@dataclass(frozen=True)
class LearningRun:
    """Everything that a report shows.

    Attributes
    ----------
    name : str
        Of the folder.
    state : dict
        Checkpoint.
    status : dict
        From `gapkit.active_learning.run_status`.
    labels : list of RunLabel
        In the order of their proposals.
    trajectories : dict of str to Trajectory
        By walker.
    work : WorkingTime
        Clock.
    audit : dict
        From ``audit.json``; empty without it.
    """

    name: str
    state: dict[str, Any]
    status: dict[str, Any]
    labels: list[RunLabel]
    trajectories: dict[str, Trajectory]
    work: WorkingTime
    audit: dict[str, Any]

    @property
    def target(self) -> float | None:
        """Force error that was asked for, eV/Å."""
        value = self.status["target"]
        return None if value is None else float(value)

    @property
    def learnt(self) -> list[RunLabel]:
        """Labels whose error before they were learnt is known, in the order of learning."""
        return sorted((label for label in self.labels if label.labelled), key=lambda label: int(label.labelled["n_labels"]))

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Events of a kind."""
        return [event for event in self.state["events"] if event["kind"] == kind]

    def of_learnt(self, key: str) -> Array:
        """A number of the "labelled" events, NaN where it is missing."""
        return _numbers([label.labelled.get(key) for label in self.learnt])

    def hours_of_labels(self) -> Array:
        """Working time, hours, at which labels were done; ascending."""
        done = [label.entry.time for label in self.labels if label.entry.state == "done" and label.entry.time]
        return np.sort([self.work.hours(seconds_since_1970(time)) for time in done])


def read_run(directory: str | Path) -> LearningRun:
    """Read the folder of a run; another process may be working in it.

    Parameters
    ----------
    directory : str or Path
        The folder.

    Returns
    -------
    LearningRun

    Raises
    ------
    FileNotFoundError
        If there is nothing of a run in it.
    JournalError
        If a file is damaged.
    """
    directory = Path(directory)
    state, entries = read_state(directory), read_entries(directory)
    of_kind: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in ("proposed", "labelled", "lost")}
    for event in state["events"]:
        if event["kind"] in of_kind:
            of_kind[event["kind"]][event["hash"]] = event
    labels = [
        RunLabel(entry, *(of_kind[kind].get(name, {}) for kind in ("proposed", "labelled", "lost")))
        for name, entry in entries.items()
    ]
    return LearningRun(
        name=directory.resolve().name,
        state=state,
        status=run_status(directory),
        labels=labels,
        trajectories=_read_visits(directory / "visits"),
        work=WorkingTime(state["events"], [entry.time for entry in entries.values()]),
        audit=_read_audit(directory / "audit.json"),
    )


def _read_audit(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        audit = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(audit, dict):
            raise ValueError("not an object")
    except ValueError as error:
        raise JournalError(f"{path} must be the result of an audit; {error}. Make it again.") from error
    return audit


def _read_visits(folder: Path) -> dict[str, Trajectory]:
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.xyz")):
        for info in _headers(path):
            if "walker" in info and "step" in info:
                found.setdefault(str(info["walker"]), []).append(info)
    return {
        name: Trajectory(
            **{key: _numbers([v.get(key) for v in visits]) for key in ("step", "temperature", "std_max", "threshold")},
            action=np.array([str(v.get("action", "")) for v in visits]),
        )
        for name, visits in sorted(found.items(), key=lambda item: (len(item[0]), item[0]))
    }


def _headers(path: Path) -> Iterator[dict[str, Any]]:
    """The second line of every frame; a report of thousands of frames needs no positions."""
    with open(path, encoding="utf-8") as file:
        for line in file:
            if not line.strip().isdigit():
                raise JournalError(f"{path} must be extended XYZ; got the line {line[:60]!r}. Restore it, or remove the file.")
            yield key_val_str_to_dict(next(file, ""))
            for _ in range(int(line)):
                next(file, None)


def _numbers(values: list[Any]) -> Array:
    return np.array([np.nan if value is None else float(value) for value in values])
