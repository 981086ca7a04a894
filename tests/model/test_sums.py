"""Every form of the sum over sparse points gives the same energies, gradients and predictions as the plain one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gapkit import SOAP, DotProduct, GAPRegressor, Noise, Term, load
from gapkit.model.sums import ExactSum, LinearSum, PointSum, QuadraticSum
from tests.conftest import copper_gold


class PlainSum(PointSum):
    """sum_s alpha_s (x·s)^zeta in extended precision, term by term: the definition."""

    def __init__(self, term, group, alpha):
        scale = 1.0 if term.scales is None else term.scales[group].astype(np.longdouble)
        self.points, self.alpha, self.scale, self.zeta = term.points[group] / scale, alpha, scale, int(term.kernel.zeta)

    def __call__(self, x):
        products = (x / self.scale) @ self.points.T
        value = products**self.zeta @ self.alpha
        return value, (self.alpha * self.zeta * products ** (self.zeta - 1)) @ self.points / self.scale


def bound(alpha):
    """DESIGN section 5: predictions to 1e-15 of the sum of |alpha|, at least 1e-10 eV."""
    return max(1e-10, 1e-15 * np.abs(alpha).sum())


def fitted(alloy, zeta, **term):
    terms = [Term(SOAP(4.2, 2, 2), DotProduct(zeta), n_sparse=40, **term)]
    return GAPRegressor(terms, noise=Noise(1e-3, 0.02, 1e-3), random_state=0).fit(alloy)


@pytest.mark.parametrize("scale", [None, "std"])
@pytest.mark.parametrize(("zeta", "form"), [(1, LinearSum), (2, QuadraticSum), (3, ExactSum), (4, ExactSum)])
def test_every_form_is_the_plain_sum(alloy, zeta, form, scale):
    model = fitted(alloy, zeta, scale=scale)
    (term,), (alphas,), (sums,) = model.potential_.terms, model.potential_.coefficients, model.potential_.sums
    x = term.descriptor.transform([copper_gold(11), copper_gold(12)])
    for group, alpha in enumerate(alphas):
        assert type(sums[group]) is form
        plain = PlainSum(term, group, alpha)
        value, gradient = sums[group](x)
        plain_value, plain_gradient = plain(x)
        atol = bound(alpha * np.abs((x / plain.scale) @ plain.points.T).max() ** zeta)  # scaled features are longer than 1
        assert_allclose(value, plain_value.astype(float), rtol=0, atol=atol)
        assert_allclose(gradient, plain_gradient.astype(float), rtol=0, atol=10 * atol * max(1.0, 1.0 / np.min(plain.scale)))
        assert_allclose(sums[group].value(x), value, rtol=0, atol=atol)


def test_a_quadratic_form_of_many_coefficients_of_either_sign_keeps_the_bound(alloy):
    """alpha up to 1e6 eV that cancel: nearly dependent sparse points make such."""
    (term,) = fitted(alloy, 2).potential_.terms
    rng = np.random.default_rng(0)
    x = term.descriptor.transform([copper_gold(11), copper_gold(12)])
    for group, points in enumerate(term.points):
        alpha = rng.normal(0.0, 1e6, len(points))
        value, _ = QuadraticSum(term, group, alpha)(x)
        assert_allclose(value, PlainSum(term, group, alpha)(x)[0].astype(float), rtol=0, atol=bound(alpha))


def test_few_points_keep_the_plain_sum(alloy):
    """Below half as many points as features the form would cost more."""
    model = GAPRegressor([Term(SOAP(4.2, 2, 2), DotProduct(2), n_sparse={"Cu": 10, "Au": 20})], random_state=0).fit(alloy)
    (term,), (sums,) = model.potential_.terms, model.potential_.sums
    assert term.descriptor.n_features == 30
    assert [len(points) for points in term.points] == [10, 20]
    assert [type(form) for form in sums] == [ExactSum, QuadraticSum]


def test_predictions_and_deviations_are_those_of_the_plain_sum(alloy, tmp_path, monkeypatch):
    frames = [copper_gold(11, (True, True, True)), copper_gold(12)]
    model = fitted(alloy[:-2], 2)
    model.partial_fit(alloy[-2:])
    model.save(tmp_path / "model.gap")
    plain = load(tmp_path / "model.gap")
    monkeypatch.setattr(
        "gapkit.model.potential.sums_of", lambda term, alphas: [PlainSum(term, g, a) for g, a in enumerate(alphas)]
    )
    wanted = {"uncertainty": "exact", "std": ("energy", "energies")}
    truth = plain.evaluate(frames, **wanted)
    monkeypatch.undo()
    atol = 4 * bound(np.concatenate(model.potential_.coefficients[0]))  # a structure has four atoms
    for found in (model.evaluate(frames, **wanted), load(tmp_path / "model.gap").evaluate(frames, **wanted)):
        for p, q in zip(found, truth, strict=True):
            assert_allclose(p.energies, q.energies, rtol=0, atol=atol)
            assert_allclose(p.forces, q.forces, rtol=0, atol=10 * atol)  # gradients, per Å
            assert_allclose(p.energies_std, q.energies_std, rtol=1e-8)
            assert p.energy_std == pytest.approx(q.energy_std, rel=1e-8)
            if q.stress is not None:
                assert_allclose(p.stress, q.stress, rtol=0, atol=atol)


def test_partial_fit_renews_the_form(alloy):
    model = fitted(alloy[:-2], 2)
    before = model.potential_.sums[0][0].matrix
    model.partial_fit(alloy[-2:])
    assert not np.array_equal(before, model.potential_.sums[0][0].matrix)
