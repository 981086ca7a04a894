"""The stand-in for CuPy refuses what CuPy refuses, and counts."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from tests.cuda import fake_cupy
from tests.cuda.needs import gpucheck

cupy = gpucheck()


@pytest.fixture
def x():
    return fake_cupy.module().asarray(np.arange(6.0).reshape(2, 3))


REFUSED = {
    "an array of NumPy": lambda xp, x: np.asarray(x),
    "one as an operand": lambda xp, x: x + np.ones((2, 3)),
    "one on the left": lambda xp, x: np.ones((2, 3)) * x,
    "one in place": lambda xp, x: x.__iadd__(np.ones((2, 3))),
    "one as an argument": lambda xp, x: xp.sqrt(np.ones(2)),
    "one among device arrays": lambda xp, x: np.concatenate([x, np.ones((2, 3))]),
    "one as an index": lambda xp, x: x[np.array([0])],
    "a wrong keyword": lambda xp, x: xp.sort(x, stable=True),
    "SciPy": lambda xp, x: scipy.linalg.solve_triangular(x @ x.T, x),
    "an unknown name": lambda xp, x: xp.nanargsort(x),
    "an unknown method": lambda xp, x: x.resize(3),
    "NumPy's function that CuPy does not answer": lambda xp, x: np.ascontiguousarray(x),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(x, what):
    with pytest.raises((TypeError, AttributeError, AssertionError)):
        REFUSED[what](fake_cupy.module(), x)


def test_numpys_functions_are_answered(x):
    """By CuPy's arrays too: it has both protocols, and the functions."""
    assert hasattr(cupy.ndarray, "__array_ufunc__")
    assert hasattr(cupy.ndarray, "__array_function__")
    for result in (np.exp(x), np.einsum("ij,ij->i", x, x), np.zeros_like(x, shape=3), np.where(x > 1.0, x, 0.0), 2.0 * x.T):
        assert isinstance(result, fake_cupy.ndarray)


def test_transfers_and_waits_are_counted(x):
    xp = fake_cupy.module()
    with fake_cupy.counted() as counts:
        y = xp.asarray(np.zeros(4))
        y[:] = x[0, 0]
        y += x.sum()
        y[y > 1.0] = 0.0
    assert counts == {"in": 32, "out": 0, "waits": 0}
    with fake_cupy.counted() as counts:
        assert float(y.sum()) == 0.0
        x.get()
        xp.flatnonzero(x)
        x[x > 0.0]
    assert counts == {"in": 0, "out": 56, "waits": 4}
