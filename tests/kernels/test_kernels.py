from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF as SklearnRBF

from gapkit.kernels import RBF, Constant, DotProduct, Product, Sum


def test_values():
    x, s = np.array([[0.6, 0.8]]), np.array([[1.0, 0.0], [0.0, 2.0]])
    assert_allclose(DotProduct(3)(x, s), [[0.216, 4.096]])
    assert_allclose(DotProduct(1.5)(-x, s), [[0.0, 0.0]])
    assert_allclose(RBF(2.0)(x, s), [np.exp([-0.8 / 8, -(0.36 + 1.44) / 8])])
    assert_allclose(Constant(0.3)(x, s), [[0.3, 0.3]])


@pytest.mark.parametrize("zeta", range(1, 12))
def test_integer_powers_by_multiplication(zeta):
    x = np.random.default_rng(0).standard_normal((4, 3))
    assert_allclose(DotProduct(zeta)(x), (x @ x.T) ** zeta, rtol=1e-13)


def test_scikit_learn_can_use_them():
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, (15, 2))
    y = np.sin(x[:, 0]) * x[:, 1]
    ours = GaussianProcessRegressor(1.0 * RBF(1.0), alpha=1e-6).fit(x, y)
    theirs = GaussianProcessRegressor(1.0 * SklearnRBF(1.0), alpha=1e-6).fit(x, y)
    assert_allclose(ours.log_marginal_likelihood_value_, theirs.log_marginal_likelihood_value_, rtol=1e-4)
    assert_allclose(ours.kernel_.theta, theirs.kernel_.theta, rtol=0, atol=2e-2)  # two optimisations, one optimum


def test_operators_and_repr():
    kernel = 2 * DotProduct(4) + RBF(0.5)
    assert isinstance(kernel, Sum)
    assert isinstance(kernel.k1, Product)
    assert repr(kernel) == "Constant(value=2.0) * DotProduct(zeta=4) + RBF(length_scale=0.5)"
    assert repr((DotProduct(1) + 1.0) * RBF()) == "(DotProduct(zeta=1) + Constant(value=1.0)) * RBF(length_scale=1.0)"
    assert kernel.get_params()["k1__k2__zeta"] == 4
    kernel.set_params(k1__k2__zeta=2)
    assert kernel.k1.k2.zeta == 2
    assert RBF().is_stationary()
    assert not kernel.is_stationary()
    assert (RBF() * 2.0 + 1).is_stationary()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: DotProduct(0.5).check_parameters(), ValueError, "`zeta` must be a number at least 1; got 0.5"),
        (lambda: DotProduct("4").check_parameters(), TypeError, "`zeta` must be a number"),
        (lambda: RBF(0.0).check_parameters(), ValueError, "`length_scale` must be a number above 0"),
        (lambda: (RBF(1.0) + Constant(-1.0)).check_parameters(), ValueError, "`value` must be a number above 0"),
        (lambda: RBF() + "x", TypeError, "combines with gapkit kernels and numbers; got str"),
        (lambda: RBF() * SklearnRBF(), TypeError, "combines with gapkit kernels and numbers; got RBF"),
        (lambda: RBF() ** 2, TypeError, "no power"),
        (lambda: RBF()(np.eye(2), np.eye(2), eval_gradient=True), ValueError, "`eval_gradient` must be False"),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()
