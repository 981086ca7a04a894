"""Loops over several pairs side by side give what the functions of `gapkit._device` give for one, and fill vector registers."""

from __future__ import annotations

import re

import numba
import numpy as np
import pytest
from numpy.testing import assert_allclose

from gapkit._cpu import pair_batches
from gapkit._cpu.lanes import N_LANES
from gapkit._device import FREE_ORDER
from gapkit._device.harmonics import harmonic_constants, harmonics
from gapkit._device.pair import contract_gradient


def unit_vectors(n):
    u = np.random.default_rng(0).normal(size=(n, 3))
    u[0] = 0.0, 0.0, -1.0  # the pole
    return u / np.linalg.norm(u, axis=1)[:, None]


@pytest.mark.parametrize("l_max", [0, 1, 6, 20])
def test_harmonics_of_a_batch(l_max):
    u, weights = unit_vectors(11), np.linspace(0.0, 2.0, 11)
    found, n_lm = np.empty(((l_max + 1) ** 2, 16)), (l_max + 1) ** 2
    constants = harmonic_constants(l_max)
    unit_cm, weight_m = np.zeros((3, 16)), np.zeros(16)
    unit_cm[:, :11], weight_m[:11] = u.T, weights
    pair_batches.harmonics_of_batch(16, unit_cm, weight_m, constants, np.empty((l_max + 3, 16)), found)
    expected = np.empty((11, n_lm))
    for k in range(11):
        harmonics(*u[k], l_max, constants, expected[k])
    assert_allclose(found[:, :11].T, weights[:, None] * expected, rtol=0, atol=1e-13)  # same recursion
    assert not found[:, 11:].any()


@pytest.mark.parametrize(("n_max", "l_max"), [(1, 0), (3, 1), (8, 6), (5, 20)])
def test_gradients_of_lanes(n_max, l_max):
    rng, constants, n = np.random.default_rng(1), harmonic_constants(l_max), n_max * (l_max + 1)
    u, inverse_r = unit_vectors(N_LANES), rng.uniform(0.2, 1.0, N_LANES)
    c_an, g, dg = rng.normal(size=((l_max + 1) ** 2, n_max)), rng.normal(size=(n, N_LANES)), rng.normal(size=(n, N_LANES))
    found = np.empty((3, N_LANES))
    pair_batches.gradients_of_lanes(c_an, constants, g, dg, np.ascontiguousarray(np.vstack([u.T, inverse_r])), found)
    for k in range(N_LANES):
        one = contract_gradient(*u[k], inverse_r[k], c_an, g[:, k].copy(), dg[:, k].copy(), constants)
        # rounding of sums of (l_max + 1)² n_max terms that grow with l
        assert_allclose(found[:, k], one, rtol=0, atol=1e-12 * (l_max + 1) ** 2)


def test_gradients_fill_vector_registers():
    """All multiplications of numbers of a pair are of eight pairs at once; scalar ones are left in the recursion of factors."""
    fresh = numba.njit(error_model="numpy", fastmath=FREE_ORDER)(pair_batches.gradients_of_lanes.py_func)
    test = np.zeros((1, 1)), harmonic_constants(0), *(np.zeros((k, N_LANES)) for k in (1, 1, 4, 3))
    fresh(*test)
    (code,) = fresh.inspect_llvm().values()
    packed, scalar = (len(re.findall(rf"= fmul [a-z ]*{kind} ", code)) for kind in (r"<8 x double>", "double"))
    assert packed > 40
    assert scalar <= 2
