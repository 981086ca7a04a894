from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from numpy.testing import assert_allclose

from gapkit import Noise
from gapkit.gp.observations import VOIGT, forces_and_stresses, labels_of, voigt
from gapkit.neighbors import NeighborList


@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False)])
def test_forces_and_stress_of_lennard_jones(pbc):
    """E = sum of phi(r)/2 over directed pairs, so dE/dD = phi'(r) r^/2: signs, volume and Voigt order against ASE."""
    atoms = bulk("Ar", cubic=True, a=5.0)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.05 * np.random.default_rng(0).uniform(-1, 1, (3, 3))), scale_atoms=True)
    atoms.rattle(0.2, seed=1)
    atoms.pbc = pbc
    atoms.calc = LennardJones(sigma=3.4, epsilon=0.01, rc=6.0, ro=4.0, smooth=False)
    neighbors = NeighborList.from_atoms([bulk("Ar"), atoms], 6.0)
    r = neighbors.distances
    slope = 4 * 0.01 * (-12 * (3.4 / r) ** 12 + 6 * (3.4 / r) ** 6) / r
    forces, stresses = forces_and_stresses(neighbors, (slope / r / 2)[:, None] * neighbors.vectors)
    assert_allclose(forces[1:], atoms.get_forces(), rtol=0, atol=1e-12)
    assert_allclose(stresses[1], atoms.get_stress(), rtol=0, atol=1e-14)
    assert np.abs(atoms.get_stress()).min() > 1e-6


def test_no_stress_without_volume_or_periodicity():
    frames = [Atoms("Ar2", [[0, 0, 0], [0, 0, 3]]), Atoms("Ar", cell=[5] * 3, pbc=(True, False, False))]
    neighbors = NeighborList.from_atoms(frames, 6.0)
    _, stresses = forces_and_stresses(neighbors, np.zeros((len(neighbors.centers), 3)))
    assert stresses[0] is None
    assert stresses[1].tolist() == [0.0] * 6


def test_voigt_order_is_that_of_ase():
    from ase.stress import full_3x3_to_voigt_6_stress

    tensor = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 5.0], [3.0, 5.0, 6.0]])
    assert_allclose(voigt(tensor), full_3x3_to_voigt_6_stress(tensor))
    assert len(VOIGT) == 6


def test_stress_labels_come_in_three_shapes():
    tensor = np.array([[1.0, 2.0, 3.0], [2.2, 4.0, 5.0], [3.0, 5.0, 6.0]])
    for value in (tensor, tensor.ravel(), voigt(tensor)):
        atoms = bulk("Ar")
        atoms.calc = SinglePointCalculator(atoms)
        atoms.calc.results["stress"] = value
        assert_allclose(labels_of(atoms, 0).stress, [1, 4, 6, 5, 3, 2.1])


def test_stress_label_of_a_molecule_is_ignored():
    atoms = Atoms("Ar2", [[0, 0, 0], [0, 0, 3]])
    atoms.calc = SinglePointCalculator(atoms, energy=1.0, stress=np.zeros(6))
    assert labels_of(atoms, 0).stress is None
    assert labels_of(atoms, 0).energy == 1.0
    assert labels_of(atoms, 0, energy=2.0).energy == 2.0


def test_noise_classes():
    noise = Noise(per_config_type={"hot": Noise(energy=0.01)})
    assert noise.class_of("hot") == "hot"
    assert noise.class_of("cold") == noise.class_of("") == ""
    assert set(noise.classes()) == {"", "hot"}
    with pytest.raises(ValueError, match=r"`noise.energy` must be a number above 0"):
        Noise(per_config_type={"hot": Noise(energy=-1.0)}).check_parameters()
    with pytest.raises(TypeError, match=r"`noise.per_config_type\['hot'\]` must be a Noise; got 0.1"):
        Noise(per_config_type={"hot": 0.1}).check_parameters()
