"""Clusters of like atoms: against plain loops, against QUIP's distance_Nb, and in models of gap_fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.stress import voigt_6_to_full_3x3_stress
from numpy.testing import assert_allclose

from gapkit import RBF, GAPRegressor, load
from gapkit.descriptors import DistanceNb, TwoBody, contracted_points, distance_permutations, expanded_points
from gapkit.interop.arguments import parse_arguments
from gapkit.interop.quip_bodies import distance_nb
from gapkit.interop.quip_descriptors import species_of_text
from gapkit.interop.quip_writer import write_quip
from gapkit.interop.quip_xml import read_quip
from gapkit.model.quip import from_quip, to_quip
from gapkit.neighbors import NeighborList
from gapkit.testing import check_descriptor
from tests.conftest import copper_gold
from tests.quip_oracle import gap_fit, needs_quippy, quippy
from tests.reference import bodies

CASES = [DistanceNb(4.3, cutoff_width=0.8, theta=1.1), DistanceNb(3.9, order=4, cutoff_width=1.2, theta=2.0)]


@pytest.mark.parametrize("descriptor", CASES, ids=["order 3", "order 4"])
def test_energies_equal_plain_loops(descriptor):
    """One sparse point of unit coefficient: the kernel of all environments with it, and whose they are."""
    atoms = copper_gold(0, n=8)
    descriptor.fit([atoms])
    neighbors = NeighborList.from_atoms([atoms], descriptor.neighbor_range + 1.0)  # a longer list, as of other terms
    features = descriptor.compute(neighbors)
    of_centers = np.bincount(features.owners[:, 0], minlength=len(atoms)) * (descriptor.order - 1)
    np.testing.assert_array_equal(np.diff(descriptor.entries_until(neighbors)), of_centers)
    point = features.values[3] * descriptor.theta + 0.1
    points, weights = expanded_points(point[None], np.array([0.6]), descriptor.theta, distance_permutations(descriptor.order))
    shares, expected, counts = np.zeros(len(atoms)), np.zeros(len(atoms)), np.zeros(2, int)
    energy = features.weights * (RBF(1.0)(features.values, points) @ weights)
    for column in features.owners.T:
        np.add.at(shares, column, energy / descriptor.order)
    for name, x, fc, owners in bodies.clusters(atoms, descriptor.r_cut, descriptor.cutoff_width, descriptor.order):
        counts[descriptor.group_names_.index(name)] += 1
        k = 0.6 * fc * bodies.cluster_kernel(x, point, descriptor.order, descriptor.theta)
        np.add.at(expected, list(owners), k / descriptor.order)
    assert counts.min() > 0
    np.testing.assert_array_equal(counts, np.bincount(features.groups))
    assert_allclose(shares, expected, rtol=0, atol=1e-13 * expected.max())  # rounding of sums


@pytest.mark.parametrize("descriptor", CASES, ids=["order 3", "order 4"])
def test_contract_across_the_cutoff(descriptor):
    """In frames of one species: there is a cluster when the second atom crosses the range."""
    check_descriptor(descriptor, [frame(0), frame(1, pbc=(True, True, False))])


def test_expanded_points_are_contracted():
    rng = np.random.default_rng(0)
    points, cutoffs = rng.uniform(2.0, 4.0, (5, 6)), rng.uniform(0.1, 1.0, 5)
    for permutations in (distance_permutations(4), distance_permutations(4)[:1]):
        expanded = expanded_points(points, cutoffs, 1.3, permutations)
        assert len(expanded[0]) == 5 * len(permutations)
        back = contracted_points(*expanded, 1.3, permutations)
        assert_allclose(back[0], points, rtol=1e-15)
        assert_allclose(back[1], cutoffs, rtol=1e-15)


@pytest.mark.parametrize(
    ("parameters", "error"),
    [({"order": 2}, ValueError), ({"order": 5}, ValueError), ({"order": 3.0}, TypeError), ({"theta": 0.0}, ValueError)],
)
def test_bad_parameters(parameters, error):
    with pytest.raises(error, match=f"`{next(iter(parameters))}` must be"):
        DistanceNb(3.0, **parameters).check_parameters()


def frame(seed: int, species: str = "Si", pbc=True) -> Atoms:
    """Rattled, sheared diamond cell; periodic images of an atom are among its neighbours' neighbours."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Si", cubic=True)
    atoms.symbols = ["Si", species] * 4
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.06 * rng.uniform(-1, 1, (3, 3))), scale_atoms=True)
    atoms.positions += rng.normal(0.0, 0.12, atoms.positions.shape)
    atoms.pbc = pbc
    return atoms


