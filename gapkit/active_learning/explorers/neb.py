"""Nudged elastic band: the images of a reaction path."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.mep import NEB
from ase.optimize import FIRE
from sklearn.base import BaseEstimator

from ..._validation import check_choice, check_integer, check_real
from ...calculator import GAPCalculator
from ...datasets.generate.paths import band, check_ends
from ...model import GAPRegressor
from .walker import FAILURES, LeftPhysicsError, Walker, rng_from_text, rng_to_text, spawned

__all__ = ["NudgedElasticBand"]

_SHAKE = 0.05  # Å, of the images after a retreat


class NudgedElasticBand(BaseEstimator):  # type: ignore[misc]
    """The images of a path between two structures, while it is relaxed with the model.

    Parameters
    ----------
    initial, final : ase.Atoms
        The ends, with atoms in the same order; relaxed with what labels come from.
    n_images : int, default 5
        Images between them.
    n_steps : int, default 200
        Steps of the optimiser at most.
    fmax : float, default 0.05
        Largest force on an image at which the path is done, eV/Å.
    spring : float, default 0.1
        Constant of the springs between images, eV/Å².
    climb : bool, default False
        Whether the highest image climbs to the saddle point.
    check_every : int, default 5
        Steps between judgements of all images.
    """

    def __init__(
        self,
        initial: Atoms,
        final: Atoms,
        *,
        n_images: int = 5,
        n_steps: int = 200,
        fmax: float = 0.05,
        spring: float = 0.1,
        climb: bool = False,
        check_every: int = 5,
    ) -> None:
        self.initial = initial
        self.final = final
        self.n_images = n_images
        self.n_steps = n_steps
        self.fmax = fmax
        self.spring = spring
        self.climb = climb
        self.check_every = check_every

    @property
    def start(self) -> list[Atoms]:
        """The ends of the path, near which a first model is fitted."""
        return [self.initial, self.final]

    def walkers(self, random_state: int) -> list[Walker]:
        """One walker: the band."""
        check_ends(self.initial, self.final)
        for name in ("n_images", "n_steps", "check_every"):
            check_integer(name, getattr(self, name), at_least=1)
        check_real("fmax", self.fmax, above=0.0, remedy="It is in eV/Å.")
        check_real("spring", self.spring, above=0.0, remedy="It is in eV/Å².")
        check_choice("climb", self.climb, (False, True))
        (rng,) = spawned(random_state, 1)
        return [_Band(self, rng)]


class _Band(Walker):
    def __init__(self, explorer: NudgedElasticBand, rng: np.random.Generator) -> None:
        self.name, self.explorer, self.rng = "band", explorer, rng
        self.n_steps, self.n_total, self.converged = 0, explorer.n_steps, False
        self.images = band(explorer.initial, explorer.final, explorer.n_images)
        self.accept()

    @property
    def finished(self) -> bool:
        """Whether the path is relaxed or all steps are done."""
        return self.converged or self.n_steps >= self.n_total

    def advance(self, model: GAPRegressor) -> list[Atoms]:
        """Relax the band for some steps; all images between the ends are to be judged."""
        n_steps = min(self.explorer.check_every, self.n_total - self.n_steps)
        for image in self.images:
            image.calc = GAPCalculator(model)
        try:
            band = NEB(self.images, k=self.explorer.spring, climb=self.explorer.climb, method="improvedtangent")
            relaxation = FIRE(band, logfile=None)
            relaxed = bool(relaxation.run(fmax=self.explorer.fmax, steps=n_steps))
            # only what the model of this stretch finds relaxed from the start: labels of the last images may have changed it
            self.converged = relaxed and relaxation.nsteps == 0
        except FAILURES as error:
            raise LeftPhysicsError(str(error)) from error
        finally:
            self.n_steps += n_steps
            for image in self.images:
                image.calc = None
        visited = [image.copy() for image in self.images[1:-1]]
        for number, image in enumerate(visited, 1):
            image.info |= {"step": self.n_steps, "image": number}
        return visited

    def accept(self) -> None:
        """Note where the images are."""
        self._trusted = self._positions()

    def retreat(self) -> None:
        """Back to the last band that was trusted, and a little aside."""
        self._place(self._trusted)
        for image in self.images[1:-1]:
            image.set_positions(image.positions + self.rng.normal(0.0, _SHAKE, image.positions.shape))
        self.converged = False

    def reconsider(self) -> None:
        """A path that is relaxed for another model may not be for this one."""
        self.converged = False

    def state(self) -> dict[str, Any]:
        """Positions of the images."""
        return {
            "positions": self._positions(),
            "trusted": self._trusted,
            "n_steps": self.n_steps,
            "converged": self.converged,
            "rng": rng_to_text(self.rng),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Be there again."""
        self._place(state["positions"])
        self._trusted = state["trusted"]
        self.n_steps, self.converged = int(state["n_steps"]), bool(state["converged"])
        self.rng = rng_from_text(state["rng"])

    def _positions(self) -> Any:
        return np.array([image.positions for image in self.images[1:-1]])

    def _place(self, positions: Any) -> None:
        for image, of_image in zip(self.images[1:-1], positions, strict=True):
            image.positions = of_image
