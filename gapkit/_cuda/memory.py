"""How much memory of the device may be used, and so how many atoms are done at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..exceptions import DeviceMemoryError

__all__ = ["Memory", "memory_errors"]

_PART = 0.8  # of the free memory: cuBLAS and fragmentation take some
_GIB = 2.0**30
_REMEDY = "Free memory (nvidia-smi lists who uses it), take a smaller model or structure, or device='cpu'."


class Memory:
    """What may be used.

    Parameters
    ----------
    xp : module
        CuPy.
    limit : float, optional
        Bytes; default: 80 % of what is free at each question.
    at_most : int, optional
        Largest number of atoms (or pairs) at a time, whatever the memory.
    """

    def __init__(self, xp: Any, *, limit: float | None = None, at_most: int | None = None) -> None:
        self.xp, self.limit, self.at_most = xp, limit, at_most

    def available(self) -> float:
        """Bytes that can be used now."""
        if self.limit is not None:
            return self.limit
        free, _ = self.xp.cuda.runtime.memGetInfo()
        return _PART * float(free + self.xp.get_default_memory_pool().free_bytes())

    def without(self, used: float) -> Memory:
        """What is left when so many bytes are set aside; of free memory they are gone anyway."""
        return self if self.limit is None else Memory(self.xp, limit=self.limit - used, at_most=self.at_most)

    def at_a_time(self, bytes_each: float, what: str) -> int:
        """How many of ``what`` (each needs so many bytes) fit.

        Raises
        ------
        DeviceMemoryError
            If not even one does.
        """
        available = self.available()
        n = int(available / bytes_each)
        if n < 1:
            needed, got = bytes_each / _GIB, max(available, 0.0) / _GIB
            raise DeviceMemoryError(
                f"The GPU must have at least {needed:.3g} GiB free for {what}; got {got:.3g} GiB. {_REMEDY}"
            )
        return n if self.at_most is None else min(n, self.at_most)


@contextmanager
def memory_errors(xp: Any) -> Iterator[None]:
    """Turn CuPy's errors about memory into ours, which say what to do."""
    try:
        yield
    except xp.cuda.memory.OutOfMemoryError as error:
        raise DeviceMemoryError(f"The GPU has too little memory: {error}. {_REMEDY}") from error
