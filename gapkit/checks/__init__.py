"""Checks of data before a fit: the label ledger, and findings that name the classic mistakes."""

from .findings import IDS, SEVERITIES, Finding
from .ledger import LedgerRow, label_ledger, stress_sign
from .run import check_frames

__all__ = ["IDS", "SEVERITIES", "Finding", "LedgerRow", "check_frames", "label_ledger", "stress_sign"]
