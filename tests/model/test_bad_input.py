"""Training sets as they come: whatever is wrong with them, a fit ends in a sound model or in advice."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from gapkit import RBF, SOAP, DotProduct, GAPRegressor, Noise, Term, TwoBody
from gapkit.exceptions import InvalidLabelError, LabelWarning, NumericalWarning
from gapkit.model import collect_labels
from tests.conftest import copper_gold, labelled

ALL_STD = ("energy", "energies", "forces", "stress")


def two_terms(**parameters) -> GAPRegressor:
    terms = [
        ("soap", Term(SOAP(4.2, 4, 3), DotProduct(3), n_sparse=24)),
        ("pair", Term(TwoBody(4.0), RBF(0.5), n_sparse=12)),
    ]
    return GAPRegressor(terms, noise=Noise(1e-3, 0.02, 1e-3), random_state=0).set_params(**parameters)


MODELS = {"terms": two_terms, "automatic": lambda: GAPRegressor(random_state=0)}


def relabelled(atoms, **labels):
    """A copy with other labels; None removes one."""
    copy = atoms.copy()
    results = {key: value for key, value in {**atoms.calc.results, **labels}.items() if value is not None}
    copy.calc = SinglePointCalculator(copy, **results)
    return copy


def isolated(symbol, energy, box=20.0):
    atoms = Atoms(symbol, cell=[box] * 3, pbc=True)
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=np.zeros((1, 3)), stress=np.zeros(6))
    return atoms


def perfect(a):
    """A crystal whose forces are 0 by symmetry; they are labels all the same."""
    return labelled(bulk("Cu", cubic=True, a=a))


def dimer(distance):
    return labelled(Atoms("Cu2", [[0, 0, 0], [distance, 0, 0]]))


SETS = {
    "duplicated frames": lambda alloy: [*alloy, *alloy],
    "one frame ten times": lambda alloy: [alloy[0]] * 10,
    "perfect crystals": lambda alloy: [perfect(a) for a in (3.55, 3.6, 3.65, 3.7)],
    "one perfect crystal": lambda alloy: [perfect(3.6)] * 4,
    "isolated atoms alone": lambda alloy: [isolated("Cu", -1.0), isolated("Au", -2.0)],
    "isolated atoms too": lambda alloy: [*alloy, isolated("Cu", -1.0), isolated("Cu", -1.0, 25.0), isolated("Au", -2.0)],
    "an atom without a cell": lambda alloy: [*alloy, labelled(Atoms("Cu"))],
    "cells of one atom": lambda alloy: [labelled(bulk("Cu", a=a)) for a in (3.5, 3.6, 3.7, 3.8)],
    "fewer rows than sparse points": lambda alloy: [relabelled(a, forces=None, stress=None) for a in alloy],
    "a single energy": lambda alloy: [relabelled(alloy[0], forces=None, stress=None)],
    "no energies": lambda alloy: [relabelled(a, energy=None) for a in alloy],
    "frames without forces": lambda alloy: [relabelled(a, forces=None) if k % 2 else a for k, a in enumerate(alloy)],
    "an energy of 1000 eV": lambda alloy: [*alloy[1:], relabelled(alloy[0], energy=1000.0)],
    "forces of 1000 eV/Å": lambda alloy: [*alloy[1:], relabelled(alloy[0], forces=np.full((len(alloy[0]), 3), 1000.0))],
    "labels that are all 0": lambda alloy: [relabelled(a, energy=0.0, forces=np.zeros((len(a), 3))) for a in alloy],
    "contradicting energies": lambda alloy: [*alloy, relabelled(alloy[0], energy=alloy[0].calc.results["energy"] + 5.0)],
    "contradicting forces": lambda alloy: [*alloy, relabelled(alloy[0], forces=-alloy[0].calc.results["forces"])],
    "atoms out of range": lambda alloy: [*alloy, dimer(15.0)],
    "atoms on top of each other": lambda alloy: [*alloy, dimer(0.3)],
}


def check_sound(model, frames):
    """All numbers are finite, no standard deviation is NaN (the root of a negative variance)."""
    for p in model.evaluate(frames, uncertainty="exact", std=ALL_STD):
        for value in (p.energy, p.energies, p.forces, p.energy_std, p.energies_std, p.forces_std):
            assert np.isfinite(value).all()
        assert (p.stress is None) == (p.stress_std is None)
        assert p.stress is None or np.isfinite([p.stress, p.stress_std]).all()
        assert min(p.energy_std, p.energies_std.min(), p.forces_std.min()) >= 0.0


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", SETS)
def test_sound_model_from_any_set(alloy, name, model):
    """Warnings are gapkit's own (NumPy's would be accidents), and say what to do or what was done."""
    frames = SETS[name](alloy)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = MODELS[model]().fit(frames)
        strange = [copper_gold(80), copper_gold(81, (True, True, True)), Atoms("CuAu", [[0, 0, 0], [0.5, 0, 0]])]
        check_sound(fitted, frames + [a for a in strange if set(a.symbols) <= set(fitted.species_)])
    assert {w.category for w in caught} <= {LabelWarning, NumericalWarning}


@pytest.mark.parametrize("n", [2, 5])
def test_duplicated_frames_are_one_frame_with_less_noise(alloy, n):
    """Labels repeated n times weigh like one with noise over √n; prior and sparse points stay (single terms, e0 given)."""
    term = Term(SOAP(4.2, 4, 3), DotProduct(3), n_sparse=24, selection="fps")
    tight = Noise(*(s / np.sqrt(n) for s in (1e-2, 0.1, 1e-2)))
    repeated = GAPRegressor([term], noise=Noise(1e-2, 0.1, 1e-2), e0=0.0, random_state=0).fit(alloy * n)
    once = GAPRegressor([term], noise=tight, e0=0.0, random_state=0).fit(alloy)
    test = [copper_gold(82), copper_gold(83)]
    (e1, s1), (e2, s2) = (m.predict(test, return_std=True) for m in (repeated, once))
    np.testing.assert_allclose(e1, e2, rtol=0, atol=1e-8)
    np.testing.assert_allclose(s1, s2, rtol=1e-6)


def test_forces_that_symmetry_makes_zero_are_no_numerical_event():
    """Their prior variance is 0 but for rounding, which was once reported as negative."""
    frames = [perfect(a) for a in (3.5, 3.6, 3.7)]
    model = GAPRegressor([Term(SOAP(4.2, 4, 3), DotProduct(3), n_sparse=3)], e0=0.0, random_state=0).fit(frames)
    for p in model.evaluate(frames, uncertainty="exact", std=("forces",)):
        assert np.abs(p.forces_std).max() < 1e-7


def test_an_outlier_stays_an_outlier(alloy):
    """A configuration type of its own with a large noise confines a wrong label of 1000 eV: the others are met."""
    odd = relabelled(alloy[0], energy=1000.0)
    odd.info["config_type"] = "odd"
    noise = Noise(1e-3, 0.02, 1e-3, per_config_type={"odd": Noise(1e3, 0.02, 1e-3)})
    with_odd = two_terms(noise=noise, e0=0.0).fit([*alloy[1:], odd])
    error = with_odd.predict(alloy[1:]) - [a.get_potential_energy() for a in alloy[1:]]
    assert np.abs(error).max() < 0.1


def test_contradicting_labels_are_named(alloy):
    energy = alloy[2].calc.results["energy"]
    twins = [relabelled(alloy[2], energy=energy + 5.0), relabelled(alloy[0], forces=alloy[0].calc.results["forces"] + 0.2)]
    twins[0].positions += 1e-9
    message = rf"2 frames are the same .*: frames 2 and 10 \(energies {energy:.6g} and {energy + 5:.6g} eV\), frames 0 and 11"
    with pytest.warns(LabelWarning, match=message):
        collect_labels([*alloy, *twins])


def test_equal_labels_and_other_structures_are_no_contradiction(alloy):
    """Warnings are errors here: labels within noise, partial labels, other cell, periodicity or species."""
    energy = alloy[0].calc.results["energy"]
    others = [relabelled(alloy[0], energy=energy + 1e-3), *(relabelled(alloy[0], energy=energy + 9.0) for _ in range(3))]
    others[1].pbc = False
    others[2].symbols[0] = "Au" if others[2].symbols[0] == "Cu" else "Cu"
    others[3].cell[2] *= 1.1
    collect_labels([*alloy, *alloy, *others])
    with pytest.warns(LabelWarning, match="1 have no energy and 1 no forces"):
        collect_labels([*alloy, relabelled(alloy[0], energy=None), relabelled(alloy[1], forces=None)])


def test_a_fit_to_contradicting_energies_lies_between_them(alloy):
    """Two energies of equal noise give what their mean gives, with a noise smaller by √2."""
    energy = alloy[0].calc.results["energy"]
    with pytest.warns(LabelWarning, match="frames 0 and 1"):
        both = two_terms(e0=0.0).fit([relabelled(alloy[0], energy=energy + x) for x in (-2.0, 2.0)] + alloy[1:])
    mean = two_terms(e0=0.0).fit(alloy[:1] * 2 + alloy[1:])
    np.testing.assert_allclose(both.predict(alloy), mean.predict(alloy), rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"energy": np.nan}, "`energy` must be finite; got nan in frame 10. Remove this label"),
        ({"energy": -np.inf}, "`energy` must be finite; got -inf in frame 10. Remove this label"),
        ({"forces": np.full((4, 3), np.nan)}, "`forces` must be finite; got nan in frame 10. Remove this label"),
        ({"stress": np.array([0, 0, 0, 0, 0, np.nan])}, "`stress` must be finite; got nan in frame 10. Remove this label"),
    ],
)
@pytest.mark.parametrize("model", MODELS)
def test_labels_that_are_no_numbers(alloy, labels, message, model):
    with pytest.raises(InvalidLabelError, match=re.escape(message)):
        MODELS[model]().fit([*alloy, relabelled(alloy[1], **labels)])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"noise__energy": 0.0}, "`noise.energy` must be a number above 0; got 0.0. It is a standard deviation in eV/atom."),
        ({"noise__forces": -0.1}, "`noise.forces` must be a number above 0; got -0.1. It is a standard deviation in eV/Å."),
        ({"noise__stress": np.nan}, "`noise.stress` must be a number above 0; got nan."),
        ({"soap__delta": 0.0}, "`delta` must be a number above 0 and at most 1e+06; got 0.0."),
        ({"soap__delta": 1e200}, "`delta` must be a number above 0 and at most 1e+06; got 1e+200."),
    ],
)
def test_parameters_that_no_fit_can_have(alloy, parameters, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        two_terms(**parameters).fit(alloy)


@pytest.mark.parametrize("noise", [1e-12, 1e-6, 1e6])
def test_very_small_and_very_large_noise(alloy, noise):
    """The QR form squares no condition number: a noise of 1e-12 interpolates as far as the sparse points can."""
    model = two_terms(noise=Noise(noise, noise, noise), e0=0.0).fit(alloy)
    check_sound(model, alloy)
    if noise > 1.0:
        assert np.abs(model.predict(alloy)).max() < 1e-3  # nothing is learnt: the prior mean


def test_an_energy_far_from_its_like_is_named():
    frames = [labelled(copper_gold(seed, (True, True, True))) for seed in range(12) if seed % 3 != 1]
    frames[7].calc.results["energy"] += 1000.0
    message = r"1 energies are more than 10 eV/atom .* frame 7 \(.*energy_sigma of its own"
    with pytest.warns(LabelWarning, match=message):
        collect_labels(frames)
