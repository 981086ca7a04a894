from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gapkit.gp import posterior
from gapkit.gp.posterior import RowFactor, SparsePosterior


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    groups = {
        "a": (rng.standard_normal((40, 6)), rng.standard_normal((40, 1))),
        "b": (rng.standard_normal((3, 6)), rng.standard_normal((3, 1))),
    }
    noise = {"a": 0.3, "b": 0.01}
    scale = np.array([1.0, 1.0, 2.0, 2.0, 0.5, 0.5])
    return groups, noise, scale


def folded(phi, y, parts=1):
    factor = RowFactor(phi.shape[1])
    for p, t in zip(np.array_split(phi, parts), np.array_split(y, parts), strict=True):
        factor.fold(p, t)
    return factor


def dense(groups, noise, scale):
    phi = np.concatenate([g[0] * scale / noise[k] for k, g in groups.items()])
    y = np.concatenate([g[1][:, 0] / noise[k] for k, g in groups.items()])
    information = np.eye(6) + phi.T @ phi
    return information, np.linalg.solve(information, phi.T @ y), phi, y


@pytest.mark.parametrize("parts", [1, 7, 40])
def test_equals_the_normal_equations(problem, parts):
    groups, noise, scale = problem
    factors = {k: folded(*g, parts=min(parts, len(g[0]))) for k, g in groups.items()}
    solved = SparsePosterior.from_factors(factors, noise, scale)
    information, weights, _, y = dense(*problem)
    assert_allclose(solved.factor.T @ solved.factor, information, rtol=0, atol=1e-12 * np.abs(information).max())
    assert (np.diag(solved.factor) >= 1.0).all()  # stacked over the identity
    assert_allclose(solved.weights, weights, rtol=1e-9)
    # y'y - w'Aw: what the weights leave, regularisation included
    assert_allclose(solved.misfit, y @ y - weights @ information @ weights, rtol=1e-9)
    test = np.random.default_rng(1).standard_normal((5, 6))
    expected = np.einsum("nm,mk,nk->n", test, np.linalg.inv(information), test)
    assert_allclose(solved.data_variance(test), expected, rtol=1e-9)
    assert solved.data_variance(test).min() > 0


def test_factor_keeps_the_unweighted_products(problem):
    phi, y = problem[0]["a"]
    factor = folded(phi, y, parts=4)
    triangle = np.triu(factor.triangle)
    augmented = np.hstack([phi, y])
    assert_allclose(triangle.T @ triangle, augmented.T @ augmented, rtol=0, atol=1e-12)
    assert factor.n_rows == 40


def test_many_rows_are_folded_block_by_block(problem, monkeypatch):
    phi, y = problem[0]["a"]
    expected = folded(phi, y, parts=10)
    monkeypatch.setattr(posterior, "_BLOCK", 4)
    blocks = folded(phi, y)
    assert blocks.n_rows == 40
    assert_array_equal(blocks.triangle, expected.triangle)


def test_merging_two_factors_equals_one_fold(problem):
    phi, y = problem[0]["a"]
    left, right = folded(phi[:25], y[:25]), folded(phi[25:], y[25:])
    left.merge(right)
    left.merge(RowFactor(6))
    whole = np.triu(folded(phi, y).triangle)
    merged = np.triu(left.triangle)
    assert left.n_rows == 40
    assert_allclose(merged.T @ merged, whole.T @ whole, rtol=0, atol=1e-12)
    assert np.triu(right.triangle).any()  # the other one is left as it was


def test_changed_noise_and_delta_need_no_row(problem):
    groups, _, _ = problem
    factors = {k: folded(*g) for k, g in groups.items()}
    for noise, scale in (({"a": 1.0, "b": 2.0}, np.ones(6)), ({"a": 0.1, "b": 5.0}, np.full(6, 3.0))):
        solved = SparsePosterior.from_factors(factors, noise, scale)
        assert_allclose(solved.weights, dense(groups, noise, scale)[1], rtol=1e-9)


def test_nothing_at_all():
    solved = SparsePosterior.from_factors({}, {}, np.ones(3))
    assert_allclose(solved.weights, 0.0)
    assert_allclose(solved.data_variance(np.eye(3)), 1.0)
    assert SparsePosterior.from_factors({}, {}, np.empty(0)).data_variance(np.empty((2, 0))).tolist() == [0.0, 0.0]
