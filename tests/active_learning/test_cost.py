"""The arithmetic of labels with and without active learning, against numbers worked out by hand."""

from __future__ import annotations

import pytest

from gapkit.active_learning import AT_ONCE, IN_ROUNDS, Campaign, LabelCost, campaign_costs


def test_classic_comparison_by_hand():
    label = LabelCost(minutes=30, nodes=2)
    once, rounds = campaign_costs(label, workers=100, learning_minutes=60, learning_nodes=0.5, budget=3000)
    assert (AT_ONCE.n_labels, IN_ROUNDS.batches) == (15_000, (500, 500, 500, 500))
    assert once.node_hours == pytest.approx(15_000)  # one node-hour a label
    assert once.wall_hours == pytest.approx(75)  # 150 turns of half an hour
    assert rounds.label_node_hours == pytest.approx(2_000)
    assert rounds.learning_node_hours == pytest.approx(1.5)  # three times, an hour on half a node
    assert rounds.label_hours == pytest.approx(4 * 2.5)
    assert rounds.wall_hours == pytest.approx(13)
    assert rounds.saved == pytest.approx(1 - 2_001.5 / 15_000)
    assert (once.saved, once.within_budget, rounds.within_budget) == (0.0, False, True)


def test_workers_wait_for_the_last_label_of_a_batch():
    small, large = campaign_costs(LabelCost(60), [Campaign("ones", (1,) * 5), Campaign("five", (5,))], workers=4)
    assert small.wall_hours == 5.0
    assert large.wall_hours == 2.0  # four, then one
    assert small.node_hours == large.node_hours == 5.0


def test_what_a_budget_buys():
    assert LabelCost(minutes=15, nodes=0.5).affordable(10) == 80
    assert LabelCost(minutes=90).affordable(1.4) == 0
    assert campaign_costs(LabelCost(1), [Campaign("nothing", (0,))])[0].saved == 0.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LabelCost(0), "`minutes` must be a number above 0"),
        (lambda: LabelCost(1, nodes=-1), "`nodes` must be a number above 0"),
        (lambda: Campaign("none", ()), "`batches` must be at least one number of labels"),
        (lambda: Campaign("half", (-1,)), "`batches` must be an integer of at least 0"),
        (lambda: campaign_costs(LabelCost(1), workers=0), "`workers` must be an integer of at least 1"),
        (lambda: campaign_costs(LabelCost(1), budget=0), "`budget` must be a number above 0"),
    ],
)
def test_bad_numbers(call, message):
    with pytest.raises(ValueError, match=message):
        call()
