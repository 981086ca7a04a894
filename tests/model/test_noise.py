"""Noise of single frames, atoms and components counts before the noise of configuration types."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gapkit import SOAP, DotProduct, GAPRegressor, Noise, Term
from gapkit.exceptions import InvalidLabelError, LabelWarning
from gapkit.gp.observations import labels_of
from tests.conftest import assert_equal_models, copies, copper_gold, labelled

NOISE = Noise(energy=0.01, forces=0.1, stress=0.02)


def model(noise=NOISE, **parameters):
    terms = [Term(SOAP(r_cut=4.0, n_max=2, l_max=2), DotProduct(3), n_sparse=20, selection="fps")]
    return GAPRegressor(terms, noise=noise, e0={"Cu": 0.0, "Au": 0.0}, **parameters)


def test_noise_of_frames_equals_noise_of_their_type(alloy):
    of_types = model(Noise(0.01, 0.1, 0.02, per_config_type={"slab": Noise(0.05, 0.3, 0.08)})).fit(alloy)
    own = copies(alloy)
    for atoms in own:
        if atoms.info["config_type"] == "slab":
            atoms.info.update(energy_sigma=0.05 * np.sqrt(len(atoms)), force_sigma=0.3)
            if atoms.info["number"] % 4:
                atoms.info["stress_sigma"] = 0.08
            else:
                atoms.info["virial_sigma"] = 0.08 * atoms.get_volume()
    of_frames = model().fit(own)
    assert {"energy/own", "forces/own", "stress/own"} < set(of_frames.factors_)
    assert_equal_models(of_frames, of_types)
    # the evidence is that of the labels, however their rows were scaled
    assert_allclose(of_frames.log_marginal_likelihood(), of_types.log_marginal_likelihood(), rtol=1e-10)


def test_finer_noise_wins():
    atoms = labelled(copper_gold(1, (True, True, True)))
    atoms.info.update(force_sigma=0.5, stress_sigma=np.arange(1.0, 7.0), stress_mask=[False] * 5 + [True])
    atoms.new_array("force_atom_sigma", np.array([0.1, 0.2, 0.3, 0.4]))
    atoms.new_array("force_mask", np.array([False, False, True, False]))
    labels = labels_of(atoms, 0)
    assert labels.energy_sigma is None
    assert_allclose(labels.forces_sigma, np.array([0.1, 0.2, np.inf, 0.4])[:, None] * np.ones(3))
    assert_allclose(labels.stress_sigma, [1, 2, 3, 4, 5, np.inf])
    atoms.new_array("force_component_sigma", np.arange(1.0, 13.0).reshape(4, 3))
    assert_allclose(labels_of(atoms, 0).forces_sigma[1], [4, 5, 6])
    del atoms.info["stress_sigma"], atoms.info["stress_mask"]
    atoms.info["virial_component_sigma"] = np.arange(1.0, 10.0)
    volume = atoms.get_volume()
    assert_allclose(labels_of(atoms, 0).stress_sigma * volume, [1, 5, 9, (6 + 8) / 2, (3 + 7) / 2, (2 + 4) / 2])


@pytest.mark.filterwarnings("ignore:.*have no energy:gapkit.exceptions.LabelWarning")  # the one that is left out
@pytest.mark.parametrize("approximation", ["dtc", "fitc", "vfe"])
def test_labels_that_are_left_out_do_not_matter(alloy, approximation):
    """Masked forces and stresses: whatever they hold, even NaN, the fit equals one to the others."""
    masked, other = copies(alloy), copies(alloy)
    for k, (one, two) in enumerate(zip(masked, other, strict=True)):
        mask = np.zeros(len(one), bool)
        mask[k % len(one)] = True
        for atoms in (one, two):
            atoms.new_array("force_mask", mask)
            atoms.info["stress_mask"] = [False, False, True, True, True, False]
            atoms.info["energy_sigma"] = np.inf if k == 3 else 0.01
        two.calc.results["forces"] = np.where(mask[:, None], np.nan, two.calc.results["forces"])
        two.calc.results["stress"] = np.where([0, 0, 1, 1, 1, 0], 99.0, two.calc.results["stress"])
    one, two = (model(approximation=approximation).fit(frames) for frames in (masked, other))
    n_atoms = sum(map(len, alloy))
    assert one.n_labels_ == {"energy": 9, "forces": 3 * (n_atoms - 10), "stress": 30}
    assert_equal_models(one, two)


def test_frames_with_some_labels_fit_beside_others(alloy):
    """Energy-only, force-only and stress-only frames of several sources, each with its noise."""
    frames = copies(alloy)
    for k, atoms in enumerate(frames):
        kept = (("energy",), ("energy", "forces"), ("forces",), ("stress",))[k % 4]
        atoms.calc.results = {kind: atoms.calc.results[kind] for kind in kept}
        atoms.info["config_type"] = f"source {k % 2}"
    noise = Noise(0.01, 0.1, 0.02, per_config_type={"source 1": Noise(0.05, 0.5, 0.1)})
    with pytest.warns(LabelWarning, match="used for what they have"):
        fitted = model(noise).fit(frames)
    sizes = [len(atoms) for atoms in frames]
    assert fitted.n_labels_ == {
        "energy": 6,
        "forces": 3 * sum(n for k, n in enumerate(sizes) if k % 4 in (1, 2)),
        "stress": 12,
    }
    assert set(fitted.factors_) == {
        *("energy:", "forces:", "energy:source 1", "forces:source 1", "stress:source 1"),
    }


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("energy_sigma", 0.0, "`energy_sigma` must be above 0; got 0.0 in frame 4"),
        ("energy_sigma", [1.0, 2.0], "`energy_sigma` must have 1 elements"),
        ("force_sigma", -0.1, "`force_sigma` must be above 0; got -0.1"),
        ("stress_sigma", [1.0, 2.0, 3.0], "`stress_sigma` must have 6 elements"),
        ("virial_sigma", np.nan, "`virial_sigma` must be above 0; got nan"),
        ("stress_mask", [True], "`stress_mask` must have 6 elements"),
    ],
)
def test_bad_noise_of_a_frame(alloy, key, value, message):
    frames = copies(alloy)
    frames[4].info[key] = value
    with pytest.raises(InvalidLabelError, match=message):
        model().fit(frames)


def test_an_energy_that_is_left_out_does_not_set_e0(alloy):
    wrong = copies(alloy)
    wrong[3].calc.results["energy"] = np.nan
    wrong[3].info["energy_sigma"] = np.inf
    terms = [Term(SOAP(r_cut=4.0, n_max=2, l_max=2), DotProduct(3), n_sparse=20, selection="fps")]
    right = GAPRegressor(terms, noise=NOISE).fit([atoms for k, atoms in enumerate(alloy) if k != 3])
    with pytest.warns(LabelWarning, match="1 have no energy"):
        found = GAPRegressor(terms, noise=NOISE).fit(wrong)
    assert_allclose([found.e0_[s] for s in ("Cu", "Au")], [right.e0_[s] for s in ("Cu", "Au")], rtol=1e-12)
