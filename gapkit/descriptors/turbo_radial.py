r"""Radial functions of QUIP's soap_turbo as a table (M. A. Caro, Phys. Rev. B 100, 024112 (2019)).

With x = r / rcut_hard, a neighbour is in the radial direction a Gaussian of width s = sigma_r / rcut_hard + scaling x, which is
projected on orthonormal functions W phi, W = S^(-1/2), of

    phi_i = sqrt(2i + 5) (1 - x)^(i + 2),  i = 1 ... alpha_max  (poly3)

of which poly3gauss replaces the last by a Gaussian of width sigma_0 = sigma_r / rcut_hard at the origin.  Beyond rcut_soft the
neighbour is multiplied by another Gaussian, of width f = (1 - rcut_soft / rcut_hard) / nf.  In the angular directions it has
the width sigma_t:

    g_nl(r) = 4 pi R_n(x) (rcut_hard / sigma_t)² exp(-rho) i_l(rho),  rho = (r / sigma_t)²

The sums over phi lose digits (S is close to singular), so the integrals are done in extended precision, once per table; W is
computed in double precision and in QUIP's way, because coefficients of published potentials contain its rounding.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.linalg import lapack, svd

from .basis import scaled_bessel
from .jets import Jet, variable
from .radial import Array, Profile, tabulate
from .soap_table import RadialTable

__all__ = ["TurboSpecies", "turbo_table"]

_KNOTS_PER_WIDTH = 50  # as of `QuipBasis`
_FAR = 4.0  # widths from which on QUIP leaves out an integral
_NOTHING = 1e-10  # amplitude (before its power) from which on QUIP leaves out a neighbour


class TurboSpecies(NamedTuple):
    """What the radial functions of a species depend on; lengths in Å."""

    alpha_max: int
    sigma_r: float
    sigma_t: float
    sigma_r_scaling: float
    sigma_t_scaling: float
    amplitude_scaling: float


class _Shape(NamedTuple):
    """What they all share."""

    basis: str
    r_cut: float
    soft: float  # rcut_soft / rcut_hard
    nf: float
    enhancement: int


@lru_cache(maxsize=8)
def turbo_table(
    basis: str,
    nf: float,
    enhancement: int,
    species: tuple[TurboSpecies, ...],
    r_cut: float,
    l_max: int,
    cutoff_width: float,
) -> RadialTable:
    """Tabulate the radial functions of some kinds of neighbours, side by side.

    Parameters
    ----------
    basis : {"poly3", "poly3gauss"}
        Kind of radial functions.
    nf : float
        How fast the density falls beyond rcut_soft.
    enhancement : {0, 1, 2}
        QUIP's radial_enhancement.
    species : tuple of TurboSpecies
        Distinct kinds of neighbours.
    r_cut, cutoff_width : float
        rcut_hard, and rcut_hard - rcut_soft, Å.
    l_max : int
        Largest angular momentum.

    Returns
    -------
    RadialTable
        Of sum(alpha_max) functions per l.
    """
    shape = _Shape(basis, r_cut, 1.0 - cutoff_width / r_cut, nf, enhancement)
    end = r_cut * (1.0 - np.sqrt(_NOTHING / 3.0))  # of (1 - x)² (1 + 2x) = _NOTHING
    switches = {place for kind in species for place in (_filter_start(shape, kind), _gaussian_end(shape, kind))}
    switches |= {
        place for kind in species if 2 * kind.amplitude_scaling % 1 for place in r_cut * (1 - 0.1 * 0.8 ** np.arange(44))
    }
    breaks = [0.0, *sorted(place for place in switches if 0.0 < place < end), end]

    def profile(r: Array, start: float) -> Profile:
        x = variable(r / r_cut)
        radial = [_radial_functions(x, start, shape, kind) for kind in species]
        angular = [_angular(x * r_cut, l_max, r_cut, kind) for kind in species]
        jet = Jet.of_columns([n * l[k] for k in range(l_max + 1) for n, l in zip(radial, angular, strict=True)])
        return jet.value, jet.slope / r_cut, jet.curvature / r_cut**2

    spacing = min(min(kind.sigma_r, kind.sigma_t) for kind in species) / _KNOTS_PER_WIDTH
    segments, table = tabulate(breaks, spacing, profile)
    central = np.concatenate([_centre(shape, kind) for kind in species])
    central.setflags(write=False)
    return RadialTable(segments, table, central, end)


def _filter_start(shape: _Shape, kind: TurboSpecies) -> float:
    """Distance from which on the integral beyond rcut_soft counts."""
    return shape.r_cut * (shape.soft - _FAR * kind.sigma_r / shape.r_cut) / (1.0 + _FAR * kind.sigma_r_scaling)


def _gaussian_end(shape: _Shape, kind: TurboSpecies) -> float:
    """Distance up to which the projection on the Gaussian of poly3gauss counts."""
    if shape.basis == "poly3" or kind.sigma_r_scaling >= 1.0 / _FAR:
        return np.inf
    return 2.0 * _FAR * kind.sigma_r / (1.0 - _FAR * kind.sigma_r_scaling)


def _radial_functions(x: Jet, start: float, shape: _Shape, kind: TurboSpecies) -> Jet:
    """R_n in the segment that begins at ``start``."""
    width = kind.sigma_r / shape.r_cut
    s, soft, n = width + kind.sigma_r_scaling * x, shape.soft, kind.alpha_max
    n_polynomials = n if shape.basis == "poly3" else n - 1
    integrals = _moments(0.0, soft, x, s, n_polynomials)
    if start >= _filter_start(shape, kind):
        f = (1.0 - soft) / shape.nf
        both = s * s + f * f
        beyond = _moments(soft, 1.0, (s * s * soft + f * f * x) / both, s * f / both**0.5, n_polynomials)
        damping = (-0.5 * (soft - x) * (soft - x) / both).exp()
        integrals = [inside + damping * outside for inside, outside in zip(integrals, beyond, strict=True)]
    if shape.basis == "poly3gauss":
        integrals.append(_on_gaussian(x, s, width) if start < _gaussian_end(shape, kind) else 0.0 * x)
    amplitude = ((1.0 - x) * (1.0 - x) * (1.0 + 2.0 * x)) ** kind.amplitude_scaling / s
    if shape.enhancement == 1:
        amplitude = amplitude * (x + np.sqrt(2.0 / np.pi) * s)
    elif shape.enhancement == 2:
        amplitude = amplitude * (x * x + s * s + np.sqrt(8.0 / np.pi) * s * x)
    transformation, _ = _orthonormalisation(shape.basis, n, width)
    result: Jet = amplitude * np.sqrt(shape.r_cut) * Jet.of_columns(integrals).transformed(transformation.T)
    return result


def _moments(low: float, high: float, x: Jet, s: Jet, n: int) -> list[Jet]:
    """Integrals of phi_1 ... phi_n times the Gaussian of width s at x from low to high."""

    def gaussian(t: float) -> Jet:
        return (-0.5 * (t - x) * (t - x) / (s * s)).exp()

    at_low = gaussian(low)
    at_high = gaussian(high) if high < 1.0 else 0.0 * x  # (1 - high)^(m - 1) = 0 but for m = 1, where QUIP forgets it
    scale = 2**-0.5 / s
    moments = [np.sqrt(np.pi / 2.0) * s * (((high - x) * scale).erf() - ((low - x) * scale).erf())]
    for m in range(1, n + 3):
        ends = (1.0 - high) ** (m - 1) * at_high - (1.0 - low) ** (m - 1) * at_low
        moments.append((1.0 - x) * moments[m - 1] + s * s * ends)
        if m > 1:
            moments[m] += (m - 1) * s * s * moments[m - 2]
    return [np.sqrt(2.0 * i + 5.0) * moments[i + 2] for i in range(1, n + 1)]


def _on_gaussian(x: Jet, s: Jet, width: float) -> Jet:
    """Integral of the Gaussian of poly3gauss times that of the neighbour over [0, inf)."""
    both = s * s + width**2
    reach = width * s / both**0.5
    norm = np.sqrt(2.0 / width) / np.pi**0.25
    overlap = (-0.5 * x * x / both).exp()
    covered = 1.0 + (2**-0.5 * width * x / (s * both**0.5)).erf()
    result: Jet = norm * np.sqrt(np.pi / 2.0) * reach * overlap * covered
    return result


def _angular(r: Jet, l_max: int, r_cut: float, kind: TurboSpecies) -> list[Jet]:
    """4 pi (rcut_hard / sigma_t)² exp(-rho) i_l(rho) for every l."""
    sigma = kind.sigma_t + kind.sigma_t_scaling * r
    rho = (r / sigma) * (r / sigma)
    scale = 4.0 * np.pi * r_cut**2 / (sigma * sigma)
    result = []
    for l in range(l_max + 1):
        i0, i1, i2 = scaled_bessel(l, rho.value.astype(float))
        result.append(scale * rho.mapped(i0, i1 - i0, i2 - 2 * i1 + i0))
    return result


@lru_cache(maxsize=32)
def _orthonormalisation(basis: str, n: int, width: float) -> tuple[Array, Array]:
    """W = S^(-1/2) and S, in the order of operations of QUIP: near alpha_max = 8 only seven digits of W are defined."""
    n_polynomials = n if basis == "poly3" else n - 1
    i = np.arange(1.0, n_polynomials + 1)
    overlap = np.eye(n)
    polynomials = np.sqrt(np.multiply.outer(5 + 2 * i, 5 + 2 * i)) / (5 + np.add.outer(i, i))
    overlap[:n_polynomials, :n_polynomials] = polynomials
    if basis == "poly3gauss":
        norm = np.sqrt(2.0 / width) / np.pi**0.25
        zero = variable(np.zeros(1))
        mixed = [norm * float(jet.value[0, 0]) for jet in _moments(0.0, 1.0, zero, zero + width, n_polynomials)]
        overlap[-1, :-1] = overlap[:-1, -1] = mixed
    left, values, right = svd(overlap, lapack_driver="gesvd")
    root = (left * np.sqrt(values)) @ right
    factor, _ = lapack.dpotrf(root)
    inverse, _ = lapack.dpotri(factor)
    inverse = np.triu(inverse) + np.triu(inverse, 1).T
    return inverse, overlap


def _centre(shape: _Shape, kind: TurboSpecies) -> Array:
    """What the central atom adds to l = 0 of its own functions."""
    if shape.basis == "poly3":
        zero = variable(np.zeros(1))
        jet = _radial_functions(zero, 0.0, shape, kind) * _angular(zero, 0, shape.r_cut, kind)[0]
        central: Array = jet.value[0].astype(float) * (0.5 / np.sqrt(np.pi))
        return central
    transformation, overlap = _orthonormalisation(shape.basis, kind.alpha_max, kind.sigma_r / shape.r_cut)
    x = kind.sigma_r / shape.r_cut
    enhancement = (1.0, np.sqrt(2.0 / np.pi) * x, x**2)[shape.enhancement]
    scale = np.sqrt(4.0 * np.pi) * np.pi**0.25 * np.sqrt(kind.sigma_r / 2.0) * shape.r_cut**3 / (kind.sigma_t**2 * kind.sigma_r)
    central = enhancement * scale * (transformation @ overlap[:, -1])
    return central
