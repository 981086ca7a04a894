"""Is the model good?  Errors, energy conservation, physical properties."""

from .dynamics import Drift, nve_drift
from .metrics import ErrorRow, Residuals, error_table, force_rmse, residuals
from .properties import EOSCurve, eos_parameters, equation_of_state

__all__ = [
    "Drift",
    "EOSCurve",
    "ErrorRow",
    "Residuals",
    "eos_parameters",
    "equation_of_state",
    "error_table",
    "force_rmse",
    "nve_drift",
    "residuals",
]
