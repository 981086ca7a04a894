"""Pictures and pages."""

from .page import ERROR_HEADER, Section, Table, error_rows, write_page
from .plots import drift_figure, eos_figure, parity_figure

__all__ = [
    "ERROR_HEADER",
    "Section",
    "Table",
    "drift_figure",
    "eos_figure",
    "error_rows",
    "parity_figure",
    "write_page",
]
