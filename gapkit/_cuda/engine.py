"""One structure on the device: positions in; energy, forces and virial out; all else stays there."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..exceptions import LeftPhysicsError
from .geometry import Geometry
from .launch import launch
from .memory import Memory
from .neighbors import find_pairs

__all__ = ["DeviceSpread", "DeviceTerm", "Engine", "Evaluation"]

Array = NDArray[np.float64]

_TAIL = 10  # energy, 6 of the virial, shortest distance, largest displacement squared, standard deviation of the energy
_VOIGT = [0, 4, 8, 5, 2, 1]  # xx yy zz yz xz xy of a symmetric 3 x 3 matrix
_PAIR_BYTES = 120.0  # of the list, vectors and gradients of a pair


class DeviceSpread(Protocol):
    """Collects what standard deviations need, term by term; see `gapkit.model.device_spread`."""

    def results(self) -> tuple[Any, Any]:
        """Standard deviations of local energies and of the total energy, eV; None for what is not wanted."""


class DeviceTerm(Protocol):
    """A term of a model on the device; see `gapkit.model.on_device`."""

    def prepare(self, geometry: Geometry, memory: Memory) -> None:
        """Divide the work for a new list of pairs, whose vectors are known; this may wait for the device."""

    def add(self, geometry: Geometry, energies: Any, gradient: Any, spread: Any) -> None:
        """Add the energy of each atom and dE/dD of each pair; tell ``spread`` (or None) of the kernels; wait for nothing."""


@dataclass(frozen=True)
class Evaluation:
    """What `Engine.evaluate` returns, in NumPy.

    Attributes
    ----------
    energy : float
        eV.
    forces : ndarray of shape (n_atoms, 3)
        eV/Å.
    virial : ndarray of shape (6,)
        dE/dstrain, Voigt order, eV.
    energies : ndarray of shape (n_atoms,) or None
        Local energies, eV.
    energy_std : float or None
        eV.
    energies_std : ndarray of shape (n_atoms,) or None
        eV.
    shortest : float
        Shortest distance of two atoms, Å; infinite where there is no pair.
    largest_move : float
        Largest displacement of an atom since the pairs were found, Å.
    """

    energy: float
    forces: Array
    virial: Array
    energies: Array | None
    energy_std: float | None
    energies_std: Array | None
    shortest: float
    largest_move: float


class Engine:
    """A model on the device, and the pairs of the structure that it saw last.

    Parameters
    ----------
    terms : sequence of DeviceTerm
        What is added up.
    species : sequence of int
        Atomic numbers that the terms know, ascending; their indices are the species of `Geometry`.
    e0 : sequence of float
        Energy of an atom of each species, eV.
    cutoff : float
        Range of the terms, Å.
    xp : module
        CuPy.
    skin : float, default 1.0
        Extra range of the list of pairs, Å: they are found anew when an atom has moved by half of it.
    memory : Memory, optional
        What may be used; default: what is free.
    """

    def __init__(
        self,
        terms: Sequence[DeviceTerm],
        species: Sequence[int],
        e0: Sequence[float],
        cutoff: float,
        xp: Any,
        *,
        skin: float = 1.0,
        memory: Memory | None = None,
    ) -> None:
        self.terms, self.species, self.cutoff, self.skin, self.xp = list(terms), list(species), cutoff, skin, xp
        self.memory = memory or Memory(xp)
        self.n_searches = 0
        self.geometry: Geometry | None = None
        self._e0, self._voigt = xp.asarray(np.array(e0, float)), xp.asarray(np.array(_VOIGT))
        self._structure: Any = ()  # numbers, cell and periodic directions of the pairs

    def twin(self, skin: float) -> Engine:
        """Another engine with the same model, for another structure; arrays of the model are shared."""
        other = copy(self)
        other.terms, other.skin, other.geometry, other.n_searches = [copy(term) for term in self.terms], skin, None, 0
        return other

    def evaluate(
        self,
        numbers: NDArray[np.int64],
        positions: Array,
        cell: Array,
        pbc: NDArray[np.bool_],
        *,
        energies: bool = False,
        spread: Any = None,
    ) -> Evaluation:
        """Energy, forces and virial of a structure.

        In a step of molecular dynamics 24 bytes of each atom go to the device, 24 of each atom and 80 come back (8 more of each
        with ``energies``), and the host waits once.  Where an atom has moved too far for the list of pairs, they are found
        anew and the step is repeated.

        Parameters
        ----------
        numbers : ndarray of shape (n_atoms,)
            Atomic numbers, all of them among ``species``.
        positions : ndarray of shape (n_atoms, 3)
            Å, wrapped into the cell or not.
        cell : ndarray of shape (3, 3)
            Three independent vectors as rows, Å.
        pbc : ndarray of shape (3,)
            Periodic directions.
        energies : bool, default False
            Whether local energies are wanted.
        spread : callable, optional
            ``spread(n_atoms)`` gives a `DeviceSpread` that collects standard deviations.

        Returns
        -------
        Evaluation

        Raises
        ------
        MemoryError
            If the device has too little memory for the smallest chunk of the work; the message says how much is needed.
        """
        on_device = self.xp.asarray(np.ascontiguousarray(positions, float))
        structure = np.asarray(numbers), np.asarray(cell, float), np.asarray(pbc, bool)
        if self.geometry is None or not all(map(np.array_equal, structure, self._structure)):
            self.find(*structure, on_device)
        result = self._evaluated(on_device, energies, spread)
        if not result.largest_move <= 0.5 * self.skin:
            self.find(*structure, on_device)
            result = self._evaluated(on_device, energies, spread)
        return result

    def find(self, numbers: NDArray[np.int64], cell: Array, pbc: NDArray[np.bool_], positions: Any) -> Geometry:
        """Find all pairs anew, of ``positions`` on the device."""
        species = np.searchsorted(self.species, numbers)
        self.geometry = None  # its memory can be used again
        geometry = find_pairs(positions, cell, pbc, species, len(self.species), self.cutoff, self.xp, skin=self.skin)
        geometry.move(positions)
        memory = self.memory.without(_PAIR_BYTES * geometry.n_pairs + 100.0 * geometry.n_atoms)
        for term in self.terms:
            term.prepare(geometry, memory)
        self.geometry, self._structure = geometry, (numbers.copy(), cell.copy(), pbc.copy())
        self.n_searches += 1
        return geometry

    def step(self, positions: Any, *, energies: bool = False, spread: Any = None) -> tuple[Any, Any]:
        """Evaluate on the device, with the pairs that are known; wait for nothing.

        Parameters
        ----------
        positions : CuPy array of shape (n_atoms, 3)
            Å, in the order in which the atoms were given.
        energies : bool, default False
            Whether local energies are wanted.
        spread : DeviceSpread, optional
            Collects standard deviations.

        Returns
        -------
        packet : CuPy array
            Forces, local energies if wanted, standard deviations of local energies if wanted, and ten numbers: energy, virial
            (Voigt order), shortest distance, square of the largest displacement since the pairs were found, and standard
            deviation of the energy.
        forces : CuPy array of shape (n_atoms, 3)
            The first part of it.
        """
        assert self.geometry is not None  # noqa: S101 - `find` comes first
        xp, geometry = self.xp, self.geometry
        n, moved = geometry.n_atoms, geometry.move(positions)
        local, gradient = self._e0[geometry.species], xp.zeros((geometry.n_pairs, 3))
        for term in self.terms:
            term.add(geometry, local, gradient, spread)
        local_std, total_std = spread.results() if spread else (None, None)
        packet = xp.zeros((3 + energies + (local_std is not None)) * n + _TAIL)
        forces = packet[: 3 * n].reshape(n, 3)
        launch("gather_force", n, geometry.first, geometry.reverse, gradient, geometry.atoms, forces)
        if energies:
            packet[3 * n : 4 * n][geometry.atoms] = local
        if local_std is not None:
            packet[-_TAIL - n : -_TAIL][geometry.atoms] = local_std
        tail = packet[-_TAIL:]
        tail[0] = local.sum()
        if geometry.n_pairs:
            virial = geometry.vectors.T @ gradient
            tail[1:7] = (0.5 * (virial + virial.T)).ravel()[self._voigt]
            tail[7] = geometry.distances.min()
        else:
            tail[7] = np.inf
        tail[8] = moved.max()
        if total_std is not None:
            tail[9] = total_std
        return packet, forces

    def follow(self, positions: Any, *, shortest: float, energies: bool = False) -> tuple[Any, Any]:
        """Evaluate on the device, finding pairs anew where an atom has moved too far: a step of dynamics that stays there.

        The host waits once, for ten numbers.

        Parameters
        ----------
        positions : CuPy array of shape (n_atoms, 3)
            Å, of the structure that `find` was given.
        shortest : float
            Distance, Å, that no two atoms may be closer than.
        energies : bool, default False
            Whether local energies are wanted.

        Returns
        -------
        packet, forces : CuPy arrays
            As of `step`.

        Raises
        ------
        LeftPhysicsError
            If the positions are no numbers any more, or two atoms are too close.
        """
        packet, forces = self.step(positions, energies=energies)
        tail = self.xp.asnumpy(packet[-_TAIL:])
        if not np.isfinite(tail[8]):
            raise LeftPhysicsError("Positions are no finite numbers any more")
        if not tail[8] <= (0.5 * self.skin) ** 2:
            numbers, cell, pbc = self._structure
            self.find(numbers, cell, pbc, positions)
            packet, forces = self.step(positions, energies=energies)
            tail = self.xp.asnumpy(packet[-_TAIL:])
        if tail[7] < shortest:
            raise LeftPhysicsError(f"Two atoms are {tail[7]:.2g} Å apart")
        return packet, forces

    def fetched(self, packet: Any, *, energies: bool = False, with_std: bool = False) -> Evaluation:
        """What `step` gave, in NumPy; ``with_std`` says whether it was told to collect standard deviations."""
        assert self.geometry is not None  # noqa: S101 - `step` needs it too
        n, host = self.geometry.n_atoms, self.xp.asnumpy(packet)
        tail = host[-_TAIL:]
        with_local_std = len(host) > (3 + energies) * n + _TAIL
        return Evaluation(
            energy=float(tail[0]),
            forces=host[: 3 * n].reshape(n, 3),
            virial=tail[1:7],
            energies=host[3 * n : 4 * n] if energies else None,
            energy_std=float(tail[9]) if with_std else None,
            energies_std=host[-_TAIL - n : -_TAIL] if with_local_std else None,
            shortest=float(tail[7]),
            largest_move=float(tail[8]) ** 0.5,
        )

    def _evaluated(self, positions: Any, energies: bool, spread: Any) -> Evaluation:
        packet, _ = self.step(positions, energies=energies, spread=spread(len(positions)) if spread else None)
        return self.fetched(packet, energies=energies, with_std=spread is not None)
