"""Evidence against the dense formula and differences; leave-one-out against fits without the structure."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gapkit.gp.leave_one_out import leave_one_out
from gapkit.gp.likelihood import Evidence, maximize_evidence
from gapkit.gp.posterior import RowFactor, SparsePosterior

TERMS = np.array([0, 0, 0, 0, 1, 1, 1])


@pytest.fixture
def data():
    """Rows of two groups, with targets drawn from the model."""
    rng = np.random.default_rng(0)
    phi = {"energy:": rng.standard_normal((30, 7)), "forces:": 3.0 * rng.standard_normal((80, 7))}
    weights = rng.standard_normal(7) * np.array([2.0, 0.5])[TERMS]
    sigma = {"energy:": 0.3, "forces:": 0.1}
    y = {k: p @ weights + sigma[k] * rng.standard_normal(len(p)) for k, p in phi.items()}
    return phi, y


def factors_of(phi, y):
    factors = {}
    for name in phi:
        factors[name] = RowFactor(7)
        factors[name].fold(phi[name], y[name][:, None])
    return factors


def dense(phi, y, log_sigma, log_delta):
    rows, targets = np.vstack([phi[k] for k in sorted(phi)]), np.concatenate([y[k] for k in sorted(phi)])
    sigma = np.concatenate([np.full(len(phi[k]), np.exp(s)) for k, s in zip(sorted(phi), log_sigma, strict=True)])
    delta = np.exp(log_delta)[TERMS]
    covariance = np.diag(sigma**2) + (rows * delta**2) @ rows.T
    return -0.5 * (targets @ np.linalg.solve(covariance, targets) + np.linalg.slogdet(2 * np.pi * covariance)[1])


def test_value_equals_the_dense_formula_and_gradient_its_differences(data):
    evidence = Evidence.from_factors(factors_of(*data), TERMS)
    log_sigma, log_delta = np.log([0.2, 0.15]), np.log([1.5, 0.7])
    value, by_sigma, by_delta = evidence.value_and_gradient(log_sigma, log_delta)
    assert_allclose(value, dense(*data, log_sigma, log_delta), rtol=1e-9)  # condition number of the dense matrix
    step = 1e-5
    for gradient, which in ((by_sigma, 0), (by_delta, 1)):
        for k in range(2):
            both = []
            for sign in (1, -1):
                moved = [log_sigma.copy(), log_delta.copy()]
                moved[which][k] += sign * step
                both.append(dense(*data, *moved))
            assert_allclose(gradient[k], (both[0] - both[1]) / (2 * step), rtol=1e-6, atol=1e-5)


def test_maximum_is_found_from_far_away_and_is_near_the_truth(data):
    evidence = Evidence.from_factors(factors_of(*data), TERMS)
    log_sigma, log_delta, value = maximize_evidence(
        evidence, np.log([3.0, 0.005]), np.log([1.0, 1.0]), free_noise=True, free_delta=True
    )
    assert value >= evidence.value_and_gradient(np.log([0.3, 0.1]), np.log([2.0, 0.5]))[0]
    assert_allclose(np.exp(log_sigma), [0.3, 0.1], rtol=0.3)  # 30 and 80 rows: 13 % and 8 % of statistical error
    _, by_sigma, by_delta = evidence.value_and_gradient(log_sigma, log_delta)
    assert np.abs([*by_sigma, *by_delta]).max() < 1e-2


def test_what_is_not_free_stays(data):
    evidence = Evidence.from_factors(factors_of(*data), TERMS)
    start = np.log([0.5, 0.5]), np.log([1.0, 2.0])
    log_sigma, log_delta, _ = maximize_evidence(evidence, *start, free_noise=False, free_delta=True)
    assert_allclose(log_sigma, start[0])
    assert not np.allclose(log_delta, start[1])


def test_leave_one_out_equals_a_fit_without_the_structure(data):
    phi, y = data
    sigma, delta = {"energy:": 0.2, "forces:": 0.15}, np.array([1.5, 0.7])[TERMS]
    out = {"energy:": slice(3, 4), "forces:": slice(10, 22)}  # rows of one structure
    whole = SparsePosterior.from_factors(factors_of(phi, y), sigma, delta)
    rows = np.vstack([phi[k][out[k]] for k in out]) * delta
    target = np.concatenate([y[k][out[k]] for k in out])
    noise = np.concatenate([np.full(out[k].stop - out[k].start, sigma[k]) for k in out])
    residual, deviation = leave_one_out(whole, rows, target, noise)
    rest = {k: np.delete(phi[k], np.r_[out[k]], axis=0) for k in phi}
    without = SparsePosterior.from_factors(factors_of(rest, {k: np.delete(y[k], np.r_[out[k]]) for k in y}), sigma, delta)
    assert_allclose(residual, target - rows @ without.weights, rtol=1e-9)
    assert_allclose(deviation**2, without.data_variance(rows), rtol=1e-8)
