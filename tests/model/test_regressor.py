from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.calculators.singlepoint import SinglePointCalculator
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.utils.estimator_checks import (
    check_estimator_repr,
    check_get_params_invariance,
    check_no_attributes_set_in_init,
    check_parameters_default_constructible,
    check_set_params,
)

from gapkit import RBF, SOAP, DotProduct, GAPCalculator, GAPRegressor, Noise, Term
from gapkit.exceptions import InvalidLabelError, InvalidStructureError, LabelWarning, NumericalWarning
from gapkit.model import fitting, training
from gapkit.validation import force_rmse
from tests.conftest import copper_gold, labelled
from tests.reference.soap import soap

LONG = dict(r_cut=4.2, n_max=4, l_max=3, sigma=0.5)
SHORT = dict(r_cut=3.2, n_max=3, l_max=2, sigma=0.4)


def small_model(**kwargs) -> GAPRegressor:
    """Two terms, one of them with a kernel whose slope has a part along x."""
    terms = [
        ("long", Term(SOAP(**LONG), DotProduct(3), n_sparse=24)),
        ("short", Term(SOAP(**SHORT), RBF(0.8), delta=0.3, n_sparse=20, selection="fps")),
    ]
    return GAPRegressor(terms, noise=Noise(1e-3, 0.02, 1e-3), random_state=0, **kwargs)


@pytest.fixture(scope="module")
def fitted(alloy):
    return small_model().fit(alloy)


def without(atoms: Atoms, *names: str) -> Atoms:
    copy = atoms.copy()
    copy.calc = SinglePointCalculator(copy, **{k: v for k, v in atoms.calc.results.items() if k not in names})
    return copy


# ---------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize("pbc", [(True, True, False), (True, True, True), (False, False, False)])
def test_forces_and_stress_are_derivatives_of_the_energy(fitted, pbc):
    """Step 1e-3 Å, as where the error of central differences is smallest; tolerances are their noise floor."""
    atoms = copper_gold(50, pbc)
    atoms.calc = GAPCalculator(fitted)
    forces = atoms.get_forces()
    assert np.abs(forces).max() > 0.1
    assert_allclose(forces, calculate_numerical_forces(atoms, eps=1e-3), rtol=0, atol=1e-5)
    if any(pbc):
        stress = atoms.get_stress()
        assert_allclose(stress, calculate_numerical_stress(atoms, eps=1e-4), rtol=0, atol=2e-6)


