"""Data: readers that say what they read, and the small real set that ships with gapkit."""

from .read import LABEL_KEYS, LabelKeys, attach_labels, read_frames
from .silicon import load_silicon

__all__ = ["LABEL_KEYS", "LabelKeys", "attach_labels", "load_silicon", "read_frames"]
