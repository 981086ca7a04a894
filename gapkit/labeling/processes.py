"""Commands that end in time, and with the process that wanted them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from . import guard

__all__ = ["Finished", "run_guarded"]

_LOG = "output.txt"
_TAIL = 400  # characters of it that are quoted


@dataclass(frozen=True)
class Finished:
    """How a command ended.

    Attributes
    ----------
    code : int
        Exit status, 128 + signal for a killed one.
    timed_out : bool
        Whether its time was over.
    seconds : float
        How long it ran.
    tail : str
        Last lines of what it printed.
    """

    code: int
    timed_out: bool
    seconds: float
    tail: str


def run_guarded(command: Sequence[str], scratch: Path, timeout: float | None, request: bytes = b"") -> Finished:
    """Run a command in a process group of its own, under a guard that kills all of it on time-out or on our death.

    Parameters
    ----------
    command : sequence of str
        Program and arguments; no shell.
    scratch : Path
        Its working folder; removed by the guard if we die.
    timeout : float or None
        s.
    request : bytes
        What it reads from standard input.

    Returns
    -------
    Finished
    """
    reader, writer = os.pipe()  # writer is not inherited by programs that we start
    start = time.monotonic()
    timed_out = False
    try:
        with open(scratch / _LOG, "wb") as log:
            process = subprocess.Popen(  # noqa: S603  (what the user asked for)
                [sys.executable, "-I", "-S", guard.__file__, str(reader), str(os.getpid()), str(scratch), *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=scratch,
                pass_fds=(reader,),
                start_new_session=True,  # Ctrl-C reaches us first
            )
        os.close(reader)
        reader = -1
        try:
            process.communicate(request, timeout)
        except subprocess.TimeoutExpired:
            timed_out = True
            with suppress(BrokenPipeError):
                os.write(writer, b"t")  # we live on, and read the log
        finally:
            os.close(writer)  # ends what still runs
            writer = -1
            if process.stdin is not None:
                with suppress(OSError):
                    process.stdin.close()
            try:
                process.wait(3 * guard.GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        for descriptor in (reader, writer):
            if descriptor >= 0:
                os.close(descriptor)
    text = (scratch / _LOG).read_bytes()[-4 * _TAIL :].decode(errors="replace").strip()
    return Finished(process.returncode, timed_out, time.monotonic() - start, text[-_TAIL:])
