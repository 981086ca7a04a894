"""A GAP of QUIP as plain records."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["KERNELS", "GluePair", "QuipCoordinate", "QuipModel"]

Array = NDArray[np.float64]

KERNELS = {"1": "ard_se", "2": "dot_product", "4": "pp"}
"""Names of QUIP's numbers of covariance types."""


@dataclass(frozen=True)
class QuipCoordinate:
    """One descriptor with its sparse points: QUIP's gpCoordinates.

    Attributes
    ----------
    descriptor : str
        Its text, such as "distance_2b cutoff=4.5 Z1=29 Z2=79".
    kernel : {"ard_se", "dot_product", "pp"}
    delta, f0 : float
        Amplitude and offset, eV: the kernel is delta² k + f0².
    zeta : float or None
        Power of the scalar product.
    theta : ndarray of shape (d,) or None
        Length scales of ard_se and pp.
    permutations : ndarray of int of shape (n_permutations, d)
        Of the features, counted from 0; only the identity for most descriptors.
    points : ndarray of shape (n_sparse, d)
    cutoffs : ndarray of shape (n_sparse,)
        Cutoff functions of the sparse points.
    alpha : ndarray of shape (n_sparse,)
        1/eV: energies are sums of alpha times kernels in eV².
    """

    descriptor: str
    kernel: str
    delta: float
    f0: float
    zeta: float | None
    theta: Array | None
    permutations: NDArray[np.int64]
    points: Array
    cutoffs: Array
    alpha: Array


@dataclass(frozen=True)
class GluePair:
    """Tabulated energy of a pair of atoms: QUIP's potential_pair.

    Attributes
    ----------
    r : ndarray
        Knots, Å, ascending.
    energy : ndarray
        eV, of one pair.
    slopes : (float, float)
        At the first and the last knot, eV/Å; 1e30 and above for a natural end.
    """

    r: Array
    energy: Array
    slopes: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class QuipModel:
    """A GAP file.

    Attributes
    ----------
    label : str
    gap_version : int
        Decides what options mean that are not written.
    e0 : dict of int to float
        Energy of an isolated atom of each atomic number, eV.
    coordinates : list of QuipCoordinate
    core : str
        Initialisation of the potential under the Gaussian processes, such as "IP Glue"; empty without.
    glue : dict of (int, int) to GluePair
        Tables of the core by atomic numbers (lower first), if it is a Glue.
    embedding : tuple of int
        Atomic numbers whose Glue has an embedding energy, which `glue` does not hold.
    energy_scale : float
        What QUIP multiplies energies with.
    gapkit : bytes
        The model file that gapkit wrote along; empty in files of others.
    """

    label: str
    gap_version: int
    e0: dict[int, float]
    coordinates: list[QuipCoordinate]
    core: str = ""
    glue: dict[tuple[int, int], GluePair] = field(default_factory=dict)
    embedding: tuple[int, ...] = ()
    energy_scale: float = 1.0
    gapkit: bytes = b""
