"""L4: a model saved by `fit`, evaluated by the engine with a CuPy that is not there, is the model on the CPU."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from ase import Atoms, units
from ase.io import read, write
from ase.md.verlet import VelocityVerlet
from numpy.testing import assert_allclose
from typer.testing import CliRunner

from gapkit import ACSF, RBF, SOAP, DotProduct, DScribe, GAPCalculator, GAPRegressor, Term, ThreeBody, TwoBody
from gapkit._cuda.memory import Memory
from gapkit.cli.main import app
from gapkit.exceptions import DeviceMemoryError, GPUNotAvailable, InvalidStructureError, NotOnGPUError
from gapkit.model.device import _say_once
from gapkit.model.on_device import ModelOnDevice, model_on_device, on_device
from tests.conftest import copper_gold
from tests.cuda.needs import gpucheck

gpucheck()

# DESIGN, section 5: predictions agree to max(1e-10, 1e-15 sum|alpha|), which is 5e-10 here, for each atom; sums over the sparse
# points run in another order
CLOSE = {"rtol": 0, "atol": 1e-10}


def assert_same(found, expected):
    assert_allclose(found.energy, expected.energy, rtol=0, atol=1e-10 * len(expected.forces))
    assert_allclose(found.energies, expected.energies, **CLOSE)
    assert_allclose(found.forces, expected.forces, **CLOSE)
    assert (found.stress is None) == (expected.stress is None)
    if expected.stress is not None:
        assert_allclose(found.stress, expected.stress, **CLOSE)


def test_model_from_a_file(gpu, model, mixed):
    """The repulsion acts: some pairs are closer than its radius."""
    frames = [mixed, copper_gold(70, (True, True, True)), Atoms("CuAu", [[0, 0, 0], [0, 0, 2.4]]), Atoms("Au")]
    expected = model.evaluate(frames, uncertainty="exact")
    found = model.set_params(device="cuda").evaluate(frames, uncertainty="exact")
    assert model.potential_.sums[0][0].alpha.size > 5
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)
        # variances are differences of numbers of the size of delta²: 1e-12 of them; the root of a small one has half the digits
        assert_allclose(one.energy_std**2, other.energy_std**2, rtol=1e-8, atol=1e-12)
        assert_allclose(one.energies_std**2, other.energies_std**2, rtol=1e-8, atol=1e-12)
    (bare,) = model.evaluate([mixed], forces=False, stress=False)
    assert bare.forces is bare.stress is None
    assert_allclose(model.predict(frames), [p.energy for p in expected], **CLOSE)


@pytest.mark.parametrize("at_most", [1, 7, None])
def test_chunks_do_not_matter(gpu, model, mixed, at_most):
    (expected,) = model.evaluate([mixed], uncertainty="exact")
    xp = gpu.module()
    there = ModelOnDevice(model.potential_, on_device(model.potential_, memory=Memory(xp, at_most=at_most)))
    found = there.predict(mixed, uncertainty="exact")
    assert_same(found, expected)
    assert_allclose(found.energy_std, expected.energy_std, rtol=1e-8)
    sizes = [block.size for block in there.engine.terms[1].blocks]
    assert sum(sizes) == len(mixed)
    assert len(sizes) == {1: 16, 7: 4, None: 2}[at_most]  # 8 atoms of each species


def test_two_evaluations_are_equal_bit_by_bit(gpu, model, mixed):
    one, two = (ModelOnDevice(model.potential_, on_device(model.potential_)).predict(mixed) for _ in range(2))
    assert one.energy == two.energy
    assert (one.forces == two.forces).all()
    assert (one.stress == two.stress).all()


def test_transfers_of_a_step(gpu, model, mixed):
    """Positions in; forces, and ten numbers with energy and virial, out; the host waits once."""
    engine, atoms = on_device(model.potential_, skin=1.0), mixed.copy()
    given = atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc
    engine.evaluate(*given)
    atoms.positions += np.random.default_rng(0).normal(0.0, 0.02, atoms.positions.shape)
    with gpu.counted() as counts:
        engine.evaluate(*given[:1], atoms.positions, *given[2:])
    n = len(atoms)
    assert counts == {"in": 24 * n, "out": 24 * n + 80, "waits": 1}
    with gpu.counted() as counts:
        found = engine.evaluate(*given[:1], atoms.positions, *given[2:], energies=True)
    assert counts == {"in": 24 * n, "out": 32 * n + 80, "waits": 1}
    assert engine.n_searches == 1
    assert_allclose(found.energies.sum(), found.energy, rtol=1e-14)


def test_pairs_are_found_anew_when_the_skin_does_not_cover_the_motion(gpu, model, mixed):
    cpu, calc = GAPCalculator(model), GAPCalculator(model, device="cuda", skin=0.4)
    engine, atoms, rng, searches = calc._there.engine, mixed.copy(), np.random.default_rng(1), []
    for step in range(8):
        if step == 5:
            atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.01), scale_atoms=True)
        if step == 6:
            atoms.positions += 3 * atoms.cell.array[0]  # images are the same, positions are not
        if step == 7:
            atoms.symbols[0] = "Au" if atoms.symbols[0] == "Cu" else "Cu"
        atoms.positions += rng.uniform(-0.08, 0.08, atoms.positions.shape)
        expected, found = (calculated(c, atoms) for c in (cpu, calc))
        assert_same(found, expected)
        searches.append(engine.n_searches)
    moved = np.diff(searches)
    assert moved[4:].tolist() == [1, 1, 1]
    assert 0 < moved[:4].sum() < 4  # kept at times, found anew at times


def calculated(calculator, atoms):
    atoms.calc = calculator
    atoms.get_potential_energy()
    return calculator.prediction


def test_molecular_dynamics(gpu, model):
    def run(**where):
        atoms = copper_gold(72, (True, True, True), 8)
        atoms.calc = GAPCalculator(model, **where)
        atoms.set_velocities(np.random.default_rng(0).normal(0.0, 0.02, (len(atoms), 3)))
        VelocityVerlet(atoms, 2 * units.fs).run(5)
        return atoms.positions

    assert_allclose(run(device="cuda"), run(), rtol=0, atol=1e-10)


def test_commands_that_fit_and_evaluate(gpu, alloy, tmp_path):
    """The GPU has no exact deviations of forces: the CPU computes them."""
    write(tmp_path / "train.xyz", alloy, format="extxyz")
    settings = ["--set", "soap.n_sparse=10", "--set", "soap.n_max=3", "--set", "soap.l_max=2", "--no-calibrate"]
    found = []
    for device in ("cpu", "cuda"):
        model, predicted = str(tmp_path / f"{device}.gap"), str(tmp_path / f"{device}.xyz")
        evaluate = ["evaluate", model, str(tmp_path / "train.xyz"), "-o", predicted]
        for command in (
            ["fit", str(tmp_path / "train.xyz"), *settings, "-o", model],
            evaluate,
            [*evaluate, "--std", "energies,forces"],
        ):
            with gpu.counted() as counts:
                result = CliRunner().invoke(app, [*command, "--device", device])
            assert result.exit_code == 0, result.output
            assert (counts["in"] > 0) == (device == "cuda")
            found.append(None if command[0] == "fit" else np.concatenate([a.get_forces() for a in read(predicted, ":")]))
    for k in (1, 2):
        assert_allclose(found[k], found[k + 3], rtol=0, atol=1e-7)  # files have 8 digits


def test_the_command(gpu, model_file, tmp_path):
    write(tmp_path / "start.xyz", copper_gold(72, (True, True, True), 8))
    found = []
    for device in ("cpu", "cuda"):
        options = ["--steps", "5", "--every", "4", "--ensemble", "nve", "--uncertainty", "exact", "--device", device]
        where = ["md", str(model_file), str(tmp_path / "start.xyz"), "-o", str(tmp_path / f"{device}.traj")]
        with gpu.counted() as counts:
            result = CliRunner().invoke(app, where + options)
        assert result.exit_code == 0, result.output
        assert (counts["in"] > 0) == (device == "cuda")
        frames, last = read(tmp_path / f"{device}.traj", ":"), read(tmp_path / f"{device}_last.xyz")
        assert len(frames) == 2
        log = np.loadtxt(tmp_path / f"{device}.csv", delimiter=",", skiprows=1)
        found.append([frames[-1].positions, frames[-1].get_forces(), frames[-1].get_momenta(), last.positions, log])
    for one, other in zip(*found, strict=True):
        assert_allclose(one, other, rtol=1e-7, atol=1e-7)  # files have 8 digits
    where[-1] = str(tmp_path / "nvt.traj")
    result = CliRunner().invoke(app, [*where, "--steps", "2", "--every", "1", "--device", "cuda"])
    assert result.exit_code == 0, result.output


def test_calculators_of_one_model_keep_their_own_pairs(gpu, model, mixed):
    other = copper_gold(73, (True, True, True))
    one, two = (GAPCalculator(model, device="cuda") for _ in range(2))
    for _ in range(2):
        calculated(one, mixed.copy())
        calculated(two, other.copy())
    assert one._there.engine.n_searches == two._there.engine.n_searches == 1
    shared = model_on_device(model.potential_).engine.terms[1]
    assert one._there.engine.terms[1].sums is shared.sums


def test_a_model_that_is_fitted_further(gpu, model, mixed, alloy):
    calc = GAPCalculator(model, device="cuda")
    before = calculated(calc, mixed.copy()).energy
    model.partial_fit(alloy[:2])
    moved = mixed.copy()
    moved.rattle(1e-3)
    assert_same(calculated(calc, moved), calculated(GAPCalculator(model, device="cpu"), moved.copy()))
    assert calc.prediction.energy != before


def test_calibrated_deviations_and_baselines(gpu, alloy):
    model = GAPRegressor([Term(SOAP(4.0, n_max=3, l_max=2), DotProduct(2), n_sparse=10)], random_state=0).fit(alloy)
    model.calibrate("loo")
    (expected,), (found,) = (
        model.set_params(device=device).evaluate(alloy[:1], uncertainty="exact") for device in ("cpu", "cuda")
    )
    assert_same(found, expected)
    assert_allclose(found.energy_std, expected.energy_std, rtol=1e-8)
    model.calibrate(alloy)  # standard deviations of forces, which the GPU does not have, come from the CPU


def test_copies_and_other_processes_take_nothing_from_the_gpu(gpu, model, mixed):
    from copy import deepcopy

    model_on_device(model.potential_)
    assert "on_device" in model.potential_.__dict__
    assert "on_device" not in deepcopy(model.potential_).__dict__


def fitted(alloy, *terms):
    return GAPRegressor(list(terms), random_state=0).fit(alloy)


def test_what_has_no_gpu_code_is_named(gpu, alloy, model, mixed):
    from dscribe.descriptors import SOAP as OfDscribe

    other = DScribe(OfDscribe(r_cut=3.5, n_max=2, l_max=1, species=["Cu", "Au"], periodic=True))
    foreign = fitted(alloy, ("foreign", Term(other, DotProduct(2), n_sparse=4)))
    with pytest.raises(NotOnGPUError, match=r"`device` must be 'cpu' with the term 'foreign'; got 'cuda'\. DScribe"):
        foreign.set_params(device="cuda").predict([mixed])
    model.device = "cuda"
    with pytest.raises(NotOnGPUError, match="A GPU gives exact ones of energies, and 'fast' ones of all"):
        model.evaluate([mixed], uncertainty="exact", std=("forces",))


def test_auto_takes_the_cpu_and_says_why_once(gpu, alloy, model, mixed, caplog):
    _say_once.cache_clear()
    std = ("stress",)
    expected = model.evaluate([mixed], uncertainty="exact", std=std)[0]
    with caplog.at_level(logging.WARNING, "gapkit"):
        for _ in range(2):
            found = model.set_params(device="auto").evaluate([mixed], uncertainty="exact", std=std)[0]
    assert found.energy == expected.energy
    assert len(caplog.records) == 1
    assert "device='auto' takes the CPU" in caplog.text
    with gpu.counted() as counts:
        model.predict([mixed])  # the GPU can do this
    assert counts["in"] > 0
    assert len(caplog.records) == 1


def test_without_a_gpu(model, mixed, caplog):
    """This machine has none; where there is one, there is nothing to test here."""
    from gapkit._cuda.status import gpu_status

    if gpu_status().usable:
        pytest.skip("this machine has a GPU")
    _say_once.cache_clear()
    with pytest.raises(GPUNotAvailable, match=r"got 'cuda'. Here .* device='auto' takes the CPU"):
        model.set_params(device="cuda").predict([mixed])
    with pytest.raises(GPUNotAvailable):
        GAPCalculator(model)
    with caplog.at_level(logging.WARNING, "gapkit"):
        GAPCalculator(model, device="auto")
        GAPCalculator(model, device="auto")
    assert len(caplog.records) == 1
    with pytest.raises(ValueError, match="`device` must be one of 'cpu', 'cuda', 'auto'; got 'gpu'"):
        model.set_params(device="gpu").predict([mixed])


def test_errors_of_structures_are_those_of_the_cpu(gpu, model, mixed):
    model.device = "cuda"
    with pytest.raises(InvalidStructureError, match="Si in frame 1"):
        model.predict([mixed, Atoms("Si")])
    close = mixed.copy()
    close.positions[1] = close.positions[0] + 0.01
    with pytest.raises(InvalidStructureError, match=r"at least 0\.1 Å apart"):
        model.predict([close])


def test_too_little_memory_says_how_much_is_needed(gpu, model, mixed, monkeypatch):
    monkeypatch.setattr(gpu, "free_memory", 1000)
    with pytest.raises(DeviceMemoryError, match=r"at least .* GiB free for one atom with \d+ neighbours; got .* GiB"):
        model.set_params(device="cuda").predict([mixed])


def test_memory_decides_the_chunks(gpu, model):
    atoms = copper_gold(75, (True, True, True), 8).repeat(2)
    (expected,) = model.evaluate([atoms])
    few = Memory(gpu.module(), limit=4e5)
    there = ModelOnDevice(model.potential_, on_device(model.potential_, memory=few))
    assert_same(there.predict(atoms), expected)
    assert len(there.engine.terms[1].blocks) > 2


def test_a_table_of_pairs(gpu, alloy, mixed):
    model = fitted(alloy, Term(TwoBody(3.5, tabulate=True), RBF(1.0), n_sparse={"Cu-Cu": 5, "Cu-Au": 6, "Au-Au": 5}))
    (expected,), (found,) = (model.set_params(device=d).evaluate([mixed], uncertainty="exact") for d in ("cpu", "cuda"))
    assert_same(found, expected)
    assert_allclose(found.energies_std, expected.energies_std, rtol=1e-7)


@pytest.mark.parametrize("tabulate", [False, True])
def test_triplets(gpu, alloy, mixed, tabulate):
    """With pairs and SOAP; some triplets lie outside the box of the table, as its sparse points do not reach so far."""
    terms = (
        Term(SOAP(4.0, n_max=3, l_max=2), DotProduct(2), n_sparse=10, delta=0.3),
        Term(TwoBody(3.5), RBF(1.0), n_sparse={"Cu-Cu": 5, "Cu-Au": 6, "Au-Au": 5}),
        Term(ThreeBody(3.2, tabulate=tabulate), RBF(1.0), n_sparse=6, scale="std", delta=0.2),
    )
    model, frames = (
        fitted(alloy, *terms),
        [mixed, copper_gold(70, (True, True, True)), Atoms("Au"), Atoms("CuAu", [[0, 0, 0], [2, 0, 0]])],
    )
    expected = model.evaluate(frames, uncertainty="exact")
    for one, other in zip(model.set_params(device="cuda").evaluate(frames, uncertainty="exact"), expected, strict=True):
        assert_same(one, other)
        assert_allclose(one.energy_std**2, other.energy_std**2, rtol=1e-7, atol=1e-11)
        assert_allclose(one.energies_std**2, other.energies_std**2, rtol=1e-7, atol=1e-11)
    for at_most, skin in ((1, 0.0), (7, 1.0)):
        if at_most == 1 and tabulate:
            continue
        memory = Memory(gpu.module(), at_most=at_most)
        there = ModelOnDevice(model.potential_, on_device(model.potential_, memory=memory, skin=skin))
        assert_same(there.predict(frames[1]), expected[1])
        moved = frames[1].copy()
        moved.rattle(0.05, seed=2)
        assert_same(there.predict(moved), model.set_params(device="cpu").evaluate([moved])[0])


@pytest.mark.parametrize("exact", [512, 5])
def test_fast_deviations(gpu, model, mixed, monkeypatch, exact):
    """All directions, and few of them with random ones for the rest."""
    from gapkit.model import fast_posterior

    monkeypatch.setattr(fast_posterior, "_EXACT", exact)
    monkeypatch.setattr(fast_posterior.FastPosterior.of.__func__, "__kwdefaults__", {"rank": 8, "n_members": 2})
    (expected,), (found,) = (model.set_params(device=d).evaluate([mixed], uncertainty="fast") for d in ("cpu", "cuda"))
    assert model.potential_.fast.low_rank.rank == (model.potential_.n_sparse if exact == 512 else 8)
    assert_allclose(found.energy_std**2, expected.energy_std**2, rtol=1e-8, atol=1e-12)
    assert_allclose(found.energies_std**2, expected.energies_std**2, rtol=1e-8, atol=1e-12)


def test_fast_deviations_of_forces(gpu, alloy, model, mixed):
    """A committee; pairs have weights, RBF slopes along x; a model without pairs, and one atom alone."""
    soap = fitted(alloy, Term(SOAP(4.0, n_max=3, l_max=2), RBF(0.5), n_sparse=10))
    for given in (model, soap):
        frames = [mixed, copper_gold(70, (True, True, True)), Atoms("Au")]
        on_cpu, there = (
            given.set_params(device=d).evaluate(frames, uncertainty="fast", std=("energies", "forces", "stress"))
            for d in ("cpu", "cuda")
        )
        for expected, found in zip(on_cpu, there, strict=True):
            assert_allclose(found.energies_std, expected.energies_std, rtol=1e-6)
            assert_allclose(found.forces_std, expected.forces_std, rtol=1e-7, atol=1e-12)
            assert (found.stress_std is None) == (expected.stress_std is None)
            if expected.stress_std is not None:
                assert_allclose(found.stress_std, expected.stress_std, rtol=1e-7, atol=1e-14)
            assert found.energy_std is None
        calc = GAPCalculator(given, device="cuda", uncertainty="fast", std=("forces",))
        assert_allclose(calculated(calc, mixed).forces_std, on_cpu[0].forces_std, rtol=1e-7, atol=1e-12)


def test_prior_deviations(gpu, alloy, model, mixed):
    """Of all terms; triplets have images of their points.  They need no posterior, and no calibration touches them."""
    triplets = Term(ThreeBody(3.2), RBF(1.0), n_sparse=6, scale="std", delta=0.2)
    acsf = Term(ACSF(4.0, g2_params=[[1.0, 2.0]]), RBF(1.0), n_sparse=3)
    for given in (model, fitted(alloy, triplets, acsf).calibrate("loo")):
        expected, found = (
            given.set_params(device=d).evaluate([mixed, Atoms("Au")], uncertainty="prior") for d in ("cpu", "cuda")
        )
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
            assert one.energy_std is None
            assert_allclose(one.energies_std**2, other.energies_std**2, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("form", [{"exponents": (-3, -1)}, {"tail_exponent": 1}])
def test_other_forms_of_pairs(gpu, alloy, mixed, form):
    pairs = TwoBody(3.5, **form)
    model = fitted(alloy, Term(pairs, RBF(1.0), n_sparse={"Cu-Cu": 5, "Cu-Au": 6, "Au-Au": 5}, scale="std"))
    (expected,), (found,) = (model.set_params(device=d).evaluate([mixed], uncertainty="exact") for d in ("cpu", "cuda"))
    assert_same(found, expected)
    assert_allclose(found.energies_std, expected.energies_std, rtol=1e-7)


def test_the_self_test(gpu, monkeypatch, tmp_path, capsys):
    """It runs, and passes where there is nothing wrong; on real hardware it has not been run."""
    import json

    from gapkit import datasets
    from gapkit._cuda import selftest
    from gapkit._cuda.status import GPUStatus

    monkeypatch.setattr(selftest, "require", lambda: None)
    monkeypatch.setattr(selftest, "gpu_status", lambda: GPUStatus(True, "none"))
    few = datasets.load_silicon()[::12]
    monkeypatch.setattr(datasets, "load_silicon", lambda: few)
    options = ["--n-sparse", "20", "--repeats", "1", "--steps", "4", "-o", str(tmp_path / "report.json")]
    assert selftest.main(options) == 0, capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["passed"]
    assert {"step", "expand", "pair_gradient", "powers"} <= set(report["times"]["8"])
    assert all(check["value"] <= check["bound"] for check in report["checks"].values())


@pytest.mark.gpu
def test_the_self_test_on_a_gpu():
    from gapkit._cuda.selftest import run
    from gapkit._cuda.status import gpu_status

    if not gpu_status().usable:
        pytest.skip(gpu_status().reason)
    assert run(repeats=(3,))["passed"]
