"""Active learning: which structures are worth a label, and the loop that buys them."""

from .audit import audit_run
from .checkpoint import RunState
from .explorers import MolecularDynamics
from .learner import ActiveLearner
from .select import METHODS, Selection, pick, select

__all__ = ["METHODS", "ActiveLearner", "MolecularDynamics", "RunState", "Selection", "audit_run", "pick", "select"]
