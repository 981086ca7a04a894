"""Standard deviations of a fitted potential: the choice of approximation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gapkit import RBF, SOAP, DotProduct, GAPRegressor, Noise, Term
from gapkit.gp.design import kernel_rows
from gapkit.gp.observations import Labels
from gapkit.gp.sparse_term import whiten
from gapkit.model.prediction import predict
from gapkit.neighbors import NeighborList
from tests.conftest import copper_gold

EVERY = ("energy", "energies", "forces", "stress")


@pytest.fixture(scope="module")
def model(alloy):
    """Two terms, one of them with a kernel whose slope has a part along x."""
    terms = [
        ("long", Term(SOAP(4.2, 4, 3), DotProduct(3), n_sparse=24)),
        ("short", Term(SOAP(3.2, 3, 2, 0.4), RBF(0.8), delta=0.3, n_sparse=20, selection="fps")),
    ]
    return GAPRegressor(terms, noise=Noise(1e-3, 0.02, 1e-3), random_state=0).fit(alloy)


@pytest.fixture(scope="module")
def slab():
    return NeighborList.from_atoms([copper_gold(50, (True, True, False))], 4.2)


def deviations(potential, neighbors):
    (p,) = predict(potential, neighbors, uncertainty="exact", std=EVERY)
    return {name: np.asarray(getattr(p, f"{name}_std")) for name in EVERY}


def test_sor_leaves_out_what_the_sparse_points_do_not_see(model, slab):
    """φᵀ S φ with a dense S, to 1e-9 of the largest (the condition of A is 1e7)."""
    potential = replace(model.potential_, approximation="sor")
    rows = kernel_rows(potential.terms, slab, [Labels(0.0, np.zeros((4, 3)), np.zeros(6), "")])
    delta = np.concatenate([np.full(term.n_points, term.delta) for term in potential.terms])
    covariance = np.linalg.inv(potential.posterior.factor.T @ potential.posterior.factor)
    got = deviations(potential, slab)
    for kind, scale in (("energy", 2.0), ("forces", 1.0), ("stress", 1.0)):  # energy rows are divided by the root of 4
        phi = scale * delta * whiten(potential.terms, getattr(rows, kind))
        expected = np.einsum("nm,mk,nk->n", phi, covariance, phi)
        assert_allclose(got[kind].ravel() ** 2, expected, rtol=0, atol=1e-9 * expected.max(), err_msg=kind)
    dtc = deviations(model.potential_, slab)
    for kind in EVERY:
        assert (got[kind] < dtc[kind]).all()


@pytest.mark.parametrize("approximation", ["fitc", "vfe"])
def test_other_approximations_have_the_variance_of_dtc(model, slab, approximation):
    dtc, other = deviations(model.potential_, slab), deviations(replace(model.potential_, approximation=approximation), slab)
    for kind in EVERY:
        assert_array_equal(dtc[kind], other[kind])


def test_predictions_can_be_replaced(model, slab):
    """What calibration does."""
    (p,) = predict(model.potential_, slab, uncertainty="exact")
    assert replace(p, energies_std=2 * p.energies_std).energies_std[0] == 2 * p.energies_std[0]
