from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gapkit._device.harmonics import harmonic_constants, harmonics, harmonics_gradient
from gapkit._device.radial import hermite_slopes, hermite_values, locate
from tests.reference.soap import real_harmonics


@pytest.mark.parametrize("l_max", [0, 1, 6, 12])
def test_harmonics_equal_scipy(l_max):
    rng = np.random.default_rng(0)
    scratch = np.empty((l_max + 2, l_max + 2)), np.empty(l_max + 1), np.empty(l_max + 1)
    values, again, gradient = np.empty((l_max + 1) ** 2), np.empty((l_max + 1) ** 2), np.empty((3, (l_max + 1) ** 2))
    for _ in range(5):
        u = rng.standard_normal(3)
        u /= np.linalg.norm(u)
        harmonics(*u, l_max, harmonic_constants(l_max), values)
        harmonics_gradient(*u, l_max, harmonic_constants(l_max), *scratch, again, gradient)
        reference, reference_gradient = real_harmonics(u, l_max)
        # SciPy's Condon-Shortley phase: a sign per m, which the power spectrum does not see
        m = np.concatenate([np.arange(-l, l + 1) for l in range(l_max + 1)])
        sign = (-1.0) ** m
        assert_allclose(values, sign * reference, rtol=0, atol=1e-13)
        assert_allclose(again, values, rtol=1e-13, atol=1e-15)
        tangential = gradient - np.outer(u, u @ gradient)
        assert_allclose(tangential, (sign[:, None] * reference_gradient).T, rtol=0, atol=2e-12)


def test_harmonics_have_no_pole():
    l_max = 4
    scratch = np.empty((l_max + 2, l_max + 2)), np.empty(l_max + 1), np.empty(l_max + 1)
    values, gradient = np.empty(25), np.empty((3, 25))
    harmonics_gradient(0.0, 0.0, 1.0, l_max, harmonic_constants(l_max), *scratch, values, gradient)
    assert np.isfinite(values).all()
    assert np.isfinite(gradient).all()
    assert_allclose(values[[0, 2, 6, 12, 20]], np.sqrt((2 * np.arange(5) + 1) / (4 * np.pi)), rtol=1e-14)


def test_hermite_weights_are_exact_for_quintic_polynomials():
    polynomial = np.polynomial.Polynomial([0.3, -1.2, 0.7, 2.1, -0.4, 0.9])
    left, spacing = 1.5, 0.25
    segments = np.array([[0.0, 2.0, 0.0, 3.0], [1.5, 1 / spacing, 4.0, 2.0]])
    for r in (1.5, 1.61, 1.7499):
        k, u, inverse = locate(r, segments)
        assert k == 4
        nodes = [left, left + spacing]
        data = [polynomial.deriv(d)(x) * spacing**d if d else polynomial(x) for x in nodes for d in range(3)]
        assert_allclose(np.dot(hermite_values(u), data), polynomial(r), rtol=1e-13)
        assert_allclose(np.dot(hermite_slopes(u, inverse), data), polynomial.deriv()(r), rtol=1e-12)


def test_locate_picks_the_segment_and_stays_inside_the_table():
    segments = np.array([[0.0, 2.0, 0.0, 3.0], [1.5, 4.0, 4.0, 2.0]])
    assert locate(0.0, segments)[:2] == (0, 0.0)
    assert locate(1.4999, segments)[0] == 2
    assert locate(1.5, segments)[0] == 4
    assert locate(1.9999, segments)[0] == 5
    k, u, _ = locate(2.0, segments)  # the end of the table is the right end of its last interval
    assert (k, round(u, 12)) == (5, 1.0)
