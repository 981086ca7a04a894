"""Standard deviations of local and total energies on a GPU: `gapkit.model.spread.Spread` of one structure."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._backend import cupy
from .._cuda.memory import Memory
from ..descriptors.on_device import Block, DeviceDescriptor, DeviceFeatures
from ..gp.sparse_term import SparseTerm
from .potential import Potential
from .spread import deviations, with_amplitudes

__all__ = ["SpreadOnDevice"]


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
            memory.at_a_time(4 * 8.0 * n_atoms * potential.n_sparse, "standard deviations of local energies")
            self.rows = self.xp.zeros((n_atoms, potential.n_sparse))
        self.row = self.xp.zeros((1, potential.n_sparse))
        self.prior, self.total_prior = self.xp.zeros(n_atoms), self.xp.zeros(1)
        self.environments: dict[tuple[int, int], list[Any]] = {}

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
        columns = term.columns[group]
        self.row[0, columns] += kernel.sum(axis=0) if weights is None else weights @ kernel
        if self.rows is not None:
            descriptor.add_rows(block, weights, kernel, columns.start, self.rows)
        if self.potential.is_open(term):
            descriptor.add_energies(block, term.delta**2 * term.kernel.diag(seen), self.prior)
            if "energy" in self.wanted:
                self.environments.setdefault((number, group), []).append(seen)

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
