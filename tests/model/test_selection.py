"""Sparse points in a model: methods and given environments, group by group."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from numpy.testing import assert_array_equal

from gapkit import RBF, SOAP, DotProduct, GAPRegressor, Matern, Noise, PiecewisePolynomial, Term, ThreeBody, TwoBody, load
from gapkit.cli.config import config_of, dump_config, model_from_config
from gapkit.exceptions import NumericalWarning
from gapkit.gp.sparsify import SELECTIONS
from gapkit.model import fitting
from gapkit.neighbors import NeighborList

SHORT = SOAP(3.2, 3, 2, sigma=0.4)


def chosen(term, frames):
    """Sparse points of each group, ascending by their first feature that differs."""
    (sparse,) = fitting.choose_terms([("t", term)], frames, 0, show=False)
    return [points[np.lexsort(points.T)] for points in sparse.points]


def ordered(points):
    return points[np.lexsort(points.T)]


@pytest.fixture(scope="module")
def environments(alloy):
    """Features and groups of all atoms of the training set (Cu 0, Au 1)."""
    fitted = SOAP(3.2, 3, 2, sigma=0.4).fit(alloy)
    found = fitted.compute(NeighborList.from_atoms(alloy, fitted.neighbor_range))
    return found.values, found.groups


@pytest.mark.parametrize("method", SELECTIONS)
@pytest.mark.parametrize("descriptor", [SHORT, TwoBody(4.0), ThreeBody(3.2)], ids=lambda d: type(d).__name__)
def test_every_method_chooses_environments_of_its_group(alloy, method, descriptor):
    one, two = (chosen(Term(descriptor, RBF(0.05), n_sparse=30, selection=method), alloy) for _ in range(2))
    fitted = descriptor.fit(alloy)
    found = fitted.compute(NeighborList.from_atoms(alloy, fitted.neighbor_range))
    for group, (points, again) in enumerate(zip(one, two, strict=True)):
        assert_array_equal(points, again)
        members = found.values[found.groups == group]
        distance = np.abs(points[:, None] - members[None]).max(axis=2).min(axis=1)
        assert len(points) >= 4
        assert distance.max() < 1e-12
        assert len(np.unique(points, axis=0)) == len(points)


def test_methods_by_group(alloy):
    mixed = chosen(Term(SHORT, RBF(0.8), n_sparse=20, selection={"Cu": "fps", "Au": "cholesky"}), alloy)
    fps, cholesky = (chosen(Term(SHORT, RBF(0.8), n_sparse=20, selection=m), alloy) for m in ("fps", "cholesky"))
    assert_array_equal(mixed[0], fps[0])
    assert_array_equal(mixed[1], cholesky[1])
    assert not np.array_equal(fps[1], cholesky[1])


def test_given_environments_of_all_groups(alloy, environments):
    values, groups = environments
    given = [0, 3, 17, 30, 55]
    points = chosen(Term(SHORT, RBF(0.8), n_sparse=1, selection=given), alloy)
    for group in (0, 1):
        members = [k for k in given if groups[k] == group]
        np.testing.assert_allclose(points[group], ordered(values[members]), rtol=0, atol=1e-14)


@pytest.mark.parametrize("max_atoms", [1, 20, 10**6])
def test_given_environments_by_group(alloy, environments, monkeypatch, max_atoms):
    """Numbers within the group, as in gap_fit; the other group shares n_sparse; chunks do not matter."""
    monkeypatch.setattr(fitting.chunks_of_frames, "__defaults__", (max_atoms,))
    values, groups = environments
    given = np.array([25, 2, 9, 11])
    copper, gold = chosen(Term(SHORT, RBF(0.8), n_sparse=6, selection={"Cu": given, "Au": "fps"}), alloy)
    np.testing.assert_allclose(copper, ordered(values[groups == 0][given]), rtol=0, atol=1e-14)
    assert len(gold) == 10  # at least ten a group
    copper, gold = chosen(Term(SHORT, RBF(0.8), n_sparse={"Au": 3}, selection={"Cu": given}), alloy)
    assert (len(copper), len(gold)) == (4, 3)


def test_given_pairs_keep_their_weights(alloy):
    """Also those near the cutoff, which no method takes."""
    descriptor = TwoBody(4.0).fit(alloy)
    found = descriptor.compute(NeighborList.from_atoms(alloy, 4.0))
    faint = int(np.argmin(found.weights))
    assert found.weights[faint] < 0.01
    given = sorted({faint, 4, 90})
    (sparse,) = fitting.choose_terms([("pair", Term(descriptor, RBF(1.0), selection=given))], alloy, 0, show=False)
    points, weights = np.concatenate(sparse.points)[:, 0], np.concatenate(sparse.weights)
    order = np.argsort(points)
    expected = np.argsort(found.values[given, 0])
    np.testing.assert_allclose(points[order], found.values[given, 0][expected], rtol=0, atol=1e-14)
    np.testing.assert_allclose(weights[order], found.weights[given][expected], rtol=1e-10, atol=1e-14)


def test_the_same_scale_with_and_without_given_environments(alloy):
    free, given = (
        fitting.choose_terms([("t", Term(SHORT, RBF(2.0), selection=s, scale="std", n_sparse=20))], alloy, 0, show=False)[0]
        for s in ("fps", [1, 2, 3, 4])
    )
    for a, b in zip(free.scales, given.scales, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_models_with_given_environments_and_new_kernels_come_back(alloy, tmp_path):
    terms = [
        ("near", Term(SHORT, Matern(0.8, 1.5), n_sparse=12, selection={"Cu": np.arange(0, 20, 2), "Au": "kmeans"})),
        ("pair", Term(TwoBody(4.0), PiecewisePolynomial(2.0, 1), n_sparse=12, selection=[1, 5, 20, 33, 47, 60, 81])),
    ]
    model = GAPRegressor(terms, noise=Noise(1e-3, 0.02, 1e-3), random_state=0).fit(alloy)
    model.save(tmp_path / "m.gap")
    loaded = load(tmp_path / "m.gap")
    for p, q in zip(*(m.evaluate(alloy, uncertainty="exact", std=("energy", "forces")) for m in (model, loaded)), strict=True):
        assert p.energy == q.energy
        assert_array_equal(p.forces, q.forces)
        assert_array_equal(p.forces_std, q.forces_std)
        assert (p.forces_std > 0).all()
    assert_array_equal(loaded.fit(alloy).predict(alloy), model.predict(alloy))
    error = np.concatenate([p.forces - a.get_forces() for p, a in zip(model.evaluate(alloy), alloy, strict=True)])
    assert np.sqrt(np.mean(error**2)) < 0.5 * np.sqrt(np.mean(np.concatenate([a.get_forces() for a in alloy]) ** 2))


@pytest.mark.parametrize("kernel", [Matern(0.8, 1.5), Matern(0.8), PiecewisePolynomial(3.0, 3)], ids=repr)
def test_forces_with_rough_kernels_are_derivatives(alloy, kernel):
    """Step 1e-3 Å; 1e-5 eV/Å is the noise floor, times 10 for the third derivatives of rough kernels."""
    from ase.calculators.fd import calculate_numerical_forces

    from gapkit import GAPCalculator

    descriptor = ThreeBody(3.2) if kernel.get_params().get("dimension") else SHORT
    model = GAPRegressor([Term(descriptor, kernel, n_sparse=20)], noise=Noise(1e-3, 0.02, 1e-3), random_state=0).fit(alloy)
    atoms = alloy[3].copy()
    atoms.calc = GAPCalculator(model)
    assert np.abs(atoms.get_forces()).max() > 0.1
    np.testing.assert_allclose(atoms.get_forces(), calculate_numerical_forces(atoms, eps=1e-3), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("term", "error", "message"),
    [
        (
            Term(SHORT, RBF(), selection=[3, 56], n_sparse=10),
            ValueError,
            "must hold indices below 56, the number of environments; got 56",
        ),
        (
            Term(SHORT, RBF(), selection={"Au": [25]}, n_sparse=10),
            ValueError,
            "must hold indices below 25, the number of",
        ),
        (Term(SHORT, RBF(), selection={"Ag": "fps"}), ValueError, r"must name groups among \['Cu', 'Au'\]; got \['Ag'\]"),
        (Term(SHORT, RBF(), selection=[-1]), ValueError, "`selection` must be an integer of at least 0; got -1"),
        (Term(SHORT, PiecewisePolynomial(1.0, 3)), ValueError, "`dimension` must be an integer of at least .* hundreds"),
        (Term(SHORT, Matern(1.0, 0.5)), ValueError, "`nu` must be one of 1.5, 2.5, 3.5; got 0.5"),
    ],
)
def test_mistakes(alloy, term, error, message):
    with pytest.raises(error, match=message):
        GAPRegressor([term]).fit(alloy)


def test_repeated_indices_and_equal_environments_are_counted(alloy):
    with pytest.warns(NumericalWarning, match="'t' repeats 1 of 3 indices"):
        points = chosen(Term(SHORT, RBF(0.8), selection=[0, 1, 1]), alloy)
    assert sum(map(len, points)) == 2
    n = sum(map(len, alloy))
    with pytest.warns(NumericalWarning, match="1 of 3 sparse points of term 't' were dropped"):
        chosen(Term(SHORT, RBF(0.8), selection=[0, 1, n]), [*alloy, alloy[0]])  # atom 0 again


def test_points_that_the_kernel_cannot_tell_apart_are_dropped_and_counted(alloy):
    """(x·s)^1 of 6 features per species pair has few directions; pivoted Cholesky runs out of them."""
    with pytest.warns(NumericalWarning, match="sparse points of term 't' were dropped"):
        chosen(Term(TwoBody(4.0), DotProduct(1), n_sparse=60, selection="cholesky"), alloy)


TEXT = """
soap: {r_cut: 4.5, zeta: 2, selection: {Si: cur, C: [0, 4, 9]}}
near: {type: soap, r_cut: 3.0, kernel: matern, length_scale: 0.7, nu: 1.5, selection: [3, 1, 2]}
pair: {type: two_body, r_cut: 4.0, kernel: piecewise_polynomial, length_scale: 2.0, dimension: 1}
three_body: {r_cut: 3.0, kernel: rbf, length_scale: 2.0}
dot: {type: soap, kernel: dot_product, zeta: 3}
"""


def test_configuration_and_back():
    model = model_from_config(yaml.safe_load(TEXT))
    soap, near, pair, triplet, dot = (term for _, term in model.named_terms())
    assert repr(soap) == repr(Term(SOAP(4.5), DotProduct(2), selection={"Si": "cur", "C": [0, 4, 9]}))
    assert repr(near) == repr(Term(SOAP(3.0), Matern(0.7, 1.5), selection=[3, 1, 2]))
    assert repr(pair) == repr(Term(TwoBody(4.0), PiecewisePolynomial(2.0, 1)))
    assert (repr(triplet.kernel), repr(dot.kernel)) == ("RBF(length_scale=2.0)", "DotProduct(zeta=3)")
    for defaults in (True, False):
        again = model_from_config(yaml.safe_load(dump_config(config_of(model, defaults=defaults))))
        assert repr(again.named_terms()) == repr(model.named_terms())
    array = GAPRegressor([Term(SOAP(4.5), DotProduct(2), selection=np.arange(3))])
    assert config_of(array)["soap"]["selection"] == [0, 1, 2]
