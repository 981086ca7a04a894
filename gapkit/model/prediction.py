"""Energies, forces, stresses and their uncertainty from a fitted potential: stateless, adjoint first, no Jacobian."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from .._backend import in_threads
from .._validation import check_choice, describe
from ..descriptors import Features
from ..exceptions import InvalidStructureError
from ..gp.design import blocks_of_centers
from ..gp.observations import forces_and_stresses
from ..gp.sparse_term import SparseTerm
from ..neighbors import NeighborList
from .derivative_spread import derivative_deviations
from .fast_spread import Committee, FastSpread
from .potential import Potential
from .prior_spread import PriorSpread
from .spread import Spread
from .sums import ExactSum, PointSum, sums_of

__all__ = [
    "STD_CHOICES",
    "STD_DEFAULT",
    "UNCERTAINTY_CHOICES",
    "Prediction",
    "predict",
    "table_errors",
    "wanted_deviations",
]

Array = NDArray[np.float64]

STD_CHOICES = ("energy", "energies", "forces", "stress")
"""What a standard deviation can be asked for; the last two cost as much as rows of a fit."""

UNCERTAINTY_CHOICES = (None, "exact", "fast", "prior")
"""How standard deviations can be computed."""

STD_DEFAULT = ("energy", "energies")
"""What standard deviations are given for when none are named."""

_BLOCK = 128  # atoms at a time: their features and products stay in the cache


@dataclass(frozen=True)
class Prediction:
    """What a model says of one structure; None where it was not asked for or is not defined.

    Standard deviations are epistemic: what the training data leave open, without the noise of the labels ("prior": what the
    sparse points leave open, whatever the data).

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
    forces_std : ndarray of shape (n_atoms, 3) or None
        Of each force component, eV/Å.
    stress_std : ndarray of shape (6,) or None
        Of each stress component, eV/Å³.
    """

    energy: float
    energies: Array
    forces: Array | None = None
    stress: Array | None = None
    energy_std: float | None = None
    energies_std: Array | None = None
    forces_std: Array | None = None
    stress_std: Array | None = None


def predict(
    potential: Potential,
    neighbors: NeighborList,
    *,
    forces: bool = True,
    stress: bool = True,
    uncertainty: str | None = None,
    std: Collection[str] = STD_DEFAULT,
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
    uncertainty : None, "exact", "fast" or "prior", default None
        "exact": standard deviations from the posterior of the sparse Gaussian process.  "fast": estimates; see
        `gapkit.model.fast_spread`.  "prior": QUIP's, of local energies alone, without a posterior; see
        `gapkit.model.prior_spread`.
    std : collection of {"energy", "energies", "forces", "stress"}
        Which standard deviations; that of the total energy costs time quadratic in the number of atoms, those of forces and
        stresses cost as much as rows of a fit.

    Returns
    -------
    list of Prediction
        One per structure.

    Raises
    ------
    ValueError
        If an uncertainty that needs the posterior is asked of a model that was saved without it, or "prior" of anything but
        local energies.
    """
    wanted = wanted_deviations(uncertainty, std)
    if uncertainty not in (None, "prior") and potential.posterior is None:
        remedy = "Save the model with posterior=True."
        raise ValueError(describe("uncertainty", "None or 'prior' for a model without posterior", uncertainty, remedy))
    fast = uncertainty == "fast"
    energies = _atomic_energies(potential, neighbors)
    gradient = np.zeros((len(neighbors.centers), 3)) if forces or stress else None
    if potential.core is not None:
        potential.core.add_to(neighbors, energies, gradient)
    of_energies, of_derivatives = wanted & {"energy", "energies"}, wanted & {"forces", "stress"}
    spread: Spread | PriorSpread | None = None
    if of_energies:
        spread = (
            PriorSpread(potential, neighbors)
            if uncertainty == "prior"
            else (FastSpread if fast else Spread)(potential, neighbors, of_energies)
        )
    committee = Committee(potential, neighbors) if of_derivatives and fast else None
    for t, term in enumerate(potential.terms):
        widest = max([1, *(len(points) for points in term.points)])
        of_block = partial(_of_block, potential, t, neighbors, gradient, spread is not None, committee)
        bytes_per_entry = (32 if spread else 8) * widest  # kernels that are kept are beside their products and slopes
        centers = list(blocks_of_centers(term.descriptor.entries_until(neighbors), bytes_per_entry, _BLOCK))
        for block in in_threads(of_block, centers):
            for atoms in block.features.owners.T:
                np.add.at(energies, atoms, block.energy)
            if spread:
                spread.add(t, block.features, block.kernels)
            del block  # its kernels, before the next ones come
    derivatives = None
    if of_derivatives:
        derivatives = committee.results(wanted) if committee else derivative_deviations(potential, neighbors, of_derivatives)
    return _assemble(neighbors, energies, gradient, forces, stress, spread, derivatives)


