"""Prior variances against the plain sums, for kernels with every kind of curvature, tiny cells and partial periodicity."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from numpy.testing import assert_allclose

from gapkit import RBF, SOAP, DotProduct
from gapkit.gp import prior
from gapkit.gp.design import kernel_rows
from gapkit.gp.observations import Labels
from gapkit.gp.prior import prior_variances, rows_and_priors
from gapkit.gp.sparse_term import SparseTerm
from gapkit.neighbors import NeighborList
from tests.conftest import copper_gold
from tests.reference.prior import of_force, of_stress

KERNELS = {"dot product": DotProduct(3), "rbf": RBF(0.7), "product": (RBF(0.7) + 0.5) * DotProduct(2)}


def make_term(frames, kernel, scales=None, column=0, **settings) -> SparseTerm:
    descriptor = SOAP(**(dict(r_cut=4.0, n_max=3, l_max=2, sigma=0.5) | settings)).fit(frames)
    features = descriptor.compute(NeighborList.from_atoms(frames, descriptor.neighbor_range))
    points = [features.values[features.groups == g][:5] for g in range(2)]
    return SparseTerm.build(descriptor, kernel, 1.0, points, column, scales=scales)[0]


@pytest.fixture(scope="module")
def frames():
    """A slab, two bulk cells, a primitive cell whose atom sees its own images, and a single atom."""
    mixed = [copper_gold(3, (True, True, False)), copper_gold(4, (True, True, True)), copper_gold(6, (True, True, True), n=8)]
    return [*mixed, bulk("Cu"), bulk("Au")[:1]]


def labels_of_every_kind(neighbors):
    """All labels, but no forces in the second structure and no stress in the first."""
    sizes = np.diff(neighbors.first_atom)
    return [
        Labels(0.0, None if t == 1 else np.zeros((n, 3)), np.zeros(6) if neighbors.has_stress(t) and t else None, "")
        for t, n in enumerate(sizes)
    ]


@pytest.mark.parametrize("case", KERNELS)
@pytest.mark.parametrize("scaled", [False, True])
def test_equal_the_plain_sums(frames, case, scaled, monkeypatch):
    monkeypatch.setattr(prior, "_BLOCK_BYTES", 20_000)  # several blocks of atoms
    scales = [np.linspace(0.5, 1.5, 63), np.linspace(1.2, 0.7, 63)] if scaled else None  # 63 features: two species, n 3, l 2
    term = make_term(frames, KERNELS[case], scales)
    neighbors = NeighborList.from_atoms(frames, 4.0)
    labels = labels_of_every_kind(neighbors)
    result = prior_variances(term, neighbors, labels)
    features = term.descriptor.compute(neighbors, jacobian=True)
    x, jacobian, groups = features.values.copy(), features.jacobian.copy(), features.groups
    for i, g in enumerate(groups):
        x[i] = term.seen(int(g), x[i])
        if scaled:
            jacobian[neighbors.first[i] : neighbors.first[i + 1]] /= scales[g]
    atoms = [i for i, t in enumerate(neighbors.structure) if labels[t].forces is not None]
    forces = np.concatenate([of_force(term.kernel, neighbors, x, jacobian, groups, i) for i in atoms])
    structures = [t for t, y in enumerate(labels) if y.stress is not None]
    stress = np.concatenate([of_stress(term.kernel, neighbors, x, jacobian, groups, t) for t in structures])
    assert len(structures) == 4
    # 1e-12: the same sums in another order
    assert_allclose(result.forces, forces, rtol=0, atol=1e-12 * forces.max())
    assert_allclose(result.stress, stress, rtol=0, atol=1e-12 * stress.max())


def test_rows_and_priors_are_those_of_the_single_functions(frames):
    terms = [make_term(frames, DotProduct(3))]
    terms.append(make_term(frames, RBF(0.5), column=terms[0].n_points, r_cut=3.2, n_max=2))
    neighbors = NeighborList.from_atoms(frames, 4.0)
    labels = labels_of_every_kind(neighbors)
    rows, priors = rows_and_priors(terms, neighbors, labels, [terms[0], None])
    expected, alone = kernel_rows(terms, neighbors, labels), prior_variances(terms[0], neighbors, labels)
    assert priors[1] is None
    for kind in ("energy", "forces", "stress"):
        assert_allclose(getattr(rows, kind), getattr(expected, kind), rtol=0, atol=1e-13, err_msg=kind)
        assert_allclose(getattr(priors[0], kind), getattr(alone, kind), rtol=1e-13, err_msg=kind)


def test_too_many_derivatives_are_refused(frames, monkeypatch):
    monkeypatch.setattr(prior, "_LARGEST_JACOBIAN", 1e-6)
    neighbors = NeighborList.from_atoms(frames, 4.0)
    with pytest.raises(MemoryError, match=r"derivatives of all features of a structure, .* GiB; the limit is 1e-06"):
        prior_variances(make_term(frames, RBF()), neighbors, labels_of_every_kind(neighbors))
