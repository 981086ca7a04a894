"""What a check has to say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["IDS", "SEVERITIES", "Finding"]

SEVERITIES = ("error", "warning", "info")
"""A fit would be wrong; it may be worse than it need be; good to know."""

IDS = (
    "energy-unit",
    "force-unit",
    "length-unit",
    "force-energy-mismatch",
    "stress-sign",
    "stress-energy-mismatch",
    "duplicates",
    "outlier",
    "unconverged",
    "net-force",
    "energy-range",
    "temperature-range",
    "composition",
    "cutoff-too-short",
    "isolated-atoms",
    "train-test-leak",
    "doubted-label",
    "unbalanced-weights",
)
"""Names of findings."""


@dataclass(frozen=True)
class Finding:
    """One finding about a data set.

    Attributes
    ----------
    id : str
        One of `IDS`.
    severity : str
        One of `SEVERITIES`.
    message : str
        What was found, with the numbers that say so.
    remedy : str
        What to do.
    frames : tuple of int
        Numbers of the frames concerned; empty for the set as a whole.  Of train-test-leak and of findings that compare with a
        test set: frames of the test set.
    """

    id: str
    severity: str
    message: str
    remedy: str
    frames: tuple[int, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """As ``gapkit check --json`` prints it."""
        return {
            "id": self.id,
            "severity": self.severity,
            "frames": list(self.frames),
            "message": self.message,
            "remedy": self.remedy,
        }


def numbered(frames: Iterable[int], most: int = 5) -> str:
    """Frame numbers for a sentence: the first few, and that there are more."""
    listed = [int(k) for k in frames]
    return ", ".join(map(str, listed[:most])) + (", ..." if len(listed) > most else "")
