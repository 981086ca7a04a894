"""The model: terms, atomic energies, fitting, prediction, files."""

from .automatic import RECIPES, automatic_noise, automatic_terms
from .baseline import Baseline
from .card import data_card, software_card
from .estimate import FitEstimate, estimate_fit
from .fitting import collect_labels
from .gap_fit import GapFitJob, from_gap_fit
from .glue import Glue
from .loading import load, save
from .potential import Potential
from .prediction import Prediction
from .regressor import GAPRegressor
from .repulsion import ZBL
from .search import SEARCHES
from .terms import Term

__all__ = [
    "RECIPES",
    "SEARCHES",
    "ZBL",
    "Baseline",
    "FitEstimate",
    "GAPRegressor",
    "GapFitJob",
    "Glue",
    "Potential",
    "Prediction",
    "Term",
    "automatic_noise",
    "automatic_terms",
    "collect_labels",
    "data_card",
    "estimate_fit",
    "from_gap_fit",
    "load",
    "save",
    "software_card",
]
