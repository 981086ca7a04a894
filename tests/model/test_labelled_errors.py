from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import gapkit.model.regressor
from gapkit import SOAP, DotProduct, GAPRegressor, Noise, Prediction, Term
from gapkit.gp.calibration import Calibration
from gapkit.model.labelled_errors import labelled_errors

ALL = ("energy", "energies", "forces", "stress")


@pytest.fixture(scope="module")
def model(alloy):
    return GAPRegressor([Term(SOAP(4.0, 3, 2), DotProduct(2), n_sparse=20)], noise=Noise(1e-3, 0.02, 1e-3), random_state=0).fit(
        alloy
    )


def test_errors_are_label_minus_prediction_in_order(alloy, model):
    predictions = model.evaluate(alloy, uncertainty="exact", std=ALL)
    samples = labelled_errors(alloy, predictions, by="species")
    assert list(samples) == ["energy", "forces", "stress"]
    energy, forces, stress = samples.values()
    assert_allclose(energy.residual, [a.get_potential_energy() - p.energy for a, p in zip(alloy, predictions, strict=True)])
    assert_allclose(energy.std, [p.energy_std for p in predictions])
    assert energy.structure.tolist() == list(range(10))
    assert energy.classes is stress.classes is None
    k = 3
    member = forces.structure == k
    assert_allclose(forces.residual[member], (alloy[k].get_forces() - predictions[k].forces).ravel())
    assert_allclose(forces.std[member], predictions[k].forces_std.ravel())
    assert forces.classes[member].reshape(-1, 3)[:, 0].tolist() == alloy[k].get_chemical_symbols()
    assert (stress.residual[stress.structure == k] == alloy[k].get_stress() - predictions[k].stress).all()
    types = labelled_errors(alloy, predictions, by="config_type")
    for sample in types.values():
        assert sample.classes.tolist() == [alloy[s].info["config_type"] for s in sample.structure]


def test_what_has_no_label_or_no_deviation_is_left_out(alloy, model):
    predictions = model.evaluate(alloy, uncertainty="exact", std=("forces",))
    bare = alloy[0].copy()
    samples = labelled_errors([bare, *alloy[1:]], predictions)
    assert list(samples) == ["forces"]
    assert samples["forces"].structure.min() == 1
    assert labelled_errors(alloy, [Prediction(p.energy, p.energies, p.forces) for p in predictions]) == {}


def test_a_model_is_calibrated_by_its_errors(alloy, model):
    """On the structures that it was calibrated with: mean z² is 1 by construction, in the shapes that predictions have."""
    predictions = model.evaluate(alloy, uncertainty="exact", std=ALL)
    calibration = Calibration.fit(labelled_errors(alloy, predictions))
    z = [
        (a.get_forces() - p.forces) / calibration.apply("forces", p.forces_std) for a, p in zip(alloy, predictions, strict=True)
    ]
    assert np.mean(np.concatenate(z) ** 2) == pytest.approx(1.0)
    by_species = Calibration.fit(labelled_errors(alloy, predictions, by="species"), by="species")
    atoms, p = alloy[0], predictions[0]
    assert by_species.apply("forces", p.forces_std, atoms.get_chemical_symbols()).shape == (len(atoms), 3)
    assert by_species.apply("energies", p.energies_std, atoms.get_chemical_symbols()).shape == (len(atoms),)
    assert by_species.apply("energy", p.energy_std).shape == ()


def test_long_evaluations_show_a_bar(alloy, model, capsys, monkeypatch):
    silent = model.evaluate(alloy, uncertainty="exact", std=ALL)
    assert capsys.readouterr().err == ""
    model.set_params(verbose=1)
    model.evaluate(alloy)
    assert capsys.readouterr().err == ""  # one chunk
    monkeypatch.setattr(gapkit.model.fitted, "_EVALUATE_ATOMS", 40)
    shown = model.evaluate(alloy, uncertainty="exact", std=ALL)
    assert "predictions" in capsys.readouterr().err
    model.set_params(verbose=0)
    for a, b in zip(silent, shown, strict=True):
        assert_allclose(a.forces_std, b.forces_std, rtol=1e-9, atol=1e-12)