@pytest.mark.parametrize("pbc", [(True, True, False), (True, True, True)])
def test_predictions_equal_the_plain_reference(fitted, pbc):
    """Energy, local energies, forces and stress summed term by term in NumPy, to 1e-9 of the largest."""
    atoms = copper_gold(51, pbc)
    (p,) = fitted.evaluate([atoms])
    local = np.array([fitted.e0_[s] for s in atoms.symbols])
    forces, strain = np.zeros((len(atoms), 3)), np.zeros((3, 3))
    for term, alphas, settings in zip(fitted.potential_.terms, fitted.potential_.coefficients, (LONG, SHORT), strict=True):
        x, dx, dx_strain = soap(atoms, [29, 79], **settings, width=1.0)
        for i, z in enumerate(atoms.numbers):
            group = [29, 79].index(z)
            for s, alpha in zip(term.points[group], alphas[group], strict=True):
                if isinstance(term.kernel, DotProduct):
                    value, slope = (x[i] @ s) ** 3, 3 * (x[i] @ s) ** 2 * s
                else:
                    value = np.exp(-np.sum((x[i] - s) ** 2) / (2 * 0.8**2))
                    slope = -(x[i] - s) / 0.8**2 * value
                local[i] += alpha * value
                forces -= alpha * np.einsum("acf,f->ac", dx[i], slope)
                strain += alpha * np.einsum("abf,f->ab", dx_strain[i], slope)
    stress = (strain / atoms.get_volume())[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    assert_allclose(p.energies, local, rtol=0, atol=1e-9 * np.abs(local).max())
    assert_allclose(p.energy, local.sum(), rtol=1e-9)
    assert_allclose(p.forces, forces, rtol=0, atol=1e-9 * np.abs(forces).max())
    assert_allclose(p.stress, stress, rtol=0, atol=1e-9 * np.abs(stress).max())


def test_it_learns(alloy, fitted):
    predictions = fitted.evaluate(alloy)
    forces = np.concatenate([a.get_forces() for a in alloy])
    error = np.concatenate([p.forces for p in predictions]) - forces
    assert np.sqrt(np.mean(error**2)) < 0.25 * np.sqrt(np.mean(forces**2))
    assert fitted.score(alloy) > 0.99


def test_smooth_when_an_atom_crosses_the_cutoff(alloy, fitted):
    def at(distance):
        atoms = Atoms("Cu2Au", [[0, 0, 0], [distance, 0, 0], [0.3, 2.5, 0]])
        (p,) = fitted.evaluate([atoms])
        return p.energy, p.forces

    reach = fitted.potential_.neighbor_range
    (e1, f1), (e2, f2) = at(reach - 1e-6), at(reach + 1e-6)
    assert abs(e1 - e2) < 1e-9
    assert np.abs(f1 - f2).max() < 1e-4


def test_std_grows_away_from_the_data(alloy, fitted):
    known, std = fitted.predict(alloy, return_std=True)
    stretched = [a.copy() for a in alloy]
    for atoms in stretched:
        atoms.set_cell(atoms.cell * 1.2, scale_atoms=True)
    _, far = fitted.predict(stretched, return_std=True)
    assert known.shape == std.shape == (len(alloy),)
    assert (std > 0).all()
    assert far.mean() > 5 * std.mean()


def test_std_of_the_total_contains_covariances(fitted):
    """Two copies far apart: the energy has twice the deviation; the local ones are those of one copy."""
    atoms = copper_gold(60, (False, False, False))
    twin = atoms.copy()
    twin.positions += 50.0
    one, two = fitted.evaluate([atoms, atoms + twin], uncertainty="exact")
    assert_allclose(two.energy_std, 2 * one.energy_std, rtol=1e-8)
    assert_allclose(two.energies_std, np.tile(one.energies_std, 2), rtol=1e-8)


def test_isolated_atom_frames_set_e0_and_stay_as_rows(alloy):
    lonely = [Atoms(s, cell=[20] * 3, pbc=True) for s in ("Cu", "Au")]
    for atoms, energy in zip(lonely, (0.7, -0.4), strict=True):
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=np.zeros((1, 3)))
    model = small_model().fit([*alloy, *lonely])
    assert model.e0_ == {"Au": -0.4, "Cu": 0.7}
    assert model.e0_source_ == {"Au": "isolated atom", "Cu": "isolated atom"}
    assert model.n_labels_["energy"] == len(alloy) + 2
    assert_allclose(model.predict(lonely), [0.7, -0.4], rtol=0, atol=5e-3)


@pytest.mark.parametrize("max_atoms", [1, 20, 10**6])
def test_fit_does_not_depend_on_chunks(alloy, fitted, monkeypatch, max_atoms):
    monkeypatch.setattr(training.TrainingSet.chunks, "__defaults__", (max_atoms,))
    again = small_model().fit(alloy)
    tolerance = max(1e-10, 1e-15 * sum(np.abs(a).sum() for term in fitted.potential_.coefficients for a in term))
    test = [copper_gold(70, (True, True, False))]
    assert_allclose(again.predict(test), fitted.predict(test), rtol=0, atol=tolerance)
    assert_allclose(again.evaluate(test)[0].forces, fitted.evaluate(test)[0].forces, rtol=0, atol=tolerance)


