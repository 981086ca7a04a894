from __future__ import annotations

import numpy as np
import pytest
from ase import units
from ase.calculators.calculator import PropertyNotImplementedError
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError
from threadpoolctl import threadpool_info, threadpool_limits

import gapkit.calculator
from gapkit import SOAP, DotProduct, GAPCalculator, GAPRegressor, Noise, Term
from gapkit.exceptions import InvalidStructureError
from gapkit.validation import nve_drift
from tests.conftest import copper_gold


@pytest.fixture(scope="module")
def model(alloy):
    return GAPRegressor([Term(SOAP(4.2, 4, 3), DotProduct(3), n_sparse=30)], noise=Noise(1e-3, 0.02, 1e-3), random_state=0).fit(
        alloy
    )


def test_properties(model):
    atoms = copper_gold(3, (True, True, False))
    atoms.calc = GAPCalculator(model, uncertainty="exact")
    (p,) = model.evaluate([atoms], uncertainty="exact")
    assert atoms.get_potential_energy() == pytest.approx(p.energy, abs=1e-12)
    assert atoms.get_potential_energy(force_consistent=True) == pytest.approx(p.energy, abs=1e-12)
    assert_allclose(atoms.get_potential_energies(), p.energies, rtol=0, atol=1e-12)
    assert_allclose(atoms.get_forces(), p.forces, rtol=0, atol=1e-12)
    assert_allclose(atoms.get_stress(), p.stress, rtol=0, atol=1e-12)
    assert_allclose(atoms.calc.prediction.energies_std, p.energies_std, rtol=1e-6)
    assert set(atoms.calc.export_properties()) >= {"energy", "forces"}


def test_no_stress_without_a_cell(model):
    atoms = copper_gold(3, (False, False, False))
    atoms.calc = GAPCalculator(model)
    assert atoms.get_forces().shape == (4, 3)
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()


def test_one_evaluation_per_step_of_molecular_dynamics(model, monkeypatch):
    calls, lists = [], []
    predict, from_atoms = gapkit.calculator.predict, gapkit.calculator.NeighborList.from_atoms
    monkeypatch.setattr(gapkit.calculator, "predict", lambda *a, **k: calls.append(1) or predict(*a, **k))
    monkeypatch.setattr(gapkit.calculator.NeighborList, "from_atoms", lambda *a, **k: lists.append(1) or from_atoms(*a, **k))
    atoms = copper_gold(4, (True, True, True))
    atoms.calc = GAPCalculator(model)
    dynamics = VelocityVerlet(atoms, 1.0 * units.fs)
    dynamics.run(1)
    calls.clear()
    for _ in dynamics.irun(10):
        atoms.get_potential_energy()
        atoms.get_stress()
        atoms.get_kinetic_energy()
    assert len(calls) <= 11
    assert len(lists) <= 2


def test_skin_does_not_change_the_trajectory(model):
    positions = []
    for skin in (0.0, 1.0):
        atoms = copper_gold(5, (True, True, False))
        atoms.calc = GAPCalculator(model, skin=skin)
        VelocityVerlet(atoms, 2.0 * units.fs).run(30)
        positions.append(atoms.positions)
    assert np.abs(positions[0] - copper_gold(5, (True, True, False)).positions).max() > 0.05
    assert_allclose(positions[0], positions[1], rtol=0, atol=1e-9)


def test_energy_is_conserved_without_a_cell_being_wrapped(model):
    atoms = copper_gold(6, (True, True, True))
    atoms.calc = GAPCalculator(model)
    BFGS(atoms, logfile=None).run(fmax=0.05, steps=200)
    drift = nve_drift(atoms, temperature=200.0, steps=400, timestep=2.0)
    assert abs(drift.slope) < 2e-4  # eV/atom/ps; a 4-atom cell of heavy atoms with 2 fs steps for 0.8 ps
    assert drift.fluctuation < 1e-3
    assert drift.temperature.shape == drift.time.shape == (41,)


