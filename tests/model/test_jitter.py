"""A jitter on the diagonal of the sparse points' covariance, as gap_fit has it, and sparse points that are given."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gapkit import RBF, SOAP, DotProduct, GAPRegressor, Noise, Term, ThreeBody, TwoBody, load
from gapkit.cli.config import config_of, model_from_config
from gapkit.gp.design import kernel_rows, targets
from gapkit.io import read_archive
from gapkit.neighbors import NeighborList

SHORT = SOAP(3.2, 3, 2, sigma=0.4)
NOISE = Noise(1e-2, 0.1, 1e-2)


def points_of(descriptor, frames, step: int) -> dict[str, np.ndarray]:
    """Some environments with their weights, those near the cutoff included."""
    fitted = descriptor.fit(frames)
    found = fitted.compute(NeighborList.from_atoms(frames, fitted.neighbor_range))
    rows = np.column_stack([found.values, found.weights_or_ones])
    return {name: rows[found.groups == g][::step] for g, name in enumerate(fitted.group_names_)}


def terms(frames) -> list[Term]:
    return [
        Term(TwoBody(4.0), RBF(0.4), delta=2.0, selection=points_of(TwoBody(4.0), frames, 17)),
        Term(SHORT, DotProduct(2), delta=0.5, selection=points_of(SHORT, frames, 5)),
    ]


def dense(model, frames) -> np.ndarray:
    """Energies by QUIP's form of the textbook: alpha minimises |Λ^-½ (K_fu alpha - y)|² + alpha (K_uu + jitter) alpha."""
    potential, noise = model.potential_, model.noise_
    neighbors = NeighborList.from_atoms(frames, max(t.descriptor.neighbor_range for t in potential.terms))
    labels = model.training_.chunks(potential.e0, noise, 10**6)[0].labels
    rows, y = kernel_rows(potential.terms, neighbors, labels), targets(neighbors, labels)
    amplitude = np.concatenate([np.full(t.n_points, t.delta**2) for t in potential.terms])
    prior = np.diag(np.full(len(amplitude), float(model.jitter)))
    for term in potential.terms:
        for group, place in enumerate(term.columns):
            x, w = term.points[group], term.weights[group]
            prior[place, place] += term.delta**2 * w[:, None] * term.kernel(x) * w
    k_fu = np.vstack([rows.energy, rows.forces, rows.stress]) * amplitude
    sigma = np.repeat([noise.energy, noise.forces, noise.stress], [len(y.energy), len(y.forces), len(y.stress)])[:, None]
    scaled, target = k_fu / sigma, np.vstack([y.energy, y.forces, y.stress]) / sigma
    matrix = np.vstack([scaled, np.linalg.cholesky(prior).T])
    alpha = np.linalg.lstsq(matrix, np.vstack([target, np.zeros((len(prior), 1))]), rcond=None)[0]
    sizes = np.array([len(atoms) for atoms in frames])
    e0 = np.array([sum(potential.e0[z] for z in atoms.numbers) for atoms in frames])
    return (rows.energy * amplitude @ alpha)[:, 0] * np.sqrt(sizes) + e0


@pytest.fixture(scope="module")
def frames(alloy):
    return [atoms for atoms in alloy if atoms.pbc.all()]


@pytest.mark.parametrize("jitter", [1e-3, 0.3])
def test_it_is_on_the_diagonal_with_amplitudes_and_weights(frames, jitter):
    model = GAPRegressor(terms(frames), noise=NOISE, jitter=jitter).fit(frames)
    predicted = dense(model, frames)
    assert_allclose(model.predict(frames), predicted, rtol=0, atol=1e-8 * np.abs(predicted).max())
    without = GAPRegressor(terms(frames), noise=NOISE).fit(frames)
    assert np.abs(without.predict(frames) - predicted).max() > 1e-4  # eV: it matters


