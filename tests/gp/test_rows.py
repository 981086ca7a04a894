"""Rows of the design matrix against the plain reference, for two species, two terms and partial periodicity."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gapkit import RBF, SOAP, DotProduct
from gapkit.gp import design
from gapkit.gp.design import kernel_rows, targets
from gapkit.gp.observations import labels_of
from gapkit.gp.sparse_term import SparseTerm, pivoted_cholesky, whiten
from gapkit.neighbors import NeighborList
from tests.reference import rows as plain
from tests.reference.soap import soap

SETTINGS = [dict(r_cut=4.0, n_max=3, l_max=2, sigma=0.5), dict(r_cut=3.2, n_max=2, l_max=3, sigma=0.4)]


def make_terms(frames, kernels) -> list[SparseTerm]:
    terms, column = [], 0
    for settings, kernel in zip(SETTINGS, kernels, strict=False):
        descriptor = SOAP(**settings).fit(frames)
        features = descriptor.compute(NeighborList.from_atoms(frames, descriptor.neighbor_range))
        points = [features.values[features.groups == g][:5] for g in range(2)]
        term, dropped = SparseTerm.build(descriptor, kernel, 1.0, points, column)
        assert dropped == 0
        terms.append(term)
        column += term.n_points
    return terms


def make_rows(terms, frames):
    neighbors = NeighborList.from_atoms(frames, max(t.descriptor.neighbor_range for t in terms))
    return kernel_rows(terms, neighbors, [labels_of(atoms, k) for k, atoms in enumerate(frames)])


KERNELS = {
    "dot product": ([DotProduct(4), DotProduct(2)], [lambda s: plain.dot_product(s, 4), lambda s: plain.dot_product(s, 2)]),
    "with self slope": ([RBF(0.6), DotProduct(1)], [lambda s: plain.rbf(s, 0.6), lambda s: plain.dot_product(s, 1)]),
}


@pytest.mark.parametrize("case", KERNELS)
def test_rows_equal_the_plain_reference(alloy, case):
    frames = alloy[:4]
    kernels, references = KERNELS[case]
    terms = make_terms(frames, kernels)
    rows = make_rows(terms, frames)
    expected = {"energy": [], "forces": [], "stress": []}
    for atoms in frames:
        blocks = []
        for term, settings, reference in zip(terms, SETTINGS, references, strict=True):
            features = {z: reference(points) for z, points in zip((29, 79), term.points, strict=True)}
            blocks.append(plain.label_rows(atoms, soap(atoms, [29, 79], **settings, width=1.0), features))
        for kind in expected:
            block = np.hstack([b[kind] for b in blocks])
            expected[kind].append(block / np.sqrt(len(atoms)) if kind == "energy" else block)
    for kind, parts in expected.items():
        reference_rows = np.concatenate(parts)
        # 1e-9: error of the radial table (the reference has none)
        assert_allclose(getattr(rows, kind), reference_rows, rtol=0, atol=1e-9 * np.abs(reference_rows).max(), err_msg=kind)


def test_targets_follow_the_rows(alloy):
    frames = alloy[:3]
    labels = [labels_of(atoms, k) for k, atoms in enumerate(frames)]
    y = targets(NeighborList.from_atoms(frames, 3.0), labels)
    assert_allclose(y.energy[:, 0], [a.get_potential_energy() / np.sqrt(len(a)) for a in frames])
    assert_allclose(y.forces[:, 0], np.concatenate([a.get_forces().ravel() for a in frames]))
    assert_allclose(y.stress[:, 0], np.concatenate([a.get_stress() for a in frames]))


def test_rows_do_not_depend_on_blocks_chunks_or_threads(alloy, monkeypatch, on_threads):
    terms = make_terms(alloy, KERNELS["with self slope"][0])
    whole = make_rows(terms, alloy)
    variants = {}
    monkeypatch.setattr(design, "_BLOCK_BYTES", 1)  # one atom at a time
    variants["blocks"] = make_rows(terms, alloy)
    monkeypatch.undo()
    parts = [make_rows(terms, [atoms]) for atoms in alloy]
    variants["chunks"] = design.Rows(*(np.concatenate([getattr(p, k) for p in parts]) for k in ("energy", "forces", "stress")))
    for n in (1, None):
        variants[f"{n} threads"] = on_threads(n, lambda: make_rows(terms, alloy))
    for name, rows in variants.items():
        for kind in ("energy", "forces", "stress"):
            a, b = getattr(rows, kind), getattr(whole, kind)
            assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(b).max(), err_msg=f"{name} {kind}")


def test_missing_labels_have_no_rows(alloy):
    frames = [atoms.copy() for atoms in alloy[:3]]
    for copy, atoms in zip(frames, alloy, strict=False):
        copy.calc = type(atoms.calc)(copy, **atoms.calc.results)
    del frames[0].calc.results["energy"]
    del frames[1].calc.results["forces"]
    del frames[2].calc.results["stress"]
    terms = make_terms(alloy, KERNELS["dot product"][0])
    rows, whole = make_rows(terms, frames), make_rows(terms, alloy[:3])
    n = [3 * len(atoms) for atoms in frames]
    assert_allclose(rows.energy, whole.energy[1:], rtol=1e-13)
    assert_allclose(rows.forces, np.delete(whole.forces, np.s_[n[0] : n[0] + n[1]], axis=0), rtol=0, atol=1e-12)
    assert_allclose(rows.stress, whole.stress[:12], rtol=0, atol=1e-13)


def test_energies_alone_need_no_jacobian(alloy, monkeypatch):
    terms = make_terms(alloy, KERNELS["dot product"][0])
    whole = make_rows(terms, alloy)
    neighbors = NeighborList.from_atoms(alloy, 4.0)
    labels = [design.Labels(1.0, None, None, "") for _ in alloy]
    seen = []
    compute = SOAP.compute
    monkeypatch.setattr(SOAP, "compute", lambda *a, jacobian, **k: seen.append(jacobian) or compute(*a, jacobian=jacobian, **k))
    assert_allclose(kernel_rows(terms, neighbors, labels).energy, whole.energy, rtol=1e-13)
    assert seen
    assert not any(seen)


def test_whitened_rows(alloy):
    terms = make_terms(alloy, KERNELS["dot product"][0])
    rows = make_rows(terms, alloy).forces
    expected = rows.copy()
    for term in terms:
        for factor, columns in zip(term.cholesky, term.columns, strict=True):
            expected[:, columns] = np.linalg.solve(factor, rows[:, columns].T).T
    assert_allclose(whiten(terms, rows.copy()), expected, rtol=0, atol=1e-10 * np.abs(expected).max())


def test_pivoted_cholesky_drops_dependent_rows():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6, 4))
    x = np.vstack([x, x[2], x[0] + 1e-9])  # rank 4 of 8
    index, factor = pivoted_cholesky(x @ x.T)
    assert len(index) == 4
    assert_allclose(factor @ factor.T, (x @ x.T)[np.ix_(index, index)], rtol=0, atol=1e-13)
    assert (np.diag(factor) > 0).all()
