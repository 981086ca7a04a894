"""Random structure search: random cells with random atoms, relaxed with the model."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from sklearn.base import BaseEstimator

from ..._validation import check_integer, check_real
from ...calculator import GAPCalculator
from ...datasets.generate.random_cells import draw_random, numbers_of_formula
from ...model import GAPRegressor
from .walker import FAILURES, LeftPhysicsError, Walker, rng_from_text, rng_to_text, spawned

__all__ = ["RandomSearch"]

_SHAKE = 0.05  # Å, of the atoms after a retreat
_RETREATS = 3  # in a row, then a structure is given up


class RandomSearch(BaseEstimator):  # type: ignore[misc]
    """Random structures of a composition, relaxed with the model one after the other.

    Parameters
    ----------
    composition : str
        Formula of a cell, e.g. "Si8" or "Ga4As4".
    n_structures : int
        How many structures.
    volume : float, optional
        Å³ per atom, give or take 20 %; default: that of spheres with the covalent radii, filling half of the cell.
    n_steps : int, default 100
        Steps of the optimiser for each structure at most.
    fmax : float, default 0.05
        Largest force at which a structure is relaxed, eV/Å.
    check_every : int, default 5
        Steps between structures that are judged.
    """

    def __init__(
        self,
        composition: str,
        *,
        n_structures: int,
        volume: float | None = None,
        n_steps: int = 100,
        fmax: float = 0.05,
        check_every: int = 5,
    ) -> None:
        self.composition = composition
        self.n_structures = n_structures
        self.volume = volume
        self.n_steps = n_steps
        self.fmax = fmax
        self.check_every = check_every

    @property
    def start(self) -> list[Atoms]:
        """A few random structures, near which a first model is fitted."""
        self._check()
        rng = np.random.default_rng(0)
        return [self.draw(rng) for _ in range(10)]

    def walkers(self, random_state: int) -> list[Walker]:
        """One walker, which relaxes one structure after the other."""
        self._check()
        (rng,) = spawned(random_state, 1)
        return [_Search(self, rng)]

    def _check(self) -> None:
        self._numbers = numbers_of_formula(self.composition, "composition")
        for name in ("n_structures", "n_steps", "check_every"):
            check_integer(name, getattr(self, name), at_least=1)
        check_real("fmax", self.fmax, above=0.0, remedy="It is in eV/Å.")
        if self.volume is not None:
            check_real("volume", self.volume, above=0.0, remedy="It is in Å³ per atom.")

    def draw(self, rng: np.random.Generator) -> Atoms:
        """A random structure whose atoms keep their distances."""
        return draw_random(self._numbers, rng, volume=self.volume)


class _Search(Walker):
    def __init__(self, explorer: RandomSearch, rng: np.random.Generator) -> None:
        self.name, self.explorer, self.rng = "search", explorer, rng
        self.n_steps, self.n_total = 0, explorer.n_structures * explorer.n_steps
        self.number = -1  # of the structure
        self._next()

    def _next(self) -> None:
        self.number, self.done = self.number + 1, 0  # steps of this structure
        self.atoms = self.explorer.draw(self.rng)
        self.moved, self.retreats = False, 0  # whether there is anything to accept or retreat from; retreats in a row
        self._trust()

    def _trust(self) -> None:
        self._trusted = self.atoms.positions.copy(), self.atoms.cell.array.copy()

    def advance(self, model: GAPRegressor) -> list[Atoms]:
        """Relax the structure for some steps; the first time it is judged as it was drawn."""
        drawn = self.atoms.copy()
        n_steps = min(self.explorer.check_every, self.explorer.n_steps - self.done)
        self.atoms.calc = GAPCalculator(model)
        try:
            relaxation = BFGS(FrechetCellFilter(self.atoms), logfile=None)  # FIRE gets nowhere in stretches of five steps
            relaxed = bool(relaxation.run(fmax=self.explorer.fmax, steps=n_steps))
            # only what the model of this stretch finds relaxed from the start: labels of the last structure may have changed it
            converged = relaxed and relaxation.nsteps == 0
        except FAILURES as error:
            raise LeftPhysicsError(str(error)) from error
        finally:
            self.n_steps += n_steps
            self.done += n_steps
            self.moved = True
            self.atoms.calc = None
        visited = [drawn, self.atoms.copy()] if self.done == n_steps else [self.atoms.copy()]
        for atoms in visited:
            atoms.info |= {"step": self.n_steps, "structure": self.number}
        if converged or self.done >= self.explorer.n_steps:
            self._end()
        return visited

    def _end(self) -> None:
        """The next structure; the steps that this one did not need are done as well."""
        self.n_steps += self.explorer.n_steps - self.done
        self._next()

    def accept(self) -> None:
        """Note where the atoms are."""
        if self.moved:
            self.retreats = 0
            self._trust()

    def retreat(self) -> None:
        """Back to where this structure was trusted, and a little aside; when that does not help, it is given up."""
        if not self.moved:
            return
        self.moved = False
        self.retreats += 1
        if self.retreats > _RETREATS or self.done >= self.explorer.n_steps:
            return self._end()
        positions, cell = self._trusted
        self.atoms.set_cell(cell)
        self.atoms.positions = positions + self.rng.normal(0.0, _SHAKE, positions.shape)

    def state(self) -> dict[str, Any]:
        """The structure, and the random numbers to come."""
        return {
            "positions": self.atoms.positions.copy(),
            "cell": self.atoms.cell.array.copy(),
            "trusted_positions": self._trusted[0],
            "trusted_cell": self._trusted[1],
            "moved": self.moved,
            "retreats": self.retreats,
            "n_steps": self.n_steps,
            "number": self.number,
            "done": self.done,
            "rng": rng_to_text(self.rng),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Be there again."""
        self.atoms.set_cell(state["cell"])
        self.atoms.positions = state["positions"]
        self._trusted = state["trusted_positions"], state["trusted_cell"]
        self.moved, self.retreats = bool(state["moved"]), int(state["retreats"])
        self.n_steps, self.number, self.done = (int(state[name]) for name in ("n_steps", "number", "done"))
        self.rng = rng_from_text(state["rng"])
