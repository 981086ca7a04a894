"""A fit that all kernels of fits take part in."""

from __future__ import annotations

from unittest import mock

from gapkit import RBF, GAPRegressor, Term, TwoBody
from tests.conftest import copper_gold, labelled


def fitted(device):
    """A model of two small frames; pairs, which hardly any loop must be compiled for, have all parts of a row."""
    frames = [labelled(copper_gold(seed, pbc=(True, True, True))) for seed in (1, 2)]
    term = Term(TwoBody(3.5), RBF(0.5), n_sparse={"Cu-Cu": 3, "Cu-Au": 3})
    with mock.patch("gapkit.model.device.require", return_value=None):
        return GAPRegressor([term], random_state=0, device=device).fit(frames)