def test_sparse_points_do_not_depend_on_chunks(alloy, monkeypatch):
    frames = alloy * 3
    one = fitting.choose_terms(small_model().named_terms(), frames, 0, show=False)
    monkeypatch.setattr(fitting, "CHUNK_ATOMS", 1)
    monkeypatch.setattr(fitting.chunks_of_frames, "__defaults__", (1,))
    two = fitting.choose_terms(small_model().named_terms(), frames, 0, show=False)
    for a, b in zip(one, two, strict=True):
        for p, q in zip(a.points, b.points, strict=True):
            assert_allclose(p, q, rtol=0, atol=1e-14)


def test_same_seed_same_model(alloy, fitted):
    again = small_model().fit(alloy)
    assert_array_equal(again.predict(alloy), fitted.predict(alloy))
    other = small_model().set_params(random_state=1).fit(alloy)
    assert not np.array_equal(other.predict(alloy), fitted.predict(alloy))


def test_batches_equal_single_structures(alloy, fitted):
    together = fitted.evaluate(alloy, uncertainty="exact")
    for atoms, p in zip(alloy, together, strict=True):
        (q,) = fitted.evaluate([atoms], uncertainty="exact")
        assert_allclose(q.energies, p.energies, rtol=0, atol=1e-10)
        assert_allclose(q.forces, p.forces, rtol=0, atol=1e-10)
        assert_allclose(q.energies_std, p.energies_std, rtol=1e-6)
        assert_allclose(q.energy_std, p.energy_std, rtol=1e-6)
        assert (p.stress is None) == (q.stress is None)


def test_stress_exists_with_a_cell_and_a_periodic_direction(fitted):
    slab, molecule = copper_gold(1, (True, True, False)), copper_gold(1, (False, False, False))
    p, q = fitted.evaluate([slab, molecule])
    assert p.stress.shape == (6,)
    assert q.stress is None
    (r,) = fitted.evaluate([slab], forces=False, stress=False)
    assert r.forces is None
    assert r.stress is None
    assert r.energy_std is None


def test_weights_of_configuration_types(alloy):
    """A small noise on one type makes its residuals smaller, at the cost of the other."""
    base, tight = Noise(0.05, 0.5, 0.05), Noise(1e-3, 0.01, 1e-3)
    terms = [Term(SOAP(**LONG), DotProduct(3), n_sparse=20)]
    errors = {}
    for name, noise in (("same", base), ("slab", Noise(0.05, 0.5, 0.05, per_config_type={"slab": tight}))):
        model = GAPRegressor(terms, noise=noise, random_state=0).fit(alloy)
        for kind in ("slab", "bulk"):
            members = [a for a in alloy if a.info["config_type"] == kind]
            errors[name, kind] = -force_rmse(model, members)
    assert errors["slab", "slab"] < 0.7 * errors["same", "slab"]
    assert set(model.factors_) == {f"{k}:{t}" for k in ("energy", "forces", "stress") for t in ("", "slab")}


# ------------------------------------------------------------------------------------------ scikit-learn


@pytest.mark.parametrize(
    "check",
    [
        check_no_attributes_set_in_init,
        check_parameters_default_constructible,
        check_get_params_invariance,
        check_set_params,
        check_estimator_repr,
    ],
)
@pytest.mark.parametrize(
    "estimator", [GAPRegressor(), Noise(), SOAP(), Term(SOAP(), DotProduct())], ids=lambda e: type(e).__name__
)
def test_scikit_learn_checks(check, estimator):
    if isinstance(estimator, Term) and check is check_parameters_default_constructible:
        pytest.skip("Term has two required parameters")
    check(type(estimator).__name__, estimator)


