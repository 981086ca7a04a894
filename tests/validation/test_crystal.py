"""Properties of crystals: against calculators with known values, and error bars against 50 potentials done the slow way."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.spacegroup import crystal as of_space_group
from matscipy.calculators.manybody import Manybody
from matscipy.calculators.manybody.explicit_forms import StillingerWeber
from matscipy.calculators.manybody.explicit_forms.stillinger_weber import Stillinger_Weber_PRB_31_5262_Si
from scipy.optimize import minimize_scalar

from gapkit import SOAP, DotProduct, GAPCalculator, GAPRegressor, Noise, Term
from gapkit.datasets import load_silicon
from gapkit.exceptions import MissingPackageError, NumericalWarning
from gapkit.validation import (
    Ensemble,
    elastic_properties,
    eos_properties,
    find_crystal,
    phonon_properties,
    propagate,
    relaxed_crystals,
)

N_SAMPLES = 50


@pytest.fixture(scope="module")
def model():
    """A small potential of silicon with wide error bars."""
    term = Term(SOAP(r_cut=4.0, n_max=3, l_max=3), DotProduct(zeta=2), n_sparse=20)
    frames = load_silicon(config_types=["eos", "strained"])
    return GAPRegressor([term], noise=Noise(0.01, 0.2, 0.01), random_state=0).fit(frames)


@pytest.fixture(scope="module")
def ensemble(model):
    return Ensemble.of(model, N_SAMPLES, random_state=1)


@pytest.fixture(scope="module")
def silicon(ensemble):
    crystal = find_crystal(bulk("Si", a=5.47))
    return crystal, relaxed_crystals(crystal.primitive, ensemble)


def alone(calculator):
    return Ensemble(calculator)


def test_standard_setting():
    turned = bulk("Si", cubic=True, a=5.4).repeat((2, 1, 1))
    turned.rotate(30, (1, 2, 3), rotate_cell=True)
    turned.rattle(1e-4, seed=0)
    found = find_crystal(turned)
    assert (found.system, found.space_group, len(found.primitive)) == ("cubic", "Fd-3m", 2)
    assert found.conventional(found.primitive).cell.cellpar() == pytest.approx([5.4] * 3 + [90] * 3, abs=1e-2)
    assert find_crystal(bulk("Mg", "hcp", a=3.2, c=5.2)).system == "hexagonal"
    quartz = of_space_group(
        ["Si", "O"], [(0.47, 0, 2 / 3), (0.41, 0.27, 0.78)], spacegroup=152, cellpar=[4.9, 4.9, 5.4, 90, 90, 120]
    )
    assert find_crystal(quartz).system == "trigonal"
    liquid = bulk("Si", cubic=True)
    liquid.rattle(0.3, seed=0)
    assert find_crystal(liquid) is None
    surface = bulk("Si", cubic=True)
    surface.pbc = (True, True, False)
    assert find_crystal(surface) is None


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "spglib", None)  # importing it raises ImportError
    with pytest.raises(MissingPackageError, match=r"pip install 'gapkit\[props\]'"):
        find_crystal(bulk("Si"))


def test_stillinger_weber():
    """Published: 5.431 Å, and C11 151.4, C12 76.4, C44 56.4 GPa (Balamane et al., PRB 46, 2250 (1992), Table V)."""
    e = alone(Manybody(**StillingerWeber(Stillinger_Weber_PRB_31_5262_Si)))
    crystal = find_crystal(bulk("Si", a=5.5))
    relaxed = relaxed_crystals(crystal.primitive, e)
    found = {**eos_properties(crystal, relaxed, e), **elastic_properties(crystal, relaxed, e)}
    assert float(found["a"]) == pytest.approx(5.431, abs=5e-4)  # as many digits as published
    assert float(found["C11"]) == pytest.approx(151.4, abs=0.5)
    assert float(found["C12"]) == pytest.approx(76.4, abs=0.5)
    assert float(found["C44"]) == pytest.approx(56.4, abs=0.5)
    modulus = (float(found["C11"]) + 2 * float(found["C12"])) / 3
    assert float(found["bulk_modulus_hill"]) == pytest.approx(modulus, rel=1e-6)  # Voigt = Reuss for a cubic crystal
    assert float(found["bulk_modulus"]) == pytest.approx(modulus, rel=5e-3)  # a fit over 12 % of volume is no derivative
    assert float(found["stability"]) > 0
    assert found["a"].std is None


def test_hexagonal_constants_of_pairs_obey_cauchy():
    """Pair forces: C13 = C44, to which internal displacements do not contribute; C66 = (C11 - C12)/2 by symmetry."""
    e = alone(LennardJones(sigma=2.9, epsilon=0.1, rc=10.0, ro=8.0, smooth=True))
    crystal = find_crystal(bulk("Mg", "hcp", a=3.2, c=5.2))
    relaxed = relaxed_crystals(crystal.primitive, e)
    found = {**eos_properties(crystal, relaxed, e), **elastic_properties(crystal, relaxed, e)}
    assert {"a", "c"} <= set(found)
    assert "b" not in found
    C = {name: float(value) for name, value in found.items() if name.startswith("C")}
    assert len(C) == 21
    assert C["C66"] == pytest.approx((C["C11"] - C["C12"]) / 2, rel=5e-3)
    assert C["C13"] == pytest.approx(C["C44"], rel=5e-3)
    assert C["C11"] == pytest.approx(C["C22"], rel=5e-3)


def test_phonons_of_pairs_in_a_chain_of_planes():
    """fcc along [100]: a plane of atoms moves against its two neighbours, with force constants from EMT itself."""
    e = alone(EMT())
    crystal = find_crystal(bulk("Cu", a=3.6))
    relaxed = relaxed_crystals(crystal.primitive, e)
    path, found = phonon_properties(crystal, relaxed, e)
    # the zone boundary X as a frozen phonon: planes alternate in the cubic cell, amplitude u
    cell, u = crystal.conventional(relaxed[0]), 0.005
    forces = {}
    for axis in (0, 2):
        moved = cell.copy()
        sign = np.where(np.rint(2 * moved.get_scaled_positions()[:, 2]) % 2 == 0, 1, -1)
        moved.positions[:, axis] += sign * u
        moved.calc = EMT()
        forces[axis] = float(np.mean(moved.get_forces()[:, axis] * sign))
    exact = [np.sqrt(-f / u / moved.get_masses()[0]) * units.fs * 1e3 / (2 * np.pi) for f in forces.values()]  # THz
    assert float(found["phonon_X_1"]) == pytest.approx(min(exact), rel=2e-3)  # anharmonicity at 0.01 Å
    assert float(found["phonon_X_3"]) == pytest.approx(max(exact), rel=2e-3)
    assert abs(found["phonon_Γ_1"].value) < 1e-3
    assert found["bands"].value.shape == (len(path.points), 3)
    assert np.trapezoid(found["dos"].value, found["dos_frequency"].value) == pytest.approx(3.0, rel=0.05)  # the rest is below 0


def test_error_bars_are_the_spread_of_50_potentials(model, ensemble, silicon):
    """Each sample alone, by other means: its energy minimised over the lattice constant, C11 from second derivatives."""
    crystal, relaxed = silicon
    eos = eos_properties(crystal, relaxed, ensemble)
    elastic = elastic_properties(crystal, relaxed, ensemble)
    slow = []
    for member in model.sample(N_SAMPLES, random_state=1):
        calculator = GAPCalculator(member)

        def energy(a, strain=(0, 0, 0), calculator=calculator):
            atoms = bulk("Si", a=a)
            atoms.set_cell(atoms.cell.array * (1 + np.array(strain)), scale_atoms=True)
            atoms.calc = calculator
            return atoms.get_potential_energy()

        best = minimize_scalar(energy, bracket=(5.4, 5.5), options={"xtol": 1e-7}).x
        h, volume = 0.004, best**3 / 4
        low, middle, high = (energy(best, (k * h, 0, 0)) for k in (-1, 0, 1))
        both = energy(best, (h, h, h)) + energy(best, (-h, -h, -h))
        c11 = (high + low - 2 * middle) / h**2 / volume
        slow.append((best, c11 / units.GPa, (both - 2 * middle) / h**2 / 9 / volume / units.GPa))
    mean, std = np.mean(slow, axis=0), np.std(slow, axis=0, ddof=1)
    assert eos["a"].std == pytest.approx(std[0], rel=0.02)  # forces are relaxed to 1e-4 eV/Å only
    assert elastic["C11"].std == pytest.approx(std[1], rel=0.02)
    assert elastic["bulk_modulus_hill"].std == pytest.approx(std[2], rel=0.02)
    assert eos["bulk_modulus"].std == pytest.approx(std[2], rel=0.3)  # over 12 % of volume samples differ in higher terms too
    assert float(eos["a"]) == pytest.approx(mean[0], abs=4 * std[0] / np.sqrt(N_SAMPLES) + 1e-3)


def test_error_bars_of_phonons(model, ensemble, silicon):
    """The optical mode at Γ as a frozen phonon, for each sample at its own lattice constant."""
    crystal, relaxed = silicon
    few = 8  # a phonopy run takes a tenth of a second
    part = Ensemble(ensemble.mean, ensemble.members[:few])
    _, found = phonon_properties(crystal, relaxed[: few + 1], part)
    u, slow = 0.005, []
    for atoms, calculator in zip(relaxed[1 : few + 1], part.members, strict=True):
        moved = atoms.copy()
        moved.positions[:, 0] += (u, -u)
        moved.calc = calculator
        slow.append(np.sqrt(-moved.get_forces()[0, 0] / u / moved.get_masses()[0]) * units.fs * 1e3 / (2 * np.pi))
    assert found["phonon_Γ_4"].std == pytest.approx(np.std(slow, ddof=1), rel=0.02)
    assert found["bands"].std.shape == found["bands"].value.shape


def test_calibration_widens(model, silicon):
    crystal, _ = silicon
    plain = Ensemble.of(model, 6)
    wide = Ensemble(plain.mean, plain.members, {"stress": 3.0})
    starts = relaxed_crystals(crystal.primitive, plain)
    a, b = (elastic_properties(crystal, starts, e)["C44"].std for e in (plain, wide))
    assert b == pytest.approx(3 * a)


def test_samples_that_fail_are_counted():
    def measure(calculator, atoms):
        if calculator == 2:
            raise ValueError("fell apart")
        return {"x": calculator}

    e, starts = Ensemble(0, (1, 2, 3, 4, 5)), [bulk("Cu")] * 5 + [None]
    with pytest.warns(NumericalWarning, match=r"1 of 5 samples of the posterior failed and are left out \(fell apart\)"):
        found = propagate(measure, e, starts, kind="energy", what="test")
    assert found["x"].std == pytest.approx(np.std([1, 3, 4], ddof=1))
    with pytest.raises(ValueError, match="fell apart"):
        propagate(measure, Ensemble(2), [bulk("Cu")], kind="energy", what="test")


def test_a_model_without_posterior_has_no_error_bars(model, tmp_path):
    import gapkit

    model.save(tmp_path / "small.gap", posterior=False)
    e = Ensemble.of(gapkit.load(tmp_path / "small.gap"))
    assert e.members == ()
    crystal = find_crystal(bulk("Si", a=5.47))
    relaxed = relaxed_crystals(crystal.primitive, e)
    assert eos_properties(crystal, relaxed, e)["a"].std is None
