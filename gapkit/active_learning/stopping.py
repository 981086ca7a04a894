"""SIGTERM and Ctrl-C, by which batch systems and people end a run: at the next turn, when nothing is half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["stop_politely"]


@contextmanager
def stop_politely(asked: threading.Event) -> Iterator[None]:
    """Set an event at the first signal; a second one ends the program at once.

    Parameters
    ----------
    asked : threading.Event
        To be looked at between turns.  Other threads than the main one are not asked by signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, _: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
