"""L0: descriptors and kernels on the device, with bodies in loops on the CPU, against the loops of the CPU."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.geometry import complete_cell
from numpy.testing import assert_allclose

from gapkit import ACSF, RBF, SOAP, Constant, DotProduct, GAPRegressor, Matern, PiecewisePolynomial, QuipBasis, Term, TurboBasis
from gapkit._cuda.memory import Memory
from gapkit._cuda.neighbors import find_pairs
from gapkit.descriptors.acsf_on_device import AcsfOnDevice
from gapkit.descriptors.soap_on_device import SoapOnDevice
from gapkit.neighbors import NeighborList
from tests.conftest import copper_gold
from tests.cuda.needs import gpucheck

gpucheck()

MODES = {
    "off": {},
    "polynomial": {"rbf": "polynomial"},
    "hard cutoff": {"cutoff_width": None},
    "dscribe's numbers": {"normalize": False},
    "weighted": {"weighting": {"function": "pow", "r0": 2.5, "c": 1.0, "d": 1.0, "m": 4, "w0": 0.7}},
    "mu2": {"compression": {"mode": "mu2"}},
    "mu1nu1": {"compression": {"mode": "mu1nu1"}},
    "crossover": {"compression": {"mode": "crossover", "species_weighting": {"Cu": 1.5, "Au": 0.5}}},
    "nu 1 1": {"compression": {"mode": "nu", "nu_r": 1, "nu_s": 1}},
    "nu 2 0": {"compression": {"mode": "nu", "nu_r": 2, "nu_s": 0}},
    "nu 0 2": {"compression": {"mode": "nu", "nu_r": 0, "nu_s": 2}},
    "mixed": {"compression": {"mode": "mixed", "channels": 7, "seed": 3}},
    "QUIP": {"rbf": QuipBasis()},
    "turbo": {"rbf": TurboBasis()},
}


SYMMETRY = {
    "all": {
        "g2_params": [[1.0, 2.0]],
        "g3_params": [1.5],
        "g4_params": [[0.01, 4, 1.0], [0.1, 1, -1.0]],
        "g5_params": [[0.02, 2, -1.0]],
    },
    "pairs": {"g2_params": [[1.0, 2.0], [0.5, 0.0]]},
    "narrow": {"g4_params": [[0.01, 4, 1.0], [0.01, 3, -0.5]]},
    "wide": {"g5_params": [[0.01, 4, 1.0]]},
    "a third species": {"g4_params": [[0.01, 4, 1.0]], "species": ["Al", "Cu", "Zn", "Au"]},
}


def pulled_back(descriptor, atoms, xp, form=SoapOnDevice):
    """Features and pair gradients on the device, in the order of the CPU's atoms and pairs."""
    species, cell = np.searchsorted(descriptor.species_, atoms.numbers), complete_cell(atoms.cell.array)
    positions = xp.asarray(atoms.positions)
    reach = descriptor.neighbor_range
    geometry = find_pairs(positions, cell, atoms.pbc, species, len(descriptor.species_), reach, xp, skin=0.7)
    geometry.move(positions)
    there = form(descriptor, descriptor.species_)
    rng, values, gradient = (
        np.random.default_rng(0),
        np.empty((len(atoms), descriptor.n_features)),
        xp.zeros((geometry.n_pairs, 3)),
    )
    slopes = rng.normal(size=values.shape)
    order = geometry.atoms.get()
    for block in there.blocks(geometry, Memory(xp, at_most=3), [1] * len(descriptor.species_)):
        features = there.compute(geometry, block)
        values[order[block.members]] = features.values.get()
        there.pullback(geometry, block, features, xp.asarray(slopes[order[block.members]]), None, gradient)
    keys = np.column_stack([order[geometry.centers.get()], order[geometry.neighbors.get()], geometry.shifts.get()])
    inside = geometry.distances.get() < reach
    assert not gradient.get()[~inside].any()  # pairs of the skin
    return values, slopes, keys[inside], gradient.get()[inside]


