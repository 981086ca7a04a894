"""Standard deviations of local and total energies on a GPU: `gapkit.model.spread.Spread` of one structure."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._backend import cupy
from .._cuda.memory import Memory
from ..descriptors.on_device import Block, DeviceDescriptor, DeviceFeatures
from ..gp.sparse_term import SparseTerm
from .fast_spread import closed_terms, fast_deviations
from .potential import Potential
from .spread import deviations, with_amplitudes

__all__ = ["FastSpreadOnDevice", "SpreadOnDevice"]


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

    def add(
        self,
        number: int,
        term: SparseTerm,
        descriptor: DeviceDescriptor,
        block: Block,
        features: DeviceFeatures,
        kernel: Any,
    ) -> None:
        """Add a block of environments of a term; ``kernel`` with the sparse points, if it is known."""
        group = block.group
        seen = term.seen(group, features.values)
        if kernel is None:
            kernel = term.kernel(seen, term.seen(group, term.points[group]))
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

    def results(self) -> tuple[Any, Any]:
        """Standard deviations (eV) of the local and of the total energies, None for what is not wanted."""
        local = total = None
        if self.rows is not None:
            local = self._deviations(self.rows, self.prior, "local energies")
        if "energy" in self.wanted:
            for (number, _), parts in self.environments.items():
                term = self.potential.terms[number]
                x = np.concatenate(parts)
                step = self.memory.at_a_time(4 * 8.0 * len(x), "the prior variance of the total energy")
                for start in range(0, len(x), step):
                    self.total_prior += term.delta**2 * term.kernel(x[start : start + step], x).sum()
            total = self._deviations(self.row, self.total_prior, "total energies")[0]
        return local, total

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
