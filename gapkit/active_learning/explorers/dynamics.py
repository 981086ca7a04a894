"""Molecular dynamics: constant energy, temperature or pressure, ramps of temperature, biased to the unknown."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.langevin import Langevin
from ase.md.langevinbaoab import LangevinBAOAB
from ase.md.velocitydistribution import Stationary, thermalize_momenta
from ase.md.verlet import VelocityVerlet
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from ..._validation import check_choice, check_integer, check_real, describe
from ...model import GAPRegressor
from ...neighbors import check_structures
from .biased import calculator_of
from .walker import FAILURES, LeftPhysicsError, Walker, rng_from_text, rng_to_text, spawned

__all__ = ["AnyDynamics", "MolecularDynamics"]

Array = NDArray[np.float64]

_HOTTEST = 1e5  # K
_BAROSTAT = 20.0  # time constant of the pressure, in units of that of the temperature; the default of ASE


class MolecularDynamics(BaseEstimator):  # type: ignore[misc]
    """Molecular dynamics with the model, one walker from each starting structure.

    Parameters
    ----------
    start : ase.Atoms or list of ase.Atoms
        Where walkers start; with velocities of their own, these count, else they are drawn.
    time : float
        Length of each walk, ps.
    temperature : float or list of float, default 300
        K; a list is a ramp through these temperatures, in parts of equal length, step by step.
    ensemble : {"nvt", "nve", "npt"}, default "nvt"
        "nvt": Langevin thermostat; "nve": constant energy, with velocities for the (first) temperature at the start; "npt":
        Langevin thermostat and barostat, in which the cell keeps its shape.
    timestep : float, default 1.0
        fs.
    friction : float, default 0.01
        Of the thermostat, 1/fs.
    pressure : float, default 0.0
        GPa, for "npt".
    check_every : int, default 10
        Steps between structures that are judged.
    bias : float, optional
        Drives atoms to where the model is uncertain, with forces that are this share of those of the model (root mean square);
        0.1 to 0.5 is usual.  See `gapkit.active_learning.explorers.biased`.

    Raises
    ------
    ValueError
        If a parameter is out of bounds, or "npt" is asked of a structure that is not periodic in all directions.
    """

    def __init__(
        self,
        start: Atoms | Sequence[Atoms],
        *,
        time: float,
        temperature: float | Sequence[float] = 300.0,
        ensemble: str = "nvt",
        timestep: float = 1.0,
        friction: float = 0.01,
        pressure: float = 0.0,
        check_every: int = 10,
        bias: float | None = None,
    ) -> None:
        self.start = start
        self.time = time
        self.temperature = temperature
        self.ensemble = ensemble
        self.timestep = timestep
        self.friction = friction
        self.pressure = pressure
        self.check_every = check_every
        self.bias = bias

    def walkers(self, random_state: int) -> list[Walker]:
        """One walker from each starting structure."""
        starts = _structures(self.start)
        self._check(starts)
        rngs = spawned(random_state, len(starts))
        return [_Dynamics(str(k), atoms, self, rng) for k, (atoms, rng) in enumerate(zip(starts, rngs, strict=True))]

    def _check(self, starts: Sequence[Atoms]) -> None:
        check_real("time", self.time, above=0.0, remedy="It is in ps.")
        ramp = self.temperature if isinstance(self.temperature, (list, tuple, np.ndarray)) else [self.temperature]
        if len(ramp) == 0:
            raise ValueError(describe("temperature", "a number, or a list of at least one", self.temperature, "It is in K."))
        for value in ramp:
            check_real("temperature", value, above=0.0, remedy="It is in K.")
        check_choice("ensemble", self.ensemble, ("nvt", "nve", "npt"))
        check_real("timestep", self.timestep, above=0.0, at_most=20.0, remedy="It is in fs; 0.5 to 2 is usual.")
        check_real("friction", self.friction, above=0.0, remedy="It is in 1/fs; 0.01 is usual.")
        check_real("pressure", self.pressure, remedy="It is in GPa.")
        check_integer("check_every", self.check_every, at_least=1)
        if self.bias is not None:
            check_real("bias", self.bias, above=0.0, at_most=2.0, remedy="It is relative to the forces of the model.")
        if self.ensemble == "npt":
            for k, atoms in enumerate(starts):
                if not atoms.pbc.all():
                    rule = "'nvt' or 'nve' for a structure that is not periodic in all directions"
                    raise ValueError(describe("ensemble", rule, "npt", f"It is structure {k} of `start`."))

    def temperature_at(self, step: int, n_total: int) -> float:
        """Temperature of the thermostat at a step, K."""
        ramp = np.atleast_1d(np.asarray(self.temperature, float))
        return float(np.interp(step / n_total * (len(ramp) - 1), np.arange(len(ramp)), ramp))

    def make(self, walker: _Dynamics) -> Any:
        """The dynamics of one stretch."""
        if self.ensemble == "nve":
            return VelocityVerlet(walker.atoms, self.timestep * units.fs)
        first = walker.n_steps
        dynamics = self._thermostat(walker, self.temperature_at(first, walker.n_total))
        if np.size(self.temperature) > 1:
            dynamics.attach(
                lambda: dynamics.set_temperature(temperature_K=self.temperature_at(first + dynamics.nsteps, walker.n_total))
            )
        return dynamics

    def _thermostat(self, walker: _Dynamics, temperature: float) -> Any:
        timestep, friction = self.timestep * units.fs, self.friction / units.fs
        if self.ensemble == "nvt":
            return Langevin(walker.atoms, timestep, temperature_K=temperature, friction=friction, rng=walker.rng, fixcm=False)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Using heuristic P_mass")  # which is what we want
            dynamics = LangevinBAOAB(
                walker.atoms,
                timestep,
                temperature_K=temperature,
                externalstress=-self.pressure * units.GPa,
                hydrostatic=True,
                T_tau=1.0 / friction,
                P_tau=_BAROSTAT / friction,
                rng=walker.rng,
            )
        dynamics.p_eps = walker.barostat
        return dynamics


def _structures(start: Any) -> list[Atoms]:
    """Where walkers start."""
    starts = [start] if isinstance(start, Atoms) else start
    if not isinstance(starts, Sequence):
        raise TypeError(describe("start", "ase.Atoms, or a list of them", start))
    return check_structures(starts, name="start")


class _Moving(Walker):
    """What walkers with one structure share: advance and its dangers, accept, retreat."""

    check_every: int

    def __init__(self, name: str, atoms: Atoms, rng: np.random.Generator, n_total: int) -> None:
        self.name, self.rng = name, rng
        self.atoms = atoms.copy()
        self.n_steps, self.n_total = 0, n_total
        self.barostat = 0.0  # momentum of the cell
        self.accept()

    def go(self, n_steps: int, model: GAPRegressor) -> None:
        """Move the atoms for some steps."""
        raise NotImplementedError

    def advance(self, model: GAPRegressor) -> list[Atoms]:
        """Go on for one stretch."""
        n_steps = min(self.check_every, self.n_total - self.n_steps)
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                self.go(n_steps, model)
        except FAILURES as error:
            raise LeftPhysicsError(str(error)) from error
        finally:
            self.n_steps += n_steps
            self.atoms.calc = None
        if not (np.isfinite(self.atoms.positions).all() and np.isfinite(self.atoms.cell.array).all()):
            raise LeftPhysicsError("positions are not finite")
        visited = self.atoms.copy()
        visited.info["step"] = self.n_steps
        if np.any(self.atoms.get_momenta()):
            temperature = float(self.atoms.get_temperature())
            if not temperature < _HOTTEST:
                raise LeftPhysicsError(f"the temperature is {temperature:.3g} K")
            visited.info["temperature"] = temperature
        return [visited]

    def accept(self) -> None:
        """Note positions, cell and momenta."""
        self._trusted = self.atoms.positions.copy(), self.atoms.cell.array.copy(), self.atoms.get_momenta()

    def state(self) -> dict[str, Any]:
        """Positions, momenta, cell; where to retreat to; the random numbers to come."""
        return {
            "positions": self.atoms.positions.copy(),
            "cell": self.atoms.cell.array.copy(),
            "momenta": self.atoms.get_momenta(),
            "trusted_positions": self._trusted[0],
            "trusted_cell": self._trusted[1],
            "trusted_momenta": self._trusted[2],
            "barostat": float(self.barostat),
            "n_steps": self.n_steps,
            "rng": rng_to_text(self.rng),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Be there again."""
        self._place(state["positions"], state["cell"], state["momenta"])
        self._trusted = state["trusted_positions"], state["trusted_cell"], state["trusted_momenta"]
        self.barostat, self.n_steps = float(state["barostat"]), int(state["n_steps"])
        self.rng = rng_from_text(state["rng"])

    def _go_back(self) -> None:
        self._place(*self._trusted)
        self.barostat = 0.0

    def _place(self, positions: Array, cell: Array, momenta: Array) -> None:
        """Exactly there: constraints, which these have gone through, would round once more."""
        self.atoms.set_cell(cell, apply_constraint=False)
        self.atoms.positions = positions.copy()
        self.atoms.set_momenta(momenta, apply_constraint=False)


