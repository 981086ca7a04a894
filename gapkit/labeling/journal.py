r"""The journal: what was asked to be labelled, why, and what became of it.  Append-only, one JSON object a line.

    {"time": "2026-11-22T13:01:46.123+00:00", "state": "proposed", "hash": "5f...", "attempt": 0,
     "reason": "force std 0.31 > 0.15 eV/Å on atom 17 (O), step 1240", "settings": {}, "structure": "3\nLattice=..."}
    {"time": ..., "state": "submitted", "hash": "5f...", "attempt": 1, "reason": ...}
    {"time": ..., "state": "done", "hash": "5f...", "attempt": 1, "reason": ..., "file": "labels/5f....xyz", "seconds": 61.2}

A structure is proposed -> submitted -> done | failed | quarantined; the last two may be submitted again.  ``structure`` is a
frame of extended XYZ.  A record is on disk (fsync) before anything follows from it.  Lines with ``state: note`` are for people.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ase import Atoms

from ..exceptions import JournalError
from ..io import replacing, sync_directory
from .lock import DirectoryLock
from .structures import canonical, from_text, settings_text, structure_hash, to_text

__all__ = ["Entry", "Journal", "read_journal", "read_label", "store_label"]

_BEFORE = {  # which states may come before
    "proposed": (None,),
    "submitted": ("proposed", "submitted", "failed", "quarantined"),  # submitted again: the driver was killed
    "done": ("submitted",),
    "failed": ("submitted",),
    "quarantined": ("submitted",),
}
_FILE = "journal.jsonl"


@dataclass
class Entry:
    """What the journal knows of one structure.

    Attributes
    ----------
    hash : str
        Its name: `structure_hash`.
    state : str
        "proposed", "submitted", "done", "failed" or "quarantined".
    reason : str
        Why it was proposed.
    structure : str
        Extended XYZ.
    settings : str
        Label settings it was proposed for, as JSON.
    attempt : int
        Number of the last attempt, from 1; 0 before the first.
    message : str
        Why the last attempt failed or was quarantined.
    file : str
        Where the label is (or the bad one, of a quarantined attempt), relative to the folder; "" if there is none.
    seconds : float
        What the last attempt took.
    time : str
        When the last record was written, ISO 8601.
    """

    hash: str
    state: str
    reason: str
    structure: str
    settings: str = "{}"
    attempt: int = 0
    message: str = ""
    file: str = ""
    seconds: float = 0.0
    time: str = ""

    @property
    def atoms(self) -> Atoms:
        """The structure, without label."""
        return from_text(self.structure)


class Journal:
    """The journal of a folder, open for writing; only one process at a time can have it.

    Parameters
    ----------
    directory : str or Path
        Made if it does not exist.

    Attributes
    ----------
    entries : dict of str to Entry
        By hash, in the order of their proposals.
    directory : Path

    Raises
    ------
    LockedError
        If another process has the folder.
    JournalError
        If a line is damaged.  A last line that was cut short by a crash is none: it is removed, and a note says so.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        (self.directory / "labels").mkdir(parents=True, exist_ok=True)
        self._lock = DirectoryLock(self.directory)
        self._descriptor = -1
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        path = self.directory / _FILE
        content = path.read_bytes() if path.exists() else b""
        self.entries, good = _replay(path, content)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        sync_directory(self.directory)
        if good < len(content):
            os.ftruncate(self._descriptor, good)
            os.fsync(self._descriptor)
            self.note(f"removed {len(content) - good} bytes of a last line that was cut short")
        elif content and not content.endswith(b"\n"):
            self._write(b"\n")
        for leftover in [*self.directory.glob("labels/.*.part"), *self.directory.glob("quarantine/.*.part")]:
            leftover.unlink()
        for entry in list(self.entries.values()):  # killed between label and record
            if entry.state == "submitted" and (self.directory / _label_file(entry.hash)).exists():
                self._append("done", entry.hash, entry.attempt, entry.reason, file=_label_file(entry.hash))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let other processes have the folder."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._lock.release()

    def propose(self, atoms: Atoms, reason: str, settings: Mapping[str, Any] | None = None) -> str:
        """Record a structure that should be labelled; one that is known stays as it is.

        Parameters
        ----------
        atoms : ase.Atoms
            The structure; see `canonical` for what is kept of it.
        reason : str
            Why: "force std 0.31 > 0.15 eV/Å on atom 17 (O), step 1240".
        settings : mapping, optional
            Label settings; part of the hash.

        Returns
        -------
        str
            Its hash.
        """
        if not isinstance(reason, str) or not reason.strip():
            raise ValueError(f"`reason` must be a sentence; got {reason!r}. Say why this structure should be labelled.")
        atoms = canonical(atoms)
        name = structure_hash(atoms, settings)
        if name not in self.entries:
            self._append("proposed", name, 0, reason, settings=dict(settings or {}), structure=to_text(atoms))
        return name

    def submitted(self, name: str, attempt: int) -> None:
        """Record that an attempt was handed to an executor."""
        self._append("submitted", name, attempt, self.entries[name].reason)

    def done(self, name: str, label: Atoms, seconds: float = 0.0) -> None:
        """Store a label that was checked, then record that it is there."""
        entry = self.entries[name]
        self._check("done", name)
        if not (self.directory / _label_file(name)).exists():  # a worker may have stored it
            store_label(self.directory, name, entry.reason, label)
        self._append("done", name, entry.attempt, entry.reason, file=_label_file(name), seconds=round(seconds, 3))

    def failed(self, name: str, message: str, seconds: float = 0.0) -> None:
        """Record an attempt that gave no label."""
        entry = self.entries[name]
        self._append("failed", name, entry.attempt, entry.reason, message=message, seconds=round(seconds, 3))

    def quarantined(self, name: str, message: str, label: Atoms | None = None, seconds: float = 0.0) -> None:
        """Record an attempt that gave a bad label, and keep that label for inspection."""
        entry = self.entries[name]
        self._check("quarantined", name)
        where = {}
        if label is not None:
            (self.directory / "quarantine").mkdir(exist_ok=True)
            where["file"] = f"quarantine/{name}.{entry.attempt}.xyz"
            store_label(self.directory, name, entry.reason, label, where["file"])
        self._append("quarantined", name, entry.attempt, entry.reason, message=message, **where, seconds=round(seconds, 3))

    def adopt(self, entry: Entry, label: Atoms) -> None:
        """Take over a label of another journal."""
        if entry.hash not in self.entries:
            settings = json.loads(entry.settings)
            self._append("proposed", entry.hash, 0, entry.reason, settings=settings, structure=entry.structure)
        if self.entries[entry.hash].state != "submitted":
            self.submitted(entry.hash, self.entries[entry.hash].attempt + 1)
        self.done(entry.hash, label, entry.seconds)

    def note(self, text: str, **fields: Any) -> None:
        """Record something that is no label; replay passes over it."""
        self._write_record({"time": _now(), "state": "note", "note": text, **fields})

    def _check(self, state: str, name: str) -> None:
        before = self.entries[name].state if name in self.entries else None
        if before not in _BEFORE[state]:
            raise JournalError(f"Structure {name} cannot become {state!r}: it is {before!r}.")

    def _append(self, state: str, name: str, attempt: int, reason: str, **fields: Any) -> None:
        self._check(state, name)
        record = {"time": _now(), "state": state, "hash": name, "attempt": attempt, "reason": reason, **fields}
        self._write_record(record)
        _apply(self.entries, record)

    def _write_record(self, record: Mapping[str, Any]) -> None:
        self._write(json.dumps(record, ensure_ascii=False, allow_nan=False).encode() + b"\n")

    def _write(self, line: bytes) -> None:
        """Append bytes and wait until they are on disk; if they cannot be written whole, none of them stay."""
        if self._descriptor < 0:
            raise JournalError(f"The journal of {self.directory} must be open; got a closed one.")
        size = os.fstat(self._descriptor).st_size
        try:
            rest = line
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            os.fsync(self._descriptor)
        except OSError as error:
            os.ftruncate(self._descriptor, size)
            raise _full(error, self.directory / _FILE) from error


