"""Standard deviations of local and total energies from the posterior of the sparse Gaussian process."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ..descriptors import Features
from ..exceptions import NumericalWarning
from ..gp.prior import prior_of_structures
from ..gp.sparse_term import SparseTerm, whiten
from ..neighbors import NeighborList
from .potential import Potential, posterior_of

__all__ = ["Spread", "clipped", "deviations", "known_variance", "with_amplitudes"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

_NEGLIGIBLE = 1e-13  # of delta²: a prior variance so small is rounding itself, as that of a force which symmetry makes 0


class Spread:
    """Collects environments, term by term and block by block, and turns them into standard deviations.

    A label is a weighted sum of environments, y = sum_e c_e f(x_e).  A priori its variance is c K c; what the sparse points
    know of it is phi phi with phi = c K_fu L^-T; what the data leave open of that is `SparsePosterior.data_variance`.

    Parameters
    ----------
    potential : Potential
        With its posterior.
    neighbors : NeighborList
        The structures.
    wanted : frozenset of {"energy", "energies"}
        Total energies, local energies.
    """

    def __init__(self, potential: Potential, neighbors: NeighborList, wanted: frozenset[str]) -> None:
        self.potential, self.neighbors, self.wanted = potential, neighbors, wanted
        self.rows = np.zeros((neighbors.n_atoms, potential.n_sparse))
        self.prior = np.zeros(neighbors.n_atoms)
        self.environments: list[list[tuple[Array, Index]]] = [[] for _ in potential.terms]

    def add(self, t: int, features: Features, kernels: Mapping[int, Array]) -> None:
        """Add a block of environments of term ``t``; ``kernels`` with the sparse points, of the groups that have them."""
        term = self.potential.terms[t]
        n_owners = features.owners.shape[1]
        weights = term.descriptor.multiplicity / n_owners * features.weights_or_ones
        for group, (points, of_points) in enumerate(zip(term.points, term.weights, strict=True)):
            members = np.flatnonzero(features.groups == group)
            if len(members) == 0 or len(points) == 0:
                continue
            kernel = kernels.get(group)
            if kernel is None:
                kernel = term.kernel(term.seen(group, features.values[members]), term.seen(group, points))
            if term.descriptor.one_per_atom:  # all weights are 1
                self._take(t, group, features.owners[members, 0], kernel)
                continue
            for atoms in features.owners[members].T:
                entries = weights[members], (atoms, np.arange(len(members)))
                per_atom = csr_array(entries, shape=(self.neighbors.n_atoms, len(members))) @ (kernel * of_points)
                self._take(t, group, slice(None), per_atom)
        if self.potential.is_open(term):
            for group in np.unique(features.groups):
                members = features.groups == group
                self.prior[features.owners[members, 0]] += term.delta**2 * term.kernel.diag(
                    term.seen(int(group), features.values[members])
                )
            if "energy" in self.wanted:
                self.environments[t].append((features.values, features.groups))

    def results(self) -> tuple[Array | None, Array | None]:
        """Standard deviations (eV) of the local and of the total energies, None for what is not wanted."""
        self.whitened()
        local = total = None
        if "energies" in self.wanted:
            local = self._deviations(self.rows, self.prior, "local energies")
        if "energy" in self.wanted:
            prior = np.zeros(self.neighbors.n_structures)
            for term, parts in zip(self.potential.terms, self.environments, strict=True):
                if parts:
                    values, groups = (np.concatenate(p) for p in zip(*parts, strict=True))
                    prior += term.delta**2 * prior_of_structures(term, self.neighbors, values, groups)
            total = self._deviations(
                np.add.reduceat(self.rows, self.neighbors.first_atom[:-1], axis=0), prior, "total energies"
            )
        return local, total

    def _take(self, t: int, group: int, atoms: Index | slice, kernel: Array) -> None:
        """Add kernels with the sparse points of a group to the rows of some atoms."""
        self.rows[atoms, self.potential.terms[t].columns[group]] += kernel

    def whitened(self) -> Array:
        """Make whitened rows of the sums of kernels, once everything has been added; to be called once."""
        return with_amplitudes(self.potential.terms, self.rows)

    def _deviations(self, rows: Array, prior: Array, what: str) -> Array:
        return deviations(self.potential, prior, rows, what)


def with_amplitudes(terms: Sequence[SparseTerm], rows: Array) -> Array:
    """Whitened rows times the delta of each term, in place."""
    whiten(terms, rows)
    for term in terms:
        for columns in term.columns:
            rows[:, columns] *= term.delta
    return rows


def deviations(potential: Potential, prior: Array, phi: Array, what: str) -> Array:
    """Standard deviations of functionals from their rows `with_amplitudes` and the prior variances of the open terms."""
    unseen = clipped(potential, prior - known_variance(potential, phi), prior, what)
    result: Array = np.sqrt(unseen + posterior_of(potential).data_variance(phi))
    return result


def known_variance(potential: Potential, phi: Array) -> Array:
    """φ·φ of each row over the terms for which what the sparse points do not see counts."""
    known = np.zeros_like(phi, shape=len(phi))  # on the GPU if the rows are
    for term in potential.terms:
        if potential.is_open(term):
            own = phi[:, term.columns[0].start : term.columns[-1].stop]
            known += np.einsum("nm,nm->n", own, own)
    return known


def clipped(potential: Potential, variance: Array, prior: Array, what: str) -> Array:
    """Replace negative variances by 0; say so when one is larger than rounding explains.

    ``variance`` is what is left of ``prior``.  A prior that is 0 itself by symmetry, such as that of the forces in a crystal,
    is rounding at the scale of the amplitudes.
    """
    bad = variance < -np.maximum(1e-9 * prior, _NEGLIGIBLE * sum(term.delta**2 for term in potential.terms))
    if bad.any():
        warnings.warn(
            f"{int(bad.sum())} of {len(variance)} prior variances of {what} were negative (lowest {variance.min():.2e} "
            f"of at most {prior.max():.2e}) and are taken as 0: rounding in nearly dependent sparse points. "
            "Fewer sparse points cure it.",
            NumericalWarning,
            stacklevel=2,
        )
    return np.maximum(variance, 0.0)
