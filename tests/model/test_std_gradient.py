"""Gradients of standard deviations against differences of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from numpy.testing import assert_allclose

from gapkit import RBF, SOAP, DotProduct, GAPRegressor, Noise, Term, ThreeBody, TwoBody
from gapkit.model.prediction import predict
from gapkit.model.std_gradient import std_gradients
from gapkit.neighbors import NeighborList
from tests.conftest import copper_gold

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


@pytest.fixture(scope="module")
def models(alloy):
    """Two terms of atoms, one with scaled features; a term of atoms with one of pairs and one of triplets."""
    long = Term(SOAP(4.2, 4, 3), DotProduct(3), n_sparse=24)
    short = Term(SOAP(3.2, 3, 2, 0.4), RBF(0.8), delta=0.3, n_sparse=20, selection="fps", scale=np.linspace(0.5, 1.5, 63))
    bodies = [Term(TwoBody(4.0), RBF(0.8), delta=0.3, n_sparse=12), Term(ThreeBody(3.0), RBF(1.5), delta=0.1, n_sparse=20)]
    noise = Noise(1e-2, 0.1, 1e-2)
    return {
        "atoms": GAPRegressor([long, short], noise=noise, random_state=0).fit(alloy),
        "bodies": GAPRegressor([long, *bodies], noise=noise, random_state=0).fit(alloy),
    }


def value(potential, atoms, weights):
    neighbors = NeighborList.from_atoms([atoms], potential.neighbor_range)
    (p,) = predict(potential, neighbors, forces=False, stress=False, uncertainty="exact", std=("energies",))
    return float(weights @ p.energies_std)


def difference(function, step):
    """Central, of fourth order."""
    return (8 * (function(step) - function(-step)) - function(2 * step) + function(-2 * step)) / (12 * step)


@pytest.mark.parametrize("case", ["atoms", "bodies"])
@pytest.mark.parametrize("approximation", ["dtc", "sor"])
@pytest.mark.parametrize("pbc", [(True, True, False), (True, True, True)])
def test_equals_differences_of_the_deviations(models, case, approximation, pbc):
    """Step 1e-3 Å (strain 3e-4); 1e-6 of the largest component is the noise of the differences."""
    potential = replace(models[case].potential_, approximation=approximation)
    atoms = copper_gold(50, pbc)
    weights = np.array([1.0, -0.5, 2.0, 0.0])
    (result,) = std_gradients(potential, NeighborList.from_atoms([atoms], potential.neighbor_range), weights)
    assert_allclose(result.value, value(potential, atoms, weights), rtol=1e-9)
    forces, stress = np.zeros((4, 3)), np.zeros(6)
    for i in range(4):
        for c in range(3):

            def moved(step, i=i, c=c):
                copy = atoms.copy()
                copy.positions[i, c] += step
                return value(potential, copy, weights)

            forces[i, c] = -difference(moved, 1e-3)
    for k, (a, b) in enumerate(VOIGT):

        def strained(step, a=a, b=b):
            copy, strain = atoms.copy(), np.eye(3)
            strain[a, b] += step / 2
            strain[b, a] += step / 2
            copy.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            return value(potential, copy, weights)

        stress[k] = difference(strained, 3e-4) / atoms.get_volume()
    assert np.abs(forces).max() > 1e-3
    assert_allclose(result.forces, forces, rtol=0, atol=1e-6 * np.abs(forces).max())
    assert_allclose(result.stress, stress, rtol=0, atol=1e-6 * np.abs(stress).max())


def test_batches_and_default_weights(models):
    model = models["atoms"]
    frames = [copper_gold(50, (True, True, False)), copper_gold(51, (False, False, False))]
    one, two = model.std_gradient(frames)
    assert two.stress is None
    assert_allclose(one.value, one.energies_std.sum(), rtol=1e-12)
    (alone,) = model.std_gradient(frames[1:], [np.ones(4)])
    assert_allclose(two.forces, alone.forces, rtol=0, atol=1e-10)
    assert_allclose(one.energies_std, model.evaluate(frames[:1], uncertainty="exact")[0].energies_std, rtol=1e-9)
    with pytest.raises(ValueError, match="`weights` must have one number per atom"):
        model.std_gradient(frames, [np.ones(4)])


def test_a_perfect_crystal_has_no_force(models):
    (result,) = models["atoms"].std_gradient([bulk("Cu", cubic=True)])
    assert result.value > 0
    assert_allclose(result.forces, 0.0, rtol=0, atol=1e-9)
