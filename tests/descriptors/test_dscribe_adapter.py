"""dscribe's objects as descriptors: values of crystals, derivatives, models, files."""

from __future__ import annotations

import dscribe.descriptors as dscribe
import numpy as np
import pytest
from ase.build import bulk
from numpy.testing import assert_allclose

from gapkit import DotProduct, DScribe, GAPRegressor, Term, load
from gapkit.exceptions import InvalidStructureError
from gapkit.neighbors import NeighborList
from gapkit.testing import example_structures
from tests.conftest import copper_gold, labelled

PERIODIC = {"species": ["Na", "Cl"], "periodic": True}
OBJECTS = [
    dscribe.SOAP(r_cut=3.0, n_max=3, l_max=2, sigma=0.4, **PERIODIC),
    dscribe.SOAP(r_cut=3.0, n_max=3, l_max=2, sigma=0.4, weighting={"function": "poly", "r0": 3.5, "c": 1, "m": 2}, **PERIODIC),
    dscribe.ACSF(r_cut=4.0, g2_params=[[1.0, 2.0]], g4_params=[[0.1, 2.0, 1.0]], **PERIODIC),
]
IDS = ["soap", "weighted soap", "acsf"]


@pytest.mark.parametrize("thing", OBJECTS, ids=IDS)
def test_values_of_a_crystal_are_dscribes_own(thing):
    for atoms in (example_structures()[0], example_structures()[1], example_structures()[3]):
        wrapped = atoms.copy()
        wrapped.wrap()  # dscribe is wrong for unwrapped positions
        ours = DScribe(thing, normalize=False).fit([atoms]).transform([atoms])
        theirs = thing.create(wrapped, centers=list(range(len(atoms))))
        assert_allclose(ours, theirs, rtol=0, atol=1e-8 * np.abs(theirs).max())


@pytest.mark.parametrize("thing", OBJECTS[1:], ids=IDS[1:])
def test_numerical_derivatives_of_dscribe_become_pair_blocks(thing):
    atoms = example_structures()[3]  # two atoms, many images
    descriptor = DScribe(thing).fit([atoms])
    neighbors = NeighborList.from_atoms([atoms], descriptor.neighbor_range)
    features = descriptor.compute(neighbors, jacobian=True)
    step = 1e-4
    moved = [atoms.copy(), atoms.copy()]
    for sign, copy in zip((1, -1), moved, strict=True):
        copy.positions[1, 2] += sign * step
    numeric = (descriptor.transform([moved[0]]) - descriptor.transform([moved[1]])) / (2 * step)
    exact = np.zeros_like(numeric)
    signs = (neighbors.neighbors == 1).astype(float) - (neighbors.centers == 1)
    np.add.at(exact, neighbors.centers, signs[:, None] * features.jacobian[:, 2])
    assert_allclose(exact, numeric, rtol=0, atol=1e-5 * np.abs(features.jacobian).max())  # differences of differences


def test_a_model_with_it_fits_and_survives_a_file(tmp_path):
    frames = [labelled(copper_gold(seed)) for seed in range(4)]
    thing = dscribe.SOAP(r_cut=3.0, n_max=3, l_max=2, sigma=0.5, species=["Cu", "Au"])
    model = GAPRegressor([Term(DScribe(thing), DotProduct(2), n_sparse=12)], random_state=0).fit(frames)
    assert model.evaluate(frames)[0].stress.shape == (6,)
    model.save(tmp_path / "m.gap")
    read = load(tmp_path / "m.gap")
    np.testing.assert_array_equal(read.evaluate(frames)[1].forces, model.evaluate(frames)[1].forces)


def test_bad_input():
    with pytest.raises(TypeError, match="`descriptor` must be a local descriptor of dscribe"):
        DScribe("SOAP").check_parameters()
    average = dscribe.SOAP(r_cut=3.0, n_max=3, l_max=2, species=["Si"], average="inner")
    with pytest.raises(ValueError, match="`average` must be 'off'"):
        DScribe(average).check_parameters()

    class Unknown(dscribe.SOAP):
        pass

    with pytest.raises(ValueError, match="`reach` must be given for Unknown"):
        DScribe(Unknown(r_cut=3.0, n_max=3, l_max=2, species=["Si"])).check_parameters()
    descriptor = DScribe(dscribe.ACSF(r_cut=3.0, species=["Si"])).fit([bulk("Si")])
    with pytest.raises(InvalidStructureError, match="got Cu in frame 0"):
        descriptor.transform([bulk("Cu")])
