"""Active learning: which structures are worth a label, and the loop that buys them."""

from .audit import audit_run
from .checkpoint import RunState
from .committee import Committee
from .cost import AT_ONCE, IN_ROUNDS, Campaign, CampaignCost, LabelCost, campaign_costs
from .explorers import (
    EXPLORERS,
    AnyDynamics,
    Explorer,
    LeftPhysicsError,
    MolecularDynamics,
    NudgedElasticBand,
    RandomSearch,
    Walker,
)
from .learner import ActiveLearner
from .select import METHODS, Selection, pick, select
from .status import run_status

__all__ = [
    "AT_ONCE",
    "EXPLORERS",
    "IN_ROUNDS",
    "METHODS",
    "ActiveLearner",
    "AnyDynamics",
    "Campaign",
    "CampaignCost",
    "Committee",
    "Explorer",
    "LabelCost",
    "LeftPhysicsError",
    "MolecularDynamics",
    "NudgedElasticBand",
    "RandomSearch",
    "RunState",
    "Selection",
    "Walker",
    "audit_run",
    "campaign_costs",
    "pick",
    "run_status",
    "select",
]
