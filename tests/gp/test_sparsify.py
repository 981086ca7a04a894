from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gapkit.gp.sparsify import distinct, select_points, share_points


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
    assert_array_equal(select_points("fps", x, 12, rng()), np.sort(chosen))


def test_cur_prefers_leverage():
    """Rows along rare directions have large leverage; common rows are taken at random."""
    x = np.zeros((202, 4))
    x[:, 0] = 1.0
    x[200, 1] = 1.0
    x[201, 1] = -1.0
    x[:200, 2:] = 1e-3 * rng().standard_normal((200, 2))
    for seed in range(5):
        chosen = select_points("cur", x, 20, np.random.default_rng(seed))
        assert {200, 201} <= set(chosen)
        assert len(set(chosen)) == 20
    a, b = (select_points("cur", x, 20, np.random.default_rng(s)) for s in (1, 2))
    assert not np.array_equal(a, b)
    assert_array_equal(a, select_points("cur", x, 20, np.random.default_rng(1)))


def test_all_are_taken_when_there_are_no_more():
    x = rng().standard_normal((5, 3))
    for method in ("cur", "fps"):
        assert_array_equal(select_points(method, x, 9, rng()), np.arange(5))


def test_cur_scores_are_those_of_the_leading_half():
    x = rng().standard_normal((50, 6))
    _, _, vt = np.linalg.svd(x, full_matrices=False)
    u = x @ vt[:3].T
    leverage = np.sum((u / np.linalg.norm(u, axis=0)) ** 2, axis=1) / 3
    excess = np.minimum(1, 10 * leverage) - rng().random(50)
    assert_array_equal(select_points("cur", x, 10, rng()), np.sort(np.argsort(-excess)[:10]))
    assert_allclose(leverage.sum(), 1.0)


def test_unknown_method():
    with pytest.raises(ValueError, match="`selection` must be one of 'auto', 'cur', 'fps', 'uniform'; got 'best'"):
        select_points("best", np.eye(3), 2, rng())
