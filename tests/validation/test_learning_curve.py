from __future__ import annotations

from copy import copy, deepcopy
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

import gapkit
from gapkit import RBF, SOAP, DotProduct, GAPRegressor, Noise, Term, TwoBody
from gapkit.gp.sparse_term import coefficients_from
from gapkit.model.folding import noise_of_group, whitened_rows
from gapkit.model.training import SparseModel
from gapkit.validation import ErrorRow, LearningPoint, error_table, gain_of_doubling, learning_curve

FIELDS = ("energy_mae", "energy_rmse", "forces_mae", "forces_rmse", "stress_rmse", "energy_r2", "forces_r2", "stress_r2")


def fitted(frames, approximation="dtc"):
    terms = [Term(SOAP(3.5, 3, 2), DotProduct(2), n_sparse=15), Term(TwoBody(4.0), RBF(0.3), n_sparse=8)]
    noise = Noise(per_config_type={"slab": Noise(forces=0.2)})
    return GAPRegressor(terms, noise=noise, approximation=approximation, random_state=1).fit(frames)


def assert_same(found, expected):
    for name in FIELDS:
        assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-8, atol=1e-8, err_msg=name)


def dense_refit(model, frames, chosen):
    """The same model conditioned on some structures, from rows that are stacked and solved as one least-squares problem."""
    parts = SparseModel(model.terms_, model.potential_.terms, model.noise_)
    training = model.training_set([frames[k] for k in chosen])
    rows, targets = [], []
    for chunk in training.chunks(model.potential_.e0, model.noise_, max_atoms=1):
        for block in whitened_rows(parts.sparse, chunk):
            sigma = noise_of_group(f"{block.kind}:{chunk.noise_class}", model.noise_)
            rows.append(block.phi / sigma)
            targets.append(block.target / sigma)
    delta = np.concatenate([np.full(term.n_points, term.delta) for term in parts.sparse])
    phi, y = np.concatenate(rows) * delta, np.concatenate(targets)
    weights = np.linalg.lstsq(np.vstack([phi, np.eye(len(delta))]), np.append(y, np.zeros(len(delta))), rcond=None)[0] * delta
    result = copy(model)
    result.potential_ = replace(model.potential_, coefficients=coefficients_from(parts.sparse, weights))
    return result


@pytest.mark.parametrize("approximation", ["dtc", "fitc"])
def test_last_point_is_the_full_fit(alloy, approximation):
    """The same rows in another order: rounding alone differs, 1e-8."""
    train, test = alloy[:7], alloy[7:]
    model = fitted(train, approximation)
    before = deepcopy(model.potential_.coefficients)
    points = learning_curve(model, train, test, fractions=(0.3, 1.0))
    assert [p.n_frames for p in points] == [2, 7]
    assert points[-1].n_labels == sum(model.n_labels_.values())
    assert_same(points[-1].errors, error_table(test, model.evaluate(test))[-1])
    for old, new in zip(before, model.potential_.coefficients, strict=True):
        for a, b in zip(old, new, strict=True):
            assert (a == b).all()  # the model is left as it was


def test_every_point_is_a_fit_to_its_rows(alloy):
    """Against a dense least-squares solution with the same sparse points, 1e-8 of the errors."""
    train, test = alloy[:7], alloy[7:]
    model = fitted(train)
    points = learning_curve(model, train, test, fractions=(0.2, 0.5, 0.8, 1.0), random_state=5)
    order = np.random.default_rng(5).permutation(7)
    assert [p.n_frames for p in points] == [1, 4, 6, 7]
    for point in points:
        partial = dense_refit(model, train, order[: point.n_frames])
        assert_same(point.errors, error_table(test, partial.evaluate(test))[-1])


def test_order_hangs_on_the_seed(alloy):
    model = fitted(alloy[:7])
    a, b, c = (learning_curve(model, alloy[:7], alloy[7:], fractions=(0.3,), random_state=seed) for seed in (0, 0, 1))
    assert a == b
    assert a[0].errors.forces_rmse != c[0].errors.forces_rmse


def test_gain_of_doubling_is_that_of_a_power_law():
    def point(n):
        return LearningPoint(n, n, ErrorRow("all", 1, None, 5.0 / n, None, 2.0 / n**0.5, None))

    found = gain_of_doubling([point(3), point(10), point(20), point(30)])
    assert found == pytest.approx({"energy_rmse": 2.0, "forces_rmse": 2.0**0.5})  # errors as 1/n and 1/sqrt(n)
    assert gain_of_doubling([point(10)]) == {}


def test_bad_fractions_and_models_are_refused(alloy, tmp_path):
    model = fitted(alloy[:7])
    with pytest.raises(ValueError, match=r"`fractions` must be .*; got 1.5"):
        learning_curve(model, alloy[:7], alloy[7:], fractions=(0.5, 1.5))
    model.save(tmp_path / "m.gap", posterior=False)
    with pytest.raises(ValueError, match="with its posterior"):
        learning_curve(gapkit.load(tmp_path / "m.gap"), alloy[:7], alloy[7:])