def test_nested_parameters():
    model = small_model()
    params = model.get_params()
    assert params["long__descriptor__r_cut"] == 4.2
    assert params["short__kernel__length_scale"] == 0.8
    assert params["noise__forces"] == 0.02
    model.set_params(long__descriptor__r_cut=4.0, long__kernel__zeta=2, noise__forces=0.1, e0=0.5)
    assert model.terms[0][1].descriptor.r_cut == 4.0
    assert model.terms[0][1].kernel.zeta == 2
    assert (model.noise.forces, model.e0) == (0.1, 0.5)
    model.set_params(short=Term(SOAP(), DotProduct()))
    assert isinstance(model.terms[1][1].kernel, DotProduct)
    with pytest.raises(ValueError, match="`middle__delta` must be a parameter of"):
        model.set_params(middle__delta=1)
    assert GAPRegressor().set_params(soap__n_sparse=5).named_terms()[0][1].n_sparse == 5


def test_unnamed_terms_are_named_as_make_pipeline_does():
    assert [n for n, _ in GAPRegressor([Term(SOAP(), DotProduct())]).named_terms()] == ["soap"]
    two = GAPRegressor([Term(SOAP(), DotProduct()), Term(SOAP(), DotProduct())])
    assert [n for n, _ in two.named_terms()] == ["soap-1", "soap-2"]


def test_clone_and_fit_leave_everything_as_it_was(alloy):
    model = small_model()
    before = repr(model.get_params())
    copies = [atoms.copy() for atoms in alloy]
    clone(model).fit(alloy)
    model.fit(alloy)
    assert repr(model.get_params()) == before
    assert not hasattr(model.terms[0][1].descriptor, "species_")
    for atoms, copy in zip(alloy, copies, strict=True):
        assert_array_equal(atoms.positions, copy.positions)
        assert atoms.info == copy.info


def test_cross_validation_and_grid_search_on_lists_of_atoms(alloy):
    model = GAPRegressor(
        [("soap", Term(SOAP(**LONG), DotProduct(2), n_sparse=12))], noise=Noise(0.01, 0.1, 0.01), random_state=0
    )
    folds = KFold(2, shuffle=True, random_state=0)
    assert cross_val_score(model, alloy, cv=folds).shape == (2,)
    search = GridSearchCV(
        model, {"soap__descriptor__r_cut": [3.0, 4.2], "soap__kernel__zeta": [2]}, scoring=force_rmse, cv=folds
    ).fit(alloy)
    assert set(search.best_params_) == {"soap__descriptor__r_cut", "soap__kernel__zeta"}
    assert search.best_estimator_.evaluate(alloy[:1])[0].forces.shape == (len(alloy[0]), 3)


def test_y_replaces_the_energies(alloy):
    y = np.array([a.get_potential_energy() for a in alloy]) + 1.5 * np.array([len(a) for a in alloy])
    shifted, plain = small_model().fit(alloy, y), small_model().fit(alloy)
    sizes = [len(a) for a in alloy]
    assert_allclose((shifted.predict(alloy) - plain.predict(alloy)) / sizes, 1.5, rtol=0, atol=2e-3)
    assert shifted.score(alloy, y) > 0.99


# ---------------------------------------------------------------------------------------------- bad input


def test_frames_are_used_for_what_they_have(alloy):
    frames = [without(alloy[0], "energy"), without(alloy[1], "forces"), without(alloy[2], "stress"), *alloy[3:]]
    with pytest.warns(LabelWarning, match="Of 10 frames, 1 have no energy and 1 no forces"):
        model = small_model().fit(frames)
    n_forces = sum(3 * len(a) for k, a in enumerate(alloy) if k != 1)
    assert model.n_labels_ == {"energy": 9, "forces": n_forces, "stress": 54}


def test_forces_alone(alloy):
    frames = [without(a, "energy", "stress") for a in alloy]
    with pytest.warns(LabelWarning) as caught:
        model = small_model().fit(frames)
    assert any("set to 0" in str(w.message) for w in caught)
    assert force_rmse(model, frames) > -0.5