def test_changed_structures_are_noticed(model):
    atoms = copper_gold(7, (True, True, True))
    atoms.calc = GAPCalculator(model)
    first = atoms.get_potential_energy()
    atoms.symbols[0] = "Au" if atoms.symbols[0] == "Cu" else "Cu"
    swapped = atoms.get_potential_energy()
    assert swapped == pytest.approx(model.predict([atoms])[0], abs=1e-10)
    assert swapped != first
    atoms.set_cell(atoms.cell * 1.02, scale_atoms=True)
    assert atoms.get_potential_energy() == pytest.approx(model.predict([atoms])[0], abs=1e-10)
    atoms.pbc = False
    assert atoms.get_potential_energy() == pytest.approx(model.predict([atoms])[0], abs=1e-10)


def test_atoms_that_fall_onto_each_other_stop_the_run(model):
    atoms = copper_gold(8, (True, True, True))
    atoms.calc = GAPCalculator(model)
    atoms.get_forces()
    atoms.positions[0] = atoms.positions[1] + 0.02
    with pytest.raises(InvalidStructureError, match=r"at least 0.1 Å apart"):
        atoms.get_forces()
    atoms.positions[0] = np.nan
    with pytest.raises(InvalidStructureError, match="Positions must be finite"):
        atoms.get_forces()


def test_bad_arguments(model):
    with pytest.raises(ValueError, match="`skin` must be a number at least 0"):
        GAPCalculator(model, skin=-1)
    with pytest.raises(NotFittedError):
        GAPCalculator(GAPRegressor())


def test_positions_of_the_caller_stay(model):
    atoms = copper_gold(9, (True, True, True))
    atoms.positions += 17.0
    before = atoms.positions.copy()
    atoms.calc = GAPCalculator(model)
    atoms.get_forces()
    assert_array_equal(atoms.positions, before)


@pytest.mark.parametrize(("n_atoms", "threads"), [(4, 1), (500, None)])
def test_small_structures_are_evaluated_by_one_thread(model, monkeypatch, n_atoms, threads):
    """Whatever the number of threads was, it is the same afterwards."""
    pools = lambda: {pool["filepath"]: pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}  # noqa: E731
    seen, predict = [], gapkit.calculator.predict
    monkeypatch.setattr(gapkit.calculator, "predict", lambda *a, **k: seen.append(pools()) or predict(*a, **k))
    atoms = copper_gold(4, (True, True, True)).repeat((1, 1, n_atoms // 4))
    atoms.calc = GAPCalculator(model)
    with threadpool_limits(2):
        before = pools()
        atoms.get_potential_energy()
        assert pools() == before
    (during,) = seen
    assert set(during.values()) == ({threads} if threads else set(before.values()))


def test_results_do_not_depend_on_the_threads(model, on_threads):
    """Not by a bit: threads share blocks of atoms, whose order and size do not depend on them."""
    atoms = copper_gold(4, (True, True, True)).repeat((4, 4, 4))  # two blocks
    p, q = (on_threads(n, lambda: model.evaluate([atoms], uncertainty="fast", std=("forces",))[0]) for n in (1, 2))
    assert_array_equal(p.energies, q.energies)
    assert_array_equal(p.forces, q.forces)
    assert_array_equal(p.stress, q.stress)
    assert_array_equal(p.forces_std, q.forces_std)


def test_only_what_the_model_depends_on_is_evaluated_anew(model, monkeypatch):
    calls, predict = [], gapkit.calculator.predict
    monkeypatch.setattr(gapkit.calculator, "predict", lambda *a, **k: calls.append(1) or predict(*a, **k))
    atoms = copper_gold(4, (True, True, True))
    atoms.calc = GAPCalculator(model)
    first = atoms.get_potential_energy()
    atoms.set_initial_magnetic_moments(np.ones(len(atoms)))
    atoms.set_initial_charges(np.ones(len(atoms)))
    assert atoms.get_potential_energy() == first
    assert len(calls) == 1
    changes = {
        "positions": lambda: atoms.positions.__iadd__(1e-15 * np.arange(12).reshape(4, 3)),
        "numbers": lambda: atoms.set_atomic_numbers(atoms.numbers[::-1]),
        "cell": lambda: atoms.set_cell(1.01 * atoms.cell.array),
        "pbc": lambda: atoms.set_pbc((True, True, False)),
        "smaller": lambda: atoms.__delitem__(0),
    }
    for k, change in enumerate(changes.values(), start=2):
        change()
        atoms.get_potential_energy()
        assert len(calls) == k
