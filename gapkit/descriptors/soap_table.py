"""Radial functions of SOAP as one table: basis, Gaussian smearing, weighting and cutoff function."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import log, sqrt

import numpy as np

from .basis import smeared_basis
from .radial import KNOTS_PER_WIDTH, Array, Profile, cosine_cutoff, product, tabulate
from .weighting import Weighting, central_weight, weight_end, weight_profile

__all__ = ["RadialTable", "hard_reach", "soap_table"]


@dataclass(frozen=True)
class RadialTable:
    """Knots of all radial functions; see `gapkit._device.radial` for the layout.

    Attributes
    ----------
    segments : ndarray of shape (n_segments, 4)
        Start (Å), inverse spacing (1/Å), first knot, number of intervals.
    table : ndarray of shape (n_knots, 3, (l_max + 1) * n_max)
        Values, slopes times spacing, second derivatives times spacing squared; n fastest.
    central : ndarray of shape (n_max,)
        What an atom at the centre adds to the coefficients of l = 0.
    reach : float
        Distance (Å) at which neighbours stop to count.
    """

    segments: Array
    table: Array
    central: Array
    reach: float


def hard_reach(r_cut: float, sigma: float) -> float:
    """Return dscribe's neighbour distance: the Gaussian of an atom beyond it is below 1e-3 everywhere inside r_cut."""
    return r_cut + sigma * sqrt(2.0 * log(1000.0))


@lru_cache(maxsize=8)
def soap_table(
    rbf: str, r_cut: float, n_max: int, l_max: int, sigma: float, cutoff_width: float | None, weighting: Weighting = ()
) -> RadialTable:
    """Tabulate the smeared basis times the weighting times the cutoff function.

    Parameters
    ----------
    rbf : {"gto", "polynomial"}
        Kind of basis.
    r_cut : float
        Range of the basis, Å.
    n_max, l_max : int
        Number of radial functions, largest angular momentum.
    sigma : float
        Width of the atomic Gaussians, Å.
    cutoff_width : float or None
        The cosine cutoff falls from 1 at ``r_cut - cutoff_width`` to 0 at ``r_cut``.  None: no cutoff function,
        neighbours count up to `hard_reach`, or to where the weighting ends.
    weighting : tuple, default ()
        From `frozen_weighting`.

    Returns
    -------
    RadialTable
    """
    end = weight_end(weighting)
    reach = min(hard_reach(r_cut, sigma) if cutoff_width is None else r_cut, end)
    falling = r_cut - cutoff_width if cutoff_width is not None else np.inf
    breaks = [0.0, falling, reach] if 0.0 < falling < reach else [0.0, reach]

    def profile(r: Array, start: float) -> Profile:
        result = smeared_basis(rbf, r, r_cut, n_max, l_max, sigma)
        if weighting:
            result = product(result, weight_profile(r, weighting))
        if cutoff_width is not None and start >= falling:
            result = product(result, cosine_cutoff(r, r_cut, cutoff_width))
        return result

    segments, table = tabulate(breaks, sigma / KNOTS_PER_WIDTH, profile)
    y_00 = 0.5 / np.sqrt(np.pi)
    central = smeared_basis(rbf, np.zeros(1), r_cut, n_max, 0, sigma)[0][0].astype(float) * (y_00 * central_weight(weighting))
    if cutoff_width is not None and cutoff_width > r_cut:
        central = central * cosine_cutoff(np.zeros(1), r_cut, cutoff_width)[0][0]
    central.setflags(write=False)
    return RadialTable(segments, table, central, reach)
