"""Dynamics that stays on the device, with a CuPy that is not there, is ASE's."""

from __future__ import annotations

import numpy as np
import pytest
from ase import units
from ase.constraints import FixAtoms
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet
from numpy.testing import assert_allclose

from gapkit import RBF, SOAP, Baseline, DotProduct, GAPCalculator, GAPRegressor, Term, TwoBody
from gapkit.dynamics import DeviceDynamics
from gapkit.exceptions import GPUNotAvailable, InvalidStructureError, LeftPhysicsError, NotOnGPUError
from tests.conftest import copper_gold
from tests.cuda.needs import gpucheck

gpucheck()

DT = 2.0 * units.fs
THERMOSTAT = {"temperature_K": 400.0, "friction": 0.02 / units.fs}


@pytest.fixture
def start():
    atoms = copper_gold(72, (True, True, True), 8)
    thermalize_momenta(atoms, temperature_K=300, rng=np.random.default_rng(0))
    return atoms


@pytest.fixture(scope="session")
def pairs(alloy):
    """A model of pairs alone: a step takes a millisecond."""
    return GAPRegressor([Term(TwoBody(3.5), RBF(1.0), n_sparse={"Cu-Cu": 5, "Cu-Au": 6, "Au-Au": 5})], random_state=0).fit(
        alloy
    )


@pytest.mark.parametrize("ensemble", ["nve", "nvt"])
def test_a_run_is_that_of_ase_on_the_cpu(gpu, model, start, ensemble):
    """ASE's integrators with the calculator on the CPU, after 50 steps, in which pairs are found anew; same random numbers."""
    there = DeviceDynamics(start, model, DT, random_state=5, skin=0.3, **(THERMOSTAT if ensemble == "nvt" else {}))
    last = there.run(50)
    atoms = start.copy()
    atoms.calc = GAPCalculator(model, device="cpu")
    if ensemble == "nve":
        VelocityVerlet(atoms, DT).run(50)
    else:
        Langevin(atoms, DT, **THERMOSTAT, rng=np.random.default_rng(5), fixcm=False).run(50)
    assert there._engine.n_searches > 1
    # rounding, which grows with the motion; atoms move by some 0.1 Å
    assert np.abs(atoms.positions - start.positions).max() > 0.1
    assert_allclose(last.atoms.positions, atoms.positions, rtol=0, atol=1e-10)
    assert_allclose(last.atoms.get_velocities(), atoms.get_velocities(), rtol=0, atol=1e-10)
    assert_allclose(last.atoms.get_potential_energy(), atoms.get_potential_energy(), rtol=0, atol=1e-9)
    assert_allclose(last.atoms.get_forces(), atoms.get_forces(), rtol=0, atol=1e-9)
    assert_allclose(last.atoms.get_stress(), atoms.get_stress(), rtol=0, atol=1e-10)
    assert last.step == there.n_steps == 50


def test_transfers_of_a_step(gpu, model, start):
    """Ten numbers come back, and the host waits for them; nothing else."""
    there = DeviceDynamics(start, model, DT, **THERMOSTAT)
    with gpu.counted() as counts:
        for _ in range(3):
            there._step()
    assert there._engine.n_searches == 1
    assert counts == {"in": 0, "out": 3 * 80, "waits": 3}


def test_energy_is_kept(gpu, pairs, start):
    """The error of velocity Verlet is bounded and of second order in the time step: no drift, and four times less for half."""

    def totals(dt):
        steps = DeviceDynamics(start, pairs, dt).irun(round(100 * units.fs / dt), every=1)
        return np.array([s.atoms.get_total_energy() / len(s.atoms) for s in steps])

    coarse, fine = totals(units.fs), totals(0.5 * units.fs)
    assert np.abs(coarse - coarse[0]).max() / np.abs(fine - fine[0]).max() == pytest.approx(4.0, rel=0.2)
    # pairs are steep and atoms few: the bound is that of the error that comes and goes
    quarters = np.array_split(coarse, 4)
    assert abs(quarters[3].mean() - quarters[1].mean()) < coarse.std()


