"""Work on several threads: in order, each call on one thread, and everything as it was afterwards."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from gapkit._backend import in_threads, n_threads, one_thread


def test_order_is_that_of_the_items():
    def late(k):
        time.sleep(0.002 * (7 - k % 8))
        return k, n_threads(), threading.current_thread() is threading.main_thread()

    with threadpool_limits(3):
        found = list(in_threads(late, range(20)))
        assert n_threads() == 3
    assert [k for k, _, _ in found] == list(range(20))
    assert {(n, in_main) for _, n, in_main in found} == {(1, False)}


@pytest.mark.parametrize(("limit", "n_items"), [(1, 4), (3, 1), (3, 0)])
def test_where_there_is_nothing_to_share(limit, n_items):
    """One thread, or one item, which then has all threads."""
    with threadpool_limits(limit):
        found = list(in_threads(lambda _: (threading.current_thread(), n_threads()), range(n_items)))
    assert found == [(threading.main_thread(), limit)] * n_items


def test_within_another_call_there_is_one_thread():
    with threadpool_limits(2):
        inner = list(in_threads(lambda _: list(in_threads(lambda _: threading.get_ident(), range(3))), range(4)))
    assert all(len(set(threads)) == 1 for threads in inner)


def test_errors_arrive_and_the_rest_is_not_begun():
    begun = []

    def fails(k):
        begun.append(k)
        if k == 1:
            raise ValueError("of item 1")
        time.sleep(0.01)

    with threadpool_limits(2):
        with pytest.raises(ValueError, match="of item 1"):
            list(in_threads(fails, range(50)))
        assert n_threads() == 2
    assert len(begun) < 10


def test_who_stops_listening_stops_the_work():
    begun = []
    with threadpool_limits(2):
        results = in_threads(begun.append, range(50))
        next(results)
        results.close()
        assert n_threads() == 2
    assert len(begun) < 10


def test_the_last_user_of_one_thread_puts_it_back():
    """Whatever the order in which they leave."""
    with threadpool_limits(2):
        first, second = one_thread(), one_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert n_threads() == 1
        second.__exit__(None, None, None)
        assert n_threads() == 2


def test_settings_of_the_caller_hold():
    with threadpool_limits(2), np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        list(in_threads(lambda k: np.ones(1) / np.zeros(1), range(3)))
