from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import brentq

from gapkit.exceptions import NumericalWarning
from gapkit.gp import sparsify
from gapkit.gp.sparsify import SELECTIONS, check_selection, distinct, select_points, selection_of_groups, share_points
from gapkit.kernels import RBF, DotProduct

KERNEL = RBF(1.0)


def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    ("total", "counts", "shares"),
    [
        (100, [400, 100], [67, 33]),  # proportional to square roots, 2 : 1
        (100, [10**6, 1], [100, 1]),
        (100, [10**6, 50], [100, 10]),  # at least 10 each
        (56, [29, 27], [29, 27]),  # what one group lacks, the other gets
        (1000, [29, 27], [29, 27]),
        (5, [3, 0, 100], [3, 0, 10]),
        (10, [0, 0], [0, 0]),
    ],
)
def test_share_points(total, counts, shares):
    assert share_points(total, np.array(counts)) == shares


def test_distinct_keeps_one_of_each():
    x = rng().standard_normal((20, 5))
    repeated = np.vstack([x, x[3] + 1e-10, x[7], x[7] + 1e-5])
    kept = distinct(repeated)
    assert len(kept) == 21
    assert 22 in kept
    assert_array_equal(kept, np.sort(kept))
    assert len(distinct(np.ones((50, 3)))) == 1
    assert len(distinct(np.empty((0, 3)))) == 0


def test_farthest_points_by_brute_force():
    x = rng().standard_normal((60, 4))
    chosen = [int(np.argmax(np.linalg.norm(x - x.mean(axis=0), axis=1)))]
    while len(chosen) < 12:
        nearest = np.min(np.linalg.norm(x[:, None] - x[chosen], axis=2), axis=1)
        chosen.append(int(np.argmax(nearest)))
    assert_array_equal(select_points("fps", x, 12, rng(), KERNEL), np.sort(chosen))


def test_cur_prefers_leverage():
    """Rows along rare directions have large leverage; common rows are taken at random."""
    x = np.zeros((202, 4))
    x[:, 0] = 1.0
    x[200, 1] = 1.0
    x[201, 1] = -1.0
    x[:200, 2:] = 1e-3 * rng().standard_normal((200, 2))
    for seed in range(5):
        chosen = select_points("cur", x, 20, np.random.default_rng(seed), KERNEL)
        assert {200, 201} <= set(chosen)
        assert len(set(chosen)) == 20
    a, b = (select_points("cur", x, 20, np.random.default_rng(s), KERNEL) for s in (1, 2))
    assert not np.array_equal(a, b)
    assert_array_equal(a, select_points("cur", x, 20, np.random.default_rng(1), KERNEL))


@pytest.mark.parametrize("method", SELECTIONS)
class TestEveryMethod:
    def test_properties(self, method):
        """Ascending, distinct, by the seed alone; the candidates are left as they were."""
        x = rng().standard_normal((300, 5))
        before = x.copy()
        chosen = select_points(method, x, 40, rng(), KERNEL)
        assert_array_equal(x, before)
        assert len(chosen) == 40
        assert (np.diff(chosen) > 0).all()
        assert 0 <= chosen[0] <= chosen[-1] < 300
        assert_array_equal(select_points(method, x, 40, rng(), KERNEL), chosen)

    def test_all_are_taken_when_there_are_no_more(self, method):
        x = rng().standard_normal((5, 3))
        for n in (5, 9):
            assert_array_equal(select_points(method, x, n, rng(), KERNEL), np.arange(5))
        assert len(select_points(method, np.empty((0, 3)), 4, rng(), KERNEL)) == 0

    @pytest.mark.parametrize("kernel", [RBF(0.5), DotProduct(2)], ids=repr)
    def test_candidates_on_a_line_and_nearly_equal_ones(self, method, kernel):
        """As many points as were asked for, whether or not the kernel can tell them apart."""
        x = np.outer(np.linspace(0.5, 1.0, 60), np.ones(4))
        x[30:] = x[30] + 1e-7 * rng().standard_normal((30, 4))
        for n in (1, 2, 31, 59):
            chosen = select_points(method, x, n, rng(), kernel)
            assert len(chosen) == len(set(chosen)) == n


@pytest.mark.parametrize("method", ["cur", "kmeans", "leverage", "random"])
def test_seeds_differ(method):
    x = rng().standard_normal((300, 5))
    assert not np.array_equal(*(select_points(method, x, 40, np.random.default_rng(seed), KERNEL) for seed in (1, 2)))


