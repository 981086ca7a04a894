"""What a basis of `SOAP` must supply if another program defines it: everything about the features but the loops."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from sklearn.base import BaseEstimator

from .compression import Channels
from .radial import Array
from .soap_table import RadialTable

__all__ = ["ForeignBasis"]


class ForeignBasis(BaseEstimator):  # type: ignore[misc]
    """Base class; ``r_cut``, ``n_max``, ``l_max``, ``sigma`` and ``cutoff_width`` are those of the `SOAP`."""

    smallest_norm: ClassVar[float] = 0.0
    """Vectors that are shorter are not normalised."""

    @property
    def last_element(self) -> float | None:
        """Value of an element that follows the normalised power spectrum; None for no such element."""
        return None

    @abstractmethod
    def check_parameters(self, n_max: int, sigma: float) -> None:
        """Raise ValueError or TypeError if a parameter is out of its range."""

    @abstractmethod
    def radial_table(self, r_cut: float, n_max: int, l_max: int, sigma: float, cutoff_width: float) -> RadialTable:
        """Radial functions; the number of them is its own, not always ``n_max``."""

    @abstractmethod
    def channels(self, species: Sequence[int], n_max: int, l_max: int) -> Channels:
        """Which products of coefficients there are, for the species of the descriptor (atomic numbers, ascending)."""

    @abstractmethod
    def prefactors(self, l_max: int) -> Array:
        """Factor of the elements of each l."""