@pytest.mark.parametrize("mode", MODES)
def test_soap(gpu, mode):
    atoms = copper_gold(71, (True, True, False), 8)
    soap = SOAP(4.0, n_max=3, l_max=3, **MODES[mode]).fit([atoms])
    values, slopes, keys, gradient = pulled_back(soap, atoms, gpu.module())
    neighbors = NeighborList.from_atoms([atoms], soap.neighbor_range)
    features = soap.compute(neighbors)
    scale = np.abs(features.values).max()
    # the same sums in another order
    assert_allclose(values, features.values, rtol=0, atol=1e-13 * scale)
    expected = soap.pullback(features, slopes)
    of_cpu = np.column_stack([neighbors.centers, neighbors.neighbors, neighbors.shifts])
    found = gradient[np.lexsort(keys.T)]
    assert_allclose(found, expected[np.lexsort(of_cpu.T)], rtol=0, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("functions", SYMMETRY)
def test_symmetry_functions(gpu, functions):
    atoms = copper_gold(71, (True, True, False), 8)
    acsf = ACSF(4.0, **SYMMETRY[functions]).fit([atoms])
    values, slopes, keys, gradient = pulled_back(acsf, atoms, gpu.module(), AcsfOnDevice)
    neighbors = NeighborList.from_atoms([atoms], acsf.neighbor_range)
    features = acsf.compute(neighbors)
    # the same sums in another order; the third side and the cosine come from vectors here, from unit vectors there
    assert_allclose(values, features.values, rtol=0, atol=1e-13 * np.abs(features.values).max())
    expected = acsf.pullback(features, slopes)
    of_cpu = np.column_stack([neighbors.centers, neighbors.neighbors, neighbors.shifts])
    assert_allclose(gradient[np.lexsort(keys.T)], expected[np.lexsort(of_cpu.T)], rtol=0, atol=1e-12 * np.abs(expected).max())


def test_a_model_knows_more_species_than_a_structure(gpu, alloy):
    terms = [Term(ACSF(4.0, **SYMMETRY["all"]), DotProduct(2), n_sparse=8, scale="range")]
    model = GAPRegressor(terms, random_state=0).fit(alloy)
    frames = [alloy[0], Atoms("Cu2", [[0, 0, 0], [0, 0, 2.5]]), Atoms("Au")]
    expected, found = (model.set_params(device=d).evaluate(frames, uncertainty="exact") for d in ("cpu", "cuda"))
    for one, other in zip(found, expected, strict=True):
        assert_allclose(one.energies, other.energies, rtol=0, atol=1e-10)
        assert_allclose(one.forces, other.forces, rtol=0, atol=1e-10)
        assert_allclose(one.energies_std**2, other.energies_std**2, rtol=1e-7, atol=1e-10)


KERNELS = {
    "zeta 1": DotProduct(1),
    "zeta 2": DotProduct(2),
    "zeta 3": DotProduct(3),
    "zeta 2.5": DotProduct(2.5),
    "rbf": RBF(0.5),
    "matern": Matern(0.7, nu=2.5),
    "sum": 0.5 * DotProduct(2) + Constant(0.1) * RBF(0.7),
}


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels(gpu, alloy, kernel):
    term = Term(SOAP(4.0, n_max=3, l_max=2), KERNELS[kernel], n_sparse=12, scale="std" if kernel == "rbf" else None)
    model = GAPRegressor([term], random_state=0).fit(alloy[:5])
    frames = [copper_gold(71, (True, True, False), 8)]
    (expected,), (found,) = (model.set_params(device=d).evaluate(frames, uncertainty="exact") for d in ("cpu", "cuda"))
    bound = max(1e-10, 1e-15 * sum(np.abs(a).sum() for a in model.potential_.coefficients[0]))
    assert_allclose(found.energy, expected.energy, rtol=0, atol=bound)
    assert_allclose(found.forces, expected.forces, rtol=0, atol=bound)
    assert_allclose(found.energies_std**2, expected.energies_std**2, rtol=1e-7, atol=1e-10)


def test_compact_kernel_of_pairs(gpu, alloy):
    from gapkit import TwoBody

    model = GAPRegressor([Term(TwoBody(3.5), PiecewisePolynomial(2.0, dimension=1), n_sparse=12)], random_state=0).fit(
        alloy[:5]
    )
    frames = [copper_gold(71, (True, True, True), 8)]
    (expected,), (found,) = (model.set_params(device=d).evaluate(frames) for d in ("cpu", "cuda"))
    assert_allclose(found.forces, expected.forces, rtol=0, atol=1e-10)
