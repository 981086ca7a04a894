"""What makes the structures that the learner judges: molecular dynamics, reaction paths, random structures."""

from .dynamics import AnyDynamics, MolecularDynamics
from .neb import NudgedElasticBand
from .search import RandomSearch
from .walker import Explorer, LeftPhysicsError, Walker

__all__ = [
    "EXPLORERS",
    "AnyDynamics",
    "Explorer",
    "LeftPhysicsError",
    "MolecularDynamics",
    "NudgedElasticBand",
    "RandomSearch",
    "Walker",
]

EXPLORERS = {"md": MolecularDynamics, "neb": NudgedElasticBand, "search": RandomSearch}
"""Names in learn.yaml."""