def with_label(atoms, **labels):
    copy = atoms.copy()
    copy.calc = SinglePointCalculator(copy, **{**atoms.calc.results, **labels})
    return copy


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"energy": np.nan}, "`energy` must be finite; got nan in frame 1. Remove this label"),
        ({"forces": np.full((4, 3), np.inf)}, "`forces` must be finite; got inf in frame 1"),
        ({"forces": np.zeros((3, 3))}, r"`forces` must have shape \(4, 3\); got \(3, 3\) in frame 1"),
        ({"stress": np.full(6, np.nan)}, "`stress` must be finite"),
        ({"stress": np.zeros(5)}, r"`stress` must have shape \(6,\)"),
    ],
)
def test_bad_labels(alloy, labels, message):
    with pytest.raises(InvalidLabelError, match=message):
        small_model().fit([alloy[0], with_label(alloy[1], **labels)])


def test_no_labels_at_all(alloy):
    with pytest.raises(InvalidLabelError, match=r"must carry labels in atoms.calc.results; got none in 2 frames"):
        small_model().fit([alloy[0].copy(), alloy[1].copy()])


@pytest.mark.parametrize(
    ("fit", "error", "message"),
    [
        (lambda m, f: m.fit([]), ValueError, "at least one structure; got an empty list"),
        (lambda m, f: m.fit(f, [1.0]), ValueError, "`y` must have one energy per frame; got 1 for 10"),
        (lambda m, f: m.set_params(terms=[]).fit(f), ValueError, "`terms` must be a list of Term .* at least one"),
        (lambda m, f: m.set_params(terms=Term(SOAP(), RBF())).fit(f), TypeError, "Put a single term in a list"),
        (lambda m, f: m.set_params(terms=[SOAP()]).fit(f), TypeError, "`terms` must be a list of Term"),
        (lambda m, f: m.set_params(terms=[("a__b", Term(SOAP(), RBF()))]).fit(f), ValueError, "distinct names without '__'"),
        (lambda m, f: m.set_params(long__delta=0).fit(f), ValueError, "`delta` must be a number above 0"),
        (lambda m, f: m.set_params(long__n_sparse=0).fit(f), ValueError, "`n_sparse` must be an integer of at least 1"),
        (
            lambda m, f: m.set_params(long__n_sparse={"Ag": 3}).fit(f),
            ValueError,
            r"`n_sparse` .* among \['Cu', 'Au'\]; got \['Ag'\]",
        ),
        (
            lambda m, f: m.set_params(long__selection="best").fit(f),
            ValueError,
            "`selection` must be one of 'auto', 'cholesky', 'cur', .* got 'best'",
        ),
        (lambda m, f: m.set_params(long__kernel=np.dot).fit(f), TypeError, "`kernel` must be a gapkit kernel"),
        (lambda m, f: m.set_params(long__descriptor=3).fit(f), TypeError, "`descriptor` must be a gapkit descriptor"),
        (lambda m, f: m.set_params(noise__energy=0.0).fit(f), ValueError, r"`noise.energy` must be a number above 0; got 0.0"),
        (lambda m, f: m.set_params(noise__forces=-1).fit(f), ValueError, r"`noise.forces`"),
        (lambda m, f: m.set_params(noise=0.1).fit(f), TypeError, "`noise` must be a Noise"),
        (lambda m, f: m.set_params(e0={"Cu": 1.0}).fit(f), ValueError, r"`e0` must be a dict .* missing \['Au'\]"),
        (lambda m, f: m.set_params(e0="average").fit(f), TypeError, "`e0` must be a finite number"),
        (lambda m, f: m.evaluate(f), NotFittedError, "not fitted"),
    ],
)
def test_bad_input(alloy, fit, error, message):
    with pytest.raises(error, match=message):
        fit(small_model(), alloy)


def test_unknown_species_at_predict_time(fitted):
    with pytest.raises(InvalidStructureError, match=r"among those of the training set \(Cu, Au\); got Ag in frame 1"):
        fitted.predict([bulk("Cu"), bulk("Ag")])


