from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF as SklearnRBF
from sklearn.gaussian_process.kernels import Matern as SklearnMatern

from gapkit.kernels import RBF, Constant, DotProduct, Matern, PiecewisePolynomial, Product, Sum


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


@pytest.mark.parametrize("nu", [1.5, 2.5, 3.5])
def test_matern_equals_scikit_learns(nu):
    """Whose nu = 3.5 is a Bessel function with a numeric gradient (forward differences, step 1e-10)."""
    rng = np.random.default_rng(0)
    x, s = rng.standard_normal((6, 4)), rng.standard_normal((5, 4))
    ours, theirs = Matern(0.8, nu), SklearnMatern(0.8, nu=nu)
    assert_allclose(ours(x, s), theirs(x, s), rtol=1e-11)
    _, gradient = ours(x, eval_gradient=True)
    assert_allclose(gradient, theirs(x, eval_gradient=True)[1], rtol=0, atol=1e-5 if nu == 3.5 else 1e-12)


@pytest.mark.parametrize("dimension", [1, 2, 3, 6])
def test_piecewise_polynomial_by_its_formula(dimension):
    """As Rasmussen and Williams (4.21, q = 1) and QUIP write it, pair by pair; positive definite up to ``dimension``."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (40, dimension))
    expected = np.zeros((40, 40))
    for i in range(40):
        for k in range(40):
            r, j = np.linalg.norm(x[i] - x[k]) / 0.9, dimension // 2 + 1 + 1
            expected[i, k] = max(1 - r, 0.0) ** (j + 1) * ((j + 1) * r + 1)
    matrix = PiecewisePolynomial(0.9, dimension)(x)
    assert_allclose(matrix, expected, rtol=0, atol=1e-14)
    assert (matrix == 0.0).any()
    assert np.linalg.eigvalsh(matrix).min() > 0.0


ROUGH = [Matern(0.7, 1.5), Matern(0.7), Matern(0.7, 3.5), PiecewisePolynomial(0.7, 3)]


@pytest.mark.parametrize("kernel", ROUGH, ids=repr)
@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_derivatives_where_x_is_s(kernel, offset):
    """∂²k/∂x∂s is C0 1 at x = s (that of k along a line through 0, 2 (1 - k(h))/h²), and is continuous there.

    Far from the origin (x - s)² keeps ε x² of rounding, which must not pass for a distance.
    """
    x = np.array([[0.3, -0.2, 0.5]]) + offset
    a, b = kernel.slopes(x, x)
    assert_allclose(a * x + b * x, 0.0, rtol=0, atol=1e-12)
    at = kernel.curvature(x, x)
    assert_allclose(kernel(x, x), 1.0, rtol=0, atol=1e-15)
    h = 1e-4
    along_line = 2 * (1 - kernel(np.zeros((1, 1)), np.full((1, 1), h))) / h**2
    assert_allclose(at[0], along_line, rtol=1e-3)  # the next term of k is h³, for nu = 1.5 with a factor 3

    def matrix(s):
        c0, c1, c2, c3, c4 = (float(c[0, 0]) for c in kernel.curvature(x, s))
        u, v = x[0], s[0]
        return c0 * np.eye(3) + c1 * np.outer(v, u) + c2 * np.outer(v, v) + c3 * np.outer(u, u) + c4 * np.outer(u, v)

    for distance in (0.0, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4):
        error = np.abs(matrix(x + np.array([distance, 0.0, 0.0])) - at[0] * np.eye(3)).max() / at[0].item()
        assert error < 10 * distance + 1e-11  # C0 falls by 6 r/l to 8 r/l; the rest is rounding of c1 to c4 times x²


@pytest.mark.parametrize("kernel", [*ROUGH, 0.5 * Matern(0.7, 1.5) * DotProduct(2)], ids=repr)
def test_variances_of_derivatives_are_not_negative(kernel):
    """For directions d_i at points x_i (some of them equal), sum_ij d_i ∂²k/∂x∂s d_j is a variance."""
    rng = np.random.default_rng(0)
    x = np.repeat(rng.uniform(-1, 1, (20, 3)), 2, axis=0)
    c0, c1, c2, c3, c4 = kernel.curvature(x, x)
    blocks = np.einsum("ij,fg->ifjg", c0, np.eye(3))
    for c, left, right in ((c1, "jf", "ig"), (c2, "jf", "jg"), (c3, "if", "ig"), (c4, "if", "jg")):
        blocks = blocks + np.einsum(f"ij,{left},{right}->ifjg", c, x, x)
    matrix = blocks.reshape(120, 120)
    assert_allclose(matrix, matrix.T, rtol=0, atol=1e-10)
    eigenvalues = np.linalg.eigvalsh(matrix)
    assert eigenvalues.min() > -1e-12 * eigenvalues.max()


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
        (lambda: Matern(-1.0).check_parameters(), ValueError, "`length_scale` must be a number above 0"),
        (lambda: Matern(1.0, 0.5).check_parameters(), ValueError, "`nu` must be one of 1.5, 2.5, 3.5; got 0.5. Forces need"),
        (lambda: PiecewisePolynomial(1.0, 0).check_parameters(), ValueError, "`dimension` must be an integer of at least 1"),
        (
            lambda: (1.0 * PiecewisePolynomial(1.0, 3) + RBF()).check_features(4),
            ValueError,
            "`dimension` must be an integer of at least 4; got 3. Set dimension to the number of features",
        ),
        (lambda: RBF() + "x", TypeError, "combines with gapkit kernels and numbers; got str"),
        (lambda: RBF() * SklearnRBF(), TypeError, "combines with gapkit kernels and numbers; got RBF"),
        (lambda: RBF() ** 2, TypeError, "no power"),
        (lambda: RBF()(np.eye(2), np.eye(2), eval_gradient=True), ValueError, "`eval_gradient` must be False"),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("zeta", [1, 2, 3, 4, 7, 2.5])
@pytest.mark.parametrize(("n", "m"), [(5, 3), (300, 700), (1, 1)])
def test_sum_and_gradient_in_the_cache_is_the_general_one(zeta, n, m):
    """Same products, powers taken in another order: 1e-13 of the sum of magnitudes."""
    rng = np.random.default_rng(0)
    x, s, alpha = rng.random((n, 9)), rng.random((m, 9)), rng.normal(size=m)
    kernel = DotProduct(zeta)
    value, gradient = kernel.sum_and_gradient(x, s, alpha)
    k, a, _ = kernel.value_and_slopes(x, s)
    assert_allclose(value, k @ alpha, rtol=0, atol=1e-13 * (k @ np.abs(alpha)).max())
    assert_allclose(gradient, (a * alpha) @ s, rtol=0, atol=1e-13 * ((a * np.abs(alpha)) @ s).max())
