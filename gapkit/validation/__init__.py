"""Is the model good?  Errors, error bars, energy conservation, physical properties."""

from .comparison import ErrorBarComparison, compare_error_bars
from .contest import Contestant, Speed, as_rows, compare, named_calculator, predictions_of
from .crystal import Crystal, NotConvergedError, elastic_properties, eos_properties, find_crystal, relax, relaxed_crystals
from .defects import make_slab, surface_properties, vacancy_properties
from .dynamics import Drift, nve_drift, run_nve, step_advice
from .ensemble import Ensemble, Measured, propagate
from .expansion import expansion_properties
from .extrapolation import GroupTest, extrapolation
from .learning_curve import LearningPoint, gain_of_doubling, learning_curve
from .metrics import ErrorRow, Residuals, error_table, force_rmse, residuals
from .motion import angles, diffusion, first_shell, motion_properties, radial_distribution
from .phonons import BandPath, phonon_properties
from .properties import EOSCurve, eos_parameters, equation_of_state
from .suite import PROPERTIES, PropertyRow, PropertySet, measure_properties, property_rows, read_reference, unit_of
from .targets import Judgement, Verdict, judge
from .uncertainty_rows import UncertaintyRow, error_samples, uncertainty_table

__all__ = [
    "PROPERTIES",
    "BandPath",
    "Contestant",
    "Crystal",
    "Drift",
    "EOSCurve",
    "Ensemble",
    "ErrorBarComparison",
    "ErrorRow",
    "GroupTest",
    "Judgement",
    "LearningPoint",
    "Measured",
    "NotConvergedError",
    "PropertyRow",
    "PropertySet",
    "Residuals",
    "Speed",
    "UncertaintyRow",
    "Verdict",
    "angles",
    "as_rows",
    "compare",
    "compare_error_bars",
    "diffusion",
    "elastic_properties",
    "eos_parameters",
    "eos_properties",
    "equation_of_state",
    "error_samples",
    "error_table",
    "expansion_properties",
    "extrapolation",
    "find_crystal",
    "first_shell",
    "force_rmse",
    "gain_of_doubling",
    "judge",
    "learning_curve",
    "make_slab",
    "measure_properties",
    "motion_properties",
    "named_calculator",
    "nve_drift",
    "phonon_properties",
    "predictions_of",
    "propagate",
    "property_rows",
    "radial_distribution",
    "read_reference",
    "relax",
    "relaxed_crystals",
    "residuals",
    "run_nve",
    "step_advice",
    "surface_properties",
    "uncertainty_table",
    "unit_of",
    "vacancy_properties",
]
