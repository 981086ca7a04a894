"""Pictures and pages."""

from .extrapolation_page import EXTRAPOLATION_HEADER, extrapolation_figure, extrapolation_rows, extrapolation_section
from .learning_page import write_learning_report
from .model_page import (
    LEARNING_HEADER,
    SPECIES_HEADER,
    error_bar_section,
    learning_curve_section,
    learning_rows,
    species_rows,
    write_model_report,
)
from .model_plots import data_efficiency_figure, group_figure, map_figure
from .page import ERROR_HEADER, UNCERTAINTY_HEADER, Section, Table, error_rows, uncertainty_rows, write_page
from .plots import drift_figure, eos_figure, parity_figure
from .property_plots import bands_figure, contest_figure, drift_of, eos_curve_figure, expansion_figure, structure_figure
from .uncertainty_plots import calibration_figure
from .viewer import View, viewer

__all__ = [
    "ERROR_HEADER",
    "EXTRAPOLATION_HEADER",
    "LEARNING_HEADER",
    "SPECIES_HEADER",
    "UNCERTAINTY_HEADER",
    "Section",
    "Table",
    "View",
    "bands_figure",
    "calibration_figure",
    "contest_figure",
    "data_efficiency_figure",
    "drift_figure",
    "drift_of",
    "eos_curve_figure",
    "eos_figure",
    "error_bar_section",
    "error_rows",
    "expansion_figure",
    "extrapolation_figure",
    "extrapolation_rows",
    "extrapolation_section",
    "group_figure",
    "learning_curve_section",
    "learning_rows",
    "map_figure",
    "parity_figure",
    "species_rows",
    "structure_figure",
    "uncertainty_rows",
    "viewer",
    "write_learning_report",
    "write_model_report",
    "write_page",
]
