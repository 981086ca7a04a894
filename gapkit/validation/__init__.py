"""Is the model good?  Errors, error bars, energy conservation, physical properties."""

from .comparison import ErrorBarComparison, compare_error_bars
from .dynamics import Drift, nve_drift
from .metrics import ErrorRow, Residuals, error_table, force_rmse, residuals
from .properties import EOSCurve, eos_parameters, equation_of_state
from .uncertainty_rows import UncertaintyRow, error_samples, uncertainty_table

__all__ = [
    "Drift",
    "EOSCurve",
    "ErrorBarComparison",
    "ErrorRow",
    "Residuals",
    "UncertaintyRow",
    "compare_error_bars",
    "eos_parameters",
    "equation_of_state",
    "error_samples",
    "error_table",
    "force_rmse",
    "nve_drift",
    "residuals",
    "uncertainty_table",
]