def test_random_takes_each_alike():
    """Chances are n/N: over 2000 draws the counts are binomial, here within 5 standard deviations."""
    x, generator = np.arange(20.0)[:, None], rng()
    counts = np.zeros(20)
    for _ in range(2000):
        counts[select_points("random", x, 5, generator, KERNEL)] += 1
    assert_allclose(counts, 500, rtol=0, atol=5 * np.sqrt(2000 * 0.25 * 0.75))


def test_kmeans_takes_one_of_each_cluster():
    """The candidate nearest the mean of each of 12 well separated clusters of different sizes."""
    generator = rng()
    centres = 10.0 * generator.permutation(np.eye(12))
    of = np.repeat(np.arange(12), np.arange(5, 29, 2))
    x = centres[of] + 0.1 * generator.standard_normal((len(of), 12))
    chosen = select_points("kmeans", x, 12, rng(), KERNEL)
    assert_array_equal(of[chosen], np.arange(12))
    for cluster, point in enumerate(chosen):
        members = np.flatnonzero(of == cluster)
        off = np.linalg.norm(x[members] - x[members].mean(axis=0), axis=1)
        assert off[members == point] <= np.sort(off)[2]  # mini-batches leave the centres a little off the means


@pytest.mark.parametrize("kernel", [RBF(0.8), DotProduct(3), 0.3 * RBF(2.0) + DotProduct(1)], ids=repr)
def test_cholesky_takes_the_largest_posterior_variance(kernel):
    """Point by point with a dense inverse; the prior variance given the points before."""
    x = rng().standard_normal((80, 4))
    matrix, chosen = kernel(x), []
    for _ in range(12):
        known = matrix[:, chosen]
        gain = known @ np.linalg.inv(matrix[np.ix_(chosen, chosen)]) if chosen else known
        chosen.append(int(np.argmax(kernel.diag(x) - np.einsum("nm,nm->n", gain, known))))
    assert_array_equal(select_points("cholesky", x, 12, rng(), kernel), np.sort(chosen))
    pivots, factor, _ = sparsify.greedy_cholesky(kernel, x, 12)
    assert_array_equal(pivots, chosen)
    assert_allclose((factor.T @ factor)[:, chosen], matrix[:, chosen], rtol=0, atol=1e-12 * matrix.max())


def test_cholesky_holds_columns_only(monkeypatch):
    """No n x n matrix: every kernel evaluation is of n candidates with one."""
    shapes = []
    monkeypatch.setattr(RBF, "of_products", lambda self, xs, xx, ss: shapes.append(xs.shape) or np.exp(xs - (xx + ss) / 2))
    select_points("cholesky", rng().standard_normal((500, 3)), 20, rng(), RBF())
    assert set(shapes) == {(500, 1)}


def ridge_leverage(matrix, ridge):
    return np.diag(matrix @ np.linalg.inv(matrix + ridge * np.eye(len(matrix))))


@pytest.mark.parametrize(("n_points", "scale"), [(5, 0.5), (20, 2.0), (20, 0.05)])
def test_leverage_scores_by_the_diagonal_formula(n_points, scale):
    """l_i = [K (K + lambda)^-1]_ii, with lambda found by a plain root finder; all candidates are landmarks,
    or (scale 0.05) K is diagonal.
    """
    x = rng().standard_normal((2 * n_points if scale < 1 else 40, 3))
    kernel = RBF(scale)
    matrix = kernel(x)
    ridge = np.exp(brentq(lambda log: ridge_leverage(matrix, np.exp(log)).sum() - n_points, -25, 5, xtol=1e-12))
    assert_allclose(
        sparsify._ridge_leverage(kernel, x, np.arange(2 * n_points), n_points), ridge_leverage(matrix, ridge), rtol=0, atol=1e-8
    )


