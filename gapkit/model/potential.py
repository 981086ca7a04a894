"""A fitted model, reduced to what prediction and its uncertainty need."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..gp.environment_variance import EnvironmentVariance
from ..gp.posterior import SparsePosterior
from ..gp.sparse_term import SparseTerm
from .atomic_energies import AtomicEnergies
from .fast_posterior import FastPosterior
from .glue import GlueTables
from .repulsion import Repulsion
from .sums import PointSum, sums_of
from .tables import tables_of

__all__ = ["APPROXIMATIONS", "ON_DEVICE", "Potential", "posterior_of"]

Array = NDArray[np.float64]

APPROXIMATIONS = ("dtc", "sor", "fitc", "vfe")
"""Treatments of what the sparse points miss; see `gapkit.GAPRegressor`."""


ON_DEVICE = "on_device"
"""Where a potential keeps what `gapkit.model.on_device` has put on the GPU."""


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
    approximation : {"dtc", "sor", "fitc", "vfe"}, default "dtc"
        Sparse Gaussian process that the posterior belongs to.
    core : Repulsion, GlueTables or None
        Energies of pairs under the Gaussian process.
    """

    terms: list[SparseTerm]
    e0: AtomicEnergies
    coefficients: list[list[Array]]
    posterior: SparsePosterior | None
    approximation: str = "dtc"
    core: Repulsion | GlueTables | None = None

    @cached_property
    def tables(self) -> list[list[PointSum | None] | None]:
        """Splines of the terms that ask for them."""
        return [tables_of(term, alphas) for term, alphas in zip(self.terms, self.coefficients, strict=True)]

    @cached_property
    def sums(self) -> list[list[PointSum | None]]:
        """Energies of environments per term and group (None without points): splines where asked for, else exact."""
        exact = (sums_of(term, alphas) for term, alphas in zip(self.terms, self.coefficients, strict=True))
        return [others if tables is None else tables for tables, others in zip(self.tables, exact, strict=True)]

    @cached_property
    def fast(self) -> FastPosterior:
        """What fast standard deviations need; takes a few M³ operations once."""
        return FastPosterior.of(self.terms, posterior_of(self))

    @cached_property
    def environment_variances(self) -> list[list[EnvironmentVariance | None]]:
        """What the sparse points alone leave open, per term and group (None without points); takes a few M³ operations once."""
        return [
            [EnvironmentVariance.of_group(term, group) if len(points) else None for group, points in enumerate(term.points)]
            for term in self.terms
        ]

    def __getstate__(self) -> dict[str, Any]:
        """What copies and other processes get: nothing that is on a GPU."""
        return {name: value for name, value in self.__dict__.items() if name != ON_DEVICE}

    @property
    def neighbor_range(self) -> float:
        """Distance (Å) beyond which no atom matters."""
        of_terms = max(term.descriptor.neighbor_range for term in self.terms)
        return max(of_terms, self.core.range) if self.core else of_terms

    @property
    def n_sparse(self) -> int:
        """Number of sparse points of all terms."""
        return sum(term.n_points for term in self.terms)

    def is_open(self, term: SparseTerm) -> bool:
        """Whether the prior variance of a term beyond the sparse points, k - φ·φ, counts.

        Not in "sor"; and for terms with many environments per atom it is taken as 0: see `gapkit.gp.prior`.
        """
        return bool(term.descriptor.one_per_atom) and self.approximation != "sor"


def posterior_of(potential: Potential) -> SparsePosterior:
    """The posterior of a potential.

    Raises
    ------
    ValueError
        If it has none.
    """
    if potential.posterior is None:
        raise ValueError(
            "The model must have its posterior for this; got one without: a file saved with posterior=False, or a sample. "
            "Use the model that was fitted, or save it with posterior=True."
        )
    return potential.posterior
