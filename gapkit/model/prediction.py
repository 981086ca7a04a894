"""Energies, forces, stresses and their uncertainty from a fitted potential: stateless, adjoint first, no Jacobian."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .._validation import check_choice, describe
from ..descriptors import Features
from ..exceptions import InvalidStructureError, NumericalWarning
from ..gp.design import SparseTerm, whiten
from ..gp.observations import forces_and_stresses
from ..gp.posterior import SparsePosterior
from ..neighbors import NeighborList
from .baseline import AtomicEnergies

__all__ = ["STD_CHOICES", "Potential", "Prediction", "predict"]

Array = NDArray[np.float64]

STD_CHOICES = ("energy", "energies")
"""What a standard deviation can be asked for."""

_BLOCK = 256  # atoms whose kernels are held at a time


@dataclass(frozen=True)
class Prediction:
    """What a model says of one structure; None where it was not asked for or is not defined.

    Standard deviations are epistemic: what the training data leave open, without the noise of the labels.

    Attributes
    ----------
    energy : float
        Total energy, eV.
    energies : ndarray of shape (n_atoms,)
        Local energies, eV; they sum to ``energy``.
    forces : ndarray of shape (n_atoms, 3) or None
        eV/Å.
    stress : ndarray of shape (6,) or None
        eV/Å³, Voigt order; None also where the cell has no volume or no direction is periodic.
    energy_std : float or None
        Of the total energy, with the covariance between its atoms, eV.
    energies_std : ndarray of shape (n_atoms,) or None
        Of each local energy, eV.
    """

    energy: float
    energies: Array
    forces: Array | None = None
    stress: Array | None = None
    energy_std: float | None = None
    energies_std: Array | None = None


@dataclass(frozen=True)
class Potential:
    """A fitted model, reduced to what prediction needs.

    Attributes
    ----------
    terms : list of SparseTerm
        Descriptors, kernels and sparse points.
    e0 : dict of int to float
        Energies of isolated atoms, eV.
    coefficients : list of list of ndarray
        alpha of each sparse point, per term and group, eV: local energy = sum_m alpha_m k(x, s_m).
    posterior : SparsePosterior or None
        Needed for uncertainties only.
    """

    terms: list[SparseTerm]
    e0: AtomicEnergies
    coefficients: list[list[Array]]
    posterior: SparsePosterior | None

    @property
    def neighbor_range(self) -> float:
        """Distance (Å) beyond which no atom matters."""
        return max(term.descriptor.neighbor_range for term in self.terms)

    @property
    def n_sparse(self) -> int:
        """Number of sparse points of all terms."""
        return sum(term.n_points for term in self.terms)


def predict(
    potential: Potential,
    neighbors: NeighborList,
    *,
    forces: bool = True,
    stress: bool = True,
    uncertainty: str | None = None,
    std: Collection[str] = STD_CHOICES,
) -> list[Prediction]:
    """Evaluate a potential on a batch of structures.

    Parameters
    ----------
    potential : Potential
        The fitted model.
    neighbors : NeighborList
        Pairs up to at least ``potential.neighbor_range``.
    forces, stress : bool, default True
        Whether to compute them.
    uncertainty : None or "exact", default None
        "exact": standard deviations from the posterior of the sparse Gaussian process (DTC).
    std : collection of {"energy", "energies"}
        Which standard deviations; that of the total energy costs time quadratic in the number of atoms.

    Returns
    -------
    list of Prediction
        One per structure.

    Raises
    ------
    ValueError
        If an uncertainty is asked of a model that was saved without its posterior.
    """
    check_choice("uncertainty", uncertainty, (None, "exact"))
    for name in std:
        check_choice("std", name, STD_CHOICES)
    if uncertainty is not None and potential.posterior is None:
        raise ValueError(
            describe("uncertainty", "None for a model without posterior", uncertainty, "Save the model with posterior=True.")
        )
    wanted = frozenset(std) if uncertainty else frozenset[str]()
    energies = _atomic_energies(potential, neighbors)
    gradient = np.zeros((len(neighbors.centers), 3)) if forces or stress else None
    spread = _Spread(potential, neighbors, wanted) if wanted else None
    for start in range(0, neighbors.n_atoms, _BLOCK):
        centers = slice(start, min(start + _BLOCK, neighbors.n_atoms))
        phi = np.zeros((centers.stop - start, potential.n_sparse)) if spread else None
        for t, term in enumerate(potential.terms):
            features = term.descriptor.compute(neighbors, centers=centers)
            _add_term(term, potential.coefficients[t], features, energies, gradient, phi)
            if spread:
                spread.add_prior(t, features.values, features.groups, centers)
        if spread and phi is not None:
            spread.add_phi(phi, centers)
    return _assemble(neighbors, energies, gradient, forces, stress, spread)


def _add_term(
    term: SparseTerm, alphas: Sequence[Array], features: Features, energies: Array, gradient: Array | None, phi: Array | None
) -> None:
    """Add the local energies of a block of environments, their pair gradients, and their kernels to ``phi``."""
    slope = None if gradient is None else np.zeros_like(features.values)
    for group, (points, alpha) in enumerate(zip(term.points, alphas, strict=True)):
        members = np.flatnonzero(features.groups == group)
        if len(members) == 0 or len(points) == 0:
            continue
        every = slice(None) if len(members) == len(features.groups) else members
        x = features.values[every]
        if slope is None:
            kernel = term.kernel(x, points)
        else:
            kernel, a, b = term.kernel.value_and_slopes(x, points)
            a *= alpha
            slope[every] = a @ points
            if b is not None:
                slope[every] += (b @ alpha)[:, None] * x
        energies[features.atoms[every]] += kernel @ alpha
        if phi is not None:
            phi[every, term.columns[group]] = kernel
    if gradient is not None and slope is not None:
        pairs = slice(int(features.first[0]), int(features.first[-1]))
        gradient[pairs] += term.descriptor.pullback(features, slope)


def _atomic_energies(potential: Potential, neighbors: NeighborList) -> Array:
    present = np.unique(neighbors.numbers)
    lookup = np.full(int(present.max()) + 1, np.nan)
    for z in present:
        lookup[z] = potential.e0.get(int(z), np.nan)
    energies = lookup[neighbors.numbers]
    if np.isnan(energies).any():
        potential.terms[0].descriptor.species_index(neighbors)  # raises, naming the species
        raise InvalidStructureError("A species has no atomic energy; give it in e0.")
    return energies


class _Spread:
    """Accumulates prior variances and whitened features, and turns them into standard deviations."""

    def __init__(self, potential: Potential, neighbors: NeighborList, wanted: frozenset[str]) -> None:
        self.potential, self.neighbors, self.wanted = potential, neighbors, wanted
        self.local_prior = np.zeros(neighbors.n_atoms)
        self.local_known = np.zeros(neighbors.n_atoms)
        self.local_data = np.zeros(neighbors.n_atoms)
        self.total_phi = np.zeros((neighbors.n_structures, potential.n_sparse))
        self.features: list[list[tuple[Array, NDArray[np.int64]]]] = [[] for _ in potential.terms]

    def add_prior(self, t: int, values: Array, groups: NDArray[np.int64], centers: slice) -> None:
        term = self.potential.terms[t]
        self.local_prior[centers] += term.delta**2 * term.kernel.diag(values)
        if "energy" in self.wanted:
            self.features[t].append((values, groups))

    def add_phi(self, phi: Array, centers: slice) -> None:
        whiten(self.potential.terms, phi)
        for term in self.potential.terms:
            for columns in term.columns:
                phi[:, columns] *= term.delta
        assert self.potential.posterior is not None  # noqa: S101 - for the type checker: predict() asked
        if "energies" in self.wanted:
            self.local_known[centers] = np.einsum("nm,nm->n", phi, phi)
            self.local_data[centers] = self.potential.posterior.data_variance(phi)
        if "energy" in self.wanted:
            structure = self.neighbors.structure[centers]
            starts = np.flatnonzero(np.diff(structure, prepend=-1))
            self.total_phi[structure[starts]] += np.add.reduceat(phi, starts, axis=0)

    def local(self) -> Array | None:
        """Standard deviation of the local energies, eV."""
        if "energies" not in self.wanted:
            return None
        prior = _clipped(self.local_prior - self.local_known, self.local_prior, "local energies")
        return np.sqrt(prior + self.local_data)

    def total(self) -> Array | None:
        """Standard deviation of the total energies, eV: the prior is summed over all pairs of environments."""
        if "energy" not in self.wanted:
            return None
        assert self.potential.posterior is not None  # noqa: S101 - for the type checker: predict() asked
        prior = np.zeros(self.neighbors.n_structures)
        for term, parts in zip(self.potential.terms, self.features, strict=True):
            values, groups = (np.concatenate(p) for p in zip(*parts, strict=True))
            for s in range(self.neighbors.n_structures):
                atoms = slice(self.neighbors.first_atom[s], self.neighbors.first_atom[s + 1])
                for group in np.unique(groups[atoms]):
                    x = values[atoms][groups[atoms] == group]
                    for start in range(0, len(x), _BLOCK):
                        prior[s] += term.delta**2 * float(term.kernel(x[start : start + _BLOCK], x).sum())
        known = np.einsum("nm,nm->n", self.total_phi, self.total_phi)
        left = _clipped(prior - known, prior, "total energies")
        return np.sqrt(left + self.potential.posterior.data_variance(self.total_phi))


def _clipped(variance: Array, prior: Array, what: str) -> Array:
    """Replace negative variances by 0; say so when one is larger than rounding explains."""
    bad = variance < -1e-9 * prior
    if bad.any():
        warnings.warn(
            f"{int(bad.sum())} of {len(variance)} prior variances of {what} were negative (lowest {variance.min():.2e} eV²) "
            "and are taken as 0: rounding in nearly dependent sparse points. Fewer sparse points cure it.",
            NumericalWarning,
            stacklevel=2,
        )
    return np.maximum(variance, 0.0)


def _assemble(
    neighbors: NeighborList,
    energies: Array,
    gradient: Array | None,
    forces: bool,
    stress: bool,
    spread: _Spread | None,
) -> list[Prediction]:
    all_forces: Array | None = None
    stresses: Sequence[Array | None] = [None] * neighbors.n_structures
    if gradient is not None:
        all_forces, stresses = forces_and_stresses(neighbors, gradient)
    local, total = (spread.local(), spread.total()) if spread else (None, None)
    result = []
    for s in range(neighbors.n_structures):
        atoms = slice(neighbors.first_atom[s], neighbors.first_atom[s + 1])
        result.append(
            Prediction(
                energy=float(energies[atoms].sum()),
                energies=energies[atoms].copy(),
                forces=all_forces[atoms].copy() if forces and all_forces is not None else None,
                stress=stresses[s] if stress else None,
                energy_std=None if total is None else float(total[s]),
                energies_std=None if local is None else local[atoms].copy(),
            )
        )
    return result
