"""Structures, the command of the fake code, processes that should be gone."""

from __future__ import annotations

import os
import shlex
import sys
import time
from pathlib import Path

from ase import Atoms

from tests.conftest import copper_gold

FAKE = Path(__file__).with_name("fake_code.py")


def structures(n: int) -> list[Atoms]:
    """Rattled cells of four atoms, numbered."""
    frames = [copper_gold(seed) for seed in range(n)]
    for number, atoms in enumerate(frames):
        atoms.info["number"] = number
    return frames


def fake_command(log: Path, seconds: float = 0.0) -> str:
    return (
        f"{shlex.quote(sys.executable)} -I -S {shlex.quote(str(FAKE))} {{input}} {{output}} {shlex.quote(str(log))} {seconds}"
    )


def logged(log: Path, word: str) -> list[tuple[int, int]]:
    """(process, number of the structure) of every line that begins with a word."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [(int(pid), int(number)) for first, pid, number in map(str.split, lines) if first == word]


def running(pids) -> list[int]:
    """Which of these processes run; zombies do not."""
    found = []
    for pid in set(pids):
        try:
            state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
        except OSError:
            continue
        if state != b"Z":
            found.append(pid)
    return found


def gone(pids, seconds: float = 30.0) -> bool:
    """Whether processes end within a time."""
    end = time.monotonic() + seconds
    while running(pids):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def write_start(log: str, number: int) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"start {os.getpid()} {number}\n".encode())
    os.close(descriptor)
