"""The queue of labels: structures in, checked labels out, over any executor; nothing that was paid for is lost."""

from __future__ import annotations

import multiprocessing
import os
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing.connection import wait
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ase import Atoms

from .._validation import check_integer, describe
from .._version import __version__
from ..exceptions import InvalidLabelError
from .checks import Limits, checked_label
from .journal import Entry, Journal, read_label, store_label
from .labelers import Labeler
from .structures import settings_text

__all__ = ["LabelQueue", "Outcome", "SerialExecutor", "end_with_parent", "label_task"]


@dataclass(frozen=True)
class Outcome:
    """What became of one attempt.

    Attributes
    ----------
    state : str
        "done", "failed" or "quarantined".
    label : ase.Atoms or None
        The checked label, or the bad one if there is one.
    message : str
        Why it is not done.
    seconds : float
        What it took.
    """

    state: str
    label: Atoms | None
    message: str
    seconds: float


def label_task(labeler: Labeler, atoms: Atoms, limits: Limits, store: Callable[[Atoms], None] | None = None) -> Outcome:
    """Compute and check one label: the unit of work of an executor.

    Parameters
    ----------
    labeler : Labeler
        Computes it.
    atoms : ase.Atoms
        The structure.
    limits : Limits
        What is plausible.
    store : callable, optional
        Writes the label to its file: where workers see the folder of the journal, nothing that they finish is lost, whatever
        happens to the driver.  Where they do not, the driver does it.

    Returns
    -------
    Outcome
    """
    end_with_parent()
    start, answer = time.monotonic(), None
    try:
        answer = labeler.label(atoms.copy())
        state, label, message = "done", checked_label(atoms, answer, limits), ""
    except InvalidLabelError as error:
        state, label, message = "quarantined", answer, str(error)
    except (Exception, SystemExit) as error:  # whatever the code behind the labeler raises
        state, label, message = "failed", None, f"{type(error).__name__}: {error}"
    seconds = time.monotonic() - start
    if state == "done" and label is not None and store is not None:
        with suppress(OSError):
            store(label)
    return Outcome(state, label, message, seconds)