class _Dynamics(_Moving):
    def __init__(self, name: str, atoms: Atoms, explorer: MolecularDynamics, rng: np.random.Generator) -> None:
        self.explorer, self.check_every = explorer, explorer.check_every
        super().__init__(name, atoms, rng, max(1, round(1000.0 * explorer.time / explorer.timestep)))
        if not np.any(self.atoms.get_momenta()):
            self._thermalize()

    def go(self, n_steps: int, model: GAPRegressor) -> None:
        self.atoms.calc = calculator_of(model, self.explorer.bias)
        dynamics = self.explorer.make(self)
        dynamics.run(n_steps)
        if self.explorer.bias is not None:
            self.atoms.info["bias"] = float(self.explorer.bias)
        self.barostat = float(getattr(dynamics, "p_eps", 0.0))

    def retreat(self) -> None:
        """Back to the last structure that was trusted, with other velocities."""
        self._go_back()
        self._thermalize()

    def _thermalize(self) -> None:
        temperature = self.explorer.temperature_at(self.n_steps, self.n_total)
        thermalize_momenta(self.atoms, temperature_K=temperature, rng=self.rng)
        if len(self.atoms) > 1:
            Stationary(self.atoms)


class AnyDynamics(BaseEstimator):  # type: ignore[misc]
    """Any dynamics or optimiser of ASE, one walker from each starting structure.

    Parameters
    ----------
    start : ase.Atoms or list of ase.Atoms
        Where walkers start, with velocities where the dynamics need them.
    make : callable
        ``make(atoms, rng)`` returns what has ``run(n)``, at the start of every stretch; ``atoms`` have their calculator, and
        random numbers must come from ``rng`` (`numpy.random.Generator`).
    n_steps : int
        Of each walk.
    check_every : int, default 10
        Steps of a stretch.
    shake : float, default 0.05
        Standard deviation of the displacements with which a walker takes another way after a retreat, Å.

    Examples
    --------
    >>> import numpy as np
    >>> from ase import units
    >>> from ase.build import bulk
    >>> from ase.md.bussi import Bussi
    >>> from ase.md.velocitydistribution import thermalize_momenta
    >>> from gapkit.active_learning import AnyDynamics
    >>> def make(atoms, rng):
    ...     return Bussi(atoms, 1 * units.fs, temperature_K=300, taut=100 * units.fs, rng=rng)
    >>> atoms = bulk("Cu", cubic=True)
    >>> thermalize_momenta(atoms, temperature_K=300, rng=np.random.default_rng(0))
    >>> explorer = AnyDynamics(atoms, make, n_steps=100)
    """

    def __init__(
        self,
        start: Atoms | Sequence[Atoms],
        make: Callable[[Atoms, np.random.Generator], Any],
        *,
        n_steps: int,
        check_every: int = 10,
        shake: float = 0.05,
    ) -> None:
        self.start = start
        self.make = make
        self.n_steps = n_steps
        self.check_every = check_every
        self.shake = shake

    def walkers(self, random_state: int) -> list[Walker]:
        """One walker from each starting structure."""
        starts = _structures(self.start)
        if not callable(self.make):
            raise TypeError(describe("make", "a function make(atoms, rng)", self.make))
        check_integer("n_steps", self.n_steps, at_least=1)
        check_integer("check_every", self.check_every, at_least=1)
        check_real("shake", self.shake, at_least=0.0, remedy="It is in Å.")
        rngs = spawned(random_state, len(starts))
        return [_Any(str(k), atoms, self, rng) for k, (atoms, rng) in enumerate(zip(starts, rngs, strict=True))]


class _Any(_Moving):
    def __init__(self, name: str, atoms: Atoms, explorer: AnyDynamics, rng: np.random.Generator) -> None:
        self.explorer, self.check_every = explorer, explorer.check_every
        super().__init__(name, atoms, rng, explorer.n_steps)

    def go(self, n_steps: int, model: GAPRegressor) -> None:
        self.atoms.calc = calculator_of(model, None)
        self.explorer.make(self.atoms, self.rng).run(steps=n_steps)

    def retreat(self) -> None:
        """Back to the last structure that was trusted, and a little aside."""
        self._go_back()
        self.atoms.set_positions(self.atoms.positions + self.rng.normal(0.0, self.explorer.shake, (len(self.atoms), 3)))
