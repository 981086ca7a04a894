"""Walkers: exact restoration, ramps, ensembles, the bias, paths, random structures, and what happens when atoms collide."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.constraints import FixAtoms, FixCom
from ase.data import covalent_radii
from ase.geometry import find_mic
from ase.md.bussi import Bussi
from ase.md.velocitydistribution import thermalize_momenta
from ase.neighborlist import neighbor_list
from ase.optimize import BFGS
from sklearn.base import clone

from gapkit import SOAP, DotProduct, GAPCalculator, GAPRegressor, Noise, Term
from gapkit.active_learning import EXPLORERS, AnyDynamics, MolecularDynamics, NudgedElasticBand, RandomSearch
from gapkit.active_learning.explorers import LeftPhysicsError
from gapkit.active_learning.explorers.biased import BiasedCalculator
from gapkit.active_learning.explorers.neb import _Band
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


def held(constraint):
    atoms = crystal().repeat((2, 1, 1))
    atoms.set_constraint(constraint)
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
        "held": MolecularDynamics(held(FixCom()), time=0.1, timestep=2.0),
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


@pytest.mark.parametrize("ensemble", ["nvt", "npt"])
def test_thermostat_follows_the_ramp_within_a_stretch(ensemble, model):
    ramp = MolecularDynamics(crystal(), time=0.04, temperature=[300, 600, 1000], ensemble=ensemble, check_every=10)
    (walker,) = ramp.walkers(0)
    walker.advance(model)
    walker.atoms.calc = GAPCalculator(model)
    dynamics, targets = ramp.make(walker), []
    setter = dynamics.set_temperature
    dynamics.set_temperature = lambda temperature_K: targets.append(temperature_K) or setter(temperature_K=temperature_K)
    dynamics.run(20)
    # steps 10 to 30 of 40: up to 600 K at step 20 by 15 K a step, then by 20 K
    assert targets == pytest.approx([*range(450, 600, 15), *range(600, 801, 20)], rel=1e-12)


@pytest.mark.parametrize("name", explorers())
def test_clones(name):
    first = explorers()[name]
    for key, value in clone(first).get_params(deep=False).items():
        given = getattr(first, key)
        assert np.all(value == given) or callable(value)


def test_constant_energy(model):
    """Velocity Verlet with 1 fs: the energy of four atoms stays within 1 % of the kinetic energy."""
    (walker,) = MolecularDynamics(crystal(), time=0.2, ensemble="nve", temperature=600, check_every=50).walkers(0)
    totals = []
    while not walker.finished:
        (atoms,) = walker.advance(model)
        totals.append(model.predict([atoms])[0] + atoms.get_kinetic_energy())
    assert np.ptp(totals) < 0.01 * 1.5 * 4 * units.kB * 600


@pytest.mark.parametrize("pressure", [0.0, 10.0])
def test_barostat_leads_to_the_volume_of_the_pressure(pressure, model):
    """From 9 % below the volume of the crystal; 10 GPa take back 6 % of it."""
    scales = np.linspace(0.95, 1.02, 15)
    crystals = [crystal() for _ in scales]
    for atoms, scale in zip(crystals, scales, strict=True):
        atoms.set_cell(scale * atoms.cell.array, scale_atoms=True)
    pressures = [-p.stress[:3].mean() / units.GPa for p in model.evaluate(crystals)]
    expected = np.interp(-pressure, np.negative(pressures), [atoms.get_volume() for atoms in crystals])
    start = crystal()
    start.set_cell(0.97 * start.cell.array, scale_atoms=True)
    explorer = MolecularDynamics(start, time=4.0, ensemble="npt", pressure=pressure, temperature=100, timestep=4.0)
    (walker,) = explorer.walkers(0)
    volumes = []
    while not walker.finished:
        volumes.append(walker.advance(model)[0].get_volume())
        walker.accept()
    # swings around the volume at 0 K that fade in some ps average out; what heat and chance add is below 1 %
    assert np.mean(volumes[25:]) == pytest.approx(expected, rel=0.01)
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
        (known,) = model.evaluate([moved], uncertainty="exact", std=("energies",))
        return known.energy - tau * known.energies_std.sum()

    assert atoms.get_potential_energy() == pytest.approx(energy(atoms), abs=1e-7)  # rounding of σ times τ: 1e-8 eV; see below

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


def test_bias_does_not_start_from_rounding(model):
    """In a perfect crystal both forces are rounding; what comes later must not inherit their ratio."""
    rattled = initial_structures([crystal()], 1, 5)[1]
    taus = []
    for structures in ([rattled], [crystal(), rattled]):
        calculator = BiasedCalculator(model, bias=0.5)
        for atoms in structures:
            atoms.calc = calculator
            forces = atoms.get_forces()
        taus.append(calculator.tau)
        assert np.abs(forces).max() < 10.0
    assert taus[0] == pytest.approx(taus[1], rel=1e-6)


def test_bias_is_noted(model):
    for bias in (None, 0.3):
        (walker,) = MolecularDynamics(crystal(), time=0.01, bias=bias).walkers(0)
        (atoms,) = walker.advance(model)
        assert atoms.info.get("bias") == bias


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


def test_band_is_done_when_the_model_finds_it_relaxed(model):
    """A stretch that ends relaxed is not the end: its images are judged, and labels of them may change the model."""
    ends = initial_structures([crystal()], 3, 5)[1:3]
    ends[1].set_cell(ends[0].cell, scale_atoms=True)
    (band,) = NudgedElasticBand(*ends, n_images=3).walkers(0)
    before, after = None, band.state()["positions"]
    while not band.finished:
        band.advance(model)
        before, after = after, band.state()["positions"]
    assert band.n_steps < band.n_total
    np.testing.assert_array_equal(before, after)
    assert np.abs(after - _Band(band.explorer, band.rng).state()["positions"]).max() > 0.01
    band.reconsider()  # labels that were pending have changed the model
    assert not band.finished


def test_structure_is_done_when_the_model_finds_it_relaxed(model):
    (search,) = RandomSearch("Cu4", n_structures=2).walkers(0)
    start = initial_structures([crystal()], 1, 5)[1]
    search.restore(search.state() | {"positions": start.positions, "cell": start.cell.array})
    visited = []
    while search.number == 0:
        visited += search.advance(model)
    assert len(visited) > 3
    assert visited[-1].info["step"] < 100
    assert search.n_steps == 100  # those that it did not need are done as well
    np.testing.assert_array_equal(visited[-1].positions, visited[-2].positions)
    (found,) = model.evaluate([visited[-1]])
    assert np.linalg.norm(found.forces, axis=1).max() < 0.05
    # the crystal of the labels: 4 x 11.76 Å³
    assert visited[-1].get_volume() == pytest.approx(crystal().get_volume(), rel=0.02)


def test_structure_is_given_up_after_some_retreats(model):
    """Each of them leads back to where the structure was trusted; several labels of one stretch are one retreat."""
    (search,) = RandomSearch("Cu4", n_structures=2).walkers(0)
    search.advance(model)
    search.accept()
    trusted = search.state()["positions"]
    for _ in range(3):
        search.advance(model)
        search.retreat()
        after = search.state()["positions"]
        search.retreat()
        search.accept()
        np.testing.assert_array_equal(search.state()["positions"], after)
        assert search.number == 0
        assert 0.0 < np.abs(after - trusted).max() < 0.3  # six deviations of the displacements
    search.advance(model)
    search.retreat()
    assert search.number == 1
    assert search.n_steps == 100


def test_retreat_leaves_fixed_atoms_where_they_are():
    slab = held(FixAtoms([0, 1]))
    moved = slab.copy()
    moved.positions[7] += 0.3
    for explorer in (AnyDynamics(slab, bussi, n_steps=10), NudgedElasticBand(slab, moved, n_images=1)):
        (walker,) = explorer.walkers(0)
        before = walker.state()["positions"].reshape(-1, 3)
        walker.retreat()
        change = np.abs(walker.state()["positions"].reshape(-1, 3) - before).max(axis=1)
        assert not change[:2].any()
        assert change[2:].all()


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


@pytest.mark.parametrize("formula", ["Cu", "CuAu", "Si4"])
def test_random_structures_keep_their_distances_to_images(formula):
    search = RandomSearch(formula, n_structures=1)
    search._check()
    rng = np.random.default_rng(0)
    for _ in range(20):
        atoms = search.draw(rng)
        i, j, distances = neighbor_list("ijd", atoms, 3.0)
        radii = covalent_radii[atoms.numbers]
        assert (distances > 0.849 * (radii[i] + radii[j])).all()


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
        (lambda: MolecularDynamics(None, time=1.0), "`start` must be"),
        (lambda: MolecularDynamics(crystal(), time=1.0, temperature=[]), "`temperature` must be"),
        (lambda: MolecularDynamics(crystal(), time=1.0, temperature=[300, [400]]), "`temperature` must be"),
        (lambda: AnyDynamics(crystal(), "bussi", n_steps=10), "`make` must be"),
        (lambda: NudgedElasticBand(crystal(), bulk("Au", cubic=True)), "`final` must be"),
        (lambda: NudgedElasticBand(crystal(), bulk("Cu")), "`final` must be"),
        (lambda: NudgedElasticBand(crystal(), bulk("Cu", a=3.7, cubic=True)), "`final` must be a structure in the cell"),
        (lambda: NudgedElasticBand(*vacancy_hop(), climb="high"), "`climb` must be"),
        (lambda: RandomSearch("Xy4", n_structures=1), "`composition` must be"),
        (lambda: RandomSearch(None, n_structures=1), "`composition` must be"),
        (lambda: RandomSearch("", n_structures=1), "`composition` must be"),
        (lambda: RandomSearch("X2", n_structures=1), "`composition` must be"),
        (lambda: RandomSearch("Cu4", n_structures=0), "`n_structures` must be"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make().walkers(0)


def test_names():
    assert set(EXPLORERS) == {"md", "neb", "search"}
