"""Active learning: which structures are worth a label."""

from .select import METHODS, Selection, pick, select

__all__ = ["METHODS", "Selection", "pick", "select"]
