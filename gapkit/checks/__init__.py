"""Checks of data before a fit and of labels after it: the label ledger, and findings that name the classic mistakes."""

from .doubts import check_doubts
from .findings import IDS, SEVERITIES, Finding
from .ledger import LedgerRow, label_ledger, stress_sign
from .run import check_frames
from .weights import check_weights

__all__ = [
    "IDS",
    "SEVERITIES",
    "Finding",
    "LedgerRow",
    "check_doubts",
    "check_frames",
    "check_weights",
    "label_ledger",
    "stress_sign",
]
