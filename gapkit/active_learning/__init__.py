"""Active learning: which structures are worth a label."""

from .committee import Committee
from .cost import AT_ONCE, IN_ROUNDS, Campaign, CampaignCost, LabelCost, campaign_costs
from .select import METHODS, Selection, pick, select
from .status import run_status

__all__ = [
    "AT_ONCE",
    "IN_ROUNDS",
    "METHODS",
    "Campaign",
    "CampaignCost",
    "Committee",
    "LabelCost",
    "Selection",
    "campaign_costs",
    "pick",
    "run_status",
    "select",
]