@lru_cache(maxsize=1)
def end_with_parent() -> None:
    """Let this process, if it is a worker of a process pool, end when the process that started it ends.

    A worker whose driver was killed waits for work for ever otherwise.  Every label does this; given as ``initializer`` to the
    pool, it holds from the start.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="gapkit: ends with its parent", daemon=True).start()


class SerialExecutor(Executor):
    """Runs what it is given at once, in this process."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function and return its finished future."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class LabelQueue:
    """Labels for structures, each bought once.

    Everything is in the journal of the folder before it is acted upon, and a label is stored when its worker is done, whatever
    the driver is busy with.  A queue that is opened on a folder goes on where the last one ended, however that was: what was
    proposed or submitted is submitted (again), what is done is never repeated.

    Parameters
    ----------
    directory : str or Path
        Of the journal and the labels; one process at a time can have it.
    labeler : Labeler or sequence of Labeler
        Of several, the k-th is for the k-th attempt, the last one for all after it: a ladder of more careful settings.
    executor : concurrent.futures.Executor, optional
        Where labels are computed; default: here, one after the other.  The queue does not shut it down.
    attempts : int, default 2
        How often a label that fails or is bad is tried; raise it and open the folder again to retry.
    settings : mapping, optional
        What distinguishes labels of one structure, e.g. functional and cutoff; part of the hash.  Labels of the folder
        with other settings are left alone.
    limits : Limits, optional
        What is plausible.

    Raises
    ------
    LockedError
        If another process has the folder.
    JournalError
        If the journal is damaged.
    """

    def __init__(
        self,
        directory: str | Path,
        labeler: Labeler | Sequence[Labeler],
        *,
        executor: Executor | None = None,
        attempts: int = 2,
        settings: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._labelers = list(labeler) if isinstance(labeler, Sequence) else [labeler]
        if not self._labelers:
            raise ValueError(describe("labeler", "a labeler or a list of them", labeler))
        for one in self._labelers:
            if not callable(getattr(one, "label", None)):
                raise TypeError(describe("labeler", "an object with a method label(atoms)", one, "Or a list of such."))
        self._attempts = check_integer("attempts", attempts, at_least=1)
        self._executor = SerialExecutor() if executor is None else executor
        self._settings, self._settings_text = dict(settings or {}), settings_text(settings)
        self._limits = Limits() if limits is None else limits
        self._changed = threading.Condition(threading.RLock())
        self._running: dict[str, Future[Outcome]] = {}
        self._waiting: deque[str] = deque()  # to be submitted
        self._finished: deque[str] = deque()  # to be handed out by poll
        self._error: Exception | None = None
        self._closed = False
        self._journal = Journal(directory)
        try:
            self._journal.note(
                "opened",
                pid=os.getpid(),
                host=socket.gethostname(),
                gapkit=__version__,
                settings=self._settings,
                attempts=attempts,
            )
            self._waiting.extend(name for name, entry in self._entries() if not self._is_final(entry))
            self._submit_waiting()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def submit(self, atoms: Atoms, reason: str) -> str:
        """Ask for a label; a structure that is known is not labelled again.

        Parameters
        ----------
        atoms : ase.Atoms
            The structure.
        reason : str
            Why: "force std 0.31 > 0.15 eV/Å on atom 17 (O), step 1240".

        Returns
        -------
        str
            Its hash.

        Raises
        ------
        InvalidStructureError
            If it has no atoms or positions that are not finite.
        OSError
            If the journal cannot be written, e.g. because the disk is full.
        """
        self._raise_errors()
        with self._changed:
            new = len(self._journal.entries)
            name = self._journal.propose(atoms, reason, self._settings)
            if len(self._journal.entries) > new:
                self._waiting.append(name)
        self._submit_waiting()
        return name

    def poll(self) -> list[Entry]:
        """Entries that were finished since the last call (done, or failed or quarantined for good); does not wait."""
        self._raise_errors()
        self._submit_waiting()
        with self._changed:
            found = [self._journal.entries[name] for name in self._finished]
            self._finished.clear()
        return found

    def wait(self, timeout: float | None = None) -> list[Entry]:
        """Wait until an entry is finished, none is pending, or the time is over, and return what `poll` does.

        Parameters
        ----------
        timeout : float, optional
            s.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            found = self.poll()
            left = None if deadline is None else deadline - time.monotonic()
            with self._changed:
                if found or not (self._running or self._waiting or self._finished) or (left is not None and left <= 0.0):
                    return found
                self._changed.wait_for(lambda: self._finished or self._waiting or self._error or not self._running, left)

    def drain(self) -> list[Entry]:
        """Wait until no label is pending; return what was finished since the last `poll`."""
        found: list[Entry] = []
        while new := self.wait():
            found += new
        return found

    def finished(self, name: str) -> Entry | None:
        """Entry of a structure by its hash if it is finished (done, or failed or quarantined for good), else None.

        Raises
        ------
        KeyError
            If there is no such structure.
        """
        self._raise_errors()
        self._submit_waiting()
        with self._changed:
            entry = self._journal.entries[name]
            return entry if self._is_final(entry) else None

    @property
    def pending(self) -> list[Atoms]:
        """Structures that have been proposed and are not finished, in that order."""
        with self._changed:
            return [entry.atoms for _, entry in self._entries() if not self._is_final(entry)]

    @property
    def counts(self) -> dict[str, int]:
        """How many structures are "done", "failed", "quarantined" and "pending"."""
        with self._changed:
            found = Counter(entry.state if self._is_final(entry) else "pending" for _, entry in self._entries())
        return {state: found[state] for state in ("done", "failed", "quarantined", "pending")}

    def label(self, name: str) -> Atoms:
        """Labelled structure by its hash.

        Raises
        ------
        ValueError
            If it is not done.
        """
        entry = self._journal.entries.get(name)
        if entry is None or entry.state != "done":
            state = "unknown" if entry is None else entry.state
            raise ValueError(f"`name` must be the hash of a structure that is done; got {name!r}, which is {state}.")
        return read_label(self._journal.directory, entry)

    def training_set(self) -> list[Atoms]:
        """All labelled structures, in the order in which they were proposed, whenever they were finished."""
        with self._changed:
            done = [entry for _, entry in self._entries() if entry.state == "done"]
        return [read_label(self._journal.directory, entry) for entry in done]

    def close(self) -> None:
        """Let other processes have the folder; labels that are pending are left for the next queue."""
        with self._changed:
            self._closed = True
            running = list(self._running.values())
            self._journal.close()
        if isinstance(self._error, BrokenExecutor):
            return  # the pool is ending its futures; in Python 3.11 one that is cancelled meanwhile leaves it hanging
        for future in running:
            future.cancel()

    def _entries(self) -> list[tuple[str, Entry]]:
        return [(name, entry) for name, entry in self._journal.entries.items() if entry.settings == self._settings_text]

    def _is_final(self, entry: Entry) -> bool:
        return entry.state == "done" or (entry.state in ("failed", "quarantined") and entry.attempt >= self._attempts)

    def _submit_waiting(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    return
                name = self._waiting.popleft()
                entry = self._journal.entries[name]
                attempt = entry.attempt + (entry.state != "submitted")  # one that was interrupted does not count
                self._journal.submitted(name, attempt)
                atoms = entry.atoms
                store = partial(store_label, self._journal.directory.resolve(), name, entry.reason)
            labeler = self._labelers[min(attempt, len(self._labelers)) - 1]
            try:
                future = self._executor.submit(label_task, labeler, atoms, self._limits, store)
            except BrokenExecutor as error:
                self._error = error
                return self._raise_errors()
            with self._changed:
                self._running[name] = future
            future.add_done_callback(partial(self._take, name))

    def _take(self, name: str, future: Future[Outcome]) -> None:
        """Store what became of an attempt: called by the thread in which its future is finished."""
        with self._changed:
            if self._running.get(name) is future:
                del self._running[name]
            if not self._closed and not future.cancelled():
                try:
                    self._store(name, future)
                except Exception as error:  # raised by the next call, in the thread of the caller
                    self._error = error
            self._changed.notify_all()

    def _store(self, name: str, future: Future[Outcome]) -> None:
        error = future.exception()
        if isinstance(error, BrokenExecutor | CancelledError):
            self._error = error
            return
        if error is not None:  # of the executor: a worker was lost, a result could not be sent
            self._journal.failed(name, f"{type(error).__name__}: {error}")
        else:
            outcome = future.result()
            if outcome.state == "done" and outcome.label is not None:
                self._journal.done(name, outcome.label, outcome.seconds)
            elif outcome.state == "quarantined":
                self._journal.quarantined(name, outcome.message, outcome.label, outcome.seconds)
            else:
                self._journal.failed(name, outcome.message, outcome.seconds)
        (self._finished if self._is_final(self._journal.entries[name]) else self._waiting).append(name)

    def _raise_errors(self) -> None:
        if isinstance(self._error, BrokenExecutor | CancelledError):
            raise RuntimeError(
                f"A worker of the executor died ({self._error}). No label that was stored is lost: open the folder again with "
                "a new executor. ThreadPoolExecutor with ProcessLabeler survives calculations that crash."
            ) from self._error
        if self._error is not None:
            raise self._error
