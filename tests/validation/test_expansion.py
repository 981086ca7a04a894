from __future__ import annotations

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from matscipy.calculators.manybody import Manybody
from matscipy.calculators.manybody.explicit_forms import StillingerWeber
from matscipy.calculators.manybody.explicit_forms.stillinger_weber import Stillinger_Weber_PRB_31_5262_Si
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize_scalar

from gapkit.validation import Ensemble, expansion_properties, find_crystal, relaxed_crystals
from gapkit.validation import phonons as module
from gapkit.validation.expansion import quasi_harmonic
from gapkit.validation.phonons import phonopy_of, repeats_of


@pytest.fixture
def small_cells(monkeypatch):
    """Supercells of 32 atoms: both sides of a comparison have the same."""
    monkeypatch.setattr(module, "_LEAST_EDGE", 7.0)


def test_classical_oscillators_on_a_parabola():
    """E = K (V - V0)²/2, three modes of frequency ~ V^-γ: S = S0 + 3 k γ ln V, so that V solves K (V - V0) = 3 γ k T / V.

    The expansion is its derivative by T.  ln V is no cubic: 1e-6 of its scale over these 8 % of volume.
    """
    v0, stiffness, gamma = 20.0, 0.05, 2.0
    volumes, temperatures = np.linspace(19.4, 21.0, 7), np.array([1.0, 100.0, 300.0])
    entropy = 3 * units.kB * gamma * np.log(volumes) + np.zeros((3, 1))
    free = stiffness * (volumes - v0) ** 2 / 2 - temperatures[:, None] * entropy
    volume, expansion = quasi_harmonic(volumes, free, entropy)
    heat = 3 * gamma * units.kB
    exact = (v0 + np.sqrt(v0**2 + 4 * heat * temperatures / stiffness)) / 2
    assert volume == pytest.approx(exact, rel=1e-6)
    assert expansion == pytest.approx(heat / stiffness / (2 * exact - v0) / exact, rel=1e-3)


def test_no_minimum_is_refused():
    volumes = np.linspace(10.0, 11.0, 7)
    with pytest.raises(ValueError, match=r"between 10.00 and 11.00 Å³/atom; got none"):
        quasi_harmonic(volumes, -volumes[None], volumes[None])


def free_energy(primitive, repeats, volume, temperatures, calculator):
    """From the frequencies, with the textbook formula."""
    scaled = primitive.copy()
    scaled.set_cell(primitive.cell * (volume / primitive.get_volume()) ** (1 / 3), scale_atoms=True)
    mesh = phonopy_of(scaled, repeats, calculator).run_mesh(60.0)
    quantum = mesh.frequencies * 1e12 * units._hplanck / units._e  # eV
    share = (mesh.weights / mesh.weights.sum())[:, None] * (quantum > 1e-5)  # without the acoustic modes at Γ
    scaled.calc = calculator
    heat = [
        np.sum(share * units.kB * t * np.log(2 * np.sinh(np.maximum(quantum, 1e-9) / (2 * units.kB * t)))) for t in temperatures
    ]
    return scaled.get_potential_energy() + np.array(heat)


SILICON = Manybody(**StillingerWeber(Stillinger_Weber_PRB_31_5262_Si))


CASES = [(bulk("Cu", a=3.6), EMT(), 16.6), (bulk("Si", a=5.43), SILICON, 2.6)]


@pytest.mark.parametrize(("atoms", "calculator", "experiment"), CASES, ids=["Cu", "Si"])
def test_crystals_against_minima_at_two_temperatures(small_cells, atoms, calculator, experiment):
    """V(310 K) - V(290 K) from splines through textbook free energies at nine volumes; 2 % for the fits and differences.

    Experiment: linear, 1e-6/K (CRC handbook).  Both potentials are simple, and known to expand too much; no factor is off.
    """
    ensemble = Ensemble(calculator)
    crystal = find_crystal(atoms)
    relaxed = relaxed_crystals(crystal.primitive, ensemble)
    found = expansion_properties(crystal, relaxed, ensemble, temperature=300.0)
    primitive = relaxed[0]
    volumes = primitive.get_volume() * np.linspace(0.98, 1.04, 9)
    repeats = repeats_of(crystal, primitive)
    free = np.array([free_energy(primitive, repeats, v, (290.0, 310.0), calculator) for v in volumes])
    within = {"bounds": (volumes[0], volumes[-1]), "method": "bounded", "options": {"xatol": 1e-9}}
    low, high = (minimize_scalar(CubicSpline(volumes, f - f[0]), **within).x for f in free.T)
    assert float(found["thermal_volume"]) == pytest.approx((low + high) / 2 / len(primitive), rel=1e-4)
    linear = float(found["thermal_expansion"]) / 3
    assert linear == pytest.approx(1e6 * (high - low) / 20.0 / ((low + high) / 2) / 3, rel=0.02)
    assert 0.5 * experiment < linear < 2.0 * experiment
    curve = found["expansion"].value
    assert curve[0] == pytest.approx(0.0, abs=1e-9)  # third law
    assert len(curve) == len(found["expansion_temperature"].value)


def test_imaginary_phonons_are_named(small_cells):
    """bcc copper falls apart by shear."""
    ensemble = Ensemble(EMT())
    crystal = find_crystal(bulk("Cu", "bcc", a=2.86))
    with pytest.raises(ValueError, match="Å³/atom are imaginary"):
        expansion_properties(crystal, [crystal.primitive], ensemble)