def test_no_point_is_dropped(frames):
    """Equal points: without jitter the others determine them, with it their covariance is regular."""
    points = {name: np.vstack([rows, rows]) for name, rows in points_of(SHORT, frames, 5).items()}
    n = sum(map(len, points.values()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = GAPRegressor([Term(SHORT, DotProduct(2), selection=points)], noise=NOISE, jitter=1e-6).fit(frames)
    assert model.n_sparse_ == n
    with pytest.warns(UserWarning, match="sparse points of term 'soap' were dropped"):
        assert GAPRegressor([Term(SHORT, DotProduct(2), selection=points)], noise=NOISE).fit(frames).n_sparse_ <= n / 2


def test_added_points_have_it_too(frames):
    one = GAPRegressor(terms(frames[:3]), noise=NOISE, jitter=1e-3).fit(frames[:3])
    one.partial_fit(frames[3:], add_sparse=4)
    assert {term.jitter for term in one.potential_.terms} == {1e-3}
    points = [
        {name: np.column_stack([p, w]) for name, p, w in zip(t.descriptor.group_names_, t.points, t.weights, strict=True)}
        for t in one.potential_.terms
    ]
    again = [
        Term(TwoBody(4.0), RBF(0.4), delta=2.0, selection=points[0]),
        Term(SHORT, DotProduct(2), delta=0.5, selection=points[1]),
    ]
    other = GAPRegressor(again, noise=NOISE, jitter=1e-3, e0={s: float(e) for s, e in one.e0_.items()}).fit(frames)
    assert_allclose(one.predict(frames), other.predict(frames), rtol=0, atol=1e-8)


def test_files_hold_points_and_jitter(frames, tmp_path):
    scale = {"Cu-Cu": [0.8], "Cu-Au": np.array([0.9])}
    model = GAPRegressor([terms(frames)[0].set_params(scale=scale), terms(frames)[1]], noise=NOISE, jitter=1e-3).fit(frames)
    model.save(tmp_path / "m.gap")
    loaded = load(tmp_path / "m.gap")
    assert loaded.jitter == 1e-3
    assert [t.jitter for t in loaded.potential_.terms] == [1e-3, 1e-3]
    for one, two in zip(model.terms, (term for _, term in loaded.named_terms()), strict=True):
        for name, points in one.selection.items():
            assert_array_equal(two.selection[name], points)
    for p, q in zip(*(m.evaluate(frames, uncertainty="exact") for m in (model, loaded)), strict=True):
        assert (p.energy, p.energy_std) == (q.energy, q.energy_std)
    assert_array_equal(loaded.fit(frames).predict(frames), model.predict(frames))
    document, arrays = read_archive(tmp_path / "m.gap")  # points are arrays, not text
    assert len([name for name in arrays if name.startswith("parameter_")]) == 5
    assert len(str(document["parameters"])) < 3000


def test_scales_by_group(frames):
    points = points_of(ThreeBody(3.0), frames, 40)
    scale = {name: [1.0, 2.0, 0.5] if name.startswith("Cu") else [0.7, 0.8, 0.9] for name in points if "Au" in name}
    model = GAPRegressor([Term(ThreeBody(3.0), RBF(1.0), selection=points, scale=scale)], noise=NOISE).fit(frames)
    (term,) = model.potential_.terms
    for name, of_group in zip(term.descriptor.group_names_, term.scales, strict=True):
        assert_array_equal(of_group, scale.get(name, [1.0, 1.0, 1.0]))


def test_ranges_are_those_of_all_environments(frames):
    """As in gap_fit: also of those whose weight is so small that no method chooses them."""
    model = GAPRegressor([Term(TwoBody(4.0), RBF(0.2), scale="range", n_sparse=8)], noise=NOISE).fit(frames)
    (term,) = model.potential_.terms
    for rows, of_group in zip(points_of(TwoBody(4.0), frames, 1).values(), term.scales, strict=True):
        assert_allclose(of_group, np.ptp(rows[:, :-1], axis=0), rtol=1e-14)


def test_configuration_and_back(frames):
    model = GAPRegressor([Term(SHORT, DotProduct(2), selection=points_of(SHORT, frames, 5))], jitter=1e-8)
    config = config_of(model)
    assert config["jitter"] == 1e-8
    assert config["soap"]["selection"]["Cu"].endswith("given points: an array, for Python only")
    with pytest.raises(ValueError, match=r"`selection` must be one of .* given points"):
        model_from_config(config)
    scale = {"Cu-Cu": [0.8], "Cu-Au": [0.9]}
    plain = GAPRegressor([Term(TwoBody(4.0), RBF(1.0), scale=scale)], jitter=1e-8, noise=NOISE, random_state=0)
    again = model_from_config(config_of(plain))
    assert again.jitter == 1e-8
    assert again.named_terms()[0][1].scale == scale
    assert "jitter" not in config_of(GAPRegressor())


def bad(points):
    return Term(SHORT, DotProduct(2), n_sparse=5, selection={"Cu": points})


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"jitter": -1e-3}, ValueError, "`jitter` must be a number at least 0; got -0.001"),
        ({"jitter": "small"}, TypeError, "`jitter` must be a number at least 0; got 'small'"),
        ({"jitter": 1e-8, "optimize": ("noise",)}, ValueError, r"`optimize` must be \(\) with jitter=1e-08; got \('noise',\)"),
        (
            {"terms": [bad(np.ones((3, 5)))]},
            ValueError,
            "group 'Cu' must have 64 columns, the 63 features and the weight",
        ),
        ({"terms": [bad(np.full((3, 64), 0.5))]}, ValueError, "must have weights of 1: an environment is an atom; got 0.5"),
        ({"terms": [bad(np.zeros((3, 64)))]}, ValueError, "must be points with a weight above 0; got 0.0"),
        ({"terms": [bad(np.full((3, 64), np.nan))]}, ValueError, r"selection\['Cu'\]` must be finite points; got .*nan"),
        (
            {"terms": [Term(TwoBody(4.0), RBF(1.0), scale={"Cu-Ag": [1.0]})]},
            ValueError,
            r"`scale` of term 'twobody' must name groups among .*'Au-Au'\]; got \['Cu-Ag'\]",
        ),
        ({"terms": [Term(TwoBody(4.0), RBF(1.0), scale={"Cu-Cu": [-1.0]})]}, ValueError, "`scale` must be a number above 0"),
        (
            {"terms": [Term(TwoBody(4.0), RBF(1.0), scale={"Cu-Cu": [1.0, 1.0]})]},
            ValueError,
            "per feature; got 2 for 1",
        ),
    ],
)
def test_mistakes(frames, parameters, error, message):
    with pytest.raises(error, match=message):
        GAPRegressor(**{"terms": [Term(SHORT, DotProduct(2), n_sparse=5)], **parameters}).fit(frames)