def test_leverage_scores_with_fewer_landmarks():
    """Of five times as many candidates as landmarks: no candidate loses more than a fifth of its score.

    Those far from all landmarks gain (up to 0.26), because what the projection leaves of their variance counts in full.
    """
    x = rng().standard_normal((400, 2))
    kernel = RBF(0.7)
    found = sparsify._ridge_leverage(kernel, x, np.arange(80), 40)
    matrix = kernel(x)
    ridge = np.exp(brentq(lambda log: ridge_leverage(matrix, np.exp(log)).sum() - 40, -25, 5, xtol=1e-12))
    exact = ridge_leverage(matrix, ridge)
    assert_allclose(found.sum(), 40, rtol=1e-10)
    assert (found > 0.8 * exact).all()
    assert np.corrcoef(found, exact)[0, 1] > 0.9
    assert 0.0 < found.min() <= found.max() <= 1.0


def test_leverage_of_more_points_than_directions():
    """K of three directions: scores are those of the projector on them."""
    x = rng().standard_normal((30, 3))
    q, _ = np.linalg.qr(x)
    assert_allclose(sparsify._ridge_leverage(DotProduct(1), x, np.arange(20), 10), np.sum(q**2, axis=1), rtol=0, atol=1e-10)
    assert len(set(select_points("leverage", x, 10, rng(), DotProduct(1)))) == 10


def test_rare_directions_have_leverage():
    """200 candidates along one direction and 3 along others: the rare ones are taken by every seed."""
    x = np.zeros((203, 4))
    x[:200, 0] = 1.0 + 0.01 * rng().standard_normal(200)
    x[200:, 1:] = np.eye(3)
    for seed in range(10):
        assert {200, 201, 202} <= set(select_points("leverage", x, 10, np.random.default_rng(seed), DotProduct(1)))


def test_cur_scores_are_those_of_the_leading_half():
    x = rng().standard_normal((50, 6))
    _, _, vt = np.linalg.svd(x, full_matrices=False)
    u = x @ vt[:3].T
    leverage = np.sum((u / np.linalg.norm(u, axis=0)) ** 2, axis=1) / 3
    excess = np.minimum(1, 10 * leverage) - rng().random(50)
    assert_array_equal(select_points("cur", x, 10, rng(), KERNEL), np.sort(np.argsort(-excess)[:10]))
    assert_allclose(leverage.sum(), 1.0)


def test_unknown_method():
    with pytest.raises(ValueError, match=r"`selection` must be one of 'auto', 'cholesky', 'cur', .*; got 'best'"):
        select_points("best", np.eye(3), 2, rng(), KERNEL)


def test_selections_of_groups():
    assert selection_of_groups("soap", "fps", ["Si", "C"]) == ["fps", "fps"]
    assert selection_of_groups("soap", {"C": "cur"}, ["Si", "C"]) == ["auto", "cur"]
    for given in ([3, 1], (1, 3), np.array([1, 3])):
        silicon, carbon = selection_of_groups("soap", {"Si": given, "C": "fps"}, ["Si", "C"])
        assert_array_equal(silicon, [1, 3])
        assert carbon == "fps"
    with pytest.raises(ValueError, match=r"`selection` of term 'soap' must name groups among \['Si', 'C'\]; got \['O'\]"):
        selection_of_groups("soap", {"O": "fps"}, ["Si", "C"])
    with pytest.warns(NumericalWarning, match="'soap' repeats 2 of 5 indices"):
        assert_array_equal(selection_of_groups("soap", [7, 1, 7, 1, 0], ["Si"])[0], [0, 1, 7])


@pytest.mark.parametrize(
    ("selection", "error", "message"),
    [
        ("best", ValueError, "`selection` must be one of 'auto', .*; got 'best'"),
        ({"Si": "best"}, ValueError, "`selection` must be one of 'auto', .*; got 'best'"),
        ({"Si": {"C": "cur"}}, TypeError, "a method, list of indices or array of points for each name of a group"),
        ({14: "cur"}, TypeError, "a method, list of indices or array of points for each name of a group"),
        ([0, -1], ValueError, "`selection` must be an integer of at least 0; got -1. Indices of environments count from 0"),
        ([0, 1.5], TypeError, "`selection` must be an integer of at least 0"),
        (np.array([0.5]), TypeError, "`selection` must be an integer of at least 0"),
        ([], TypeError, "a list of indices, or a dict of these by group"),
        ({"Si": []}, TypeError, "a list of indices, or a dict of these by group"),
        (None, TypeError, "a list of indices, or a dict of these by group"),
        (3, TypeError, "a list of indices, or a dict of these by group"),
    ],
)
def test_bad_selections(selection, error, message):
    with pytest.raises(error, match=message):
        check_selection(selection)