def test_the_thermostat(gpu, pairs):
    """3 N / 2 kT on average: 500 steps of 20 fs^-1 x 2 fs friction have some 100 independent kinetic energies of 24 numbers."""
    atoms = copper_gold(72, (True, True, True), 8)
    hot = {"temperature_K": 400.0, "friction": 0.1 / units.fs}
    temperatures = [s.atoms.get_temperature() for s in DeviceDynamics(atoms, pairs, DT, **hot).irun(700, every=2)][100:]
    # standard deviation of the mean: 400 K sqrt(2 / 24 / 100) = 12 K; three of them
    assert np.mean(temperatures) == pytest.approx(400.0, abs=36.0)


def test_the_same_seed_is_the_same_run_however_it_is_divided(gpu, pairs, start):
    whole = DeviceDynamics(start, pairs, DT, random_state=3, **THERMOSTAT).run(12)
    parts = DeviceDynamics(start, pairs, DT, random_state=3, **THERMOSTAT)
    seen = [s.step for n in (5, 7) for s in parts.irun(n, every=2)]
    other = DeviceDynamics(start, pairs, DT, random_state=4, **THERMOSTAT).run(12)
    assert seen == [0, 2, 4, 6, 8, 10, 12]
    assert (parts.snapshot().atoms.positions == whole.atoms.positions).all()
    assert np.abs(other.atoms.positions - whole.atoms.positions).max() > 1e-4


def test_standard_deviations_of_structures(gpu, model, start):
    there = DeviceDynamics(start, model, DT)
    for snapshot in there.irun(4, every=2, uncertainty="exact"):
        (expected,) = model.evaluate([snapshot.atoms], uncertainty="exact")
        assert_allclose(snapshot.prediction.energies_std, expected.energies_std, rtol=1e-7)
        assert_allclose(snapshot.prediction.energy_std, expected.energy_std, rtol=1e-7)
        assert_allclose(snapshot.prediction.energies, expected.energies, rtol=0, atol=1e-10)
    snapshot = there.snapshot("prior")
    (expected,) = model.evaluate([snapshot.atoms], uncertainty="prior")
    assert_allclose(snapshot.prediction.energies_std, expected.energies_std, rtol=1e-7)
    assert snapshot.prediction.energy_std is None


def test_what_is_refused(gpu, pairs, alloy, start):
    with pytest.raises(ValueError, match="`friction` must be given with `temperature_K`; got None"):
        DeviceDynamics(start, pairs, DT, temperature_K=300)
    fixed = start.copy()
    fixed.set_constraint(FixAtoms([0]))
    with pytest.raises(InvalidStructureError, match="`atoms` must be free of constraints"):
        DeviceDynamics(fixed, pairs, DT)
    from ase.calculators.lj import LennardJones

    under = GAPRegressor([Term(SOAP(3.5, n_max=2, l_max=1), DotProduct(1), n_sparse=3)], baseline=Baseline(LennardJones()))
    with pytest.raises(NotOnGPUError, match="`model` must be one without a Baseline"):
        DeviceDynamics(start, under.fit(alloy[:3]), DT)
    fast = start.copy()
    fast.set_velocities(np.full((len(fast), 3), np.nan))
    with pytest.raises(LeftPhysicsError, match="after step 0: Positions are no finite numbers"):
        DeviceDynamics(fast, pairs, DT).run(1)
    close = start.copy()
    close.positions[1] = close.positions[0] + 0.02
    with pytest.raises(LeftPhysicsError, match=r"Two atoms are 0.035 Å apart\. Use a shorter time step"):
        DeviceDynamics(close, pairs, DT)


def test_without_a_gpu(pairs, start):
    from gapkit._cuda.status import gpu_status

    if not gpu_status().usable:
        with pytest.raises(GPUNotAvailable):
            DeviceDynamics(start, pairs, DT)
