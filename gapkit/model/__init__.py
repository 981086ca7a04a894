"""The model: terms, atomic energies, fitting, prediction, files."""

from .automatic import RECIPES, automatic_noise, automatic_terms
from .estimate import FitEstimate, estimate_fit
from .fitting import collect_labels
from .loading import load, save
from .prediction import Potential, Prediction
from .regressor import GAPRegressor
from .terms import Term

__all__ = [
    "RECIPES",
    "FitEstimate",
    "GAPRegressor",
    "Potential",
    "Prediction",
    "Term",
    "automatic_noise",
    "automatic_terms",
    "collect_labels",
    "estimate_fit",
    "load",
    "save",
]
