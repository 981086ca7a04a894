"""How uncertain a model is where it was trained, and what is beyond."""

from __future__ import annotations

import numpy as np
import pytest

from gapkit import SOAP, DotProduct, GAPRegressor, Noise, Term, load
from gapkit.datasets import load_silicon
from gapkit.model.familiar import BEYOND, extrapolated

COLD = ["isolated_atom", "eos", "rattled", "md_300K"]


@pytest.fixture(scope="module")
def model():
    soap = Term(SOAP(5.0, 6, 4, 0.5), DotProduct(4), n_sparse=100)
    return GAPRegressor([("soap", soap)], noise=Noise(), random_state=0).fit(load_silicon(config_types=COLD))


def predictions(model, frames):
    return model.evaluate(frames, forces=False, stress=False, uncertainty="exact", std=("energies",))


def test_it_is_the_largest_of_the_training_set(model, tmp_path):
    frames = [atoms for atoms in load_silicon(config_types=COLD) if len(atoms) > 1]
    largest = max(p.energies_std.max() for p in predictions(model, frames))
    assert model.familiar_std_ == pytest.approx(largest, rel=1e-10)  # all of them have less than 3000 atoms
    assert extrapolated(model, predictions(model, frames)) == ([], pytest.approx(1.0))
    model.save(tmp_path / "a.gap")
    assert load(tmp_path / "a.gap").familiar_std_ == model.familiar_std_
    model.save(tmp_path / "b.gap", posterior=False)
    small = load(tmp_path / "b.gap")
    assert extrapolated(small, small.evaluate(frames[:2])) == ([], 0.0)


def test_what_is_beyond(model):
    vacancies = load_silicon(config_types=["vacancy"])
    found = predictions(model, vacancies)
    numbers, ratio = extrapolated(model, found)
    stds = np.array([p.energies_std.max() for p in found]) / model.familiar_std_
    assert numbers == np.flatnonzero(stds > BEYOND).tolist() != []
    assert ratio == pytest.approx(stds.max())
    calibrated = load_silicon(config_types=COLD)
    other = GAPRegressor(model.terms_, noise=Noise(), random_state=0).fit(calibrated).calibrate("loo", method="scale")
    assert extrapolated(other, predictions(other, vacancies))[0] == numbers  # one factor for both


def test_more_structures_are_familiar(model):
    soap = Term(SOAP(5.0, 6, 4, 0.5), DotProduct(4), n_sparse=100)
    grown = GAPRegressor([("soap", soap)], noise=Noise(), random_state=0).fit(load_silicon(config_types=COLD))
    before = grown.familiar_std_
    vacancies = load_silicon(config_types=["vacancy"])
    grown.partial_fit(vacancies)
    assert grown.familiar_std_ >= before
    assert extrapolated(grown, predictions(grown, vacancies))[0] == []
