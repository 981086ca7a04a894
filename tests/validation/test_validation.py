from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from numpy.testing import assert_allclose
from sklearn.metrics import r2_score

from gapkit import SOAP, DotProduct, GAPRegressor, Noise, Prediction, Term
from gapkit.validation import eos_parameters, equation_of_state, error_table, force_rmse, nve_drift, residuals
from tests.conftest import labelled


def predictions_with_errors(frames, energy, force, stress):
    return [
        Prediction(
            energy=a.get_potential_energy() + energy * len(a),
            energies=np.zeros(len(a)),
            forces=a.get_forces() + force,
            stress=a.get_stress() + stress,
        )
        for a in frames
    ]


def test_errors_per_type(alloy):
    rows = error_table(alloy, predictions_with_errors(alloy, 0.003, -0.02, 0.01))
    assert [r.config_type for r in rows] == ["slab", "bulk", "all"]
    assert sum(r.frames for r in rows[:-1]) == rows[-1].frames == len(alloy)
    for row in rows:
        assert row.energy_mae == pytest.approx(3.0)
        assert row.energy_rmse == pytest.approx(3.0)
        assert (row.forces_mae, row.forces_rmse) == pytest.approx((0.02, 0.02))
        assert row.stress_rmse == pytest.approx(1.6021766, rel=1e-6)


def test_determination_is_that_of_scikit_learn(alloy):
    rng = np.random.default_rng(0)
    predictions = predictions_with_errors(alloy, 0.003, 0.0, 0.01)
    for p in predictions:
        p.forces[:] += rng.normal(0.0, 0.3, p.forces.shape)
    row = error_table(alloy, predictions)[-1]
    forces = np.concatenate([a.get_forces().ravel() for a in alloy])
    assert row.forces_r2 == pytest.approx(r2_score(forces, np.concatenate([p.forces.ravel() for p in predictions])))
    sizes = np.array([len(a) for a in alloy])
    energies = np.array([a.get_potential_energy() for a in alloy]) / sizes
    assert row.energy_r2 == pytest.approx(r2_score(energies, energies + 0.003))
    assert row.stress_r2 < 1.0
    assert error_table(alloy[:1], predictions[:1])[-1].energy_r2 is None


def test_force_errors_per_species(alloy):
    predictions = predictions_with_errors(alloy, 0.0, 0.02, 0.0)
    for atoms, p in zip(alloy, predictions, strict=True):
        p.forces[atoms.symbols == "Au"] += 0.08
    rows = error_table(alloy, predictions, by="species")
    assert [(row.config_type, row.frames) for row in rows] == [("Cu", 10), ("Au", 10)]
    assert [row.forces_rmse for row in rows] == pytest.approx([0.02, 0.1])
    assert [row.forces_mae for row in rows] == pytest.approx([0.02, 0.1])
    assert rows[0].energy_rmse is rows[0].stress_rmse is None
    with pytest.raises(ValueError, match="`by` must be one of"):
        error_table(alloy, predictions, by="charge")


def test_missing_labels_are_left_out(alloy):
    frames = [alloy[0], alloy[1].copy()]
    predictions = predictions_with_errors(alloy[:2], 0.001, 0.0, 0.0)
    row = error_table(frames, predictions)[-1]
    assert (row.frames, row.energy_mae) == (2, pytest.approx(1.0))
    empty = error_table(frames[1:], predictions[1:])[-1]
    assert empty.energy_mae is empty.forces_rmse is empty.stress_rmse is None
    r = residuals(frames, predictions)
    assert len(r.energy) == 1
    assert r.energy_std is None


def test_force_rmse_is_a_scorer(alloy):
    model = GAPRegressor([Term(SOAP(4.0, 3, 2), DotProduct(2), n_sparse=20)], noise=Noise(1e-3, 0.02, 1e-3), random_state=0)
    model.fit(alloy)
    error = np.concatenate([p.forces for p in model.evaluate(alloy)]) - np.concatenate([a.get_forces() for a in alloy])
    assert force_rmse(model, alloy) == pytest.approx(-np.sqrt(np.mean(error**2)))


def test_drift_of_a_conservative_calculator():
    atoms = bulk("Cu", cubic=True).repeat(2)
    atoms.calc = EMT()
    drift = nve_drift(atoms, temperature=300.0, steps=200, timestep=2.0, random_state=1)
    assert abs(drift.slope) < 1e-3
    assert drift.fluctuation < 1e-3
    assert 150 < drift.temperature[5:].mean() < 450  # 32 atoms, equipartition of twice 300 K
    assert drift.time[-1] == pytest.approx(0.4)


def test_drift_finds_a_calculator_whose_forces_are_no_derivative():
    class Leaky(EMT):
        def calculate(self, *args, **kwargs):
            super().calculate(*args, **kwargs)
            self.results["forces"] = self.results["forces"] + 0.05 * np.sign(self.atoms.get_velocities())

    atoms = bulk("Cu", cubic=True).repeat(2)
    atoms.calc = Leaky()
    drift = nve_drift(atoms, temperature=300.0, steps=100, timestep=2.0, random_state=1)
    assert drift.slope > 0.05


def test_equation_of_state():
    frames = [labelled(bulk("Cu", a=a)) for a in np.linspace(3.3, 4.0, 15)]
    model = GAPRegressor(
        [Term(SOAP(5.0, 6, 2), DotProduct(4), n_sparse={"Cu": 8})], noise=Noise(1e-4, 0.02, 1e-4), random_state=0
    )
    model.fit(frames)
    volumes = np.linspace(10.5, 13.0, 9)
    curve = equation_of_state(model, bulk("Cu"), volumes)
    exact = []
    for volume in volumes:
        atoms = bulk("Cu", a=(4 * volume) ** (1 / 3))
        atoms.calc = EMT()
        exact.append(atoms.get_potential_energy())
    assert_allclose(curve.energy, exact, rtol=0, atol=2e-3)
    assert (curve.energy_std > 0).all()
    volume, modulus = eos_parameters(curve.volume, curve.energy)
    reference_volume, reference_modulus = eos_parameters(volumes, np.array(exact))
    assert volume == pytest.approx(reference_volume, rel=5e-3)
    assert modulus == pytest.approx(reference_modulus, rel=0.05)
