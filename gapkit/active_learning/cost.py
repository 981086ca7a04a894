r"""What labels cost, with and without active learning: arithmetic, before anything is bought.

A campaign buys labels in batches.  Within a batch as many labels run at a time as there are workers, and between batches the
model is fitted anew and the next batch is chosen while the workers wait:

.. math:: T = \sum_b \lceil n_b / w \rceil \, t + (B - 1) \, t_\text{learn}, \qquad
    C = N \, n_\text{nodes} \, t + (B - 1) \, n_\text{learn} \, t_\text{learn}

with B batches of :math:`n_b` labels (N in all) on w workers, t for a label on :math:`n_\text{nodes}` nodes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .._validation import check_integer, check_real, describe

__all__ = ["AT_ONCE", "IN_ROUNDS", "Campaign", "CampaignCost", "LabelCost", "campaign_costs"]


@dataclass(frozen=True)
class LabelCost:
    """What one label takes.

    Attributes
    ----------
    minutes : float
        Wall-clock time.
    nodes : float, default 1
        Nodes that it occupies; a fraction where several labels share a node.
    """

    minutes: float
    nodes: float = 1.0

    def __post_init__(self) -> None:
        check_real("minutes", self.minutes, above=0.0, remedy="It is the time that one label takes.")
        check_real("nodes", self.nodes, above=0.0, remedy="Four labels that share a node take 0.25 each.")

    @property
    def node_hours(self) -> float:
        """Of one label."""
        return self.nodes * self.minutes / 60.0

    def affordable(self, budget: float) -> int:
        """How many labels so many node-hours buy."""
        return math.floor(check_real("budget", budget, at_least=0.0, remedy="It is in node-hours.") / self.node_hours)


@dataclass(frozen=True)
class Campaign:
    """Labels that are bought in batches.

    Attributes
    ----------
    name : str
        For the table.
    batches : tuple of int
        Numbers of labels; the model is fitted anew between two batches.
    """

    name: str
    batches: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.batches:
            raise ValueError(describe("batches", "at least one number of labels", self.batches))
        for n in self.batches:
            check_integer("batches", n, at_least=0, remedy="They are numbers of labels.")

    @classmethod
    def in_rounds(cls, first: int, rounds: int, per_round: int) -> Campaign:
        """First labels, then rounds of active learning.

        Parameters
        ----------
        first : int
            Labels before the first fit.
        rounds : int
            Number of rounds after it.
        per_round : int
            Labels of each.

        Returns
        -------
        Campaign
        """
        check_integer("rounds", rounds, at_least=0)
        return cls(f"{first:,} and {rounds} rounds of {per_round:,}", (first, *(per_round,) * rounds))

    @property
    def n_labels(self) -> int:
        """Of all batches."""
        return sum(self.batches)


AT_ONCE = Campaign("15,000 at once", (15_000,))
"""The classic way: label everything, then fit."""

IN_ROUNDS = Campaign.in_rounds(500, 3, 500)
"""The same job with active learning, each round as large as the first set."""


@dataclass(frozen=True)
class CampaignCost:
    """What a campaign takes.

    Attributes
    ----------
    name : str
        Of the campaign.
    n_labels : int
        Labels bought.
    label_node_hours, learning_node_hours : float
        Of the labels; of selections and fits between the batches.
    label_hours, learning_hours : float
        Wall-clock time of the two; the workers wait during the second.
    saved : float
        Fraction of the node-hours of the first campaign of the table that this one does without; negative if it takes more.
    within_budget : bool or None
        Whether the node-hours are there; None without a budget.
    """

    name: str
    n_labels: int
    label_node_hours: float
    learning_node_hours: float
    label_hours: float
    learning_hours: float
    saved: float
    within_budget: bool | None

    @property
    def node_hours(self) -> float:
        """Of labels and learning."""
        return self.label_node_hours + self.learning_node_hours

    @property
    def wall_hours(self) -> float:
        """From the first label to the last."""
        return self.label_hours + self.learning_hours


def campaign_costs(
    label: LabelCost,
    campaigns: Sequence[Campaign] = (AT_ONCE, IN_ROUNDS),
    *,
    workers: int = 1,
    learning_minutes: float = 0.0,
    learning_nodes: float = 1.0,
    budget: float | None = None,
) -> list[CampaignCost]:
    """Cost of campaigns beside each other.

    Parameters
    ----------
    label : LabelCost
        Of one label.
    campaigns : sequence of Campaign
        The first is what the others are compared with.
    workers : int, default 1
        Labels that run at a time.
    learning_minutes : float, default 0
        Wall-clock time of the selection and the fit between two batches.
    learning_nodes : float, default 1
        Nodes that these occupy.
    budget : float, optional
        Node-hours that there are.

    Returns
    -------
    list of CampaignCost
        One per campaign.

    Examples
    --------
    A label of 20 minutes on two nodes, on 50 workers, with 30 minutes between rounds:

    >>> for row in campaign_costs(LabelCost(20, nodes=2), workers=50, learning_minutes=30):
    ...     print(f"{row.name}: {row.node_hours:,.0f} node-hours, {row.wall_hours:.1f} h, {row.saved:.0%} saved")
    15,000 at once: 10,000 node-hours, 100.0 h, 0% saved
    500 and 3 rounds of 500: 1,335 node-hours, 14.8 h, 87% saved
    """
    check_integer("workers", workers, at_least=1)
    check_real("learning_minutes", learning_minutes, at_least=0.0)
    check_real("learning_nodes", learning_nodes, above=0.0)
    if budget is not None:
        check_real("budget", budget, above=0.0, remedy="It is in node-hours.")
    rows: list[CampaignCost] = []
    for campaign in campaigns:
        label_hours = sum(math.ceil(n / workers) for n in campaign.batches) * label.minutes / 60.0
        learning_hours = (len(campaign.batches) - 1) * learning_minutes / 60.0
        labels, learning = campaign.n_labels * label.node_hours, learning_nodes * learning_hours
        reference = rows[0].node_hours if rows else labels + learning
        rows.append(
            CampaignCost(
                name=campaign.name,
                n_labels=campaign.n_labels,
                label_node_hours=labels,
                learning_node_hours=learning,
                label_hours=label_hours,
                learning_hours=learning_hours,
                saved=1.0 - (labels + learning) / reference if reference > 0.0 else 0.0,
                within_budget=None if budget is None else labels + learning <= budget,
            )
        )
    return rows
