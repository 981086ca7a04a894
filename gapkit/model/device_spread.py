"""Standard deviations on a GPU: `gapkit.model.spread.Spread` and `gapkit.model.fast_spread` of one structure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .._backend import cupy
from .._cuda.geometry import Geometry
from .._cuda.launch import launch
from .._cuda.memory import Memory
from ..descriptors.on_device import Block, DeviceDescriptor, DeviceFeatures
from ..gp.environment_variance import EnvironmentVariance
from ..gp.sparse_term import SparseTerm
from ..kernels.base import gradient_of_sum
from .fast_spread import closed_terms, fast_deviations
from .potential import Potential
from .spread import clipped, deviations, with_amplitudes

__all__ = ["Collector", "CommitteeOnDevice", "Environments", "FastSpreadOnDevice", "PriorSpreadOnDevice", "SpreadOnDevice"]


class Environments(NamedTuple):
    """A block of environments of a term.

    ``number`` of the term; ``term``; ``descriptor``; ``geometry``; ``block``; ``features``; ``kernel`` with the sparse points,
    None if it is not known.
    """

    number: int
    term: SparseTerm
    descriptor: DeviceDescriptor
    geometry: Geometry
    block: Block
    features: DeviceFeatures
    kernel: Any

    def seen(self) -> Any:
        """Features as the kernel sees them."""
        return self.term.seen(self.block.group, self.features.values)

    def kernel_with(self, seen: Any) -> Any:
        """The kernel of ``seen`` with the sparse points, computed where it is not known."""
        if self.kernel is not None:
            return self.kernel
        return self.term.kernel(seen, self.term.seen(self.block.group, self.term.points[self.block.group]))


class SpreadOnDevice:
    """Collects kernels of environments with the sparse points, block by block.

    Parameters
    ----------
    potential : Potential
        With its posterior; its arrays are CuPy's.
    n_atoms : int
        Of the structure.
    wanted : frozenset of {"energy", "energies"}
        Total energy, local energies.
    memory : Memory
        What may be used.

    Raises
    ------
    DeviceMemoryError
        If local energies are wanted of more atoms than fit with their kernels.
    """

    def __init__(self, potential: Potential, n_atoms: int, *, wanted: frozenset[str], memory: Memory) -> None:
        self.xp, self.potential, self.wanted, self.memory = cupy(), potential, wanted, memory
        self.rows = None
        if "energies" in wanted:
            memory.at_a_time(4 * 8.0 * n_atoms * self.n_columns, "standard deviations of local energies")
            self.rows = self.xp.zeros((n_atoms, self.n_columns))
        self.row = self.xp.zeros((1, self.n_columns))
        self.prior, self.total_prior = self.xp.zeros(n_atoms), self.xp.zeros(1)
        self.environments: dict[tuple[int, int], list[Any]] = {}

    @property
    def n_columns(self) -> int:
        """Of the rows that are kept."""
        return self.potential.n_sparse

    def add(self, environments: Environments) -> None:
        """Add a block of environments of a term."""
        number, term, descriptor, _, block, features, _ = environments
        group, seen = block.group, environments.seen()
        kernel = environments.kernel_with(seen)
        weights = None if features.weights is None else descriptor.multiplicity * features.weights
        kernel = kernel if weights is None else kernel * term.weights[group]
        for part, start in self._parts(number, group, kernel):
            self.row[0, start : start + part.shape[1]] += part.sum(axis=0) if weights is None else weights @ part
            if self.rows is not None:
                descriptor.add_rows(block, weights, part, start, self.rows)
        if self.potential.is_open(term):
            descriptor.add_energies(block, term.delta**2 * term.kernel.diag(seen), self.prior)
            if "energy" in self.wanted:
                self.environments.setdefault((number, group), []).append(seen)

    def _parts(self, number: int, group: int, kernel: Any) -> list[tuple[Any, int]]:
        """What is kept of the kernels of a block with the sparse points, and the first column of each part."""
        return [(kernel, self.potential.terms[number].columns[group].start)]

    def results(self, geometry: Geometry) -> dict[str, Any]:
        """Standard deviations (eV) of what is wanted."""
        found = {}
        if self.rows is not None:
            found["energies"] = self._deviations(self.rows, self.prior, "local energies")
        if "energy" in self.wanted:
            for (number, _), parts in self.environments.items():
                term = self.potential.terms[number]
                x = np.concatenate(parts)
                step = self.memory.at_a_time(4 * 8.0 * len(x), "the prior variance of the total energy")
                for start in range(0, len(x), step):
                    self.total_prior += term.delta**2 * term.kernel(x[start : start + step], x).sum()
            found["energy"] = self._deviations(self.row, self.total_prior, "total energies")[0]
        return found

    def _deviations(self, rows: Any, prior: Any, what: str) -> Any:
        return deviations(self.potential, prior, with_amplitudes(self.potential.terms, rows), what)


class FastSpreadOnDevice(SpreadOnDevice):
    """Estimates instead: `gapkit.model.fast_spread.FastSpread` of one structure; ``potential.fast`` has CuPy's arrays."""

    def __init__(self, potential: Potential, n_atoms: int, *, wanted: frozenset[str], memory: Memory) -> None:
        self.closed, self.width = closed_terms(potential)
        super().__init__(potential, n_atoms, wanted=wanted, memory=memory)

    @property
    def n_columns(self) -> int:
        """Components along the directions, and sparse points of the terms for which only they count."""
        return self.width

    def _parts(self, number: int, group: int, kernel: Any) -> list[tuple[Any, int]]:
        projection = self.potential.fast.projection[self.potential.terms[number].columns[group]]
        result = [(kernel @ projection, 0)]
        if number in self.closed:
            result.append((kernel, self.closed[number].columns[group].start))
        return result

    def _deviations(self, rows: Any, prior: Any, what: str) -> Any:
        closed = with_amplitudes(list(self.closed.values()), rows)
        return fast_deviations(self.potential, closed, prior, what)


