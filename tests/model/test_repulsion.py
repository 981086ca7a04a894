"""The repulsion below the distances of the data: its numbers, its default radii, and what it does for a model."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import covalent_radii
from ase.md.verlet import VelocityVerlet
from ase.neighborlist import neighbor_list
from numpy.testing import assert_allclose, assert_array_equal
from scipy.constants import e, epsilon_0, physical_constants
from sklearn.base import clone

from gapkit import SOAP, ZBL, DotProduct, GAPCalculator, GAPRegressor, Noise, Term, load
from gapkit._device.repulsion import switched_zbl
from gapkit.datasets import load_silicon
from gapkit.gp.observations import Labels, labels_of
from gapkit.model.baseline import without_baseline
from gapkit.model.repulsion import Repulsion
from tests.conftest import copper_gold
from tests.reference.zbl import BOHR, COULOMB, switch, zbl_energies, zbl_pair

RADII = {"Cu-Cu": 2.9, "Cu-Au": 2.8, "Au-Au": 3.1}
INNER = {"Cu-Cu": 1.9, "Cu-Au": 2.4, "Au-Au": 2.0}


def soap_model(**kwargs) -> GAPRegressor:
    return GAPRegressor(
        [Term(SOAP(4.2, 4, 3), DotProduct(3), n_sparse=30)], noise=Noise(1e-3, 0.02, 1e-3), random_state=0, **kwargs
    )


# ---------------------------------------------------------------------------------------------- numbers


def test_constants_are_those_of_nature():
    assert pytest.approx(e / (4 * np.pi * epsilon_0) * 1e10, rel=1e-7) == COULOMB
    assert pytest.approx(physical_constants["Bohr radius"][0] * 1e10, rel=1e-6) == BOHR


@pytest.mark.parametrize(("z1", "z2"), [(1, 1), (14, 14), (8, 79)])
def test_pair_equals_the_plain_formula(z1, z2):
    """Value to rounding, also of 1 - t³(...) in the plain switch; slope to the error of differences with a step of 1e-5 Å."""
    inverse_a = (z1**0.23 + z2**0.23) / (0.8854 * BOHR)
    inner, outer = 1.1, 2.3
    at = np.array([0.1, 0.3, 0.9, 1.0999, 1.1001, 1.5, 2.0, 2.29])
    found = np.array([switched_zbl(r, COULOMB * z1 * z2, inverse_a, inner, outer) for r in at])

    def plain(r):
        return zbl_pair(r, z1, z2) * switch(r, inner, outer)

    assert (np.abs(found[:, 0] - plain(at)) <= 1e-12 * plain(at) + 1e-15 * zbl_pair(at, z1, z2)).all()
    h = 1e-5
    assert_allclose(found[:, 1], (plain(at + h) - plain(at - h)) / (2 * h), rtol=1e-6, atol=1e-8 * np.abs(found[-2, 1]))
    assert (found[:, 1] < 0).all()


def test_two_continuous_derivatives_at_both_radii():
    """One-sided second derivatives on both sides of a radius agree to their truncation error, which falls with the step."""
    inner, outer = 1.1, 2.3
    args = COULOMB * 196, 2 * 14**0.23 / (0.8854 * BOHR), inner, outer
    for r in (inner, outer):
        jumps = []
        for h in (1e-3, 1e-4):
            left, right = np.diff([switched_zbl(x, *args)[1] if x < outer else 0.0 for x in (r - h, r, r + h)]) / h
            jumps.append(abs(left - right))
        assert jumps[1] < 0.15 * jumps[0]


@pytest.mark.parametrize("pbc", [(True, True, False), (True, True, True), (False, False, False)])
def test_energies_forces_and_stress_of_structures(alloy, pbc):
    """As the whole model says: with the repulsion minus without, against the plain sum and its finite differences."""
    model = soap_model(baseline=ZBL(RADII, INNER)).fit(alloy)
    bare = soap_model(baseline=ZBL(RADII, INNER)).fit(alloy)
    bare.potential_ = dataclasses.replace(model.potential_, core=None)
    inner, outer = model.baseline_.r_inner, model.baseline_.r_outer
    for seed in (3, 4):
        atoms = copper_gold(seed, pbc)
        (p,), (q,) = model.evaluate([atoms]), bare.evaluate([atoms])
        energies = zbl_energies(atoms, inner, outer)
        assert energies.sum() > 0.1
        assert_allclose(p.energies - q.energies, energies, rtol=0, atol=1e-10)
        atoms.calc = GAPCalculator(model)
        # tolerances as in test_regressor, smaller steps: the third derivative of the repulsion is large
        assert_allclose(p.forces, calculate_numerical_forces(atoms, eps=1e-4), rtol=0, atol=1e-5)
        if any(pbc):
            assert_allclose(p.stress, calculate_numerical_stress(atoms, eps=1e-5), rtol=0, atol=2e-6)


def test_it_is_taken_from_the_labels(alloy):
    labels = [labels_of(atoms, k) for k, atoms in enumerate(alloy)]
    labels[1] = Labels(labels[1].energy, None, None, "")
    labels[2] = Labels(None, labels[2].forces, None, "")
    zbl = ZBL(RADII, INNER).explicit(alloy)
    rest = without_baseline(zbl, alloy, labels)
    for atoms, old, new in zip(alloy, labels, rest, strict=True):
        energy = zbl_energies(atoms, zbl.r_inner, zbl.r_outer).sum()
        assert energy > 0.1
        assert (new.energy is None) == (old.energy is None)
        if old.energy is not None:
            assert new.energy == pytest.approx(old.energy - energy, abs=1e-10)
    assert rest[1].forces is rest[1].stress is rest[2].energy is rest[2].stress is None
    assert np.abs(rest[2].forces - labels[2].forces).max() > 0.1


def test_the_model_is_the_fit_of_the_rest_plus_the_repulsion(alloy):
    zbl = ZBL(RADII, INNER).explicit(alloy)
    rest = []
    for atoms, y in zip(alloy, without_baseline(zbl, alloy, [labels_of(a, k) for k, a in enumerate(alloy)]), strict=True):
        rest.append(atoms.copy())
        rest[-1].calc = SinglePointCalculator(rest[-1], energy=y.energy, forces=y.forces, stress=y.stress)
    plain, model = soap_model().fit(rest), soap_model(baseline=zbl).fit(alloy)
    for atoms in (copper_gold(3), copper_gold(4)):
        (p,), (q,) = plain.evaluate([atoms]), model.evaluate([atoms])
        assert_allclose(q.energies, p.energies + zbl_energies(atoms, zbl.r_inner, zbl.r_outer), rtol=0, atol=1e-9)


# ---------------------------------------------------------------------------------------- default radii


def test_radii_from_the_data(alloy):
    shortest = {name: sum(covalent_radii[Atoms(name.replace("-", "")).numbers]) for name in RADII}
    for atoms in alloy:
        for i, j, r in zip(*neighbor_list("ijd", atoms, 3.0), strict=True):
            name = "-".join(Atoms(sorted(atoms.numbers[[i, j]])).symbols)
            shortest[name] = min(shortest[name], r)
    zbl = ZBL().explicit(alloy)
    assert list(zbl.r_outer) == list(zbl.r_inner) == list(RADII)
    for name, r in zbl.r_outer.items():  # rounded down to 0.01 Å
        assert 0.0 <= 0.95 * shortest[name] - r < 0.01
        assert 0.0 <= 0.7 * r - zbl.r_inner[name] < 0.01
    assert Repulsion.from_radii(zbl).range == max(zbl.r_outer.values())


def test_pairs_that_are_never_close_get_covalent_radii():
    frames = [Atoms("SiC", [[0, 0, 0], [1.7, 0, 0]]), Atoms("C2", [[0, 0, 0], [3.0, 0, 0]])]
    outer = ZBL().explicit(frames).r_outer
    assert outer == {"C-C": 1.44, "C-Si": 1.61, "Si-Si": 2.1}  # 0.95 × (1.52, 1.70, 2.22), rounded down


def test_given_radii():
    frames = [Atoms("SiC", [[0, 0, 0], [1.7, 0, 0]])]
    assert ZBL(2.0).explicit(frames).r_inner == {"C-C": 1.4, "C-Si": 1.4, "Si-Si": 1.4}
    both = ZBL({"Si-C": 1.5, "Si-Si": 2.0, "C-C": 1.3}, 0.5).explicit(frames)
    assert both.r_outer == {"C-C": 1.3, "C-Si": 1.5, "Si-Si": 2.0}
    assert set(both.r_inner.values()) == {0.5}
    assert repr(both.explicit(frames)) == repr(both)
    assert repr(clone(both)) == repr(both)


@pytest.mark.parametrize(
    ("zbl", "error", "message"),
    [
        (ZBL("far"), ValueError, "`r_outer` must be one of 'auto'; got 'far'. Or give a number"),
        (ZBL(2.0, "near"), ValueError, "`r_inner` must be one of 'auto'; got 'near'"),
        (ZBL(-1.0), ValueError, "`r_outer` must be a number above 0"),
        (ZBL(2.0, 2.0), ValueError, r"`r_inner` must be below r_outer \(2 Å\) for Cu-Cu; got 2.0"),
        (ZBL({"Cu-Cu": 2.0}), ValueError, r"`r_outer` must be given for every pair of species; missing \['Cu-Au', 'Au-Au'\]"),
        (ZBL({"CuAu": 2.0}), ValueError, "`r_outer` must be a dict with keys such as \"Si-O\"; got 'CuAu'"),
        (ZBL({"Cu-Xy": 2.0}), ValueError, "`r_outer` must be a dict with keys"),
        (ZBL({"Cu-Cu": "2"}), TypeError, r"`r_outer\['Cu-Cu'\]` must be a number"),
        (ZBL([2.0]), TypeError, "`r_outer` must be a number"),
    ],
)
def test_bad_radii(alloy, zbl, error, message):
    with pytest.raises(error, match=message):
        soap_model(baseline=zbl).fit(alloy)


# ------------------------------------------------------------------------------------ automatic silicon


@pytest.fixture(scope="module")
def silicon():
    return load_silicon(config_types=["isolated_atom", "rattled", "strained"])[::3]


@pytest.fixture(scope="module")
def automatic(silicon):
    return GAPRegressor(random_state=0).fit(silicon)


def dimer(r: float) -> Atoms:
    return Atoms("Si2", [[0, 0, 0], [r, 0, 0]])


def squeezed(r: float) -> Atoms:
    """A crystal in which one bond has length r."""
    atoms = bulk("Si", a=5.47, cubic=True)
    vector = atoms.get_distance(0, 1, mic=True, vector=True)
    middle = atoms.positions[0] + vector / 2
    along = vector / np.linalg.norm(vector) * r / 2
    atoms.positions[0], atoms.positions[1] = middle - along, middle + along
    return atoms


def test_automatic_models_have_it_and_their_accuracy_is_unchanged(automatic, silicon):
    """It is exactly 0 over the training set: the same predictions, bit for bit."""
    assert isinstance(automatic.baseline_, ZBL)
    without = automatic.explicit().set_params(baseline=None).fit(silicon)
    assert without.baseline_ is None
    for p, q in zip(automatic.evaluate(silicon), without.evaluate(silicon), strict=True):
        assert p.energy == q.energy
        assert_array_equal(p.forces, q.forces)
    assert GAPRegressor(automatic.terms_).baseline is None


@pytest.mark.parametrize("make", [dimer, squeezed])
def test_two_silicon_atoms_repel_at_any_short_distance(automatic, make):
    radii = np.arange(0.3, 1.91, 0.1)
    predictions = automatic.evaluate([make(r) for r in radii])
    assert (np.diff([p.energy for p in predictions]) < 0).all()
    for r, p in zip(radii, predictions, strict=True):
        along = make(r).get_distance(0, 1, mic=True, vector=True) / r
        assert p.forces[1] @ along > 0
        assert p.forces[0] @ along < 0
    assert predictions[0].energy > 1000  # eV
    without = copy.copy(automatic)
    without.potential_ = dataclasses.replace(automatic.potential_, core=None)
    assert without.predict([make(0.3)])[0] < 10  # what the Gaussian process alone says of it


def test_energy_is_conserved_through_a_collision(automatic):
    """Head-on at 20 eV with 0.05 fs steps: Verlet's error at the turning point stays below 1e-3 of that, and is gone after."""
    atoms = dimer(3.5)
    speed = np.sqrt(20.0 / atoms.get_masses()[0])
    atoms.set_velocities([[speed, 0, 0], [-speed, 0, 0]])
    atoms.calc = GAPCalculator(automatic)
    totals, distances = [], []
    dynamics = VelocityVerlet(atoms, 0.05 * units.fs)
    for _ in dynamics.irun(600):
        totals.append(atoms.get_total_energy())
        distances.append(atoms.get_distance(0, 1))
    assert min(distances) < 1.4
    assert distances[-1] > 3.0
    assert np.ptp(totals) < 0.02
    assert abs(totals[-1] - totals[0]) < 1e-3


def test_it_survives_files_and_explicit_copies(automatic, silicon, tmp_path):
    automatic.save(tmp_path / "m.gap")
    read = load(tmp_path / "m.gap")
    assert repr(read.baseline) == repr(automatic.baseline_) == repr(automatic.explicit().baseline)
    assert repr(GAPRegressor().explicit(silicon).baseline) == repr(automatic.baseline_)
    for make in (dimer, squeezed):
        assert_array_equal(read.predict([make(0.5)]), automatic.predict([make(0.5)]))
    assert_array_equal(read.fit(silicon).predict([dimer(1.0)]), automatic.predict([dimer(1.0)]))


def test_nested_parameters(alloy):
    model = soap_model(baseline=ZBL(2.0))
    assert model.get_params()["baseline__r_outer"] == 2.0
    assert model.set_params(baseline__r_outer=1.5).baseline.r_outer == 1.5
    with pytest.raises(ValueError, match="`baseline__r_outer` must be a parameter of"):
        soap_model().set_params(baseline__r_outer=1.0)
    assert set(model.fit(alloy).baseline_.r_outer.values()) == {1.5}
