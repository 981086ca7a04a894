"""Rows computed ahead by several threads: the same bits as by one, and one thread for linear algebra in each."""

from __future__ import annotations

import multiprocessing
import threading
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from threadpoolctl import threadpool_info

from gapkit import SOAP, DotProduct, GAPRegressor, Noise, Term, _backend
from gapkit._backend import in_threads, one_thread_in_workers
from gapkit.model import training


def blas_threads(_=None):
    with one_thread_in_workers():
        return max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")


def test_a_fit_has_the_same_bits_for_any_number_of_threads(alloy, monkeypatch):
    monkeypatch.setattr(training.TrainingSet.chunks, "__defaults__", (1,))
    model = GAPRegressor([Term(SOAP(4.0, 2, 2), DotProduct(3), n_sparse=20)], noise=Noise(0.01, 0.1, 0.02), random_state=0)
    factors = []
    for n_threads in (1, 2, 3):
        monkeypatch.setattr(_backend, "free_threads", lambda n=n_threads: n)
        factors.append(model.fit(alloy).factors_)
    for other in factors[1:]:
        assert other.keys() == factors[0].keys()
        for name, factor in factors[0].items():
            assert_array_equal(other[name].triangle, factor.triangle)
            assert (np.diag(factor.triangle) >= 0.0).all()


@pytest.mark.parametrize("n_threads", [1, 3])
def test_results_come_in_order_and_few_are_ahead(n_threads):
    started = []

    def square(k):
        started.append(k)
        return k**2, threading.get_ident()

    results, threads = [], set()
    for k, (value, thread) in enumerate(in_threads(square, range(20), n_threads)):
        results.append(value)
        threads.add(thread)
        assert len(started) <= k + 1 + n_threads  # memory: those ahead, and the one that is used
    assert results == [k**2 for k in range(20)]
    assert len(threads) <= n_threads


def test_linear_algebra_has_one_thread_meanwhile_and_errors_arrive():
    assert list(in_threads(blas_threads, range(3), 2)) == [1, 1, 1]
    with pytest.raises(ZeroDivisionError):
        list(in_threads(lambda k: 1 / k, [1, 0, 1], 2))


def test_workers_of_an_executor_have_one_thread():
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("forkserver")) as executor:
        assert executor.submit(blas_threads).result() == 1
