"""What explores: walkers that go on for a stretch at a time, and whose state can be stored and restored exactly.

Calculators, dynamics and optimisers of ASE are made anew for every stretch, so that nothing is hidden in them: a walker that is
restored from its state repeats bit for bit what the first one does.  A thermostat or optimiser with a memory of its own forgets
it at the end of a stretch.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import Any, Protocol

import numpy as np
from ase import Atoms

from ...exceptions import InvalidStructureError, LeftPhysicsError
from ...model import GAPRegressor

__all__ = ["FAILURES", "Explorer", "LeftPhysicsError", "Walker", "rng_from_text", "rng_to_text", "spawned"]

FAILURES = (InvalidStructureError, ArithmeticError, np.linalg.LinAlgError)
"""What calculators raise for structures that cannot be."""


class Walker(ABC):
    """Goes through structures, one stretch at a time.

    Attributes
    ----------
    name : str
        What messages call it.
    n_steps : int
        Steps that were done.
    n_total : int
        Steps in all; fewer may be needed.
    """

    name: str
    n_steps: int
    n_total: int

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        return self.n_steps >= self.n_total

    @abstractmethod
    def advance(self, model: GAPRegressor) -> list[Atoms]:
        """Go on for one stretch with a model.

        Parameters
        ----------
        model : GAPRegressor
            Fitted.

        Returns
        -------
        list of ase.Atoms
            Copies of the structures that are to be judged, with ``info["step"]``.

        Raises
        ------
        LeftPhysicsError
            If it came to where no atoms can be; `retreat` leads on.
        """

    @abstractmethod
    def accept(self) -> None:
        """Note that the last structures are trusted: where `retreat` leads to."""

    @abstractmethod
    def retreat(self) -> None:
        """Go back to where the structures were trusted, and take another way from there."""

    def reconsider(self) -> None:  # noqa: B027 - dynamics end with their time, whatever the model
        """The model has learnt: what is finished because the model said so may not be."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """All that `restore` needs: arrays, and what JSON can hold."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Be where another walker of the same explorer was when it gave its state."""


class Explorer(Protocol):
    """Makes walkers."""

    def walkers(self, random_state: int) -> list[Walker]:
        """The walkers at their start; the same for the same seed."""


def spawned(random_state: int, n: int) -> list[np.random.Generator]:
    """Independent generators of random numbers, one for each walker."""
    return [np.random.default_rng(seed) for seed in np.random.SeedSequence(random_state).spawn(n)]


def rng_to_text(rng: np.random.Generator) -> str:
    """The state of a generator."""
    return json.dumps(rng.bit_generator.state)


def rng_from_text(text: str) -> np.random.Generator:
    """The generator with a state."""
    rng = np.random.default_rng(0)
    rng.bit_generator.state = json.loads(text)
    return rng
