"""Walkers: exact restoration, ramps, ensembles, the bias, paths, random structures, and what happens when atoms collide."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.data import covalent_radii
from ase.geometry import find_mic
from ase.md.bussi import Bussi
from ase.md.velocitydistribution import thermalize_momenta
from ase.optimize import BFGS

from gapkit import SOAP, DotProduct, GAPRegressor, Noise, Term
from gapkit.active_learning import EXPLORERS, AnyDynamics, MolecularDynamics, NudgedElasticBand, RandomSearch
from gapkit.active_learning.explorers import LeftPhysicsError
from gapkit.active_learning.explorers.biased import BiasedCalculator
from gapkit.active_learning.initial import initial_structures
from gapkit.exceptions import InvalidStructureError
from tests.conftest import labelled


@pytest.fixture(scope="module")
def model():
    """Copper near its crystal; stiff enough for short dynamics."""
    frames = [labelled(atoms) for atoms in initial_structures([bulk("Cu", cubic=True)], 20, 0)]
    soap = Term(SOAP(r_cut=4.5, n_max=5, l_max=4), DotProduct(4), delta=1.0, n_sparse=80)
    return GAPRegressor([soap], noise=Noise(0.001, 0.02, 0.01), random_state=0).fit(frames)


def crystal():
    return bulk("Cu", cubic=True)


def vacancy_hop():
    """A vacancy in copper and its neighbour: before and after the hop."""
    atoms = crystal().repeat((2, 1, 1))
    near = atoms.get_distances(0, range(1, len(atoms)), mic=True).argmin() + 1
    before = atoms[[k for k in range(len(atoms)) if k != 0]]
    after = before.copy()
    after.positions[near - 1] = atoms.positions[0]
    return before, after


def warm():
    atoms = crystal()
    thermalize_momenta(atoms, temperature_K=300, rng=np.random.default_rng(0))
    return atoms


def bussi(atoms, rng):
    return Bussi(atoms, 1 * units.fs, temperature_K=300, taut=20 * units.fs, rng=rng)


def explorers():
    start = crystal()
    return {
        "nvt": MolecularDynamics(start, time=0.1, temperature=[300, 600], timestep=2.0),
        "two": MolecularDynamics([start, start], time=0.1, temperature=500),
        "nve": MolecularDynamics(start, time=0.1, ensemble="nve"),
        "npt": MolecularDynamics(start, time=0.1, ensemble="npt", pressure=1.0),
        "biased": MolecularDynamics(start, time=0.1, bias=0.3),
        "any": AnyDynamics(warm(), bussi, n_steps=50),
        "optimiser": AnyDynamics(
            initial_structures([start], 1, 1)[1], lambda atoms, rng: BFGS(atoms, logfile=None), n_steps=50
        ),
        "neb": NudgedElasticBand(*vacancy_hop(), n_images=3, n_steps=20),
        "search": RandomSearch("Cu4", n_structures=2, n_steps=10),
    }


@pytest.mark.parametrize("name", explorers())
def test_restored_walker_repeats_exactly(name, model):
    """Also after a retreat, and with the state sent through the file of the checkpoint."""
    from gapkit.active_learning.checkpoint import _packed, _unpacked

    first = explorers()[name].walkers(3)[-1]
    second = explorers()[name].walkers(4)[-1]  # another seed: all that counts is in the state
    first.advance(model)
    first.accept()
    first.advance(model)
    (state,) = _unpacked(_packed([first.state()]))
    second.restore(state)
    for _ in range(2):
        a, b = ([atoms.copy() for atoms in walker.advance(model)] for walker in (first, second))
        for one, other in zip(a, b, strict=True):
            np.testing.assert_array_equal(one.positions, other.positions)
            np.testing.assert_array_equal(one.cell.array, other.cell.array)
            assert one.info == other.info
        first.retreat()
        second.retreat()
    assert first.n_steps == second.n_steps
    assert first.finished == second.finished


@pytest.mark.parametrize("name", explorers())
def test_walks_end(name, model):
    (walker, *_) = explorers()[name].walkers(0)
    steps = []
    for _ in range(200):
        if walker.finished:
            break
        visited = walker.advance(model)
        assert all(atoms.calc is None for atoms in visited)
        steps.append(visited[-1].info["step"])
        walker.accept()
    assert walker.finished
    assert steps == sorted(steps)


def test_same_seed_same_walk(model):
    def walk(seed):
        (walker,) = explorers()["nvt"].walkers(seed)
        return walker.advance(model)[0].positions

    np.testing.assert_array_equal(walk(1), walk(1))
    assert np.abs(walk(1) - walk(2)).max() > 1e-3


def test_ramp():
    ramp = MolecularDynamics(crystal(), time=1.0, temperature=[300, 600, 1000])
    assert [ramp.temperature_at(step, 1000) for step in (0, 250, 500, 750, 1000)] == [300, 450, 600, 800, 1000]
    assert MolecularDynamics(crystal(), time=1.0, temperature=400).temperature_at(500, 1000) == 400


def test_constant_energy(model):
    """Velocity Verlet with 1 fs: the energy of four atoms stays within 1 % of the kinetic energy."""
    (walker,) = MolecularDynamics(crystal(), time=0.2, ensemble="nve", temperature=600, check_every=50).walkers(0)
    totals = []
    while not walker.finished:
        (atoms,) = walker.advance(model)
        totals.append(model.predict([atoms])[0] + atoms.get_kinetic_energy())
    assert np.ptp(totals) < 0.01 * 1.5 * 4 * units.kB * 600


def test_barostat_expands_what_is_compressed(model):
    start = crystal()
    start.set_cell(0.97 * start.cell.array, scale_atoms=True)
    (walker,) = MolecularDynamics(start, time=2.0, ensemble="npt", temperature=100, check_every=100, timestep=2.0).walkers(0)
    volumes = [start.get_volume()]
    for _ in range(8):
        volumes.append(walker.advance(model)[0].get_volume())
        walker.accept()
    assert volumes[-1] > 1.02 * volumes[0]
    assert walker.state()["barostat"] != 0.0


def test_bias_is_the_gradient(model):
    """Forces and stress of E - τ Σσ at fixed τ against central differences."""
    atoms = initial_structures([crystal()], 1, 5)[1]
    calculator = BiasedCalculator(model, bias=0.5)
    atoms.calc = calculator
    forces, stress, tau = atoms.get_forces(), atoms.get_stress(), calculator.tau
    plain = model.evaluate([atoms])[0]
    rms = np.sqrt(np.mean((forces - plain.forces) ** 2)) / np.sqrt(np.mean(plain.forces**2))
    assert rms == pytest.approx(0.5, rel=1e-9)
    assert tau > 0.0

    def energy(moved):
        moved.calc = BiasedCalculator(model, bias=0.5)
        moved.calc.tau = tau
        return moved.get_potential_energy()

    h = 3e-4  # σ² is what is left of the prior, a part in 1e7 of it: rounding is 1e-5 eV/Å at this h, and grows below
    for i, k in ((0, 0), (2, 1), (3, 2)):
        ends = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[i, k] += sign * h
            ends.append(energy(moved))
        assert -(ends[0] - ends[1]) / (2 * h) == pytest.approx(forces[i, k], abs=2e-4)
    ends = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.set_cell(atoms.cell.array @ np.diag([1 + sign * h, 1, 1]), scale_atoms=True)
        ends.append(energy(moved))
    assert (ends[0] - ends[1]) / (2 * h) / atoms.get_volume() == pytest.approx(stress[0], abs=1e-5)


def test_bias_leads_to_the_unknown(model):
    """In as many steps from the same velocities, more uncertain structures are reached (mean of three seeds)."""
    found = {}
    for bias in (None, 0.5):
        largest = []
        for seed in range(3):
            (walker,) = MolecularDynamics(crystal(), time=0.08, temperature=300, bias=bias, check_every=20).walkers(seed)
            visited = [walker.advance(model)[0] for _ in range(4)]
            largest.append(max(p.energies_std.max() for p in model.evaluate(visited, uncertainty="exact")))
        found[bias] = np.mean(largest)
    assert found[0.5] > 1.2 * found[None]


def test_band_is_between_its_ends(model):
    before, after = vacancy_hop()
    (band,) = NudgedElasticBand(before, after, n_images=3, n_steps=10).walkers(0)
    images = band.advance(model)
    assert [image.info["image"] for image in images] == [1, 2, 3]
    near = [[find_mic(image.positions - end.positions, end.cell)[1].sum() for end in (before, after)] for image in images]
    assert near[0][0] < near[0][1]
    assert near[2][0] > near[2][1]


def test_random_structures_keep_their_distances():
    search = RandomSearch("Ga4As4", n_structures=3, volume=22.0)
    rng = np.random.default_rng(0)
    search._check()
    for _ in range(5):
        atoms = search.draw(rng)
        assert sorted(atoms.get_chemical_symbols()) == ["As"] * 4 + ["Ga"] * 4
        radii = covalent_radii[atoms.numbers]
        distances = atoms.get_all_distances(mic=True) + 10 * np.eye(8)
        assert (distances > 0.849 * (radii[:, None] + radii)).all()
        assert 0.79 * 22 < atoms.get_volume() / 8 < 1.21 * 22 * 1.05**5


def test_collision_is_left_and_retreated_from(model):
    """A wild start: atoms fly apart or into each other, the walker says so, goes back, and still comes to its end."""
    start = crystal()
    start.set_momenta(np.random.default_rng(0).normal(0.0, 2000.0, (4, 3)))
    (walker,) = MolecularDynamics(start, time=0.1).walkers(0)
    with pytest.raises(LeftPhysicsError):
        walker.advance(model)
    walker.retreat()
    np.testing.assert_array_equal(walker.state()["positions"], start.positions)
    assert walker.advance(model)[0].info["temperature"] < 2000.0


class Colliding:
    """What a calculator says of atoms on top of each other."""

    def __init__(self, atoms, rng):
        pass

    def run(self, steps):
        raise InvalidStructureError("Atoms must be at least 0.1 Å apart; got 0.02 Å.")


def test_errors_of_calculators(model):
    (walker,) = AnyDynamics(crystal(), Colliding, n_steps=20).walkers(0)
    with pytest.raises(LeftPhysicsError, match=r"0\.02 Å"):
        walker.advance(model)
    walker.retreat()
    assert not walker.finished
    with pytest.raises(LeftPhysicsError):
        walker.advance(model)
    assert walker.finished


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MolecularDynamics(crystal(), time=0.0), "`time` must be"),
        (lambda: MolecularDynamics(crystal(), time=1.0, temperature=[300, -1]), "`temperature` must be"),
        (lambda: MolecularDynamics(crystal(), time=1.0, ensemble="nph"), "`ensemble` must be"),
        (lambda: MolecularDynamics(crystal(), time=1.0, bias=0.0), "`bias` must be"),
        (lambda: MolecularDynamics(crystal(), time=1.0, check_every=0), "`check_every` must be"),
        (lambda: MolecularDynamics(Atoms("Cu", cell=[9, 9, 9], pbc=[1, 1, 0]), time=1.0, ensemble="npt"), "not periodic"),
        (lambda: MolecularDynamics([], time=1.0), "start"),
        (lambda: AnyDynamics(crystal(), "bussi", n_steps=10), "`make` must be"),
        (lambda: NudgedElasticBand(crystal(), bulk("Au", cubic=True)), "`final` must be"),
        (lambda: NudgedElasticBand(crystal(), bulk("Cu")), "`final` must be"),
        (lambda: RandomSearch("Xy4", n_structures=1), "`composition` must be"),
        (lambda: RandomSearch("Cu4", n_structures=0), "`n_structures` must be"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make().walkers(0)


def test_names():
    assert set(EXPLORERS) == {"md", "neb", "search"}
