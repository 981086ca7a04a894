"""Molecular dynamics that stays on the GPU: ASE's integrators, with structures handed out every so many steps.

From some ten thousand atoms on ASE's own work in a step, done with NumPy, takes longer than forces on a GPU do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.geometry import complete_cell
from sklearn.utils.validation import check_is_fitted

from ._cuda.engine import Packet
from ._cuda.memory import memory_errors
from ._validation import check_integer, check_real, describe
from .exceptions import InvalidStructureError, LeftPhysicsError, NotOnGPUError
from .model import Baseline, GAPRegressor, Prediction
from .model.device import on_gpu
from .model.on_device import prediction_of
from .neighbors import SHORTEST_DISTANCE

__all__ = ["DeviceDynamics", "Snapshot"]


class Snapshot(NamedTuple):
    """A structure of a run.

    Attributes
    ----------
    step : int
        Number of steps before it.
    atoms : ase.Atoms
        A copy, with momenta, and energy, forces and stress in its calculator; positions are not wrapped.
    prediction : Prediction
        The same, with local energies, and standard deviations where they were asked for.
    """

    step: int
    atoms: Atoms
    prediction: Prediction


class DeviceDynamics:
    """Velocity Verlet or Langevin dynamics of a fitted model on an NVIDIA GPU.

    Positions, velocities, forces, pairs and random numbers stay there; in a step the host waits once, for ten numbers
    (energy and virial, the shortest distance, and whether pairs must be found anew).  Steps are those of
    `ase.md.verlet.VelocityVerlet` and `ase.md.langevin.Langevin` (without ``fixcm``), to rounding.

    Parameters
    ----------
    atoms : ase.Atoms
        Where to start, with momenta; it is left as it is.  Constraints are refused.
    model : GAPRegressor
        Fitted.
    timestep : float
        In ASE's units: ``2 * units.fs``.
    temperature_K : float, optional
        Of the Langevin thermostat, K; default: none, and the energy is constant.
    friction : float, optional
        Of the thermostat, in ASE's units: ``0.01 / units.fs``; to be given with ``temperature_K``.
    random_state : int, default 0
        Seed of the thermostat.  Numbers are drawn for one step at a time: a run does not depend on how it is divided.
    skin : float, default 0.5
        Extra range of the list of pairs, Å.  To find them takes a quarter of a step of 100,000 atoms.

    Attributes
    ----------
    n_steps : int
        Steps that were done.

    Raises
    ------
    GPUNotAvailable
        If there is no GPU that can be used.
    NotOnGPUError
        If a part of the model has no GPU code, or lies on the CPU as a `Baseline` does.

    Examples
    --------
    Frames of a run that ends where the model is not sure of an atom any more::

        dynamics = DeviceDynamics(atoms, model, 2 * units.fs, temperature_K=600, friction=0.01 / units.fs)
        with Trajectory("run.traj", "w") as trajectory:
            for snapshot in dynamics.irun(100_000, every=500, uncertainty="exact"):
                trajectory.write(snapshot.atoms)
                if snapshot.prediction.energies_std.max() > 0.05:
                    break
    """

    def __init__(
        self,
        atoms: Atoms,
        model: GAPRegressor,
        timestep: float,
        *,
        temperature_K: float | None = None,
        friction: float | None = None,
        random_state: int = 0,
        skin: float = 0.5,
    ) -> None:
        check_is_fitted(model, "potential_")
        dt = check_real("timestep", timestep, above=0.0, remedy="It is in ASE's units: 2 * ase.units.fs.")
        if (temperature_K is None) != (friction is None):
            remedy = "Give both for a thermostat, neither for constant energy."
            raise ValueError(describe("friction", "given with `temperature_K`", friction, remedy))
        if atoms.constraints:
            remedy = "Run ASE's own dynamics with GAPCalculator(model, device='cuda')."
            raise InvalidStructureError(describe("atoms", "free of constraints", atoms.constraints, remedy))
        if isinstance(model.baseline_, Baseline):
            remedy = "It is a calculator of ASE. Run ASE's own dynamics with GAPCalculator(model, device='cuda')."
            raise NotOnGPUError(describe("model", "one without a Baseline", model.baseline_, remedy))
        there = on_gpu("cuda", model)
        assert there is not None  # noqa: S101 - else it has raised
        self.model, self.n_steps, self._there = model, 0, there.twin(check_real("skin", skin, above=0.0, remedy="It is in Å."))
        self._there.check(atoms)
        self._structure = atoms.copy()
        self._engine, self.xp = self._there.engine, self._there.engine.xp
        masses = self.xp.asarray(atoms.get_masses()[:, None])
        self._positions, self._velocities = (self.xp.asarray(x) for x in (atoms.positions, atoms.get_velocities()))
        self._engine.find(atoms.numbers, complete_cell(atoms.cell.array), atoms.pbc, self._positions)
        self._follow()
        if temperature_K is None or friction is None:
            self._thermostat, self._kick, self._drag = None, 0.5 * dt / masses, 0.0
        else:
            kT = units.kB * check_real("temperature_K", temperature_K, at_least=0.0, remedy="It is in K.")
            fr = check_real("friction", friction, above=0.0, remedy="It is in ASE's units: 0.01 / ase.units.fs.")
            # eq. 23 of E. Vanden-Eijnden, G. Ciccotti, Chem. Phys. Lett. 429, 310 (2006), in ASE's names
            sigma = (2.0 * kT * fr / masses) ** 0.5
            self._kick, self._drag = (0.5 * dt - 0.125 * dt**2 * fr) / masses, 0.5 * dt * fr - 0.125 * dt**2 * fr**2
            c3, c5 = (0.5 * dt**0.5 - 0.125 * dt**1.5 * fr) * sigma, dt**1.5 * sigma / (2.0 * 3.0**0.5)
            self._thermostat = self.xp.random.default_rng(random_state), c3, 0.5 * fr * c5, c5
        self._dt = dt

    def irun(self, steps: int, *, every: int = 100, uncertainty: str | None = None) -> Iterator[Snapshot]:
        """Run, and hand out every so many steps where the run is, its beginning included.

        Parameters
        ----------
        steps : int
            How many.
        every : int, default 100
            Steps between two structures.
        uncertainty : None, "exact", "fast" or "prior", default None
            Standard deviations of the total and of local energies of these structures, which are evaluated once more for it.

        Yields
        ------
        Snapshot

        Raises
        ------
        LeftPhysicsError
            If atoms come to where none can be.
        """
        check_integer("steps", steps, at_least=1)
        check_integer("every", every, at_least=1)
        self._there.spreads(uncertainty)  # raises now rather than later
        last = self.n_steps + steps
        if self.n_steps == 0:
            yield self.snapshot(uncertainty)
        while self.n_steps < last:
            self._step()
            if self.n_steps % every == 0:
                yield self.snapshot(uncertainty)

    def run(self, steps: int) -> Snapshot:
        """Run; see `irun`.

        Returns
        -------
        Snapshot
            Where it has come to.
        """
        for _ in self.irun(steps, every=steps):
            pass
        return self.snapshot()

    def snapshot(self, uncertainty: str | None = None) -> Snapshot:
        """Where the run is; see `irun`."""
        engine, spreads, packet = self._engine, self._there.spreads(uncertainty), self._packet
        if spreads is not None:
            packet = engine.step(self._positions, energies=True, spreads=spreads(len(self._structure)))
        found = engine.fetched(packet)
        atoms = self._structure.copy()
        atoms.positions = self.xp.asnumpy(self._positions)
        atoms.set_velocities(self.xp.asnumpy(self._velocities))
        (prediction,) = self.model.complete([prediction_of(atoms, found)], [atoms], calibrate=uncertainty != "prior")
        results = {"energy": prediction.energy, "forces": prediction.forces}
        if prediction.stress is not None:
            results["stress"] = prediction.stress
        atoms.calc = SinglePointCalculator(atoms, **results)
        return Snapshot(self.n_steps, atoms, prediction)

    def _step(self) -> None:
        v, push = self._velocities, self._kick * self._packet.forces
        if self._thermostat is None:
            v += push
            self._positions += self._dt * v
            self._follow()
            v += self._kick * self._packet.forces
        else:
            rng, c3, c4, c5 = self._thermostat
            xi, eta = rng.standard_normal((2, len(v), 3))
            random = c3 * xi - c4 * eta
            v += push - self._drag * v + random
            self._positions += self._dt * v + c5 * eta
            self._follow()
            v += self._kick * self._packet.forces - self._drag * v + random
        self.n_steps += 1

    def _follow(self) -> None:
        """Forces where the atoms are now."""
        self._packet: Packet
        try:
            with memory_errors(self.xp):
                self._packet = self._engine.follow(self._positions, shortest=SHORTEST_DISTANCE, energies=True)
        except LeftPhysicsError as error:
            remedy = "Use a shorter time step, or add training data like the last structures of the run."
            raise LeftPhysicsError(f"The run left physics after step {self.n_steps}: {error}. {remedy}") from None
