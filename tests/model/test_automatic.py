"""What is chosen when nothing is given."""

from __future__ import annotations

import numpy as np
import pytest

from gapkit import GAPRegressor, Noise, load
from gapkit.datasets import load_silicon
from gapkit.model import RECIPES, automatic_noise, automatic_terms, collect_labels
from gapkit.validation import error_table


@pytest.fixture(scope="module")
def frames():
    return load_silicon(config_types=["isolated_atom", "rattled", "strained"])[::3]


@pytest.fixture(scope="module")
def model(frames):
    return GAPRegressor(random_state=0).fit(frames)


def test_no_terms_means_terms_from_the_data(model, frames):
    assert model.terms is None
    ((name, term),) = model.terms_
    assert name == "soap"
    assert 4.8 < term.descriptor.r_cut < 6.0
    assert 0.005 <= model.noise_.forces <= 0.1
    assert error_table(frames, model.evaluate(frames))[-1].forces_mae < 0.05


def test_explicit_copy_gives_the_same_model(model, frames):
    for copy in (model.explicit(), GAPRegressor(random_state=0).explicit(frames)):
        assert copy.terms is not None
        again = copy.fit(frames)
        np.testing.assert_array_equal(again.predict(frames), model.predict(frames))


def test_a_file_holds_what_was_chosen(model, tmp_path):
    model.save(tmp_path / "m.gap")
    read = load(tmp_path / "m.gap")
    assert repr(read.terms) == repr(model.terms_)
    assert repr(read.noise) == repr(model.noise_)


def test_a_second_fit_decides_anew(frames):
    model = GAPRegressor(random_state=0).fit(frames)
    before = model.terms_[0][1].n_sparse
    assert model.fit(frames[-4:]).terms_[0][1].n_sparse < before


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_fits(recipe, frames):
    terms = automatic_terms(frames, recipe)
    small = []
    for name, term in terms:
        term.set_params(n_sparse=min(term.n_sparse, 30))
        small.append((name, term))
    model = GAPRegressor(small, noise=Noise(forces=0.1), random_state=0).fit(frames)
    assert np.isfinite(model.predict(frames)).all()


def test_cost_bounds_the_number_of_sparse_points(frames):
    few = automatic_terms(frames[:3])[0][1].n_sparse
    many = automatic_terms([a.repeat(3) for a in frames[-12:]] * 20)[0][1].n_sparse
    assert few <= sum(map(len, frames[:3]))
    assert 500 <= many <= 4000


def test_noise_follows_the_forces(frames):
    labels = collect_labels(frames)
    size = np.sqrt(np.mean(np.concatenate([y.forces.ravel() for y in labels if len(y.forces) > 1]) ** 2))
    assert automatic_noise(labels).forces == pytest.approx(max(0.005, 0.01 * size), rel=0.1)  # one digit


def test_unknown_recipe(frames):
    with pytest.raises(ValueError, match="`recipe` must be one of 'soap', 'universal', 'bodies', 'acsf', 'quip'; got 'mace'"):
        automatic_terms(frames, "mace")
