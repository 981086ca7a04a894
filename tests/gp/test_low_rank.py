from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gapkit.gp.low_rank import LowRankVariance
from gapkit.gp.posterior import RowFactor, SparsePosterior


@pytest.fixture(scope="module")
def problem():
    """A posterior of 40 weights, of which the data determine some well and some not at all."""
    rng = np.random.default_rng(0)
    decay = 10.0 ** -np.linspace(0, 4, 40)
    factor = RowFactor(40)
    factor.fold(rng.standard_normal((60, 40)) * decay, rng.standard_normal((60, 1)))
    posterior = SparsePosterior.from_factors({"a": factor}, {"a": 1e-2}, np.ones(40))
    near = rng.standard_normal((200, 40)) * decay
    far = rng.standard_normal((50, 40))
    return posterior, near[:40], np.concatenate([near, far])


@pytest.mark.parametrize("rank", [1, 5, 20, 39])
def test_bounds_hold(problem, rank):
    posterior, points, phi = problem
    fast = LowRankVariance.of(posterior, rank, points)
    unseen = np.linspace(0.0, 0.5, len(phi))
    prior = np.einsum("nm,nm->n", phi, phi) + unseen
    exact = unseen + posterior.data_variance(phi)
    along = phi @ fast.directions
    rest = np.maximum(fast.rest(along, prior), 0.0)
    estimate, lower, upper = fast.variances(along, rest, prior)
    slack = 1e-9 * prior  # rounding
    assert (lower <= exact + slack).all()
    assert (exact <= upper + slack).all()
    assert (lower <= estimate + slack).all()
    assert (estimate <= upper + slack).all()
    assert fast.floor <= fast.near <= 1.0
    known = fast.directions[:, :rank]
    assert_allclose(known.T @ fast.directions, np.eye(rank, fast.directions.shape[1]), rtol=0, atol=1e-12)


def test_exact_with_all_directions(problem):
    posterior, points, phi = problem
    fast = LowRankVariance.of(posterior, 40, points)
    along = phi @ fast.directions
    prior = np.einsum("nm,nm->n", phi, phi)
    estimate, lower, upper = fast.variances(along, np.zeros(len(phi)), prior)
    expected = posterior.data_variance(phi)
    for got in (estimate, lower, upper):
        assert_allclose(got, expected, rtol=1e-8)


def test_the_prior_returns_where_nothing_is_known(problem):
    """A row without any component along the directions has its prior variance."""
    posterior, points, _ = problem
    fast = LowRankVariance.of(posterior, 5, points)
    estimate, _, upper = fast.variances(np.zeros((1, 37)), np.array([2.0]), np.array([2.0]))
    assert_allclose([estimate[0], upper[0]], 2.0, rtol=1e-12)
