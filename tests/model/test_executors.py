"""Parallel fits: other processes, the same predictions."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
from concurrent.futures import Executor, Future, ProcessPoolExecutor

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gapkit import SOAP, DotProduct, GAPRegressor, Noise, Term
from gapkit.model import folding, training
from tests.conftest import copper_gold, labelled

N_CHUNKS = 24


@pytest.fixture(scope="module")
def frames():
    return [labelled(copper_gold(seed, (True, True, bool(seed % 2)))) for seed in range(N_CHUNKS)]


@pytest.fixture(autouse=True)
def _one_frame_a_chunk(monkeypatch):
    monkeypatch.setattr(training.TrainingSet.chunks, "__defaults__", (1,))


def model():
    terms = [Term(SOAP(r_cut=4.0, n_max=3, l_max=2), DotProduct(3), n_sparse=30)]
    noise = Noise(0.01, 0.1, 0.02, per_config_type={"slab": Noise(0.02, 0.2, 0.05)})
    return GAPRegressor(terms, noise=noise, random_state=0)


@pytest.fixture(scope="module")
def serial(frames):
    return model().fit(frames)


def assert_same_predictions(one, two):
    test = [copper_gold(70, (True, True, False)), copper_gold(71, (True, True, True))]
    tolerance = max(1e-10, 1e-15 * sum(np.abs(a).sum() for term in two.potential_.coefficients for a in term))
    for p, q in zip(*(m.evaluate(test, uncertainty="exact") for m in (one, two)), strict=True):
        assert_allclose(p.energy, q.energy, rtol=0, atol=tolerance)
        assert_allclose(p.forces, q.forces, rtol=0, atol=tolerance)
        assert_allclose(p.energies_std, q.energies_std, rtol=1e-7)


class Watched(Executor):
    """Counts what is submitted and in which processes it runs."""

    def __init__(self, inner):
        self.inner, self.n_tasks, self.pids = inner, 0, set()

    def submit(self, fn, /, *args, **kwargs):
        self.n_tasks += 1
        self.pids.add(self.inner.submit(os.getpid).result())
        return self.inner.submit(fn, *args, **kwargs)


def check(executor, frames, serial):
    watched = Watched(executor)
    assert_same_predictions(model().fit(frames, executor=watched), serial)
    assert watched.n_tasks >= 20
    assert os.getpid() not in watched.pids


def test_process_pool(frames, serial):
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("forkserver")) as executor:
        check(executor, frames, serial)
        half = model().fit(frames[:12])
        again = model().fit(frames[:12])
        again.partial_fit(frames[12:], executor=executor)
        assert_same_predictions(again, half.partial_fit(frames[12:]))


def needs(package):
    """Skip where the extra is not installed; in CI it must be."""
    missing = importlib.util.find_spec(package) is None and not os.environ.get("CI")
    return pytest.mark.skipif(missing, reason=f"{package} is not installed: pip install gapkit[cluster]")


@needs("distributed")
@pytest.mark.filterwarnings("ignore:.*:UserWarning:distributed")  # size of what is sent, ports in use
def test_dask(frames, serial):
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        check(client.get_executor(), frames, serial)


@needs("parsl")
def test_parsl(frames, serial, parsl_executor):
    check(parsl_executor, frames, serial)


class Shuffled(Executor):
    """Finishes the last task first."""

    def __init__(self):
        self.waiting = []

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        self.waiting.append((future, fn, args))
        if len(self.waiting) == min(N_CHUNKS, folding._TASKS):
            for one, function, arguments in reversed(self.waiting):
                one.set_result(function(*arguments))
        return future


def test_order_of_completion_does_not_matter(frames, serial):
    one = model().fit(frames, executor=Shuffled())
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("forkserver")) as executor:
        two = model().fit(frames, executor=executor)
    for name, factor in one.factors_.items():
        other = two.factors_[name]  # the rows of R behind a dependent column hang on rounding, their products do not
        assert_allclose(factor.triangle.T @ factor.triangle, other.triangle.T @ other.triangle, rtol=0, atol=1e-12)
    assert_same_predictions(one, serial)


class Dying(Executor):
    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        from concurrent.futures.process import BrokenProcessPool

        future.set_exception(BrokenProcessPool("killed"))
        return future


def test_workers_that_die_are_explained(frames):
    with pytest.raises(RuntimeError, match=r"get_context\('forkserver'\)"):
        model().fit(frames, executor=Dying())