def read_journal(directory: str | Path) -> dict[str, Entry]:
    """Entries of the journal of a folder, which another process may be writing to.

    Parameters
    ----------
    directory : str or Path
        The folder.

    Returns
    -------
    dict of str to Entry
        By hash, in the order of their proposals.

    Raises
    ------
    FileNotFoundError
        If there is no journal.
    JournalError
        If a line is damaged.
    """
    path = Path(directory) / _FILE
    if not path.exists():
        raise FileNotFoundError(f"There is no journal {path}.")
    return _replay(path, path.read_bytes())[0]


def store_label(directory: Path, name: str, reason: str, label: Atoms, file: str = "") -> None:
    """Write the file of a label, whole or not at all; what a journal does not know of yet it takes over when it is opened.

    Parameters
    ----------
    directory : Path
        The folder of the journal.
    name : str
        Hash of the structure.
    reason : str
        Why it was proposed; goes to ``info``.
    label : ase.Atoms
        Structure with label, checked.
    file : str, optional
        Where it goes, relative to the folder; default: where labels are.

    Raises
    ------
    OSError
        If there is no journal in the folder, or the file cannot be written.
    """
    path = directory / (file or _label_file(name))
    if not (directory / _FILE).exists():
        raise FileNotFoundError(f"There is no journal in {directory}.")
    copy = label.copy()
    copy.calc = label.calc
    copy.info["gapkit_hash"] = name
    copy.info["gapkit_reason"] = " ".join(reason.split())
    try:
        with replacing(path) as stream:
            stream.write(to_text(copy).encode())
    except OSError as error:
        raise _full(error, path) from error