class CommitteeOnDevice:
    """Forces and virial of each member of a committee: `gapkit.model.fast_spread.Committee` of one structure.

    Parameters
    ----------
    potential : Potential
        With the members of ``potential.fast``; its arrays are CuPy's.
    n_atoms : int
        Of the structure.
    wanted : frozenset of {"forces", "stress"}
        Which.
    memory : Memory
        What may be used.

    Raises
    ------
    DeviceMemoryError
        If the gradients of all members do not fit.
    """

    def __init__(self, potential: Potential, n_atoms: int, *, wanted: frozenset[str], memory: Memory) -> None:
        self.potential, self.n_atoms, self.wanted, self.memory = potential, n_atoms, wanted, memory
        self.members = potential.fast.members
        self.gradients: Any = None

    def add(self, environments: Environments) -> None:
        """Add a block of environments of a term: one adjoint per member."""
        number, term, descriptor, geometry, block, features, _ = environments
        if self.gradients is None:
            shape = len(self.members), geometry.n_pairs, 3
            self.memory.at_a_time(8.0 * max(1, int(np.prod(shape))), "standard deviations of forces and stresses")
            self.gradients = cupy().zeros(shape)
        x, points = environments.seen(), term.seen(block.group, term.points[block.group])
        kernel, a, b = term.kernel.value_and_slopes(x, points)
        for member, gradient in zip(self.members, self.gradients, strict=True):
            alpha = descriptor.multiplicity * member[number][block.group] * term.weights[block.group]
            slope, of_weight = term.scaled(block.group, gradient_of_sum(a * alpha, b, x, points, alpha)), None
            if features.weights is not None:
                slope, of_weight = slope * features.weights[:, None], kernel @ alpha
            descriptor.pullback(geometry, block, features, slope, of_weight, gradient)

    def results(self, geometry: Geometry) -> dict[str, Any]:
        """Standard deviations of forces (n_atoms, 3), eV/Å, of atoms as given, and of the virial (6,), eV."""
        xp = cupy()
        squares: dict[str, Any] = {"forces": xp.zeros((self.n_atoms, 3)), "virial": xp.zeros(6)}
        for gradient in () if self.gradients is None else self.gradients:
            forces = xp.empty((self.n_atoms, 3))
            launch("gather_force", self.n_atoms, geometry.first, geometry.reverse, gradient, geometry.atoms, forces)
            squares["forces"] += forces**2
            if geometry.n_pairs:
                squares["virial"] += geometry.virial(gradient) ** 2
        asked = {"forces": "forces", "stress": "virial"}
        return {asked[name]: np.sqrt(squares[asked[name]] / max(1, len(self.members))) for name in self.wanted}


class PriorSpreadOnDevice:
    """QUIP's deviations of local energies: `gapkit.model.prior_spread.PriorSpread` of one structure.

    Parameters
    ----------
    potential : Potential
        With or without a posterior.
    environment_variances : list of list of EnvironmentVariance or None
        Those of the potential, with CuPy's arrays.
    n_atoms : int
        Of the structure.
    """

    def __init__(
        self, potential: Potential, environment_variances: Sequence[Sequence[EnvironmentVariance | None]], n_atoms: int
    ) -> None:
        self.potential, self.environment_variances = potential, environment_variances
        self.variance, self.prior = cupy().zeros(n_atoms), cupy().zeros(n_atoms)

    def add(self, environments: Environments) -> None:
        """Add a block of environments of a term."""
        number, _, descriptor, _, block, features, _ = environments
        left_open = self.environment_variances[number][block.group]
        assert left_open is not None  # noqa: S101 - groups without points have no block
        share = descriptor.multiplicity * (1.0 if features.weights is None else features.weights**2)
        prior, _ = left_open.prior(features.values)
        descriptor.add_energies(block, share * prior, self.prior)
        known = left_open.known(environments.kernel_with(environments.seen()))
        descriptor.add_energies(block, share * (prior - known), self.variance)

    def results(self, geometry: Geometry) -> dict[str, Any]:
        """Standard deviations (eV) of the local energies."""
        return {"energies": np.sqrt(clipped(self.potential, self.variance, self.prior, "local energies"))}


Collector = SpreadOnDevice | CommitteeOnDevice | PriorSpreadOnDevice
"""What `gapkit._cuda.engine.Engine.step` is given."""
