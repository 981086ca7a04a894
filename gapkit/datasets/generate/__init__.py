"""New structures for a training set, each with where it comes from, and their labels in the same run."""

from .labelled import Labelled, kept_in, label_frames
from .recipe import KINDS, BlockCount, Generated, generate

__all__ = ["KINDS", "BlockCount", "Generated", "Labelled", "generate", "kept_in", "label_frames"]