def training(species: str) -> list[Atoms]:
    frames = [frame(seed, species) for seed in range(6)]
    for atoms in frames:
        atoms.calc = LennardJones(sigma=2.1, epsilon=1.0, rc=4.0, smooth=True)
        atoms.get_potential_energy()
    return frames


COMMON = " compact_clusters=T covariance_type=ard_se delta=0.5 cutoff_transition_width=0.7"
MODELS = {
    "order 2": ("distance_Nb order=2 cutoff=3.6 n_sparse=12 sparse_method=uniform theta_uniform=0.8", "Si"),
    "order 2, two species": ("distance_Nb order=2 cutoff=4.2 n_sparse=10 theta_uniform=0.8", "Ge"),
    "order 3": ("distance_Nb order=3 cutoff=3.6 n_sparse=15 sparse_method=random theta_fac=0.4", "Si"),
    "order 4": ("distance_Nb order=4 cutoff=3.1 n_sparse=15 sparse_method=random theta_uniform=1.2", "Si"),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    made: dict[str, Path] = {}

    def of(name: str) -> Path:
        if name not in made:
            text, species = MODELS[name]
            options = "e0_method=average", "sparse_jitter=1e-6", "sparse_separate_file=F"
            made[name] = gap_fit(tmp_path_factory.mktemp("quip"), training(species), text + COMMON, *options)
        return made[name]

    return of


def structures(species: str) -> list[Atoms]:
    mixed = frame(53)
    mixed.symbols[[1, 6]] = "Ge"  # clusters of like atoms are defined among others, too
    return [frame(50, species), frame(51, species, pbc=(True, True, False)), frame(52, species).repeat((2, 1, 1)), mixed]


NOTHING = {  # one sparse point of a pair, without energy
    "kernel": "ard_se",
    "theta": np.ones(1),
    "permutations": np.array([[0]]),
    "points": np.ones((1, 1)),
    "cutoffs": np.ones(1),
    "alpha": np.zeros(1),
}


def load_with(path: Path, species: list[int]) -> GAPRegressor:
    """The model, which may also see species that it has no clusters of."""
    quip = read_quip(path)
    own = {z for one in quip.coordinates for z in species_of_text(one.descriptor)}
    others = [f"distance_2b cutoff=1.0 Z1={z} Z2={z}" for z in sorted({*species} - own)]
    silent = [replace(quip.coordinates[0], descriptor=text, **NOTHING) for text in others]
    return from_quip(replace(quip, coordinates=[*quip.coordinates, *silent]), path)


@needs_quippy
@pytest.mark.parametrize("name", MODELS)
def test_models_of_gap_fit_equal_quip(name, models):
    path, species = models(name), MODELS[name][1]
    model, frames = load_with(path, [14, 32]), structures(species)
    total = sum(np.abs(one.alpha).sum() for one in read_quip(path).coordinates)
    tolerance = max(1e-10, 1e-15 * total)  # rounding of the coefficients, in a local energy; totals are sums of them
    for atoms, ours, theirs in zip(frames, model.evaluate(frames), quippy(path, frames), strict=True):
        assert_allclose(ours.energy, theirs.energy, rtol=0, atol=tolerance * len(atoms))
        assert_allclose(ours.energies, theirs.energies, rtol=0, atol=tolerance)
        assert np.abs(ours.forces).max() > 0.1
        assert_allclose(ours.forces, theirs.forces, rtol=0, atol=2 * tolerance)
        virial = -voigt_6_to_full_3x3_stress(ours.stress) * atoms.get_volume()
        assert_allclose(virial, theirs.virial, rtol=0, atol=2 * tolerance * len(atoms))


@needs_quippy
@pytest.mark.parametrize("name", ["order 3", "order 4"])
def test_models_are_written_back(name, models, tmp_path):
    """As QUIP's XML and as a file of gapkit."""
    model, frames = load(models(name)), structures("Si")[:2]
    write_quip(to_quip(model), tmp_path / "again.xml")
    model.save(tmp_path / "model.gap")
    expected = model.evaluate(frames)
    total = sum(np.abs(one.alpha).sum() for one in read_quip(models(name)).coordinates)
    for ours, theirs, atoms in zip(expected, quippy(tmp_path / "again.xml", frames), frames, strict=True):
        assert_allclose(theirs.energy, ours.energy, rtol=0, atol=max(1e-10, 1e-15 * total) * len(atoms))
    for ours, again in zip(expected, load(tmp_path / "model.gap").evaluate(frames), strict=True):
        assert ours.energy == again.energy


@needs_quippy
@pytest.mark.parametrize("name", ["order 3", "order 4"])
def test_forces_and_stress_are_derivatives(name, models):
    model = load(models(name))
    atoms, step = frame(60, pbc=(True, True, False)), 1e-4

    def energy(moved: Atoms) -> float:
        return model.evaluate([moved], forces=False, stress=False)[0].energy

    result = model.evaluate([atoms])[0]
    for atom, axis in ((0, 0), (5, 2)):
        plus, minus = atoms.copy(), atoms.copy()
        plus.positions[atom, axis] += step
        minus.positions[atom, axis] -= step
        numeric = -(energy(plus) - energy(minus)) / (2 * step)
        assert_allclose(result.forces[atom, axis], numeric, rtol=0, atol=1e-6 * np.abs(result.forces).max())
    both = []
    for sign in (1, -1):
        strained = atoms.copy()
        strained.set_cell(atoms.cell.array @ (np.eye(3) + sign * step * np.diag([1, 0, 0])), scale_atoms=True)
        both.append(energy(strained))
    numeric = (both[0] - both[1]) / (2 * step) / atoms.get_volume()
    assert_allclose(result.stress[0], numeric, rtol=0, atol=1e-6 * np.abs(result.stress).max())


@pytest.mark.parametrize("order", [3, 4])
def test_distances_and_cutoffs_equal_quip(order):
    descriptors = pytest.importorskip("quippy.descriptors", reason="quippy-ase is only built for Linux on x86-64")
    atoms = frame(3, "Ge", pbc=(True, True, False))
    text = f"distance_Nb order={order} compact_clusters=T cutoff=4.4 cutoff_transition_width=0.7 Z={{{'32 ' * order}}}"
    theirs = descriptors.Descriptor(text)
    descriptor = distance_nb(parse_arguments(text), np.full(order * (order - 1) // 2, 1.5), 0)
    features = descriptor.fit([atoms]).compute(NeighborList.from_atoms([atoms], descriptor.neighbor_range))
    ours = features.values[features.groups == 1] * 1.5
    found = theirs.calc(atoms)["data"]
    assert theirs.n_perm == len(distance_permutations(order))
    assert len(ours) == len(found) > 20
    ours, found = (np.sort(rows, axis=1) for rows in (ours, found))  # QUIP has the neighbours in another order
    ours, found = (rows[np.lexsort(rows.round(8).T)] for rows in (ours, found))
    assert_allclose(ours, found, rtol=1e-13)


def test_order_two_is_two_body():
    text = "distance_Nb order=2 compact_clusters=T cutoff=4.0 Z={14 32}"
    assert repr(distance_nb(parse_arguments(text), None, 0)) == repr(TwoBody(4.0, cutoff_width=0.5))
