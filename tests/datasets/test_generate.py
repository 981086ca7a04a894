"""New structures: each kind is what its name says, keeps distances, and says where it comes from."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ase.build import add_adsorbate, bulk, fcc100, molecule
from ase.calculators.emt import EMT
from ase.data import covalent_radii
from ase.io import read
from ase.neighborlist import neighbor_list
from numpy.testing import assert_allclose, assert_array_equal

from gapkit.checks.coverage import kind_of
from gapkit.datasets import KINDS, generate, kept_in, label_frames, write_frames
from gapkit.datasets.generate.defects import voids
from gapkit.datasets.generate.planes import cut_crystal, make_slab
from gapkit.datasets.generate.snapshots import inefficiency
from gapkit.exceptions import ConfigError, InvalidStructureError, NumericalWarning
from gapkit.labeling import CalculatorLabeler

COPPER = bulk("Cu", cubic=True)
SILICON = bulk("Si", cubic=True)
SMALL = {  # parameters that make each kind quick
    "md": {"temperatures": [300, 900], "n": 2, "equilibrate": 5, "every": 3, "min_edge": 0.0},
    "neb": {"n_images": 3},
    "random": {"n": 3},
}


def hop():
    """Ends of the way of an atom from one hollow of a surface to the next."""
    ends = []
    for x in (0.25, 0.75):
        slab = fcc100("Cu", (2, 2, 2), vacuum=5.0)
        slab.pbc = (True, True, False)
        add_adsorbate(slab, "Cu", 1.8, position=(x * 2 * 2.55, 0.25 * 2 * 2.55))
        ends.append(slab)
    return ends


def made(kind, start=(COPPER,), seed=0, **parameters):
    start = hop() if kind == "neb" else list(start)
    return generate({kind: {**SMALL.get(kind, {}), **parameters}}, start, driver=EMT(), random_state=seed).frames


def detail(atoms, name):
    return dict(word.split("=") for word in atoms.info["gapkit_frame"].split())[name]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(kind, tmp_path):
    frames = made(kind)
    assert frames
    for atoms in frames:
        assert atoms.info["gapkit_kind"] == kind
        assert atoms.info["gapkit_seed"] == 0
        assert atoms.info["config_type"].startswith(kind)
        assert kind_of(atoms) != ""  # `gapkit check` knows it by name
        radii = 0.5 * covalent_radii[atoms.numbers]
        assert len(neighbor_list("i", atoms, radii)) == 0
    again, other = made(kind), made(kind, seed=1)
    assert len(again) == len(frames)
    for one, two in zip(frames, again, strict=True):
        assert_array_equal(one.positions, two.positions)
        assert_array_equal(one.cell.array, two.cell.array)
        assert one.info == two.info
    random = kind not in ("isolated", "dimer", "volume", "neb")
    same = len(other) == len(frames) and all(
        len(a) == len(b) and np.allclose(a.positions, b.positions) for a, b in zip(frames, other, strict=True)
    )
    assert same != random
    write_frames(tmp_path / "a.xyz", frames)  # provenance survives a file
    for one, two in zip(frames, read(tmp_path / "a.xyz", ":"), strict=True):
        assert {k: str(v) for k, v in one.info.items()} == {k: str(v) for k, v in two.info.items()}


def test_strains_and_volumes():
    for atoms in made("strain", n=30, largest=0.1):
        strain = np.linalg.solve(COPPER.cell.array, atoms.cell.array) - np.eye(3)
        assert_allclose(strain, strain.T, atol=1e-7)  # digits of a file: 1e-8 Å over 3.6 Å
        assert np.abs(strain).max() <= 0.1
        assert_allclose(atoms.get_scaled_positions(wrap=False), COPPER.get_scaled_positions(wrap=False), atol=1e-7)
    ratios = [atoms.get_volume() / COPPER.get_volume() for atoms in made("volume", n=5, smallest=0.9, largest=1.3)]
    assert_allclose(ratios, [0.9, 1.0, 1.1, 1.2, 1.3], rtol=1e-7)


def test_a_slab_is_strained_along_its_surface_only():
    slab = hop()[0]
    for atoms in made("strain", [slab], n=3):
        assert_allclose(atoms.cell[2], slab.cell[2], atol=1e-8)
        assert_allclose(atoms.positions[:, 2], slab.positions[:, 2], atol=1e-8)


def test_rattled():
    frames = made("rattle", n=10, smallest=0.01, largest=0.1, min_edge=10.0)
    start = COPPER.repeat(3)
    widths = [np.std(atoms.positions - start.positions) for atoms in frames]
    # 324 components: their deviation is known to 1/sqrt(648), 4 %
    assert_allclose(widths, np.linspace(0.01, 0.1, 10), rtol=0.15)
    assert all((atoms.cell.lengths() >= 10.0).all() for atoms in frames)


def test_point_defects():
    perfect = COPPER.repeat(3)
    sites = {detail(atoms, "removed") for atoms in made("vacancy", n=5)}
    assert len(sites) == 5
    assert {len(atoms) for atoms in made("vacancy")} == {len(perfect) - 1}
    pairs = made("divacancy", n=3, rattle=0.0)
    assert {len(atoms) for atoms in pairs} == {len(perfect) - 2}
    a = COPPER.cell[0, 0]
    assert_allclose([float(detail(p, "distance")) for p in pairs], [a / np.sqrt(2), a, a * np.sqrt(1.5)], rtol=1e-6)
    extra = made("interstitial", n=6)
    assert {len(atoms) for atoms in extra} == {len(perfect) + 1}
    assert {detail(atoms, "site") for atoms in extra} == {"void", "dumbbell"}
    bond = made("interstitial", n=2, rattle=0.0)[1]  # the dumbbell
    shortest = neighbor_list("d", bond, 2.5).min()
    assert shortest <= 0.8 * a / np.sqrt(2) + 1e-6


@pytest.mark.parametrize(
    ("name", "radii"),
    [
        ("Cu", (0.5, np.sqrt(3) / 4)),  # octahedral and tetrahedral sites of fcc
        ("Fe", (np.sqrt(5) / 4,)),  # of bcc: tetrahedral ones, the only vertices
        ("Si", (np.sqrt(3) / 4,)),  # the empty tetrahedral site of diamond first
    ],
)
def test_voids(name, radii):
    crystal = bulk(name, cubic=True)
    positions, found = voids(crystal)
    assert_allclose(found[: len(radii)] / crystal.cell[0, 0], radii, rtol=1e-6)
    primitive = voids(bulk(name))[1]
    assert_allclose(primitive[: len(radii)], found[: len(radii)], rtol=1e-6)
    assert len(positions) == len(found)


@pytest.mark.parametrize("face", [(1, 0, 0), (1, 1, 0), (1, 1, 1), (2, 1, 0), (3, 1, 0), (1, 1, 2)])
@pytest.mark.parametrize(("name", "reach", "neighbors"), [("Cu", 2.7, 12), ("Si", 2.5, 4), ("Fe", 2.6, 8)])
def test_layers_are_stacked_as_in_the_crystal(name, reach, neighbors, face):
    crystal = bulk(name, cubic=True)
    layer, height = cut_crystal(crystal, face)
    assert_allclose(layer.get_volume(), crystal.get_volume(), rtol=1e-10)
    assert_allclose(height, crystal.cell[0, 0] / np.linalg.norm(face), rtol=1e-10)  # of a cubic cell
    periodic = layer.repeat((1, 1, 3))
    assert len(neighbor_list("i", periodic, reach)) == neighbors * len(periodic)
    slab = make_slab(crystal, face)
    counts = np.bincount(neighbor_list("i", slab, reach), minlength=len(slab))
    middle = np.abs(slab.positions[:, 2] - slab.positions[:, 2].mean()) < 2.0
    assert middle.any()
    assert set(counts[middle]) == {neighbors}
    assert slab.pbc.tolist() == [True, True, False]
    assert_allclose(slab.cell[2, :2], 0.0, atol=1e-10)


@pytest.mark.parametrize("face", [(0, 0, 1), (1, 0, 0), (1, 0, 1), (2, 1, -1)])
@pytest.mark.parametrize(
    ("crystal", "reach", "neighbors"), [(bulk("Mg"), 3.3, 12), (bulk("Si"), 2.5, 4)], ids=["hcp", "primitive"]
)
def test_layers_of_other_cells(crystal, reach, neighbors, face):
    periodic = cut_crystal(crystal, face)[0].repeat((1, 1, 3))
    assert len(neighbor_list("i", periodic, reach)) == neighbors * len(periodic)
    slab = make_slab(crystal, face)
    counts = np.bincount(neighbor_list("i", slab, reach), minlength=len(slab))
    assert set(counts[np.abs(slab.positions[:, 2] - slab.positions[:, 2].mean()) < 1.5]) == {neighbors}


def test_molecules():
    ethanol = molecule("CH3CH2OH")
    recipe = {"rattle": {"n": 3}, "md": {"temperatures": [300], "n": 2, "equilibrate": 10, "every": 3}, "isolated": {}}
    frames = generate(recipe, [ethanol], driver=EMT()).frames
    assert [len(atoms) for atoms in frames] == [9] * 5 + [1] * 3
    assert not any(atoms.pbc.any() for atoms in frames)


def test_surfaces_and_terraces():
    frames = made("surface", faces=[[1, 1, 1]], n=2, thickness=9.0, vacuum=11.0, rattle=0.02)
    heights = np.ptp(frames[0].positions[:, 2])
    assert heights == pytest.approx(4 * COPPER.cell[0, 0] / np.sqrt(3), abs=1e-3)  # five planes: ceil(9 / 2.08)
    assert frames[0].cell[2, 2] - heights == pytest.approx(11.0, abs=1e-6)
    assert np.std(frames[1].positions - frames[0].positions) == pytest.approx(0.02, rel=0.3)
    (terrace,) = made("terrace", faces=[[1, 0, 0]], n=1, rattle=0.0)
    z = np.round(terrace.positions[:, 2], 3)
    planes, atoms = np.unique(z, return_counts=True)
    assert_array_equal(atoms[:-1], atoms[0])
    assert 2 * atoms[-1] == atoms[0]  # half of the uppermost plane
    upper = terrace.positions[z == planes[-1]]
    assert np.ptp(upper[:, 0]) < 0.5 * terrace.cell[0, 0]  # on one side


def test_stacking_faults():
    frames = made("stacking_fault", n=4, rattle=0.0)
    layer, _ = cut_crystal(COPPER, (1, 1, 1))
    n = len(frames[0]) // len(layer)
    for atoms in frames:
        shift = np.array(detail(atoms, "shift").strip("()").split(","), float)
        expected = n * layer.cell[2] + shift @ layer.cell.array[:2]
        assert_allclose(atoms.cell[2], expected, atol=1e-6)
        assert atoms.get_volume() == pytest.approx(n * layer.get_volume(), rel=1e-7)


def test_grain_boundaries():
    frames = made("grain_boundary", faces=[[3, 1, 0]], n=3, rattle=0.0)
    bond = COPPER.cell[0, 0] / np.sqrt(2)
    for atoms in frames:
        assert neighbor_list("d", atoms, bond).min() >= 0.75 * bond - 1e-6
        middle = atoms.cell[2, 2] / 4
        inside = np.abs(atoms.positions[:, 2] - middle) < 0.6
        counts = np.bincount(neighbor_list("i", atoms, 2.7), minlength=len(atoms))
        assert set(counts[inside]) == {12}  # within a grain the crystal
        assert (counts < 12).any()
    # the mirror image: the first grain's atoms, seen from the middle of the cell, are the second's
    twin = made("grain_boundary", faces=[[1, 1, 1]], n=1, rattle=0.0)[0]
    z = np.unique(np.round(twin.positions[:, 2], 4))
    assert_allclose(np.sort(twin.cell[2, 2] - z), z, atol=2e-4)


def test_path():
    ends = hop()
    frames = made("neb", n_images=3, method="linear")
    assert [detail(atoms, "image") for atoms in frames] == list("01234")
    assert_allclose(frames[0].positions, ends[0].positions, atol=1e-8)
    assert_allclose(frames[4].positions, ends[1].positions, atol=1e-8)
    assert_allclose(frames[2].positions, 0.5 * (ends[0].positions + ends[1].positions), atol=1e-7)
    relaxed = made("neb", n_images=3, steps=20, every=10)
    assert [detail(atoms, "step") for atoms in relaxed] == ["0"] * 5 + ["10"] * 3 + ["20"] * 3

    def highest(step):
        energies = []
        for atoms in relaxed:
            if detail(atoms, "step") == step and 0 < int(detail(atoms, "image")) < 4:
                copy = atoms.copy()
                copy.calc = EMT()
                energies.append(copy.get_potential_energy())
        return max(energies)

    assert highest("20") < highest("0")  # it relaxes
    with pytest.raises(ValueError, match=r"`driver` must be given where `neb.steps` relaxes the path"):
        generate({"neb": {"steps": 5}}, ends)
    with pytest.raises(ValueError, match="at least two structures, the ends of the path"):
        generate({"neb": {}}, ends[:1])
    with pytest.raises(ValueError, match="`final` must be a structure with the atoms of `initial`"):
        generate({"neb": {}}, [ends[0], COPPER])


def test_random_structures_keep_their_distances():
    frames = made("random", composition=["Ga4As4", "SiO2"], n=3, nearest=0.9)
    assert [atoms.get_chemical_formula() for atoms in frames] == ["As4Ga4"] * 3 + ["O2Si"] * 3
    for atoms in frames:
        assert len(neighbor_list("i", atoms, 0.9 * covalent_radii[atoms.numbers] - 1e-6)) == 0
    sizes = [atoms.get_volume() / len(atoms) for atoms in made("random", [], composition="Si8", n=20, volume=25.0)]
    assert min(sizes) >= 25.0 * 0.8
    assert max(sizes) <= 25.0 * 1.2 * 1.05**3  # where atoms found no place it grew, a little
    with pytest.raises(ValueError, match=r"`volume` must leave room for distances of 1 times .* got 4 Å³/atom"):
        made("random", composition="Si8", volume=4.0, nearest=1.0)


def test_snapshots():
    frames = made("md", n=3, temperatures=[200, 1500], equilibrate=100, every=20, min_edge=7.0, timestep=2.0)
    assert [atoms.info["config_type"] for atoms in frames] == ["md_200K"] * 3 + ["md_1500K"] * 3
    assert [detail(atoms, "step") for atoms in frames[:3]] == ["120", "140", "160"]
    start = COPPER.repeat(2)

    def spread(part):
        moved = [atoms.positions - start.positions for atoms in part]
        moved = [m - np.rint(m @ np.linalg.inv(start.cell.array)) @ start.cell.array for m in moved]
        return np.mean([np.sum((m - m.mean(axis=0)) ** 2) / len(m) for m in moved])

    # harmonic atoms: squares of displacements grow with the temperature, by 7.5 here; half of that is well beyond chance
    assert spread(frames[3:]) > 3.5 * spread(frames[:3])


def test_snapshots_are_apart_by_the_correlation_time():
    frames = made("md", temperatures=600, n=2, equilibrate=50, every=None, min_edge=0.0)
    apart = int(detail(frames[0], "apart"))
    # the potential energy of a crystal is correlated for about one period of its vibrations: 100 to 300 fs in copper; and
    # with a friction of 0.01/fs no longer than some hundred fs
    assert 5 <= apart <= 500
    steps = [int(detail(atoms, "step")) for atoms in frames]
    assert steps[1] - steps[0] == apart


def test_statistical_inefficiency():
    rng = np.random.default_rng(0)
    white = rng.normal(size=4000)
    assert inefficiency(white) == pytest.approx(1.0, abs=0.15)
    series = [0.0]
    for noise in rng.normal(size=20000):
        series.append(0.9 * series[-1] + noise)
    assert inefficiency(np.array(series)) == pytest.approx(19.0, rel=0.2)  # (1 + 0.9) / (1 - 0.9); of 1000 independent ones
    assert inefficiency(np.ones(50)) == 1.0


def test_dynamics_that_leave_physics_end_with_a_warning():
    recipe = {"volume": {"n": 2}, "md": {"temperatures": [1e6], "n": 3, "timestep": 20.0, "min_edge": 0.0, "equilibrate": 50}}
    with pytest.warns(NumericalWarning, match="Dynamics at 1e\\+06 K from frame 0"):
        found = generate(recipe, [COPPER], driver=EMT())
    assert found.blocks[0].frames == 2  # what was made is kept


def test_dimers_and_isolated_atoms():
    frames = made("dimer", [bulk("CuAu", "rocksalt", a=5.0)], n=5, farthest=6.0)
    assert [str(atoms.symbols) for atoms in frames] == ["Au2"] * 5 + ["AuCu"] * 5 + ["Cu2"] * 5
    distances = [atoms.get_distance(0, 1) for atoms in frames]
    assert distances[0] == pytest.approx(0.7 * 2 * covalent_radii[79], abs=1e-7)
    assert distances[4] == pytest.approx(6.0, abs=1e-7)
    assert not any(atoms.pbc.any() for atoms in frames)
    (alone,) = made("isolated", [], species="Si", box=12.0)
    assert_allclose(alone.cell.array, 12.0 * np.eye(3))
    assert_allclose(alone.positions, [[6.0] * 3])
    assert not alone.pbc.any()


def test_a_block_does_not_depend_on_others():
    one = generate({"strain": {"n": 3}}, [COPPER]).frames
    both = generate({"rattle": {"n": 2}, "hot": {"type": "rattle", "n": 2}, "strain": {"n": 3}}, [COPPER]).frames
    for a, b in zip(one, both[4:], strict=True):
        assert_array_equal(a.cell.array, b.cell.array)
    assert not np.allclose(both[0].positions, both[2].positions)  # two blocks of one kind differ
    assert both[2].info["config_type"] == "hot"
    assert both[2].info["gapkit_kind"] == "rattle"
    own = generate({"volume": {"n": 2, "start": [SILICON]}, "strain": {"n": 1}}, [COPPER]).frames
    assert [str(atoms.symbols) for atoms in own] == ["Si8", "Si8", "Cu4"]


def test_close_atoms_are_counted_and_left_out():
    found = generate({"volume": {"n": 5, "smallest": 0.02 + 0.1, "largest": 1.0}}, [COPPER], min_distance=0.6)
    ratios = np.linspace(0.12, 1.0, 5)
    close = COPPER.cell[0, 0] / np.sqrt(2) * ratios ** (1 / 3) < 0.6 * 2 * covalent_radii[29]
    assert close.any()
    assert (found.blocks[0].frames, found.blocks[0].too_close) == ((~close).sum(), close.sum())
    with pytest.raises(ValueError, match="`min_distance` must leave some structures; got 1, and in all 5"):
        generate({"volume": {"n": 5, "smallest": 0.2, "largest": 0.5}}, [COPPER], min_distance=1.0)


@pytest.mark.parametrize(
    ("recipe", "start", "error", "message"),
    [
        ({}, [COPPER], ValueError, "`recipe` must be at least one block"),
        ({"vacanc": {}}, [COPPER], ConfigError, r"Unknown kind: 'vacanc'\. Did you mean 'vacancy'\?"),
        ({"vacancy": {"min_egde": 8}}, [COPPER], ConfigError, "Did you mean 'min_edge'"),
        ({"vacancy": 3}, [COPPER], ConfigError, "Block 'vacancy' must hold parameters"),
        ({"vacancy": {"n": 0}}, [COPPER], ValueError, "`vacancy.n` must be an integer of at least 1; got 0"),
        ({"vacancy": {"min_edge": 0.0}}, [bulk("Cu")], InvalidStructureError, "cell of at least 2 atoms; got 1.*min_edge"),
        ({"divacancy": {"min_edge": 0}}, [bulk("Si")], InvalidStructureError, "cell of at least 3 atoms; got 2"),
        ({"rattle": {"min_edge": 0}}, [bulk("Cu")], InvalidStructureError, "cell of at least 2 atoms"),
        ({"volume": {}}, [molecule("H2O")], InvalidStructureError, "must start from crystals.*frame 0"),
        ({"strain": {}}, [molecule("H2O")], InvalidStructureError, "must start from crystals"),
        ({"surface": {"faces": [[1, 1]]}}, [COPPER], ValueError, "`surface.faces` must be a list of Miller indices"),
        ({"surface": {"faces": [[0, 0, 0]]}}, [COPPER], ValueError, "`surface.faces` must be a list of Miller indices"),
        ({"surface": {}}, [], ValueError, "`start` must be given for 'surface'"),
        ({"isolated": {}}, [], ValueError, "`isolated.species` must be given without a start"),
        ({"isolated": {"species": ["Xx"]}}, [], ValueError, "`isolated.species` must be a list of elements"),
        ({"interstitial": {"species": "Xx"}}, [COPPER], ConfigError, "`interstitial.species` must be an element"),
        ({"random": {"composition": "Xy4"}}, [], ValueError, "`random.composition` must be a formula"),
        ({"random": {}}, [], ValueError, "`random.composition` must be given without a start"),
        ({"md": {}}, [COPPER], ValueError, "`driver` must be given for 'md'"),
        ({"dimer": {"farthest": 1.0}}, [COPPER], ValueError, "`dimer.farthest` must be a number above"),
        ({"neb": {"method": "spline"}}, hop(), ValueError, "`neb.method` must be one of"),
    ],
)
def test_errors(recipe, start, error, message):
    with pytest.raises(error, match=message):
        generate(recipe, start)


def test_labels(tmp_path):
    frames = generate({"volume": {"n": 4}, "isolated": {}}, [COPPER]).frames
    calls = []

    class Counting:
        def label(self, atoms):
            calls.append(len(atoms))
            if len(calls) == 3:
                raise KeyboardInterrupt  # the user stops the run
            return CalculatorLabeler(EMT).label(atoms)

    with pytest.raises(KeyboardInterrupt):
        label_frames(frames, Counting(), tmp_path / "labels")
    found = label_frames(frames, Counting(), tmp_path / "labels")
    assert len(calls) == 3 + 3  # two were done; the interrupted one is repeated
    assert found.bought == 3
    assert not found.failed
    for asked, atoms in zip(frames, found.frames, strict=True):
        copy = asked.copy()
        copy.calc = EMT()
        assert atoms.get_potential_energy() == pytest.approx(copy.get_potential_energy(), abs=1e-8)
        assert_allclose(atoms.get_forces(), copy.get_forces(), atol=1e-7)
        assert atoms.info["config_type"] == asked.info["config_type"]
        assert {k: atoms.info[k] for k in asked.info} == asked.info
    with ThreadPoolExecutor(2) as executor:
        again = label_frames(frames, Counting(), tmp_path / "labels", executor=executor)
    assert again.bought == 0
    assert len(calls) == 6


def test_labels_that_fail(tmp_path):
    frames = generate({"volume": {"n": 3}}, [COPPER]).frames

    class Failing:
        def label(self, atoms):
            if atoms.get_volume() > 50.0:
                raise RuntimeError("no convergence")
            return CalculatorLabeler(EMT).label(atoms)

    found = label_frames(frames, Failing(), tmp_path, attempts=1)
    assert [k for k, _ in found.failed] == [2]  # 1.2 times 47 Å³
    assert "no convergence" in found.failed[0][1]
    assert len(found.frames) == 2


def test_structures_of_a_folder_are_made_once(tmp_path):
    calls = []

    def make():
        calls.append(1)
        return generate({"strain": {"n": 3}}, [COPPER]).frames

    first = kept_in(tmp_path / "a", "recipe", make)
    second = kept_in(tmp_path / "a", "recipe", make)
    assert len(calls) == 1
    for one, two in zip(first, second, strict=True):
        assert_array_equal(one.positions, two.positions)
        assert one.info == two.info
    with pytest.raises(ValueError, match="must be a new folder, or one of the same recipe"):
        kept_in(tmp_path / "a", "another", make)


def test_info_and_velocities_of_the_start_are_left_behind():
    start = COPPER.copy()
    start.info["config_type"] = "bulk"
    start.set_momenta(np.ones((4, 3)))
    start.set_initial_magnetic_moments([1.0, -1.0, 1.0, -1.0])
    (atoms,) = generate({"strain": {"n": 1}}, [start]).frames
    assert atoms.info["config_type"] == "strain"
    assert not atoms.has("momenta")
    assert_array_equal(atoms.get_initial_magnetic_moments(), [1.0, -1.0, 1.0, -1.0])
