"""One structure on the device: positions in; energy, forces and virial out; all else stays there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

__all__ = ["DeviceSpread", "DeviceTerm", "Engine", "Evaluation", "Packet"]

Array = NDArray[np.float64]

_TAIL = 10  # energy, 6 of the virial, shortest distance, largest displacement squared, standard deviation of the energy
_PAIR_BYTES = 120.0  # of the list, vectors and gradients of a pair


class DeviceSpread(Protocol):
    """Collects what standard deviations need, term by term; see `gapkit.model.device_spread`."""

    def results(self, geometry: Geometry) -> dict[str, Any]:
        """Standard deviations by name: "energy", "energies", "forces" (of atoms as given), "virial"; eV and Å."""


class DeviceTerm(Protocol):
    """A term of a model on the device; see `gapkit.model.on_device`."""

    def prepare(self, geometry: Geometry, memory: Memory) -> None:
        """Divide the work for a new list of pairs, whose vectors are known; this may wait for the device."""

    def add(self, geometry: Geometry, energies: Any, gradient: Any, spreads: Sequence[Any]) -> None:
        """Add the energy of each atom and dE/dD of each pair; tell ``spreads`` of the kernels; wait for nothing."""


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
    forces_std : ndarray of shape (n_atoms, 3) or None
        eV/Å.
    virial_std : ndarray of shape (6,) or None
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
    forces_std: Array | None
    virial_std: Array | None
    shortest: float
    largest_move: float


@dataclass(frozen=True)
class Packet:
    """What a step gives, on the device.

    Attributes
    ----------
    numbers : CuPy array
        Forces; local energies if wanted; standard deviations of local energies, forces and virial where they are wanted; and
        ten numbers: energy, virial (Voigt order), shortest distance, square of the largest displacement since the pairs were
        found, and standard deviation of the energy.
    places : dict of str to slice
        Where "forces", "energies", "energies_std", "forces_std" and "virial_std" are.
    has_energy_std : bool
        Whether the last number was collected.
    """

    numbers: Any
    places: dict[str, slice]
    has_energy_std: bool

    @property
    def forces(self) -> Any:
        """Of shape (n_atoms, 3), in the order in which atoms were given."""
        return self.numbers[self.places["forces"]].reshape(-1, 3)


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
        self._e0 = xp.asarray(np.array(e0, float))
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
        spreads: Callable[[int], Sequence[DeviceSpread]] | None = None,
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
        spreads : callable, optional
            ``spreads(n_atoms)`` gives what collects standard deviations.

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
        result = self._evaluated(on_device, energies, spreads)
        if not result.largest_move <= 0.5 * self.skin:
            self.find(*structure, on_device)
            result = self._evaluated(on_device, energies, spreads)
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

    def step(self, positions: Any, *, energies: bool = False, spreads: Sequence[DeviceSpread] = ()) -> Packet:
        """Evaluate on the device, with the pairs that are known; wait for nothing.

        Parameters
        ----------
        positions : CuPy array of shape (n_atoms, 3)
            Å, in the order in which the atoms were given.
        energies : bool, default False
            Whether local energies are wanted.
        spreads : sequence of DeviceSpread, optional
            They collect standard deviations.

        Returns
        -------
        Packet
        """
        assert self.geometry is not None  # noqa: S101 - `find` comes first
        xp, geometry = self.xp, self.geometry
        n, moved = geometry.n_atoms, geometry.move(positions)
        local, gradient = self._e0[geometry.species], xp.zeros((geometry.n_pairs, 3))
        for term in self.terms:
            term.add(geometry, local, gradient, spreads)
        std = {name: values for spread in spreads for name, values in spread.results(geometry).items()}
        sizes = {"forces": 3 * n} | ({"energies": n} if energies else {})
        sizes |= {f"{name}_std": values.size for name, values in std.items() if name != "energy"}
        ends = np.cumsum([0, *sizes.values()]).tolist()
        places = {name: slice(*ends[k : k + 2]) for k, name in enumerate(sizes)}
        packet = Packet(xp.zeros(ends[-1] + _TAIL), places, "energy" in std)
        of_forces = geometry.first, geometry.reverse, gradient, geometry.atoms, packet.forces
        launch("gather_force", n, *of_forces)
        if energies:
            packet.numbers[packet.places["energies"]][geometry.atoms] = local
        for name in ("forces", "virial"):
            if name in std:
                packet.numbers[packet.places[f"{name}_std"]] = std[name].ravel()
        if "energies" in std:
            packet.numbers[packet.places["energies_std"]][geometry.atoms] = std["energies"]
        tail = packet.numbers[-_TAIL:]
        tail[0] = local.sum()
        if geometry.n_pairs:
            tail[1:7] = geometry.virial(gradient)
            tail[7] = geometry.distances.min()
        else:
            tail[7] = np.inf
        tail[8] = moved.max()
        if "energy" in std:
            tail[9] = std["energy"]
        return packet

    def follow(self, positions: Any, *, shortest: float, energies: bool = False) -> Packet:
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
        Packet

        Raises
        ------
        LeftPhysicsError
            If the positions are no numbers any more, or two atoms are too close.
        """
        packet = self.step(positions, energies=energies)
        tail = self.xp.asnumpy(packet.numbers[-_TAIL:])
        if not np.isfinite(tail[8]):
            raise LeftPhysicsError("Positions are no finite numbers any more")
        if not tail[8] <= (0.5 * self.skin) ** 2:
            numbers, cell, pbc = self._structure
            self.find(numbers, cell, pbc, positions)
            packet = self.step(positions, energies=energies)
            tail = self.xp.asnumpy(packet.numbers[-_TAIL:])
        if tail[7] < shortest:
            raise LeftPhysicsError(f"Two atoms are {tail[7]:.2g} Å apart")
        return packet

    def fetched(self, packet: Packet) -> Evaluation:
        """What `step` gave, in NumPy."""
        host = self.xp.asnumpy(packet.numbers)
        found, tail = {name: host[place] for name, place in packet.places.items()}, host[-_TAIL:]
        return Evaluation(
            energy=float(tail[0]),
            forces=found["forces"].reshape(-1, 3),
            virial=tail[1:7],
            energies=found.get("energies"),
            energy_std=float(tail[9]) if packet.has_energy_std else None,
            energies_std=found.get("energies_std"),
            forces_std=found["forces_std"].reshape(-1, 3) if "forces_std" in found else None,
            virial_std=found.get("virial_std"),
            shortest=float(tail[7]),
            largest_move=float(tail[8]) ** 0.5,
        )

    def _evaluated(self, positions: Any, energies: bool, spreads: Callable[[int], Sequence[DeviceSpread]] | None) -> Evaluation:
        collectors = spreads(len(positions)) if spreads else ()
        return self.fetched(self.step(positions, energies=energies, spreads=collectors))