def test_duplicate_atoms_name_the_frame(alloy):
    bad = alloy[7].copy()
    bad.positions[1] = bad.positions[0] + 0.01
    bad.calc = SinglePointCalculator(bad, energy=0.0)
    with pytest.raises(InvalidStructureError, match=r"between atoms 0 and 1 in frame 10"), pytest.warns(LabelWarning):
        small_model().fit([*alloy, bad])


def test_more_sparse_points_than_environments(alloy):
    with pytest.warns(NumericalWarning, match="asked for 5000 sparse points and gets 56: there are only 56 distinct"):
        model = GAPRegressor([Term(SOAP(**LONG), DotProduct(3), n_sparse=5000)], random_state=0).fit(alloy)
    assert model.n_sparse_ == 56


def test_perfect_crystals_and_duplicated_frames():
    frames = [labelled(bulk("Cu", cubic=True)) for _ in range(4)] + [labelled(bulk("Cu", a=3.7))]
    with pytest.warns(NumericalWarning, match="only 2 distinct environments"):
        model = GAPRegressor([Term(SOAP(**LONG), DotProduct(4), n_sparse=10)]).fit(frames)
    assert_allclose(model.predict(frames), [a.get_potential_energy() for a in frames], rtol=0, atol=2e-2)
    assert_allclose(model.evaluate(frames)[0].forces, 0.0, rtol=0, atol=1e-10)


def test_unknown_uncertainty(fitted, alloy):
    with pytest.raises(ValueError, match="`uncertainty` must be one of None, 'exact', 'fast', 'prior'; got 'quick'"):
        fitted.evaluate(alloy, uncertainty="quick")
    with pytest.raises(ValueError, match="`std` must be one of 'energy', 'energies', 'forces', 'stress'; got 'virial'"):
        fitted.evaluate(alloy, uncertainty="exact", std=("virial",))


def test_only_what_is_named_has_a_standard_deviation(fitted, alloy):
    forces = fitted.evaluate(alloy[:2], uncertainty="exact", std=("forces",))[1]
    assert forces.forces_std.shape == forces.forces.shape
    assert (forces.forces_std > 0).all()
    assert (forces.energy_std, forces.energies_std, forces.stress_std) == (None, None, None)
    molecule = alloy[0].copy()
    molecule.pbc = False
    assert fitted.evaluate([molecule], uncertainty="exact", std=("stress",))[0].stress_std is None


def test_force_deviations_grow_away_from_the_data(fitted, alloy):
    """The prior returns: an atom pulled out of its place is known less."""
    odd = alloy[0].copy()
    odd.positions[0] += (0.5, 0.4, 0.3)
    near, far = (p.forces_std for p in fitted.evaluate([alloy[0], odd], uncertainty="exact", std=("forces",)))
    assert far[0].mean() > 1.5 * near[0].mean()


def test_score_needs_energies(fitted, alloy):
    with pytest.raises(InvalidLabelError, match="score needs an energy in every frame; 1 have none"):
        fitted.score([without(alloy[0], "energy"), alloy[1]])


def test_fit_and_predictions_do_not_depend_on_threads(alloy, fitted, on_threads, monkeypatch):
    """To rounding, as large products are cut differently; threads compute the rows of chunks, here of one frame."""
    monkeypatch.setattr(training.TrainingSet.chunks, "__defaults__", (8,))

    def predicted():
        return small_model().fit(alloy).evaluate(alloy, uncertainty="exact")

    single, several = on_threads(1, predicted), on_threads(2, predicted)
    tolerance = max(1e-10, 1e-15 * sum(np.abs(a).sum() for term in fitted.potential_.coefficients for a in term))
    for one, many in zip(single, several, strict=True):
        assert_allclose(one.energies, many.energies, rtol=0, atol=tolerance)
        assert_allclose(one.forces, many.forces, rtol=0, atol=tolerance)
        assert_allclose(one.energies_std, many.energies_std, rtol=1e-6)
