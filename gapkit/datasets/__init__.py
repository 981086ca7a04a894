"""Data: readers that say what they read, units, splits, and the small real set that ships with gapkit."""

from .formats import FORMATS
from .read import LABEL_KEYS, LabelKeys, attach_labels, read_frames, without_labels
from .silicon import load_silicon
from .units import Units

__all__ = ["FORMATS", "LABEL_KEYS", "LabelKeys", "Units", "attach_labels", "load_silicon", "read_frames", "without_labels"]
