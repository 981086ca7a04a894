"""The committee: independent members, the spread of their predictions, no species lost."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from gapkit import SOAP, DotProduct, GAPRegressor, Noise, Term
from gapkit.active_learning import Committee
from tests.conftest import labelled


def small_model():
    terms = [Term(SOAP(r_cut=4.0, n_max=3, l_max=2), DotProduct(zeta=2), n_sparse=10)]
    return GAPRegressor(terms, noise=Noise(0.01, 0.1, 0.1), e0=0.0, random_state=0)


@pytest.fixture(scope="module")
def committee(alloy):
    return Committee(small_model(), 3, random_state=1).fit(alloy[:8])


def test_spread_is_that_of_the_members(committee, alloy):
    votes = [model.evaluate(alloy[8:]) for model in committee.models_]
    for k, united in enumerate(committee.evaluate(alloy[8:])):
        energies = [p[k].energy for p in votes]
        assert united.energy == pytest.approx(np.mean(energies), rel=1e-12)
        assert united.energy_std == pytest.approx(np.sqrt(sum((e - np.mean(energies)) ** 2 for e in energies) / 2), rel=1e-9)
        np.testing.assert_allclose(united.forces, sum(p[k].forces for p in votes) / 3, atol=1e-12)
        np.testing.assert_allclose(united.forces_std, np.std([p[k].forces for p in votes], axis=0, ddof=1), atol=1e-12)
        np.testing.assert_allclose(united.energies.sum(), united.energy, rtol=1e-10)  # local energies are averaged alike
        assert (united.stress is None) == (votes[0][k].stress is None)


def test_members_are_independent_and_repeatable(committee, alloy):
    points = [model.potential_.terms[0].points for model in committee.models_]
    assert not any(np.array_equal(points[0][0], other[0]) for other in points[1:])
    assert len({tuple(sample) for sample in committee.samples_}) == 3
    again = Committee(small_model(), 3, random_state=1).fit(alloy[:8])
    assert [p.energy_std for p in again.evaluate(alloy[8:])] == [p.energy_std for p in committee.evaluate(alloy[8:])]


def test_single_atoms_and_rare_species_are_in_every_sample(alloy):
    single = labelled(Atoms("Cu", cell=[12.0] * 3, pbc=True))
    rare = labelled(Atoms("Cu3Pd", positions=[[0, 0, 0], [2.5, 0, 0], [0, 2.5, 0], [0, 0, 2.5]]))
    frames = [*alloy[:6], single, rare]
    committee = Committee(small_model(), 4, random_state=0).fit(frames)
    for sample in committee.samples_:
        assert {6, 7} <= set(sample.tolist())
        assert len(sample) in (8, 9)  # seven drawn, the single atom, the rare one if it was not drawn
    assert all(model.species_ == ["Cu", "Pd", "Au"] for model in committee.models_)


def test_one_is_no_committee(alloy):
    with pytest.raises(ValueError, match="`n_models` must be an integer of at least 2; got 1"):
        Committee(small_model(), 1).fit(alloy)
