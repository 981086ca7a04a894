"""Joint covariances of predictions against the dense formula, and against the deviations of single predictions."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gapkit import RBF, SOAP, DotProduct, GAPRegressor, Matern, Term, ThreeBody, TwoBody, load
from gapkit.gp import functionals
from tests.conftest import copper_gold, labelled
from tests.gp.test_exactness import DELTA, NOISE, blocks, environments, stacked
from tests.reference import rows as plain
from tests.reference.gp import sparse_gp

ORDER = ("energy", "local", "forces", "stress")
EVERY = ("energy", "energies", "forces", "stress")


@pytest.fixture(scope="module")
def held_out():
    return [labelled(copper_gold(100, (True, True, False))), labelled(copper_gold(101, (True, True, True)))]


def dense_prior(frames, settings, reference, kernel):
    """Covariance of all labels of all frames from k, its first and its second derivatives, pair of atoms by pair of atoms."""
    parts = [environments(atoms, settings) for atoms in frames]
    x, numbers = np.concatenate([p[0] for p in parts]), np.concatenate([atoms.numbers for atoms in frames])
    c, d, start = [], [], 0
    for atoms, (own, dx, dx_strain) in zip(frames, parts, strict=True):
        n, there = len(atoms), slice(start, start + len(atoms))
        strain = np.stack([(dx_strain[:, a, b] + dx_strain[:, b, a]) / 2 for a, b in plain.VOIGT]) / atoms.get_volume()
        value, slope = np.zeros((1 + n + 3 * n + 6, len(x))), np.zeros((1 + n + 3 * n + 6, len(x), own.shape[1]))
        value[0, there], value[1 : 1 + n, there] = 1.0, np.eye(n)
        slope[1 + n : 1 + 4 * n, there] = -dx.reshape(n, 3 * n, -1).transpose(1, 0, 2)
        slope[1 + 4 * n :, there] = strain
        c.append(value)
        d.append(slope)
        start += n
    c, d = np.concatenate(c), np.concatenate(d)
    same = (numbers[:, None] == numbers).astype(float)
    k = np.array([reference(x)(xi)[0] for xi in x]) * same
    first = np.array([reference(x)(xi)[1] for xi in x]) * same[:, :, None]  # by the features of the first
    second = np.array([[plain.second_derivative(kernel, a, b) for b in x] for a in x]) * same[:, :, None, None]
    mixed = np.einsum("fid,ijd,gj->fg", d, first, c)
    return c @ k @ c.T + mixed + mixed.T + np.einsum("fid,ijde,gje->fg", d, second, d, optimize=True)


@pytest.mark.parametrize("approximation", ["dtc", "sor"])
@pytest.mark.parametrize("kernel", ["dot product", "rbf"])
def test_equals_the_dense_formula(alloy, held_out, kernel, approximation):
    """Variances of the predictions and of 50 random combinations of them: 1e-8 of the largest."""
    settings = dict(r_cut=4.0, n_max=2, l_max=2, sigma=0.5)
    ours, theirs = {
        "dot product": (DotProduct(3), lambda s: plain.dot_product(s, 3)),
        "rbf": (RBF(0.8), lambda s: plain.rbf(s, 0.8)),
    }[kernel]
    term = Term(SOAP(**settings), ours, delta=DELTA, n_sparse={"Cu": 6, "Au": 5}, selection="fps")
    model = GAPRegressor([term], noise=NOISE, approximation=approximation).fit(alloy)
    (sparse,) = model.potential_.terms
    features = {z: theirs(points) for z, points in zip((29, 79), sparse.points, strict=True)}
    k_lu, y, sigma = stacked(alloy, blocks(alloy, settings, features), model.e0_)
    k_uu = np.zeros((11, 11))
    for points, columns, z in zip(sparse.points, sparse.columns, (29, 79), strict=True):
        k_uu[columns, columns] = np.array([features[z](p)[0] for p in points])
    rows = np.concatenate([r[kind] for r in blocks(held_out, settings, features) for kind in ORDER])
    prior = dense_prior(held_out, settings, theirs, kernel)
    got = model.covariance(held_out, EVERY)
    assert got.shape == prior.shape
    # all rows of comparable size
    scale = 1.0 / np.sqrt(np.diag(prior))
    mix = np.concatenate([np.eye(len(rows)), np.random.default_rng(0).standard_normal((50, len(rows)))]) * scale
    d2 = DELTA**2
    k_pp = d2 * np.einsum("cf,fg,cg->c", mix, prior, mix)
    _, expected, _ = sparse_gp(d2 * k_uu, d2 * k_lu, d2 * mix @ rows, np.zeros(len(y)), k_pp, y, sigma, approximation)
    assert_allclose(np.einsum("cf,fg,cg->c", mix, got, mix), expected, rtol=0, atol=1e-8 * expected.max())


@pytest.fixture(scope="module")
def model(alloy):
    """Two terms of atoms, one with scaled features and a compound kernel, and terms of pairs and triplets."""
    terms = [
        Term(SOAP(4.2, 3, 2), DotProduct(3), n_sparse=20, scale=np.linspace(0.5, 1.5, 63)),
        Term(SOAP(3.2, 2, 2, 0.4), (Matern(1.5, nu=2.5) + 0.3) * DotProduct(2), delta=0.3, n_sparse=16, selection="fps"),
        Term(TwoBody(4.0), RBF(0.8), delta=0.3, n_sparse=8),
        Term(ThreeBody(3.0), RBF(1.5), delta=0.1, n_sparse=12),
    ]
    return GAPRegressor(terms, noise=NOISE, random_state=0).fit(alloy)


@pytest.mark.parametrize("approximation", ["dtc", "sor"])
def test_diagonal_is_that_of_single_predictions(model, approximation):
    """A slab, a bulk cell and a molecule, which has no stress: to 1e-9 of the largest of each kind."""
    frames = [copper_gold(50, (True, True, False)), copper_gold(51, (True, True, True), n=8), copper_gold(52, (False,) * 3)]
    other = copy(model)
    other.potential_ = replace(model.potential_, approximation=approximation)
    covariance = other.covariance(frames, EVERY)
    assert_allclose(covariance, covariance.T, rtol=0, atol=1e-12 * covariance.max())
    assert np.linalg.eigvalsh(covariance).min() > -1e-9 * covariance.max()
    expected, kinds = [], []
    for p in other.evaluate(frames, uncertainty="exact", std=EVERY):
        for name in EVERY:
            std = getattr(p, f"{name}_std")
            if std is not None:
                expected.append(np.ravel(std) ** 2)
                kinds += [name] * np.size(std)
    expected, kinds = np.concatenate(expected), np.array(kinds)
    assert (kinds == "stress").sum() == 12
    for name in EVERY:
        members = kinds == name
        assert_allclose(
            np.diag(covariance)[members], expected[members], rtol=0, atol=1e-9 * expected[members].max(), err_msg=name
        )


def test_sums_of_local_energies_are_total_energies(model):
    frames = [copper_gold(50, (True, True, False)), copper_gold(51, (True, True, True))]
    total, local = model.covariance(frames), model.covariance(frames, of=("energies",))
    assert total.shape == (2, 2)
    assert local.shape == (8, 8)
    assert_allclose(local.reshape(2, 4, 2, 4).sum(axis=(1, 3)), total, rtol=1e-9)
    both = model.covariance(frames, of=("energies", "energy"))
    assert_allclose(both[0, 5], total[0, 1], rtol=1e-9)
    assert_allclose(both[1:5, 1:5], local[:4, :4], rtol=1e-9)


def test_forces_are_gradients_in_the_covariance_too(model):
    """Covariance of an energy with a force component: minus the difference of two covariances of energies; 1e-6 of it."""
    atoms, other = copper_gold(50, (True, True, False)), copper_gold(51, (True, True, True))
    moved = [atoms.copy() for _ in range(4)]
    for displaced, step in zip(moved, (-2e-3, -1e-3, 1e-3, 2e-3), strict=True):
        displaced.positions[1, 2] += step
    of_energies = model.covariance([other, *moved])[0, 1:]
    expected = -(of_energies @ [1, -8, 8, -1]) / 12e-3
    got = model.covariance([other, atoms], of=("energy", "forces"))[0, 13 + 1 + 3 + 2]
    assert_allclose(got, expected, rtol=1e-6)


def test_bad_input(model, alloy, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="`of` must be one of 'energy', 'energies', 'forces', 'stress'; got 'virial'"):
        model.covariance(alloy, of=("virial",))
    model.save(tmp_path / "m.gap", posterior=False)
    with pytest.raises(ValueError, match="must have its posterior"):
        load(tmp_path / "m.gap").covariance(alloy)
    monkeypatch.setattr(functionals, "_LARGEST", 1e-6)
    with pytest.raises(MemoryError, match=r"by all atoms, .* GiB; the limit is 1e-06"):
        model.covariance(alloy[:1], of=("forces",))


def test_duplicated_structures(model):
    """Differences of the same structure have no variance; no warning."""
    atoms = copper_gold(50, (True, True, False))
    covariance = model.covariance([atoms, atoms.copy()])
    assert_allclose(covariance, covariance[0, 0], rtol=1e-9)
