"""SparseGPR against scikit-learn's checks and exact regressor, and against dense textbook formulas."""

from __future__ import annotations

import tracemalloc
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process import kernels as sk
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

from gapkit import RBF, Constant, DotProduct, SparseGPR
from gapkit.exceptions import NumericalWarning
from gapkit.gp import array_rows
from gapkit.gp.array_rows import Basis, Observations, fold
from gapkit.gp.array_search import evidence_of
from tests.reference.gp import dense_gp, rbf_joint, sparse_gp

LENGTH = 0.8


def function(x):
    return np.sin(2 * x[:, 0]) + x[:, 0] * np.cos(x[:, 1])


def gradient(x):
    return np.column_stack([2 * np.cos(2 * x[:, 0]) + np.cos(x[:, 1]), -x[:, 0] * np.sin(x[:, 1])])


@pytest.fixture
def data():
    """Noisy values at 40 points and gradients at 9 others, in two dimensions; 15 points to predict at."""
    rng = np.random.default_rng(0)
    x, dx, p = (rng.uniform(-2, 2, (n, 2)) for n in (40, 9, 15))
    dy = gradient(dx) + 0.05 * rng.standard_normal((9, 2))
    return x, function(x) + 0.1 * rng.standard_normal(40), dx, dy, p


@parametrize_with_checks(
    [
        SparseGPR(),
        SparseGPR(RBF(5.0), n_sparse=50, approximation="fitc", normalize_y=True),
        SparseGPR(DotProduct(1) + 1.0, n_sparse=20, approximation="sor"),
        SparseGPR(n_sparse=20, approximation="vfe", optimize=("noise", "delta", "kernel")),
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("approximation", ["dtc", "fitc", "vfe"])
@pytest.mark.parametrize("repeated", [0, 10])
def test_all_points_sparse_equals_scikit_learn(data, approximation, repeated):
    """1e-8: both factorise matrices of condition 1e6 (noise 0.1)."""
    x, y, _, _, p = data
    x, y = np.vstack([x, x[:repeated]]), np.append(y, y[:repeated] + 0.05)  # more labels than sparse points
    exact = GaussianProcessRegressor(sk.ConstantKernel(2.25, "fixed") * sk.RBF(LENGTH, "fixed"), alpha=0.01).fit(x, y)
    model = SparseGPR(RBF(LENGTH), noise=0.1, delta=1.5, approximation=approximation).fit(x, y)
    assert model.n_sparse_ + model.n_dropped_ == 40
    expected, std = exact.predict(p, return_std=True)
    mean, found = model.predict(p, return_std=True)
    assert_allclose(mean, expected, rtol=0, atol=1e-8)
    assert_allclose(found, std, rtol=0, atol=1e-8)
    assert_allclose(model.predict(p, return_cov=True)[1], exact.predict(p, return_cov=True)[1], rtol=0, atol=1e-8)
    assert_allclose(model.log_marginal_likelihood(), exact.log_marginal_likelihood(), rtol=1e-9)


def test_normalize_y_is_scikit_learns(data):
    x, y, _, _, p = data
    y = 500 + 30 * y
    exact = GaussianProcessRegressor(sk.RBF(LENGTH, "fixed"), alpha=0.01, normalize_y=True).fit(x, y)
    model = SparseGPR(RBF(LENGTH), noise=0.1, normalize_y=True).fit(x, y)
    for found, expected in zip(model.predict(p, return_std=True), exact.predict(p, return_std=True), strict=True):
        assert_allclose(found, expected, rtol=0, atol=1e-8 * y.std())
    # scikit-learn's is a density of the normalised y
    assert_allclose(model.log_marginal_likelihood(), exact.log_marginal_likelihood() - 40 * np.log(y.std()), rtol=1e-9)
    assert SparseGPR(normalize_y=True).fit(x, np.full(40, 0.1)).predict(p) == pytest.approx(0.1)
    gradients = SparseGPR(RBF(LENGTH), normalize_y=True).fit(x, y, dy=30 * gradient(x)).predict_gradient(p)
    assert_allclose(gradients / 30, gradient(p), rtol=0, atol=0.5)


def joint(x, dx, p):
    """Dense covariances of the labels, of the predictions (values, then gradients, at p) with them, and of the predictions."""
    return (rbf_joint(x, dx, x, dx, LENGTH), rbf_joint(p, p, x, dx, LENGTH), rbf_joint(p, p, p, p, LENGTH))


@pytest.mark.parametrize("missing", [False, True])
def test_gradients_equal_a_dense_gp(data, missing):
    """Values and gradients of a GP conditioned on both; some components not observed.  Condition 1e6: 1e-8."""
    x, y, dx, dy, p = data
    target, sigma = np.append(y, dy.ravel()), np.repeat([0.1, 0.05], [40, 18])
    observed = np.ones(58, bool)
    if missing:
        observed[[41, 50, 51]] = False
        dy = dy.copy()
        dy.flat[[1, 10, 11]] = np.nan
    k_ll, k_pl, k_pp = joint(x, dx, p)
    k_ll, k_pl = 1.44 * k_ll[observed][:, observed], 1.44 * k_pl[:, observed]
    expected, variance = dense_gp(k_ll, k_pl, 1.44 * np.diag(k_pp), target[observed], sigma[observed])
    model = SparseGPR(RBF(LENGTH), noise=0.1, derivative_noise=0.05, delta=1.2).fit(x, y, dx, dy)
    mean, std = model.predict(p, return_std=True)
    slope, slope_std = model.predict_gradient(p, return_std=True)
    assert_allclose(np.append(mean, slope), expected, rtol=0, atol=1e-8)
    assert_allclose(np.append(std, slope_std), np.sqrt(variance), rtol=0, atol=1e-8)
    covariance = k_ll + np.diag(sigma[observed] ** 2)
    y_ = target[observed]
    value = -0.5 * (y_ @ np.linalg.solve(covariance, y_) + np.linalg.slogdet(2 * np.pi * covariance)[1])
    assert_allclose(model.log_marginal_likelihood(), value, rtol=1e-9)


def test_gradients_at_the_points_of_the_values_are_the_default(data):
    x, y, _, _, p = data
    a, b = SparseGPR().fit(x, y, dy=gradient(x)), SparseGPR().fit(x, y, x.copy(), gradient(x))
    assert_allclose(a.predict(p), b.predict(p), rtol=1e-10)
    assert len(a.sparse_gradient_points_) == 40
    values_alone = SparseGPR().fit(x, y)  # 40 numbers against 120
    assert np.abs(a.predict(p) - function(p)).max() < np.abs(values_alone.predict(p) - function(p)).max() / 3


@pytest.mark.parametrize("with_gradients", [False, True])
@pytest.mark.parametrize("approximation", ["sor", "dtc", "fitc", "vfe"])
def test_approximations_equal_the_textbook(data, approximation, with_gradients):
    """Ten sparse points (condition 1e3), in the last case the gradients at two of them too: 1e-9."""
    x, y, dx, dy, p = data
    dx, dy = (dx, dy) if with_gradients else (dx[:0], dy[:0])
    model = SparseGPR(RBF(LENGTH), noise=0.1, derivative_noise=0.05, delta=1.2, n_sparse=10, approximation=approximation)
    model.fit(x, y, *((dx, dy) if with_gradients else ()))
    s = model.sparse_points_
    assert s.shape == (10, 2)
    none = s[:0]
    k_uu, k_lu = 1.44 * rbf_joint(s, none, s, none, LENGTH), 1.44 * rbf_joint(x, dx, s, none, LENGTH)
    prior = [1.44 * np.repeat([1.0, 1 / LENGTH**2], n) for n in ((len(x), 2 * len(dx)), (len(p), 2 * len(p)))]
    sigma = np.repeat([0.1, 0.05], (len(x), 2 * len(dx)))
    k_pu = 1.44 * rbf_joint(p, p, s, none, LENGTH)
    expected, variance, evidence = sparse_gp(k_uu, k_lu, k_pu, *prior, np.append(y, dy.ravel()), sigma, approximation)
    mean, std = model.predict(p, return_std=True)
    slope, slope_std = model.predict_gradient(p, return_std=True)
    assert_allclose(np.append(mean, slope), expected, rtol=0, atol=1e-9)
    assert_allclose(np.append(std, slope_std), np.sqrt(variance), rtol=0, atol=1e-9)
    assert_allclose(np.diag(model.predict(p, return_cov=True)[1]), std**2, rtol=1e-10)
    assert_allclose(model.log_marginal_likelihood(), evidence, rtol=1e-9)


def test_some_gradients_are_sparse_variables(data):
    """n_sparse is a budget of variables: 49 values, then as many gradients as there is room for; dense formula of DTC."""
    x, y, dx, dy, p = data
    model = SparseGPR(RBF(LENGTH), noise=0.1, derivative_noise=0.05, n_sparse=54).fit(x, y, dx, dy)
    s, ds = model.sparse_points_, model.sparse_gradient_points_
    assert (len(s), len(ds), model.n_sparse_) == (49, 2, 53)
    k_uu, k_lu = rbf_joint(s, ds, s, ds, LENGTH), rbf_joint(x, dx, s, ds, LENGTH)
    prior = [np.repeat([1.0, 1 / LENGTH**2], n) for n in ((len(x), 2 * len(dx)), (len(p), 0))]
    sigma = np.repeat([0.1, 0.05], (len(x), 2 * len(dx)))
    k_pu = rbf_joint(p, p[:0], s, ds, LENGTH)
    expected, variance, _ = sparse_gp(k_uu, k_lu, k_pu, *prior, np.append(y, dy.ravel()), sigma, "dtc")
    mean, std = model.predict(p, return_std=True)
    assert_allclose(mean, expected, rtol=0, atol=1e-8)
    assert_allclose(std, np.sqrt(variance), rtol=0, atol=1e-8)


KERNELS = [RBF(0.9), DotProduct(2) + 0.3, RBF(1.5) * (DotProduct(1) + 1.0), 0.5 * RBF(0.7) + RBF(3.0), Constant(2.0)]


@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
def test_gradients_are_the_derivatives_of_the_values(data, kernel):
    """Mean: differences of the mean.  Std: differences of the covariance.  Truncation and rounding of steps of 1e-3: 1e-6."""
    x, y, dx, dy, p = data
    model = SparseGPR(kernel, noise=0.1).fit(x, y, dx, dy)
    mean, std = model.predict_gradient(p, return_std=True)
    h = 1e-3
    for c in range(2):
        e = h * np.eye(2)[c]
        assert_allclose((model.predict(p + e) - model.predict(p - e)) / (2 * h), mean[:, c], rtol=0, atol=1e-5)
        for k, at in enumerate(p[:4]):
            covariance = model.predict(np.array([at + e, at - e]), return_cov=True)[1]
            found = (covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]) / (4 * h * h)
            assert_allclose(found, std[k, c] ** 2, rtol=1e-4, atol=1e-6)


def test_predictions_do_not_depend_on_chunks_order_or_origin(data, monkeypatch):
    x, y, dx, dy, p = data
    whole = SparseGPR(RBF(LENGTH), n_sparse=30, random_state=0).fit(x, y, dx, dy)
    order = np.random.default_rng(1).permutation(40)
    shuffled = SparseGPR(RBF(LENGTH), n_sparse=30, random_state=0).fit(x[order], y[order], dx, dy)
    assert_allclose(shuffled.predict(p), whole.predict(p), rtol=0, atol=1e-10)
    far = SparseGPR(RBF(LENGTH), n_sparse=30, random_state=0).fit(x + 2.0**20, y, dx + 2.0**20, dy)
    for a, b in zip(far.predict(p + 2.0**20, return_std=True), whole.predict(p, return_std=True), strict=True):
        assert_allclose(a, b, rtol=0, atol=1e-7)  # positions are rounded to 2^20 * 1e-16
    monkeypatch.setattr(array_rows, "_ROWS", 7)
    for kind in ("predict", "predict_gradient"):
        expected = getattr(whole, kind)(p, return_std=True)
        chunked = getattr(SparseGPR(RBF(LENGTH), n_sparse=30, random_state=0).fit(x, y, dx, dy), kind)(p, return_std=True)
        for a, b in zip(chunked, expected, strict=True):
            assert_allclose(a, b, rtol=0, atol=1e-10)


def test_memory_does_not_grow_with_the_data():
    """Beyond the data: factors, and chunks of 768 rows; K_fu of 40,000 rows would be 64 MB."""
    rng = np.random.default_rng(0)

    def peak(n, n_gradients):
        x, dx = rng.uniform(-2, 2, (n, 2)), rng.uniform(-2, 2, (n_gradients, 2))
        y, dy = function(x), gradient(dx)
        tracemalloc.start()
        model = SparseGPR(RBF(0.3), n_sparse=200, approximation="fitc", random_state=0).fit(x, y, dx, dy)
        model.predict(x[:20_000], return_std=True)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    small, large = peak(4_000, 1_000), peak(40_000, 10_000)
    assert large - small < 4e6  # copies of the targets and what predict returns


def test_sample_y_has_the_posterior_mean_and_covariance(data):
    x, y, _, _, p = data
    model = SparseGPR(RBF(LENGTH), n_sparse=10).fit(x, y)
    mean, covariance = model.predict(p, return_cov=True)
    samples = model.sample_y(p, 20_000, random_state=0)
    assert samples.shape == (15, 20_000)
    assert_array_equal(samples, model.sample_y(p, 20_000, random_state=0))
    scale = np.sqrt(np.diag(covariance))
    assert np.abs((samples.mean(axis=1) - mean) / scale).max() < 5 / np.sqrt(20_000)
    assert np.abs((np.cov(samples) - covariance) / np.outer(scale, scale)).max() < 5 * np.sqrt(2 / 20_000)


def test_evidence_that_is_searched_is_the_one_reported(data):
    """Bound of VFE with values and gradients: the value, and its gradient by differences (1e-6 of 2e-10/1e-4)."""
    x, y, dx, dy, _ = data
    noise = {"values": 0.2, "gradients": 0.3}
    model = SparseGPR(RBF(LENGTH), noise=0.2, derivative_noise=0.3, delta=1.3, n_sparse=12, approximation="vfe").fit(
        x, y, dx, dy
    )
    basis = Basis.build(RBF(LENGTH), model.sparse_points_, model.sparse_gradient_points_)
    evidence = evidence_of(fold(basis, Observations(x, y, dx, dy), noise, 1.3, "vfe"))
    at = np.log([0.3, 0.2, 1.3])  # in the order of names: gradients, values
    value, by_sigma, by_delta = evidence.value_and_gradient(at[:2], at[2:])
    assert_allclose(value, model.log_marginal_likelihood(), rtol=1e-10)
    for k, derivative in enumerate([*by_sigma, *by_delta]):
        e = 1e-4 * np.eye(3)[k]
        high, low = (evidence.value_and_gradient((at + s)[:2], (at + s)[2:])[0] for s in (e, -e))
        assert_allclose((high - low) / 2e-4, derivative, rtol=1e-6)


def draw(n, seed=0):
    """A function drawn from RBF(0.7) with amplitude 2, noise 0.1 on values and 0.3 on 30 gradients."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-3, 3, (n, 2))
    covariance = 4.0 * rbf_joint(x, x[:30], x, x[:30], 0.7)
    f = np.linalg.cholesky(covariance + 1e-9 * np.eye(len(covariance))) @ rng.standard_normal(len(covariance))
    return x, f[:n] + 0.1 * rng.standard_normal(n), x[:30], (f[n:] + 0.3 * rng.standard_normal(60)).reshape(30, 2)


@pytest.mark.parametrize("approximation", ["dtc", "vfe"])
def test_search_finds_what_the_data_were_drawn_from(approximation):
    x, y, dx, dy = draw(200)
    given = {"noise": 0.5, "derivative_noise": 0.5, "delta": 0.5, "approximation": approximation}
    model = SparseGPR(RBF(2.0), optimize=("noise", "delta", "kernel"), **given).fit(x, y, dx, dy)
    truth = SparseGPR(RBF(0.7), noise=0.1, derivative_noise=0.3, delta=2.0, approximation=approximation).fit(x, y, dx, dy)
    gain = model.log_marginal_likelihood() - truth.log_marginal_likelihood()
    assert 0 < gain < 10  # twice the gain is chi-square with 4 degrees of freedom: above 20 once in 2000
    assert model.kernel_.length_scale == pytest.approx(0.7, rel=0.1)
    assert model.noise_ == pytest.approx(0.1, rel=0.2)
    assert model.log_marginal_likelihood() > SparseGPR(RBF(2.0), **given).fit(x, y, dx, dy).log_marginal_likelihood() + 100
    assert model.get_params()["kernel__length_scale"] == 2.0
    assert (model.noise, model.delta) == (0.5, 0.5)


def test_kernel_search_reaches_a_stationary_point_and_uses_a_sample(monkeypatch):
    x, y, _, _ = draw(200)
    best = SparseGPR(RBF(1.0), delta=2.0, optimize=("kernel",), n_sparse=200).fit(x, y).kernel_.length_scale
    values = [SparseGPR(RBF(best * f), delta=2.0, n_sparse=200).fit(x, y).log_marginal_likelihood() for f in (0.97, 1.0, 1.03)]
    assert values[1] == max(values)
    monkeypatch.setattr("gapkit.gp.sparse_gpr._SEARCH_ROWS", 150)
    sampled = SparseGPR(RBF(1.0), delta=2.0, optimize=("kernel",), n_sparse=200, random_state=0).fit(x, y)
    assert sampled.kernel_.length_scale == pytest.approx(best, rel=0.2)
    assert sampled.kernel_.length_scale != best


@pytest.mark.parametrize("noise", [1e-6, 1e-10])
def test_search_with_data_without_noise(noise):
    """The evidence grows until the noise is at its bound, or the matrices are singular in double precision: no exception."""
    x = np.random.default_rng(0).uniform(-2, 2, (3000, 2))
    model = SparseGPR(RBF(1.0), noise=noise, n_sparse=200, optimize=("noise", "delta"), random_state=0)
    mean, std = model.fit(x, function(x)).predict(x[:50], return_std=True)
    assert_allclose(mean, function(x[:50]), rtol=0, atol=1e-3)
    assert np.isfinite(std).all()


def test_no_negative_variance_and_no_nan():
    """100,000 evaluations near and far from points that nearly coincide, with kernels from sharp to flat."""
    rng = np.random.default_rng(0)
    x = np.repeat(rng.uniform(-1, 1, (40, 3)), 3, axis=0) + 1e-6 * rng.standard_normal((120, 3))
    p = np.concatenate([x, x + 1e-9, rng.uniform(-1, 1, (2_000, 3)), 1e3 * rng.standard_normal((200, 3))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)  # counted, which is what is wanted
        for kernel in (RBF(1e-3), RBF(0.5), RBF(50.0), DotProduct(2)):
            for approximation in ("sor", "dtc", "fitc", "vfe"):
                model = SparseGPR(kernel, noise=1e-4, approximation=approximation, n_sparse=100).fit(
                    x, x[:, 0], dy=np.eye(3)[0] + 0 * x
                )
                for mean, std in (model.predict(p, return_std=True), model.predict_gradient(p, return_std=True)):
                    assert np.isfinite(mean).all()
                    assert (std >= 0).all()


def test_dropped_sparse_points_are_reported_where_something_is_lost(data):
    x, y, *_ = data
    everything = SparseGPR(RBF(50.0)).fit(x, y)  # all inputs: nothing is lost, no warning
    assert 0 < everything.n_dropped_ == 40 - everything.n_sparse_
    linear = SparseGPR(DotProduct(1) + 1.0, n_sparse=10).fit(x, y)  # three span all linear functions
    assert (linear.n_sparse_, linear.n_dropped_) == (3, 7)
    x = np.append(np.linspace(0, 1e-12, 300), np.linspace(1, 60, 30))[:, None]  # some of the first 300 are taken
    with pytest.warns(NumericalWarning, match=r"\d+ of 20 sparse variables were dropped.*miss"):
        model = SparseGPR(RBF(0.3), n_sparse=20, selection="cur", random_state=0).fit(x, x[:, 0])
    assert model.n_dropped_ > 0


def test_nothing_to_learn_from():
    """A kernel that is 0 at every sparse point leaves no variable; the prior is 0 there."""
    model = SparseGPR(DotProduct(2)).fit(np.zeros((3, 2)), np.ones(3))
    assert model.n_sparse_ == 0
    assert_array_equal(model.predict(np.eye(2)), 0.0)
    assert_array_equal(model.predict(np.eye(2), return_std=True)[1], 1.0)
    assert SparseGPR().fit([[1.0]], [2.0]).predict([[1.0]]) == pytest.approx(2 / 1.01)


def test_parameters_of_the_kernel_in_a_grid_search(data):
    x, y, *_ = data
    search = GridSearchCV(SparseGPR(RBF()), {"kernel__length_scale": [0.01, 1.0, 100.0]}, cv=3).fit(x, y)
    assert search.best_params_ == {"kernel__length_scale": 1.0}


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"noise": 0.0}, ValueError, "`noise` must be a number above 0; got 0.0. For data without noise give 1e-6"),
        ({"derivative_noise": -1.0}, ValueError, "`derivative_noise` must be a number above 0; got -1.0"),
        ({"delta": "1"}, TypeError, "`delta` must be a number above 0; got '1'"),
        ({"n_sparse": 0}, ValueError, "`n_sparse` must be an integer of at least 1; got 0"),
        ({"kernel": sk.RBF()}, TypeError, "`kernel` must be a kernel of gapkit"),
        ({"kernel": RBF(-1.0)}, ValueError, "`length_scale` must be a number above 0; got -1.0"),
        ({"approximation": "sparse"}, ValueError, "`approximation` must be one of 'sor', 'dtc', 'fitc', 'vfe'"),
        ({"selection": "best", "n_sparse": 2}, ValueError, "`selection` must be one of"),
        ({"optimize": False}, ValueError, "`optimize` must be a tuple of names among"),
        ({"optimize": "noise"}, ValueError, "`optimize` must be a tuple of names among"),
        ({"optimize": ("jitter",)}, ValueError, "`optimize` must be a tuple of names among"),
        ({"optimize": ("noise",), "approximation": "fitc"}, ValueError, "`optimize` must be .* with approximation='fitc'"),
        ({"optimize": ("kernel",), "kernel": DotProduct(2)}, ValueError, "without 'kernel' for a kernel that has no free"),
    ],
)
def test_wrong_parameters(data, parameters, error, message):
    with pytest.raises(error, match=message):
        SparseGPR(**parameters).fit(*data[:2])


def test_wrong_data(data):
    x, y, dx, dy, _ = data
    with pytest.raises(ValueError, match="`dy` must be given with dX; got None"):
        SparseGPR().fit(x, y, dx)
    with pytest.raises(ValueError, match=r"one row per gradient and the 2 columns of X; got \(9, 2\) and \(8, 2\)"):
        SparseGPR().fit(x, y, dx, dy[1:])
    with pytest.raises(ValueError, match="dy contains infinity"):
        SparseGPR().fit(x, y, dx, np.full_like(dy, np.inf))
    with pytest.raises(ValueError, match="dX contains NaN"):
        SparseGPR().fit(x, y, np.full_like(dx, np.nan), dy)
    with pytest.raises(ValueError, match="`return_std` must be False with return_cov=True"):
        SparseGPR().fit(x, y).predict(x, return_std=True, return_cov=True)
