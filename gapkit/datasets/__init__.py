"""Data: readers that say what they read, units, splits, new structures, and the small real set that ships with gapkit."""

from .formats import FORMATS
from .generate import KINDS, Generated, Labelled, generate, kept_in, label_frames
from .read import LABEL_KEYS, LabelKeys, attach_labels, read_frames, without_labels
from .silicon import load_silicon
from .split import Split, split
from .unit_guess import UnitGuess, check_units, guess_units
from .units import Units
from .write import write_frames

__all__ = [
    "FORMATS",
    "KINDS",
    "LABEL_KEYS",
    "Generated",
    "LabelKeys",
    "Labelled",
    "Split",
    "UnitGuess",
    "Units",
    "attach_labels",
    "check_units",
    "generate",
    "guess_units",
    "kept_in",
    "label_frames",
    "load_silicon",
    "read_frames",
    "split",
    "without_labels",
    "write_frames",
]
