"""Checks of data before a fit."""

from .ledger import LedgerRow, label_ledger, stress_sign

__all__ = ["LedgerRow", "label_ledger", "stress_sign"]
