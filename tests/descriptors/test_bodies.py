"""Pairs and triplets: against plain loops, against QUIP's descriptors, and in models."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from numpy.testing import assert_allclose

from gapkit import RBF, SOAP, DotProduct, GAPRegressor, Term, ThreeBody, TwoBody, load
from gapkit.descriptors import DistanceNb
from gapkit.gp.design import kernel_rows
from gapkit.gp.observations import Labels, forces_and_stresses
from gapkit.gp.sparse_term import SparseTerm
from gapkit.neighbors import NeighborList
from gapkit.testing import example_structures
from tests.conftest import copper_gold, labelled
from tests.reference import bodies

CASES = [
    (TwoBody(4.5, cutoff_width=0.8), bodies.pairs),
    (ThreeBody(3.6, cutoff_width=0.8), bodies.triplets),
]


def slow(reference, descriptor, atoms):
    return list(reference(atoms, descriptor.r_cut, descriptor.cutoff_width))


def as_rows(names, values, weights, digits=9):
    rows = [(name, *np.round(x, digits), round(float(w), digits)) for name, x, w in zip(names, values, weights, strict=True)]
    return sorted(rows)


@pytest.mark.parametrize("atoms", example_structures(), ids=["crystal", "slab", "molecule", "small"])
@pytest.mark.parametrize(("descriptor", "reference"), CASES, ids=["pairs", "triplets"])
def test_environments_equal_plain_loops(descriptor, reference, atoms):
    descriptor.fit(example_structures())
    # a longer list, as a model with other terms would hand over
    features = descriptor.compute(NeighborList.from_atoms([atoms], descriptor.neighbor_range + 1.0))
    expected = slow(reference, descriptor, atoms)
    assert features.weights is not None
    ours = as_rows([descriptor.group_names_[g] for g in features.groups], features.values, features.weights)
    theirs = as_rows(*zip(*[(name, x, w) for name, x, w, _ in expected], strict=True))
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a[0] == b[0]
        assert_allclose(a[1:], b[1:], rtol=0, atol=3e-9)  # sorted after rounding to 1e-9


QUIP = [
    (TwoBody(4.0, cutoff_width=0.7), "distance_2b cutoff=4.0 cutoff_transition_width=0.7 Z1={} Z2={}", ["Na-Cl", "Cl-Cl"]),
    (
        ThreeBody(4.0, cutoff_width=0.7),
        "angle_3b cutoff=4.0 cutoff_transition_width=0.7 Z={1} Z1={0} Z2={2}",
        ["Cl-Na-Cl", "Na-Na-Cl"],
    ),
    (
        TwoBody(4.0, cutoff_width=0.7, exponents=(-1, -2), tail_exponent=1, tail_range=2.0),
        "distance_2b cutoff=4.0 cutoff_transition_width=0.7 n_exponents=2 exponents={{-1 -2}} tail_exponent=1 tail_range=2.0 "
        "Z1={} Z2={}",
        ["Na-Cl", "Cl-Cl"],
    ),
    (
        TwoBody(4.0, cutoff_width=0.7, exponents=(2,), tail_exponent=6, tail_range=0.3),
        "distance_2b cutoff=4.0 cutoff_transition_width=0.7 exponents=2 tail_exponent=6 tail_range=0.3 Z1={} Z2={}",
        ["Na-Cl", "Na-Na"],
    ),
]
QUIP_IDS = ["distance_2b", "angle_3b", "exponents", "tail"]


@pytest.mark.parametrize(("descriptor", "text", "groups"), QUIP, ids=QUIP_IDS)
def test_values_and_derivatives_equal_quip(descriptor, text, groups):
    quippy = pytest.importorskip("quippy.descriptors", reason="quippy-ase is only built for Linux on x86-64")
    numbers = {"Na": 11, "Cl": 17}
    rng = np.random.default_rng(0)
    for atoms in example_structures()[:2]:  # QUIP needs a cell
        descriptor.fit([atoms])
        neighbors = NeighborList.from_atoms([atoms], descriptor.neighbor_range)
        features = descriptor.compute(neighbors)
        for group in groups:
            found = quippy.Descriptor(text.format(*(numbers[s] for s in group.split("-")))).calc(atoms, grad=True)
            direction = rng.standard_normal(descriptor.n_features)
            # E = sum over instances of fc (x.d): values, weights and both gradients enter
            inner, fc = found["data"] @ direction, found["covariance_cutoff"]
            moved = found["grad_index_0based"][:, 1]
            instance = np.repeat(np.arange(len(fc)), len(moved) // len(fc))
            gradient = np.einsum("qcf,f->qc", found["grad_data"], direction) * fc[instance, None]
            gradient += found["grad_covariance_cutoff"] * inner[instance, None]
            forces = np.zeros((len(atoms), 3))
            np.add.at(forces, moved, -gradient)
            members = features.groups == descriptor.group_names_.index(group)
            weight = 2.0 * members * features.weights  # QUIP visits both directions
            value = features.values @ direction
            pulled = descriptor.pullback(features, weight[:, None] * direction, 2.0 * members * value)
            full = np.zeros((len(neighbors.centers), 3))
            full[features.block] = pulled
            assert members.sum() * 2 == len(inner) > 0
            scale = np.abs(forces).max()
            assert_allclose(weight @ value, fc @ inner, rtol=1e-12)
            # every environment twice; their order, by the last feature, is that of QUIP to rounding
            ours, theirs = (
                rows[np.argsort(rows[:, 0].round(9), kind="stable")]
                for rows in (
                    np.repeat(np.column_stack([features.values, features.weights])[members], 2, axis=0),
                    np.column_stack([found["data"], fc]),
                )
            )
            assert_allclose(ours, theirs, rtol=0, atol=1e-12 * np.abs(theirs).max())
            assert_allclose(forces_and_stresses(neighbors, full)[0], forces, rtol=0, atol=1e-12 * scale)


def small_terms(frames):
    """Terms of both kinds with a few sparse points taken from the frames."""
    terms, column = [], 0
    for descriptor, kernel, scale in ((TwoBody(4.0), RBF(0.8), None), (ThreeBody(3.2), RBF(1.1), np.array([2.0, 1.5, 1.0]))):
        descriptor.fit(frames)
        features = descriptor.compute(NeighborList.from_atoms(frames, descriptor.neighbor_range))
        points, weights = [], []
        for group in range(len(descriptor.group_names_)):
            members = np.flatnonzero(features.groups == group)[::37][:4]
            points.append(features.values[members])
            weights.append(features.weights[members])
        scales = None if scale is None else [scale] * len(points)
        term, _ = SparseTerm.build(descriptor, kernel, 0.7, points, column, weights=weights, scales=scales)
        column += term.n_points
        terms.append(term)
    return terms


def label_everything(atoms: Atoms) -> Labels:
    return Labels(0.0, np.zeros((len(atoms), 3)), np.zeros(6), "")


def test_rows_equal_plain_sums_and_their_derivatives():
    atoms = copper_gold(0)
    terms = small_terms([atoms, copper_gold(1)])

    def sums(structure):
        blocks = []
        for term, reference in zip(terms, (bodies.pairs, bodies.triplets), strict=True):
            row = np.zeros(term.n_points)
            start = term.columns[0].start
            for name, x, w, _ in slow(reference, term.descriptor, structure):
                group = term.descriptor.group_names_.index(name)
                if len(term.points[group]):
                    scale = np.ones(len(x)) if term.scales is None else term.scales[group]
                    square = np.sum(((x - term.points[group]) / scale) ** 2, axis=1)
                    kernel = np.exp(-square / (2 * term.kernel.length_scale**2))
                    columns = slice(term.columns[group].start - start, term.columns[group].stop - start)
                    row[columns] += 2 * w * kernel * term.weights[group]
            blocks.append(row)
        return np.concatenate(blocks)

    rows = kernel_rows(terms, NeighborList.from_atoms([atoms], 4.3), [label_everything(atoms)])
    expected = sums(atoms)
    assert_allclose(rows.energy[0] * np.sqrt(len(atoms)), expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max())
    step, scale = 1e-4, np.abs(rows.forces).max()
    for atom, axis in ((0, 0), (2, 1), (3, 2)):
        plus, minus = atoms.copy(), atoms.copy()
        plus.positions[atom, axis] += step
        minus.positions[atom, axis] -= step
        numeric = -(sums(plus) - sums(minus)) / (2 * step)
        assert_allclose(rows.forces[3 * atom + axis], numeric, rtol=0, atol=1e-6 * scale)  # truncation of the difference
    for k, (a, b) in ((0, (0, 0)), (3, (1, 2))):
        both = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += sign * step / 2
            strain[b, a] += sign * step / 2
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            both.append(sums(strained))
        numeric = (both[0] - both[1]) / (2 * step) / atoms.get_volume()
        assert_allclose(rows.stress[k], numeric, rtol=0, atol=1e-6 * np.abs(rows.stress).max())


TERMS = [
    ("pair", Term(TwoBody(4.0), RBF(0.3), delta=0.5, n_sparse=6)),
    ("triplet", Term(ThreeBody(3.0), RBF(0.7), delta=0.05, n_sparse=60, scale="std")),
    ("soap", Term(SOAP(3.5, 3, 2), DotProduct(2), delta=0.3, n_sparse=20)),
]


@pytest.fixture(scope="module")
def frames():
    return [labelled(copper_gold(seed)) for seed in range(6)]


@pytest.fixture(scope="module")
def model(frames):
    return GAPRegressor(TERMS, random_state=0).fit(frames)


def test_forces_and_stress_of_three_terms_are_derivatives(model):
    atoms = copper_gold(7)
    result = model.evaluate([atoms])[0]
    assert_allclose(result.energies.sum(), result.energy, rtol=1e-13)
    step = 3e-5
    for atom, axis in ((0, 0), (3, 2)):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * step
            energies.append(model.evaluate([moved], forces=False, stress=False)[0].energy)
        assert_allclose(result.forces[atom, axis], -(energies[0] - energies[1]) / (2 * step), rtol=0, atol=1e-6)
    energies = []
    for sign in (1, -1):
        strained = atoms.copy()
        strained.set_cell(atoms.cell.array @ (np.eye(3) + sign * step * np.diag([0, 1, 0])), scale_atoms=True)
        energies.append(model.evaluate([strained], forces=False, stress=False)[0].energy)
    assert_allclose(result.stress[1], (energies[0] - energies[1]) / (2 * step) / atoms.get_volume(), rtol=0, atol=1e-7)


def test_terms_have_their_own_selection(model):
    pair, triplet, _ = model.potential_.terms
    assert pair.descriptor.group_names_ == ["Cu-Cu", "Cu-Au", "Au-Au"]
    assert len(triplet.points) == 6
    for term in (pair, triplet):
        assert min(w.min(initial=1.0) for w in term.weights) >= 0.01
    distances = np.sort(pair.points[0][:, 0])
    assert np.diff(distances).max() < 1.5  # a grid leaves no gap; the data reach from 2.2 to 4 Å


def test_standard_deviations_equal_dense_formulas(model):
    """prior - known + data of the weighted sums of environments, with plain matrices; prior = known for pairs and triplets."""
    atoms = copper_gold(8)
    result = model.evaluate([atoms], uncertainty="exact")[0]
    potential = model.potential_
    n, phi = len(atoms), []
    residual, bodies_residual, size = np.zeros((n, n)), np.zeros((n, n)), 0.0
    for term in potential.terms:
        features = term.descriptor.compute(NeighborList.from_atoms([atoms], term.descriptor.neighbor_range))
        weights = features.weights_or_ones
        share = np.zeros((n, len(weights)))
        for column in features.owners.T:
            share[column, np.arange(len(weights))] += weights * term.descriptor.multiplicity / features.owners.shape[1]
        for group in range(len(term.points)):
            members = features.groups == group
            x, s = (term.scaled(group, values) for values in (features.values[members], term.points[group]))
            prior = term.delta**2 * share[:, members] @ term.kernel(x, x) @ share[:, members].T
            k_fu = share[:, members] @ term.kernel(x, s) * term.weights[group]
            phi.append(term.delta * np.linalg.solve(term.cholesky[group], k_fu.T).T)
            size += prior.sum()
            if term.descriptor.one_per_atom:
                residual += prior - phi[-1] @ phi[-1].T
            elif isinstance(term.descriptor, TwoBody):
                bodies_residual += prior - phi[-1] @ phi[-1].T
    phi = np.hstack(phi)
    covariance = np.linalg.inv(potential.posterior.factor.T @ potential.posterior.factor)
    variance = residual + phi @ covariance @ phi.T
    assert_allclose(result.energies_std**2, np.diag(variance), rtol=1e-6, atol=1e-9 * size)
    assert_allclose(result.energy_std**2, variance.sum(), rtol=1e-6, atol=1e-9 * size)
    assert bodies_residual.sum() < 1e-2 * size  # what is left out, with ten sparse points a pair


def test_round_trip(model, tmp_path):
    model.save(tmp_path / "m.gap")
    atoms = copper_gold(9)
    ours, read = (m.evaluate([atoms], uncertainty="exact")[0] for m in (model, load(tmp_path / "m.gap")))
    assert ours.energy == read.energy
    assert ours.energy_std == read.energy_std
    np.testing.assert_array_equal(ours.forces, read.forces)


def test_powers_and_tails_in_a_model(frames, tmp_path):
    descriptor = TwoBody(4.0, exponents=(-1, -3), tail_exponent=6, tail_range=0.8)
    model = GAPRegressor([("pair", Term(descriptor, RBF(1.0), n_sparse=15, scale="std"))], random_state=0).fit(frames)
    (term,) = model.potential_.terms
    assert term.weights[1].max() < 0.01  # the tail is small everywhere, and keeps no pairs out
    assert len(term.points[1]) >= 10
    atoms, step = copper_gold(7), 3e-5
    forces, energies = model.evaluate([atoms])[0].forces, []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[3, 2] += sign * step
        energies.append(model.evaluate([moved], forces=False, stress=False)[0].energy)
    assert_allclose(forces[3, 2], -(energies[0] - energies[1]) / (2 * step), rtol=0, atol=1e-6 * np.abs(forces).max())
    model.save(tmp_path / "m.gap")
    np.testing.assert_array_equal(load(tmp_path / "m.gap").evaluate([atoms])[0].forces, forces)


def test_range_scale_is_that_of_the_data(frames):
    term = Term(TwoBody(4.0), RBF(0.2), n_sparse=5, scale="range")
    model = GAPRegressor([term]).fit(frames)
    features = TwoBody(4.0).fit(frames).compute(NeighborList.from_atoms(frames, 4.0))
    for group, scale in enumerate(model.potential_.terms[0].scales):
        seen = features.values[(features.groups == group) & (features.weights >= 0.01)]
        assert_allclose(scale, np.ptp(seen, axis=0), rtol=1e-12)


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (Term(TwoBody(0.0), RBF()), "`r_cut` must be"),
        (Term(TwoBody(3.0, cutoff_width=4.0), RBF()), "`cutoff_width` must be"),
        (Term(TwoBody(3.0, exponents=()), RBF()), "`exponents` must be"),
        (Term(TwoBody(3.0, exponents=(1, 0)), RBF()), "`exponents` must be"),
        (Term(TwoBody(3.0, exponents=(-1, -1)), RBF()), "`exponents` must be"),
        (Term(TwoBody(3.0, tail_exponent=21), RBF()), "`tail_exponent` must be"),
        (Term(TwoBody(3.0, tail_range=0.0), RBF()), "`tail_range` must be"),
        (Term(TwoBody(3.0, exponents=(-1,), tabulate=True), RBF()), "`tabulate` must be False with exponents"),
        (Term(DistanceNb(3.0), RBF()), "`descriptor` must be one that models can be fitted with"),
        (Term(ThreeBody(3.0), RBF(), scale="mean"), "`scale` must be"),
        (Term(ThreeBody(3.0), RBF(), scale=[1.0, -1.0, 1.0]), "`scale` must be"),
        (Term(ThreeBody(3.0), RBF(), scale=[1.0, 1.0]), "`scale` of term 'threebody' must have one number per feature"),
        (Term(TwoBody(3.0), RBF(), n_sparse={"Cu-Ag": 3}), "`n_sparse` of term 'twobody' must name groups"),
    ],
)
def test_bad_input(term, message, frames):
    with pytest.raises(ValueError, match=message):
        GAPRegressor([term]).fit(frames)


def test_frames_without_pairs():
    lonely = Atoms("Cu", cell=[20, 20, 20], pbc=True)
    model = GAPRegressor(TERMS[:2], random_state=0).fit([labelled(copper_gold(s)) for s in range(3)])
    result = model.evaluate([lonely], uncertainty="exact")[0]
    assert result.energy == pytest.approx(model.potential_.e0[29])
    assert result.energy_std == 0.0
    np.testing.assert_array_equal(result.forces, 0.0)


@pytest.fixture(scope="module")
def tabulated(frames):
    terms = [
        ("pair", Term(TwoBody(4.0, tabulate=True), RBF(0.3), delta=0.5, n_sparse=6)),
        ("triplet", Term(ThreeBody(3.0, tabulate=True), RBF(1.0), delta=0.05, n_sparse=60, scale="std")),
    ]
    return GAPRegressor(terms, random_state=0).fit(frames)


def test_tables_stay_within_their_bounds(tabulated, frames):
    assert tabulated.table_errors_["pair"] < 1e-9
    assert tabulated.table_errors_["triplet"] < 1e-5
    exact = GAPRegressor(tabulated.terms, random_state=0)
    exact.set_params(pair__descriptor__tabulate=False, triplet__descriptor__tabulate=False).fit(frames)
    atoms = copper_gold(7)
    ours, theirs = (m.evaluate([atoms], uncertainty="exact")[0] for m in (tabulated, exact))
    assert_allclose(ours.energies, theirs.energies, rtol=0, atol=1e-4)  # about a hundred triplets an atom, 1e-5 eV each at most
    assert_allclose(ours.forces, theirs.forces, rtol=0, atol=1e-3)
    assert ours.energy_std == theirs.energy_std  # from the sparse points themselves


def test_forces_are_the_gradient_of_the_splined_energy(tabulated):
    atoms, step = copper_gold(7), 3e-5
    forces = tabulated.evaluate([atoms])[0].forces
    for atom, axis in ((0, 0), (3, 2)):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * step
            energies.append(tabulated.evaluate([moved], forces=False, stress=False)[0].energy)
        assert_allclose(forces[atom, axis], -(energies[0] - energies[1]) / (2 * step), rtol=0, atol=1e-6)


def test_tables_are_rebuilt_from_a_file(tabulated, tmp_path):
    tabulated.save(tmp_path / "m.gap")
    read = load(tmp_path / "m.gap")
    assert read.table_errors_ == tabulated.table_errors_
    np.testing.assert_array_equal(read.evaluate([copper_gold(7)])[0].forces, tabulated.evaluate([copper_gold(7)])[0].forces)
