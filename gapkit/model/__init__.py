"""The model: terms, atomic energies, fitting, prediction, files."""

from .loading import load, save
from .prediction import Potential, Prediction
from .regressor import GAPRegressor
from .terms import Term

__all__ = ["GAPRegressor", "Potential", "Prediction", "Term", "load", "save"]
