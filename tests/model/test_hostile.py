"""No negative variance, no NaN and no exception where variances are hardest; every clamp is a warning that counts."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from gapkit.exceptions import LabelWarning, NumericalWarning
from tests.reference import hostile

EVERY = ("energy", "energies", "forces", "stress")


@pytest.mark.parametrize("name", list(hostile.training_sets()))
def test_variances_are_never_negative(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LabelWarning)
        warnings.simplefilter("ignore", NumericalWarning)  # dropped sparse points, labels that contradict each other
        model = hostile.models()[name].fit(hostile.training_sets()[name])
    for kind, frames in hostile.structures(0):
        for uncertainty in ("exact", "fast"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NumericalWarning)
                predictions = model.evaluate(frames, uncertainty=uncertainty, std=EVERY)
            for p in predictions:
                for quantity in EVERY:
                    std = getattr(p, f"{quantity}_std")
                    assert std is None or (np.isfinite(std).all() and np.min(std) >= 0.0), (kind, uncertainty, quantity)
