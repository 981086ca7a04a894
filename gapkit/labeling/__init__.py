"""Labels that are bought once: labelers, checks, the journal, and a queue over any executor."""

from .checks import Limits, checked_label
from .engine import LabelQueue, SerialExecutor, end_with_parent
from .journal import Entry, Journal, read_journal, read_label
from .labelers import CalculatorLabeler, CommandLabeler, Labeler, ProcessLabeler
from .merge import MergeCounts, merge_journals
from .structures import canonical, structure_hash

__all__ = [
    "CalculatorLabeler",
    "CommandLabeler",
    "Entry",
    "Journal",
    "LabelQueue",
    "Labeler",
    "Limits",
    "MergeCounts",
    "ProcessLabeler",
    "SerialExecutor",
    "canonical",
    "checked_label",
    "end_with_parent",
    "merge_journals",
    "read_journal",
    "read_label",
    "structure_hash",
]
