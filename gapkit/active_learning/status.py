"""How a learning run stands, read from its folder while it may be running; nothing is locked or written."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from datetime import datetime
from pathlib import Path
from typing import Any

from ..exceptions import JournalError
from ..labeling import Entry, read_journal

__all__ = ["WorkingTime", "read_entries", "read_state", "run_status", "seconds_since_1970"]

_WITHOUT_STATE: dict[str, Any] = {
    "phase": "initial",
    "why": "",
    "settings": {},
    "turn": 0,
    "n_steps": 0,
    "n_checks": 0,
    "threshold": None,
    "predicted_rmse": None,
    "n_used": 0,
    "events": [],
}
_BEGINS = ("started", "resumed")


def run_status(directory: str | Path) -> dict[str, Any]:
    """State of a run in numbers and words that JSON can hold.

    Parameters
    ----------
    directory : str or Path
        Of the run; another process may be working in it.

    Returns
    -------
    dict
        * ``phase`` ("initial", "exploring", "closing", "verifying", "ended"), ``why`` it ended (or ""), ``turn``, ``n_steps``,
          ``n_checks``;
        * ``labels``: numbers that are "done", "failed", "quarantined" and "pending" in the journal, and "learnt" by the model;
        * ``share_labelled``: labels done over steps, or None before the first step;
        * ``target``, ``threshold``, ``predicted_rmse``, ``verified_rmse`` (eV/Å; None where not known yet);
        * ``labels_per_hour`` of working time (None below two labels), ``working_hours``, ``label_seconds`` (mean).

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or it has neither a state nor a journal.
    JournalError
        If one of them is damaged.
    """
    state, entries = read_state(directory), read_entries(directory)
    counts = Counter(entry.state for entry in entries.values())
    done = [entry for entry in entries.values() if entry.state == "done"]
    work = WorkingTime(state["events"], [entry.time for entry in entries.values()])
    verified = [event for event in state["events"] if event["kind"] == "verified"]
    finished = sorted(work.hours(seconds_since_1970(entry.time)) for entry in done if entry.time)
    span = finished[-1] if len(finished) > 1 else 0.0
    timed = [entry.seconds for entry in done if entry.seconds > 0.0]
    return {
        **{key: state[key] for key in ("phase", "why", "turn", "n_steps", "n_checks")},
        "labels": {
            **{name: counts[name] for name in ("done", "failed", "quarantined")},
            "pending": counts["proposed"] + counts["submitted"],
            "learnt": state["n_used"],
        },
        "share_labelled": len(done) / state["n_steps"] if state["n_steps"] else None,
        "target": state["settings"].get("target_force_error"),
        "threshold": state["threshold"],
        "predicted_rmse": state["predicted_rmse"],
        "verified_rmse": verified[-1]["rmse"] if verified else None,
        "labels_per_hour": len(finished) / span if span > 0.0 else None,
        "working_hours": work.total,
        "label_seconds": sum(timed) / len(timed) if timed else None,
    }


def read_state(directory: str | Path) -> dict[str, Any]:
    """Checkpoint of a run, with the values of a run that has not begun where it says nothing.

    Parameters
    ----------
    directory : str or Path
        Of the run.

    Returns
    -------
    dict

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or nothing of a run in it.
    JournalError
        If the checkpoint is damaged.
    """
    directory = Path(directory)
    path = directory / "state.json"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if not (directory / "labels" / "journal.jsonl").exists() and not (directory / "learn.yaml").exists():
            raise FileNotFoundError(f"There is no learning run in {directory}: neither state.json nor learn.yaml.") from None
        return deepcopy(_WITHOUT_STATE)
    try:
        state = json.loads(text)
        if not isinstance(state, dict) or not all(isinstance(event, dict) for event in state.get("events", [])):
            raise ValueError("not the checkpoint of a run")
    except ValueError as error:
        raise JournalError(f"{path} must be the checkpoint of a learning run; {error}. Restore it from a copy.") from error
    return {**deepcopy(_WITHOUT_STATE), **state}


def read_entries(directory: str | Path) -> dict[str, Entry]:
    """Labels of a run by their hash; none where none was asked for yet."""
    try:
        return read_journal(Path(directory) / "labels")
    except FileNotFoundError:
        return {}


def seconds_since_1970(time: str) -> float:
    """Of a time of the journal."""
    return datetime.fromisoformat(time).timestamp()


class WorkingTime:
    """A clock that stands still while no driver was at work: between a kill and the next start.

    Parameters
    ----------
    events : sequence of mapping
        Of the checkpoint; "started" and "resumed" begin a stretch of work.
    times : iterable of str
        Other times at which something happened, ISO 8601; "" is passed over.

    Attributes
    ----------
    total : float
        Hours of work.
    """

    def __init__(self, events: Sequence[Mapping[str, Any]], times: Iterable[str] = ()) -> None:
        begins = {float(event["time"]) for event in events if event["kind"] in _BEGINS}
        stamps = {float(event["time"]) for event in events} | {seconds_since_1970(time) for time in times if time}
        self._stretches: list[list[float]] = []  # begin, end
        for stamp in sorted(stamps):
            if not self._stretches or stamp in begins:
                self._stretches.append([stamp, stamp])
            self._stretches[-1][1] = stamp
        self.total = self.hours(float("inf"))

    def hours(self, stamp: float) -> float:
        """Hours of work until a time (s since 1970)."""
        return sum(max(0.0, min(end, stamp) - begin) for begin, end in self._stretches) / 3600.0
