"""Run a command so that nothing of it outlives the process that wanted it.  A script of the standard library alone.

    python guard.py LIFELINE PARENT SCRATCH COMMAND...

LIFELINE is the read end of a pipe whose only write end is held by PARENT (a process id).  When PARENT writes to it (a
time-out), or it closes (the death of PARENT, however it dies), the command's process group and every process that descends
from it get SIGTERM, so that ``srun`` and ``mpirun`` can clean up remotely, and SIGKILL after GRACE seconds.  If PARENT is
gone, the folder SCRATCH goes, too.
"""

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

GRACE = 5.0  # s between SIGTERM and SIGKILL
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # <linux/prctl.h>


def main() -> None:
    """Run the command, end as it ends."""
    lifeline, parent, scratch = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    linux = sys.platform == "linux"
    prctl = ctypes.CDLL(None).prctl if linux else None
    if prctl is not None:
        prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # descendants that leave their group or lose their parent come to us

    def with_guard() -> None:
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # should the guard itself be killed

    try:
        process = subprocess.Popen(sys.argv[4:], start_new_session=True, preexec_fn=with_guard)  # noqa: S603
    except OSError as error:
        print(f"{sys.argv[4]}: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(127)

    ending = threading.Event()

    def watch() -> None:
        while not select.select([lifeline], [], [], 1.0)[0] and os.getppid() == parent:
            pass
        ending.set()
        orphan = not (select.select([lifeline], [], [], 0)[0] and os.read(lifeline, 1))  # a time-out is announced
        end(process.pid)
        if orphan:
            shutil.rmtree(scratch, ignore_errors=True)
        os._exit(137)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    code = process.wait()
    if ending.is_set():
        watcher.join()  # it ends the guard
    end(process.pid)
    os._exit(code if code >= 0 else 128 - code)


def end(group: int) -> None:
    """Terminate, then kill, what is left of a process group and of our descendants."""
    deadline = time.monotonic() + GRACE
    signal_all(group, signal.SIGTERM)
    while alive(group) and time.monotonic() < deadline:
        time.sleep(0.02)
    for _ in range(100):  # a process may fork while others are killed
        if not alive(group):
            return
        signal_all(group, signal.SIGKILL)
        time.sleep(0.02)


def alive(group: int) -> bool:
    """Whether any process of the group, or descendant of ours, still runs."""
    while True:  # those that came to us and ended
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if pid == 0:
            break
    if descendants():
        return True
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return sys.platform != "linux"  # there, descendants() has said it: what is left of the group is not ours, or a zombie


def signal_all(group: int, number: int) -> None:
    """Send a signal to the process group and to all descendants."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
    for pid in descendants():
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def descendants() -> list[int]:
    """Processes that descend from this one and run (Linux; elsewhere none are known)."""
    if sys.platform != "linux":
        return []
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    state, ppid = file.read().rpartition(b")")[2].split()[:2]
            except OSError:
                continue
            if state != b"Z":
                children.setdefault(int(ppid), []).append(int(name))
    found, stack = [], [os.getpid()]
    while stack:
        for pid in children.get(stack.pop(), []):
            found.append(pid)
            stack.append(pid)
    return found


if __name__ == "__main__":
    main()
