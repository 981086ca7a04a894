"""The streamed, whitened model equals dense Gaussian processes (DESIGN.md section 5)."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gapkit import RBF, SOAP, DotProduct, GAPRegressor, Noise, Term
from gapkit.exceptions import LabelWarning, NumericalWarning
from gapkit.gp.observations import KINDS, labels_of
from gapkit.neighbors import NeighborList
from tests.conftest import copper_gold, labelled
from tests.reference import rows as plain
from tests.reference.gp import dense_gp, sparse_gp

NOISE = Noise(energy=0.01, forces=0.1, stress=0.02, per_config_type={"slab": Noise(0.02, 0.2, 0.05)})
DELTA = 1.7


def environments(atoms, settings):
    """Features and their derivatives with respect to atoms and strain; SOAP itself is tested elsewhere."""
    descriptor = SOAP(**settings, species=["Cu", "Au"]).fit([atoms])
    neighbors = NeighborList.from_atoms([atoms], descriptor.neighbor_range)
    features = descriptor.compute(neighbors, jacobian=True)
    n, d = features.values.shape
    dx, dx_strain = np.zeros((n, n, 3, d)), np.zeros((n, 3, 3, d))
    np.add.at(dx, (neighbors.centers, neighbors.neighbors), features.jacobian)
    np.subtract.at(dx, (neighbors.centers, neighbors.centers), features.jacobian)
    np.add.at(dx_strain, neighbors.centers, neighbors.vectors[:, :, None, None] * features.jacobian[:, None])
    return features.values, dx, dx_strain


def blocks(frames, settings, features):
    """Plain rows of each frame."""
    return [plain.label_rows(atoms, environments(atoms, settings), features) for atoms in frames]


def stacked(frames, rows, e0, kinds=KINDS):
    """Rows, targets and noise of all labels, one after the other."""
    k, y, sigma = [], [], []
    for atoms, block in zip(frames, rows, strict=True):
        noise = NOISE.classes()[NOISE.class_of(atoms.info["config_type"])]
        labels = labels_of(atoms, 0)
        target = {
            "energy": np.array([labels.energy - sum(e0[s] for s in atoms.symbols)]),
            "forces": labels.forces.ravel(),
            "stress": labels.stress,
        }
        for kind in kinds:
            k.append(block[kind])
            y.append(target[kind])
            width = getattr(noise, kind) * (np.sqrt(len(atoms)) if kind == "energy" else 1.0)
            sigma.append(np.full(len(target[kind]), width))
    return np.concatenate(k), np.concatenate(y), np.concatenate(sigma)


def assert_same(model, test, means, variances):
    """Energies, forces, stresses, variances of totals and of local energies: to 1e-8 of the largest value."""
    predictions = model.evaluate(test, uncertainty="exact", std=("energy", "energies", "forces", "stress"))
    e0 = [sum(model.e0_[s] for s in atoms.symbols) for atoms in test]
    got = {
        "energy": np.array([p.energy for p in predictions]) - e0,
        "forces": np.concatenate([p.forces.ravel() for p in predictions]),
        "stress": np.concatenate([p.stress for p in predictions]),
        "local": np.concatenate(
            [p.energies - [model.e0_[s] for s in a.symbols] for p, a in zip(predictions, test, strict=True)]
        ),
    }
    for kind, value in got.items():
        expected = means[kind]
        assert_allclose(value, expected, rtol=0, atol=1e-8 * np.abs(expected).max(), err_msg=kind)
    for kind, std in (
        ("energy", [p.energy_std for p in predictions]),
        ("local", np.concatenate([p.energies_std for p in predictions])),
        ("forces", np.concatenate([p.forces_std.ravel() for p in predictions])),
        ("stress", np.concatenate([p.stress_std for p in predictions])),
    ):
        expected = variances[kind]
        assert_allclose(np.square(std), expected, rtol=0, atol=1e-8 * np.abs(expected).max(), err_msg=f"variance of {kind}")


@pytest.fixture(scope="module")
def held_out():
    return [labelled(copper_gold(100, (True, True, False))), labelled(copper_gold(101, (True, True, True), n=8))]


def test_energies_only_with_every_environment_a_sparse_point(alloy, held_out):
    """Case (a): the exact GP on total energies."""
    settings = dict(r_cut=4.0, n_max=3, l_max=3, sigma=0.5)
    train = [atoms.copy() for atoms in alloy[:6]]
    for copy, atoms in zip(train, alloy, strict=False):
        copy.calc = type(atoms.calc)(copy, energy=atoms.get_potential_energy())
    n = sum(map(len, train))
    model = GAPRegressor([Term(SOAP(**settings), DotProduct(4), delta=DELTA, n_sparse={"Cu": n, "Au": n})], noise=NOISE)
    with pytest.warns() as caught:
        model.fit(train)
    assert {w.category for w in caught} == {LabelWarning, NumericalWarning}  # no forces; fewer environments than asked for
    assert model.n_sparse_ == n
    all_frames = [*train, *held_out]
    x = [environments(atoms, settings)[0] for atoms in all_frames]

    def covariance(a, b):  # of two total energies
        same = all_frames[a].numbers[:, None] == all_frames[b].numbers
        return DELTA**2 * np.sum(same * (x[a] @ x[b].T) ** 4)

    labels, tests = range(len(train)), range(len(train), len(all_frames))
    k_ll = np.array([[covariance(a, b) for b in labels] for a in labels])
    k_pl = np.array([[covariance(a, b) for b in labels] for a in tests])
    k_pp = np.array([covariance(a, a) for a in tests])
    y = np.array([a.get_potential_energy() - sum(model.e0_[s] for s in a.symbols) for a in train])
    sigma = np.array([NOISE.classes()[NOISE.class_of(a.info["config_type"])].energy * np.sqrt(len(a)) for a in train])
    mean, variance = dense_gp(k_ll, k_pl, k_pp, y, sigma)
    energy, std = model.predict(held_out, return_std=True)
    energy -= [sum(model.e0_[s] for s in a.symbols) for a in held_out]
    assert_allclose(energy, mean, rtol=0, atol=1e-8 * np.abs(mean).max())
    assert_allclose(std**2, variance, rtol=0, atol=1e-8 * variance.max())


@pytest.mark.parametrize("zeta", [1, 2])
def test_all_labels_with_sparse_points_that_span_the_feature_space(alloy, held_out, zeta):
    """Case (b): the exact GP in the explicit feature space of the kernel; superfluous sparse points are dropped."""
    settings = {1: dict(r_cut=4.0, n_max=1, l_max=2, sigma=1.0), 2: dict(r_cut=4.0, n_max=1, l_max=1, sigma=1.5)}[zeta]
    d, dimension = {1: (9, 9), 2: (6, 20)}[zeta]  # 21 products less the relation p_aa p_bb = p_ab² of l = 0
    train = []
    for atoms in alloy:  # spread out, so that the smallest singular value of the features is 1e-3 and not 1e-8
        moved = atoms.copy()
        moved.rattle(0.3, seed=atoms.info["number"])
        train.append(labelled(moved))
    n = sum(map(len, train))
    model = GAPRegressor([Term(SOAP(**settings), DotProduct(zeta), delta=DELTA, n_sparse=n)], noise=NOISE)
    with pytest.warns(NumericalWarning, match="dropped"):
        model.fit(train)
    assert model.n_sparse_ == 2 * dimension
    feature = {1: plain.linear_map(d), 2: plain.quadratic_map(d)}[zeta]
    features = {29: feature, 79: feature}
    phi, y, sigma = stacked(train, blocks(train, settings, features), model.e0_)
    test_rows = blocks(held_out, settings, features)
    inverse = np.linalg.inv(np.eye(phi.shape[1]) / DELTA**2 + phi.T @ (phi / sigma[:, None] ** 2))
    weights = inverse @ phi.T @ (y / sigma**2)

    rows = {kind: np.concatenate([r[kind] for r in test_rows]) for kind in ("local", *KINDS)}
    variances = {kind: np.einsum("pf,fg,pg->p", r, inverse, r) for kind, r in rows.items()}
    assert_same(model, held_out, {kind: r @ weights for kind, r in rows.items()}, variances)


def priors(frames, settings, reference, kernel, kinds):
    """k(l, l) of labels, as double sums over the environments of each frame."""
    result = []
    for kind, atoms in ((kind, atoms) for atoms in frames for kind in kinds):
        x, dx, dx_strain = environments(atoms, settings)
        same = atoms.numbers[:, None] == atoms.numbers
        k = np.array([reference(x)(xi)[0] for xi in x]) * same
        if kind in ("energy", "local"):
            result += [k.sum()] if kind == "energy" else list(np.diag(k))
            continue
        second = np.array([[plain.second_derivative(kernel, a, b) for b in x] for a in x]) * same[:, :, None, None]
        change = dx.reshape(len(x), -1, x.shape[1])
        if kind == "stress":
            change = np.stack([(dx_strain[:, a, b] + dx_strain[:, b, a]) / 2 for a, b in plain.VOIGT], axis=1)
            change = change / atoms.get_volume()
        result += list(np.einsum("icf,ijfg,jcg->c", change, second, change))
    return np.array(result)


@pytest.mark.parametrize("approximation", ["sor", "dtc", "fitc", "vfe"])
@pytest.mark.parametrize("kernel", ["dot product", "rbf"])
def test_textbook_formula_of_the_same_approximation(alloy, held_out, kernel, approximation):
    """Case (c): dense and unstreamed; mean, variances and evidence."""
    settings = dict(r_cut=4.0, n_max=2, l_max=2, sigma=0.5)
    ours, theirs = {
        "dot product": (DotProduct(3), lambda s: plain.dot_product(s, 3)),
        "rbf": (RBF(0.8), lambda s: plain.rbf(s, 0.8)),
    }[kernel]
    model = GAPRegressor(
        [Term(SOAP(**settings), ours, delta=DELTA, n_sparse={"Cu": 6, "Au": 5}, selection="fps")],
        noise=NOISE,
        approximation=approximation,
    ).fit(alloy)
    (term,) = model.potential_.terms
    features = {z: theirs(points) for z, points in zip((29, 79), term.points, strict=True)}
    k_lu, y, sigma = stacked(alloy, blocks(alloy, settings, features), model.e0_)
    k_uu = np.zeros((11, 11))
    for points, columns, z in zip(term.points, term.columns, (29, 79), strict=True):
        k_uu[columns, columns] = np.array([features[z](p)[0] for p in points])
    test_rows = blocks(held_out, settings, features)
    d2 = DELTA**2
    k_ll = d2 * priors(alloy, settings, theirs, kernel, KINDS)
    of_kinds = ("energy", "local", "forces", "stress")
    rows = [np.concatenate([r[kind] for r in test_rows]) for kind in of_kinds]
    k_pp = d2 * np.concatenate([priors(held_out, settings, theirs, kernel, (kind,)) for kind in of_kinds])
    mean, variance, evidence = sparse_gp(d2 * k_uu, d2 * k_lu, d2 * np.concatenate(rows), k_ll, k_pp, y, sigma, approximation)
    until = np.cumsum([len(r) for r in rows])[:-1]
    means, variances = (dict(zip(of_kinds, np.split(both, until), strict=True)) for both in (mean, variance))
    assert_same(model, held_out, means, variances)
    if approximation == "fitc":
        with pytest.raises(ValueError, match="approximation"):
            model.log_marginal_likelihood()
    else:
        assert_allclose(model.log_marginal_likelihood(), evidence, rtol=1e-9)


def test_two_terms_add(alloy, held_out):
    """A sum of terms equals one Gaussian process whose sparse blocks stand side by side."""
    settings = [dict(r_cut=4.0, n_max=2, l_max=1, sigma=0.5), dict(r_cut=3.0, n_max=2, l_max=2, sigma=0.4)]
    deltas, kernels = (1.7, 0.4), (DotProduct(2), RBF(0.7))
    references = (lambda s: plain.dot_product(s, 2), lambda s: plain.rbf(s, 0.7))
    terms = [
        Term(SOAP(**s), k, delta=d, n_sparse={"Cu": 4, "Au": 4}, selection="fps")
        for s, k, d in zip(settings, kernels, deltas, strict=True)
    ]
    model = GAPRegressor(terms, noise=NOISE).fit(alloy)
    k_lu, k_pu, k_uu, y, sigma = [], [], np.zeros((16, 16)), None, None
    for s, reference, delta, term in zip(settings, references, deltas, model.potential_.terms, strict=True):
        features = {z: reference(points) for z, points in zip((29, 79), term.points, strict=True)}
        rows, y, sigma = stacked(alloy, blocks(alloy, s, features), model.e0_)
        k_lu.append(delta**2 * rows)
        k_pu.append(delta**2 * np.concatenate([b["forces"] for b in blocks(held_out, s, features)]))
        for points, columns, z in zip(term.points, term.columns, (29, 79), strict=True):
            k_uu[columns, columns] = delta**2 * np.array([features[z](p)[0] for p in points])
    none = np.zeros(len(y)), np.zeros(len(k_pu[0]))  # prior variances
    mean, _, _ = sparse_gp(k_uu, np.hstack(k_lu), np.hstack(k_pu), *none, y, sigma, "dtc")
    forces = np.concatenate([p.forces.ravel() for p in model.evaluate(held_out)])
    assert_allclose(forces, mean, rtol=0, atol=1e-8 * np.abs(mean).max())
