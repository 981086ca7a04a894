"""One driver per folder."""

from __future__ import annotations

import json
import os
import socket
import weakref
from datetime import UTC, datetime
from pathlib import Path

from ..exceptions import LockedError

__all__ = ["DirectoryLock"]


class DirectoryLock:
    """The right to write in a folder, held by one process at a time.

    The kernel holds the lock (flock): it is free again when the process ends, however it ends.  The file ``lock`` says who has
    it, and stays behind.

    Parameters
    ----------
    directory : Path
        Must exist.

    Raises
    ------
    LockedError
        If another process has it, or if the file system knows no locks.
    """

    def __init__(self, directory: Path) -> None:
        import fcntl

        path = directory / "lock"
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LockedError(_refusal(directory, os.read(self._descriptor, 1000))) from None
            except OSError as error:
                raise LockedError(
                    f"{directory} cannot be locked ({error}): its file system knows no locks. Take a folder on another one."
                ) from error
            owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": datetime.now(UTC).isoformat(timespec="seconds")}
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, json.dumps(owner).encode() + b"\n", 0)
        except BaseException:
            os.close(self._descriptor)
            raise
        _HELD.add(self)

    def release(self) -> None:
        """Give the right back."""
        import fcntl

        if self._descriptor >= 0:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # also where a child that is just being forked shares it
        self._forget()

    def _forget(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


_HELD: weakref.WeakSet[DirectoryLock] = weakref.WeakSet()


def _forget_in_fork() -> None:
    """A forked child shares the lock: it must not keep it when its parent is gone."""
    for lock in list(_HELD):
        lock._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_fork)


def _refusal(directory: Path, content: bytes) -> str:
    try:
        owner = json.loads(content)
        who = f"process {owner['pid']} on {owner['host']}, since {owner['since']}"
    except (ValueError, KeyError, TypeError):
        who = "another process"
    return f"{directory} is in use by {who}. Wait for it, or stop it; a killed one leaves the folder free."
