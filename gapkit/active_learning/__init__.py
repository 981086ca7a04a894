"""Active learning: which structures are worth a label, and the loop that buys them."""

from .audit import audit_run
from .checkpoint import RunState
from .explorers import EXPLORERS, AnyDynamics, Explorer, MolecularDynamics, NudgedElasticBand, RandomSearch, Walker
from .learner import ActiveLearner
from .select import METHODS, Selection, pick, select

__all__ = [
    "EXPLORERS",
    "METHODS",
    "ActiveLearner",
    "AnyDynamics",
    "Explorer",
    "MolecularDynamics",
    "NudgedElasticBand",
    "RandomSearch",
    "RunState",
    "Selection",
    "Walker",
    "audit_run",
    "pick",
    "select",
]