def wanted_deviations(uncertainty: str | None, std: Collection[str]) -> frozenset[str]:
    """Which standard deviations are computed; "prior" has those of local energies alone, and gives them by default.

    Raises
    ------
    ValueError
        If a name is unknown, or of what "prior" does not have.
    """
    check_choice("uncertainty", uncertainty, UNCERTAINTY_CHOICES)
    for name in std:
        check_choice("std", name, STD_CHOICES)
    if uncertainty is None:
        return frozenset()
    wanted = frozenset(std)
    if uncertainty != "prior":
        return wanted
    if wanted == frozenset(STD_DEFAULT):
        return frozenset({"energies"})
    if wanted - {"energies"}:
        remedy = (
            "It knows no covariance between environments, hence nothing of total energies, forces and stresses. Take "
            "uncertainty='exact', which needs the posterior."
        )
        raise ValueError(describe("std", "('energies',) for uncertainty='prior'", tuple(std), remedy))
    return wanted


@dataclass(frozen=True)
class _Block:
    """Some environments of a term, what each adds to the energy of its owners, and their kernels where they are at hand."""

    features: Features
    energy: Array
    kernels: dict[int, Array]


def _of_block(
    potential: Potential,
    t: int,
    neighbors: NeighborList,
    gradient: Array | None,
    with_kernels: bool,
    committee: Committee | None,
    centers: slice,
) -> _Block:
    """Compute the environments of some atoms and add their pair gradients, which no other block of the term touches."""
    term = potential.terms[t]
    features = term.descriptor.compute(neighbors, centers=centers)
    energy, slope, kernels = environment_energies(term, potential.sums[t], features, gradient is not None, with_kernels)
    of_weight = None
    if features.weights is not None:
        of_weight, energy = energy, energy * features.weights
        if slope is not None:
            slope *= features.weights[:, None]
    if gradient is not None and slope is not None:
        gradient[features.block] += term.descriptor.pullback(features, slope, of_weight)
    if committee:
        committee.add(t, features)
    return _Block(features, energy / features.owners.shape[1], kernels)


def environment_energies(
    term: SparseTerm, sums: Sequence[PointSum | None], features: Features, with_slope: bool, with_kernels: bool = False
) -> tuple[Array, Array | None, dict[int, Array]]:
    """Energies of environments before their weights (eV, multiplicity included), and their derivatives by the features.

    The last result, if asked for, is the kernel of the environments with the sparse points, of groups that need it anyway.
    """
    n_times = term.descriptor.multiplicity
    energy, slope = np.zeros(len(features.values)), np.zeros_like(features.values) if with_slope else None
    kernels: dict[int, Array] = {}
    for group, of_group in enumerate(sums):
        members = np.flatnonzero(features.groups == group)
        if len(members) == 0 or of_group is None:
            continue
        every = slice(None) if len(members) == len(features.groups) else members
        x = features.values[every]
        if with_kernels and isinstance(of_group, ExactSum):
            value, gradient, kernels[group] = of_group.with_kernel(x)
        elif with_slope:
            value, gradient = of_group(x)
        else:
            value, gradient = of_group.value(x), None
        energy[every] = n_times * value
        if slope is not None and gradient is not None:
            slope[every] = n_times * gradient
    return energy, slope, kernels


def table_errors(potential: Potential, neighbors: NeighborList) -> dict[int, float]:
    """Largest error (eV) of the energy of an environment of each tabulated term, cutoff function included."""
    errors = {}
    for t, (term, alphas, tables) in enumerate(zip(potential.terms, potential.coefficients, potential.tables, strict=True)):
        if tables is None:
            continue
        errors[t], without_tables = 0.0, sums_of(term, alphas)
        for centers in blocks_of_centers(term.descriptor.entries_until(neighbors), 8 * term.n_points, _BLOCK):
            features = term.descriptor.compute(neighbors, centers=centers)
            exact, tabulated = (environment_energies(term, sums, features, False)[0] for sums in (without_tables, tables))
            errors[t] = max(errors[t], float(np.abs(features.weights_or_ones * (exact - tabulated)).max(initial=0.0)))
    return errors


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


def _assemble(
    neighbors: NeighborList,
    energies: Array,
    gradient: Array | None,
    forces: bool,
    stress: bool,
    spread: Spread | PriorSpread | None,
    derivatives: tuple[Array | None, list[Array | None] | None] | None,
) -> list[Prediction]:
    all_forces: Array | None = None
    stresses: Sequence[Array | None] = [None] * neighbors.n_structures
    if gradient is not None:
        all_forces, stresses = forces_and_stresses(neighbors, gradient)
    local, total = spread.results() if spread else (None, None)
    forces_std, stress_std = derivatives or (None, None)
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
                forces_std=None if forces_std is None else forces_std[atoms].copy(),
                stress_std=None if stress_std is None else stress_std[s],
            )
        )
    return result
