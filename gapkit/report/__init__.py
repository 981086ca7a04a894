"""Pictures and pages."""

from .learning_page import write_learning_report
from .page import ERROR_HEADER, UNCERTAINTY_HEADER, Section, Table, error_rows, uncertainty_rows, write_page
from .plots import drift_figure, eos_figure, parity_figure
from .property_plots import bands_figure, contest_figure, drift_of, eos_curve_figure, structure_figure
from .uncertainty_plots import calibration_figure

__all__ = [
    "ERROR_HEADER",
    "UNCERTAINTY_HEADER",
    "Section",
    "Table",
    "bands_figure",
    "calibration_figure",
    "contest_figure",
    "drift_figure",
    "drift_of",
    "eos_curve_figure",
    "eos_figure",
    "error_rows",
    "parity_figure",
    "structure_figure",
    "uncertainty_rows",
    "write_learning_report",
    "write_page",
]
