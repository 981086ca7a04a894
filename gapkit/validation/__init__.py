"""Is the model good?  Errors, error bars, energy conservation, physical properties."""

from .comparison import ErrorBarComparison, compare_error_bars
from .crystal import Crystal, NotConvergedError, elastic_properties, eos_properties, find_crystal, relax, relaxed_crystals
from .dynamics import Drift, nve_drift
from .ensemble import Ensemble, Measured, propagate
from .metrics import ErrorRow, Residuals, error_table, force_rmse, residuals
from .phonons import BandPath, phonon_properties
from .properties import EOSCurve, eos_parameters, equation_of_state
from .uncertainty_rows import UncertaintyRow, error_samples, uncertainty_table

__all__ = [
    "BandPath",
    "Crystal",
    "Drift",
    "EOSCurve",
    "Ensemble",
    "ErrorBarComparison",
    "ErrorRow",
    "Measured",
    "NotConvergedError",
    "Residuals",
    "UncertaintyRow",
    "compare_error_bars",
    "elastic_properties",
    "eos_parameters",
    "eos_properties",
    "equation_of_state",
    "error_samples",
    "error_table",
    "find_crystal",
    "force_rmse",
    "nve_drift",
    "phonon_properties",
    "propagate",
    "relax",
    "relaxed_crystals",
    "residuals",
    "uncertainty_table",
]
