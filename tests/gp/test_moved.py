"""Rows from the features that a neighbour moves equal those from whole Jacobians."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gapkit import RBF, SOAP, DotProduct
from gapkit.gp import design
from gapkit.gp.design import kernel_rows
from gapkit.gp.observations import Labels
from gapkit.gp.sparse_term import SparseTerm
from gapkit.neighbors import NeighborList
from tests.conftest import copper_gold


@pytest.fixture(scope="module")
def frames():
    """Four species; one frame has two of them, so that many of its features are 0, and one atom is alone."""
    rng, result = np.random.default_rng(0), []
    for k, symbols in enumerate((["Cu", "Ag", "Au", "Pt"], ["Cu", "Ag", "Au", "Pt"], ["Cu", "Au"], ["Pt"])):
        atoms = copper_gold(k, (True, True, False)) if k < 3 else copper_gold(k, (False, False, False))[:1]
        atoms.set_chemical_symbols([symbols[j] for j in rng.permutation(len(atoms)) % len(symbols)])
        result.append(atoms)
    return result


def labels(frames, masked=False):
    rng = np.random.default_rng(1)
    found = []
    for k, atoms in enumerate(frames):
        sigma = np.full((len(atoms), 3), np.nan)
        sigma[:: 2 if masked else len(atoms) + 1] = np.inf if masked else np.nan
        stress = rng.normal(size=6) if k < 2 else None
        found.append(Labels(0.0, rng.normal(size=(len(atoms), 3)), stress, "", forces_sigma=sigma))
    return found


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("settings", "kernel", "scaled"),
    [
        ({}, DotProduct(4), False),
        ({}, RBF(0.7), True),
        ({"normalize": False}, DotProduct(2), False),
        ({"compression": {"mode": "crossover"}}, DotProduct(3), False),
        (
            {"compression": {"species_weighting": {"Cu": 1.0, "Ag": 0.5, "Au": 2.0, "Pt": 0.0}}},
            DotProduct(2),
            False,
        ),
    ],
)
def test_rows_equal_those_of_whole_jacobians(frames, monkeypatch, settings, kernel, scaled, masked):
    descriptor = SOAP(4.0, 2, 2, 0.5, **settings).fit(frames)
    neighbors = NeighborList.from_atoms(frames, 4.0)
    features = descriptor.compute(neighbors)
    points = [features.values[features.groups == g][:3] for g in range(4)]
    scales = [np.linspace(0.5, 2.0, descriptor.n_features)] * 4 if scaled else None
    term, _ = SparseTerm.build(descriptor, kernel, 1.0, points, 0, scales=scales)
    assert descriptor.moved_features() is not None
    found = kernel_rows([term], neighbors, labels(frames, masked))
    monkeypatch.setattr(design, "_PRODUCT_BYTES", 1)  # one atom at a time
    by_atom = kernel_rows([term], neighbors, labels(frames, masked))
    monkeypatch.setattr(SOAP, "moved_features", lambda self: None)
    expected = kernel_rows([term], neighbors, labels(frames, masked))
    for kind in ("energy", "forces", "stress"):
        reference = getattr(expected, kind)
        for rows in (found, by_atom):  # 1e-12 of the largest: DESIGN, section 5
            assert_allclose(getattr(rows, kind), reference, rtol=0, atol=1e-12 * np.abs(reference).max(), err_msg=kind)


def test_what_moves(frames):
    """Features outside are scaled alike by a neighbour: their derivatives are parallel to them."""
    descriptor = SOAP(4.0, 2, 1, 0.5).fit(frames)
    neighbors = NeighborList.from_atoms(frames, 4.0)
    features, moved = descriptor.compute(neighbors, jacobian=True), descriptor.moved_features()
    species = descriptor.species_index(neighbors)[neighbors.neighbors]
    owner = np.repeat(np.arange(neighbors.n_atoms), np.diff(features.first))
    for s, columns in enumerate(moved):
        assert len(columns) == 2 * (3 + 3 * 4)  # l times (own triangle, three rectangles), of 2 (4 · 3 + 6 · 4)
        others = np.delete(np.arange(descriptor.n_features), columns)
        x, dx = features.values[owner[species == s]][:, others], features.jacobian[species == s][:, :, others]
        squares = np.einsum("pf,pf->p", x, x)
        along = np.einsum("pcf,pf->pc", dx, x) / np.where(squares > 0.0, squares, 1.0)[:, None]
        assert_allclose(dx, along[:, :, None] * x[:, None, :], rtol=0, atol=1e-14 * np.abs(features.jacobian).max())


@pytest.mark.parametrize("compression", [{"mode": "mu1nu1"}, {"mode": "mu2"}])
def test_where_most_moves_nothing_is_cut(frames, compression):
    assert SOAP(4.0, 2, 2, compression=compression).fit(frames).moved_features() is None
    assert SOAP(4.0, 2, 2).fit(frames[2:3]).moved_features() is None  # two species
