from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from dscribe.descriptors import ACSF as DscribeACSF
from numpy.testing import assert_allclose

from gapkit import ACSF, DotProduct, GAPRegressor, Noise, Term
from gapkit.testing import example_structures
from tests.descriptors.test_soap import rattled_oxide
from tests.reference.acsf import acsf

FUNCTIONS = {
    "g2_params": [(1.0, 0.0), (4.0, 2.0), (20.0, 3.1), (0.0, 0.0)],
    "g3_params": [1.0, 2.5],
    "g4_params": [(0.005, 1, 1.0), (0.005, 4, -1.0), (0.5, 2, 1.0), (0.02, 16, -1.0), (0.02, 3, 0.5)],
    "g5_params": [(0.005, 1, -1.0), (0.3, 7, 1.0)],
}
SUBSETS = [FUNCTIONS, {k: v for k, v in FUNCTIONS.items() if k != "g4_params"}, {"g4_params": FUNCTIONS["g4_params"]}, {}]


# 1e-9 relative to the largest value: the interpolation error of the table, stated beside its number of knots
@pytest.mark.parametrize("functions", SUBSETS, ids=lambda f: "+".join(f) or "G1")
@pytest.mark.parametrize("r_cut", [3.1, 5.5])
@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False)])
def test_values_equal_dscribe(pbc, r_cut, functions):
    atoms = rattled_oxide(pbc)
    theirs = DscribeACSF(r_cut=r_cut, species=["Mg", "O"], periodic=True, **functions).create(atoms)
    ours = ACSF(r_cut, **functions).fit_transform([atoms])
    assert_allclose(ours, theirs, rtol=1e-9, atol=1e-10 * np.abs(theirs).max())


def test_values_equal_dscribe_for_three_species_in_a_molecule():
    atoms = molecule("CH3CH2OH")
    theirs = DscribeACSF(r_cut=4.0, species=["H", "C", "O"], **FUNCTIONS).create(atoms)
    assert_allclose(ACSF(4.0, **FUNCTIONS).fit_transform([atoms]), theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("k", range(4))
def test_values_equal_the_plain_reference(k):
    atoms = example_structures()[k]
    truth = acsf(atoms, [11, 17], 4.5, *FUNCTIONS.values())
    assert_allclose(ACSF(4.5, **FUNCTIONS).fit_transform([atoms]), truth, rtol=1e-9, atol=1e-10)


def test_atoms_in_a_row_have_finite_derivatives():
    chain = Atoms("Na3", positions=[[0, 0, 0], [2.0, 0, 0], [4.1, 0, 0]])
    acsf = ACSF(5.0, g4_params=[(0.01, 1, 1.0), (0.01, 1, -1.0), (0.01, 3, 1.0)])
    chain.calc = None
    fitted = acsf.fit([chain])
    from gapkit.neighbors import NeighborList

    features = fitted.compute(NeighborList.from_atoms([chain], 5.0), jacobian=True)
    assert np.isfinite(features.jacobian).all()
    assert np.abs(features.jacobian[:, 1:]).max() < 1e-12  # the chain is along x


def test_fits_two_species(alloy):
    functions = {"g2_params": [(1.0, 2.5), (4.0, 2.5)], "g4_params": [(0.01, z, s) for z in (1, 4) for s in (1.0, -1.0)]}
    term = Term(ACSF(4.5, **functions), DotProduct(2), n_sparse=40)
    model = GAPRegressor([term], noise=Noise(1e-3, 0.02, 1e-3), random_state=0).fit(alloy)
    assert model.score(alloy) > 0.99


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"r_cut": 0.0}, "`r_cut` must be"),
        ({"g2_params": [1.0]}, r"`g2_params` must be a sequence of \(eta, R_s\); got 1.0"),
        ({"g2_params": [(-1.0, 2.0)]}, "`eta of g2_params` must be"),
        ({"g2_params": [(1.0, 7.0)]}, "`R_s of g2_params` must be .*inside r_cut"),
        ({"g3_params": [-1.0]}, "`kappa of g3_params` must be"),
        ({"g4_params": [(0.1, 1.5, 1.0)]}, "`zeta of g4_params` must be an integer; got 1.5"),
        ({"g4_params": [(0.1, 0, 1.0)]}, "`zeta of g4_params` must be an integer of at least 1"),
        ({"g5_params": [(0.1, 1, 2.0)]}, "`lambda of g5_params` must be"),
        ({"g5_params": [(1e6, 1, 1.0)]}, "`eta of g5_params` must be .* at most 10000"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        ACSF(**parameters).fit(example_structures())
