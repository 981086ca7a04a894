"""A cubic fitted to labels without noise that are no cubic."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gapkit.gp.misspecification import misspecification_factor, widened
from gapkit.gp.posterior import RowFactor, SparsePosterior

SIGMA = 0.01


def features(x):
    return np.polynomial.chebyshev.chebvander(x, 3)


def truth(x):
    return np.sin(4 * x) + 0.3 * x


def fit(n, seed=0):
    x = np.random.default_rng(seed).uniform(-1, 1, n)
    factor = RowFactor(4)
    factor.fold(features(x), truth(x)[:, None])
    return SparsePosterior.from_factors({"a": factor}, {"a": SIGMA}, np.full(4, 10.0)), x


def rows(posterior, x):
    phi = 10.0 * features(x)
    return phi, truth(x) - phi @ posterior.weights, np.full(len(x), SIGMA)


def test_definition():
    """Sum over rows of the changes that make each exact, weighted by their leverage; in blocks, with any form of noise."""
    posterior, x = fit(40)
    phi, residual, sigma = rows(posterior, x)
    covariance = np.linalg.inv(posterior.factor.T @ posterior.factor)
    expected = np.zeros((4, 4))
    for p, r in zip(phi, residual, strict=True):
        own = p @ covariance @ p
        change = covariance @ p * r / own
        assert_allclose(p @ change, r, rtol=1e-9)
        expected += own / SIGMA**2 * np.outer(change, change)
    factor = misspecification_factor(posterior, [(phi[:15], residual[:15], sigma[:15]), (phi[15:], residual[15:], SIGMA)])
    assert_allclose(factor @ factor.T, expected, rtol=0, atol=1e-9 * np.abs(expected).max())
    wide = widened(posterior, factor)
    assert_allclose(np.linalg.inv(wide.factor.T @ wide.factor), covariance + expected, rtol=0, atol=1e-9 * expected.max())
    assert (np.diag(wide.factor) > 0).all()
    assert_allclose(wide.factor, np.triu(wide.factor), rtol=0, atol=0)
    variance = np.einsum("nm,mk,nk->n", phi, factor @ factor.T, phi)
    assert_allclose(np.mean(variance), np.mean(residual**2), rtol=1e-4)  # one noise for all rows


def test_it_stays_when_the_posterior_vanishes():
    """From 50 to 5000 rows the posterior variance falls a hundredfold, this one by less than a fifth; it covers every error."""
    grid = np.linspace(-1, 1, 201)
    means, posteriors = [], []
    for n in (50, 500, 5000):
        posterior, x = fit(n)
        factor = misspecification_factor(posterior, [rows(posterior, x)])
        phi, error, _ = rows(posterior, grid)
        std = np.sqrt(widened(posterior, factor).data_variance(phi))
        means.append(np.mean(std**2))
        posteriors.append(posterior.data_variance(phi).mean())
        assert np.abs(error).max() > 20 * np.sqrt(posteriors[-1])  # what is trusted without it
        assert (np.abs(error) < 2 * std).all()
    assert 60 < posteriors[0] / posteriors[2] < 160
    assert_allclose(np.array(means) / means[1], 1.0, rtol=0, atol=0.2)


def test_a_model_that_is_right_adds_nothing():
    posterior, x = fit(50)
    phi, _, _ = rows(posterior, x)
    factor = misspecification_factor(posterior, [(phi, np.zeros(50), SIGMA)])
    assert_allclose(widened(posterior, factor).data_variance(phi), posterior.data_variance(phi), rtol=1e-12)


@pytest.mark.parametrize("blocks", [[], [(np.zeros((3, 4)), np.ones(3), 0.1)]])
def test_rows_without_leverage(blocks):
    posterior, _ = fit(50)
    factor = misspecification_factor(posterior, blocks)
    assert factor.shape == (4, 0)
    assert_allclose(widened(posterior, factor).factor, posterior.factor, rtol=1e-12)