def read_label(directory: str | Path, entry: Entry) -> Atoms:
    """Structure with label of an entry that is done.

    Parameters
    ----------
    directory : str or Path
        The folder of the journal.
    entry : Entry
        From it.

    Returns
    -------
    ase.Atoms
        Energy (eV), forces (eV/Å) and, if there is one, stress (eV/Å³) are in ``calc.results``.
    """
    return from_text((Path(directory) / entry.file).read_text(encoding="utf-8"))


def _replay(path: Path, content: bytes) -> tuple[dict[str, Entry], int]:
    """Entries, and how many bytes of the content they stand on: all but a last line that was cut short."""
    entries: dict[str, Entry] = {}
    good = 0
    for number, line in enumerate(io.BytesIO(content), 1):
        whole = line.endswith(b"\n")
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise ValueError("not an object")
            _apply(entries, record)
        except (ValueError, KeyError, TypeError) as error:
            if not whole:
                break
            raise JournalError(
                f"Line {number} of {path} must be a record of a journal; {type(error).__name__}: {error}. The labels in "
                "the folder `labels` are whole. Correct or remove that line."
            ) from error
        good += len(line)
    return entries, good


def _apply(entries: dict[str, Entry], record: Mapping[str, Any]) -> None:
    state = record["state"]
    if state == "note":
        return
    name = record["hash"]
    before = entries[name].state if name in entries else None
    if before not in _BEFORE.get(state, ()):
        raise JournalError(f"structure {name} cannot become {state!r}: it is {before!r}")
    if state == "proposed":
        entries[name] = Entry(name, state, record["reason"], record["structure"], settings_text(record["settings"]))
    entry = entries[name]
    entry.time = str(record.get("time", ""))
    if state == "proposed":
        return
    entry.state, entry.attempt, entry.message = state, int(record["attempt"]), record.get("message", "")
    entry.file, entry.seconds = record.get("file", ""), float(record.get("seconds", 0.0))


def _full(error: OSError, path: Path) -> OSError:
    text = f"{path} cannot be written: {error.strerror}. All that was stored is safe; make room and resume"
    return OSError(error.errno, text)


def _label_file(name: str) -> str:
    return f"labels/{name}.xyz"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
