"""QUIP's pairs, triplets and clusters: the text of distance_2b, angle_3b and distance_Nb to descriptors, and back."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from .._validation import describe
from ..descriptors import Descriptor, DistanceNb, ThreeBody, TwoBody, contracted_points, expanded_points
from ..exceptions import ModelFormatError
from .arguments import Arguments
from .quip_records import QuipCoordinate

__all__ = [
    "body_text",
    "cluster_numbers",
    "contracted_coordinate",
    "distance_nb",
    "expanded_coordinate",
    "matching_groups",
    "three_body",
    "two_body",
]

Array = NDArray[np.float64]

_COMPACT_SINCE = 1596837814  # gap_version from which on clusters are by default neighbours of one centre
_EQUAL = 1e-12  # relative, of numbers that QUIP averaged


def two_body(options: Arguments) -> TwoBody:
    """Descriptor of distance_2b; which species it is about (Z1, Z2) is not looked at.

    Parameters
    ----------
    options : Arguments

    Returns
    -------
    TwoBody
        Not fitted.

    Raises
    ------
    ModelFormatError
        If an option is wrong, or tells molecules apart.
    """
    for key in ("only_intra", "only_inter"):
        if options.flag(key, default=False):
            raise ModelFormatError(_no_molecules(key, options))
    if options.text_of("resid_name", default="").strip():
        raise ModelFormatError(_no_molecules("resid_name", options))
    n = options.integer("n_exponents", default=1)
    if n < 1:
        raise ModelFormatError(describe("n_exponents", "at least 1", n, f"It is in {options.text!r}."))
    exponents = options.integers("exponents", default=[1] if n == 1 else [-k for k in range(1, n + 1)], count=n)
    return TwoBody(
        options.real("cutoff"),
        cutoff_width=options.real("cutoff_transition_width", default=0.5),
        exponents=tuple(exponents),
        tail_exponent=options.integer("tail_exponent", default=0),
        tail_range=options.real("tail_range", default=1.0),
    )


def three_body(options: Arguments) -> ThreeBody:
    """Descriptor of angle_3b; which species it is about (Z_center, Z1, Z2) is not looked at.

    Parameters
    ----------
    options : Arguments

    Returns
    -------
    ThreeBody
        Not fitted.

    Raises
    ------
    ModelFormatError
        If an option is wrong.
    """
    return ThreeBody(options.real("cutoff"), cutoff_width=options.real("cutoff_transition_width", default=0.5))


def distance_nb(options: Arguments, theta: Array | None, gap_version: int) -> TwoBody | DistanceNb:
    """Descriptor of distance_Nb.

    Parameters
    ----------
    options : Arguments
    theta : ndarray of shape (n_distances,) or None
        Length scales of its kernel, Å; None if that is not ard_se.
    gap_version : int
        Of the file: old files mean other clusters if they do not say which.

    Returns
    -------
    TwoBody or DistanceNb
        Not fitted.  Order 2 is TwoBody: its only permutation leaves the distance as it is, and the sum over centres visits
        both directions of a pair.

    Raises
    ------
    ModelFormatError
        If an option is wrong, or QUIP's energy depends on how the atoms are numbered.
    """
    version, order = options.integer("xml_version", default=gap_version), options.integer("order")
    if not options.flag("compact_clusters", default=version >= _COMPACT_SINCE):
        raise ModelFormatError(
            f"distance_Nb must have compact_clusters=T; got F, which is also what files before gap_version {_COMPACT_SINCE} "
            "mean if they do not say. gapkit cannot run this model."
        )
    cluster_numbers(options)
    r_cut, width = options.real("cutoff"), options.real("cutoff_transition_width", default=0.5)
    if order == 2:
        return TwoBody(r_cut, cutoff_width=width)
    if theta is None:
        raise ModelFormatError(f"distance_Nb of order {order} must have covariance_type=ard_se. gapkit cannot run this model.")
    if np.ptp(theta) > _EQUAL * np.max(theta):
        raise ModelFormatError(
            f"Length scales of distance_Nb must be equal, as QUIP makes them; got {theta.tolist()}. The file was edited."
        )
    return DistanceNb(r_cut, order=order, cutoff_width=width, theta=float(np.mean(theta)))


def cluster_numbers(options: Arguments) -> tuple[int, ...]:
    """Atomic numbers of the atoms of distance_Nb, 0 for any.

    Raises
    ------
    ModelFormatError
        If three or more atoms are not of one species: QUIP's permutations then depend on how atoms are numbered.
    """
    order = options.integer("order")
    numbers = tuple(options.integers("Z", default=[0] * order, count=order))
    if order > 2 and len(set(numbers)) > 1:
        raise ModelFormatError(
            f"Z of distance_Nb with order={order} must be one species; got {numbers}. QUIP's energy of unlike atoms depends on "
            "how they are numbered (libAtoms/QUIP issue 669), so there is no number to reproduce."
        )
    return numbers


def matching_groups(descriptor: Descriptor, numbers: tuple[int, ...]) -> list[int]:
    """Groups of environments that one descriptor of QUIP is about.

    Parameters
    ----------
    descriptor : TwoBody, ThreeBody or DistanceNb
        Fitted.
    numbers : tuple of int
        (Z1, Z2) of a pair in any order, (Z_center, Z1, Z2) of a triplet, whose last two may change places, or all atomic
        numbers of a cluster; 0 for any.

    Returns
    -------
    list of int
        Indices into ``descriptor.group_names_``, ascending; empty if the descriptor does not know the species.

    Raises
    ------
    ModelFormatError
        If the clusters are of any species and there are several.
    """
    species = descriptor.species_
    n = len(species)
    places = [[k for k, z in enumerate(species) if number in (0, z)] for number in numbers]
    if isinstance(descriptor, DistanceNb):
        if 0 in numbers and n > 1:
            raise ModelFormatError(
                f"Z of distance_Nb with order={descriptor.order} must be given in a model of {n} species; got 0, for any. "
                "gapkit has clusters of like atoms only and cannot run this model."
            )
        return places[0]
    found = set()
    for *centre, a, b in product(*places):
        low, high = sorted((a, b))
        pair = high * (high + 1) // 2 + low
        found.add(centre[0] * (n * (n + 1) // 2) + pair if centre else pair)
    return sorted(found)


def body_text(descriptor: TwoBody | ThreeBody | DistanceNb, numbers: tuple[int, ...]) -> str:
    """Text that makes QUIP's descriptor, numbers written so that they read back exactly.

    Parameters
    ----------
    descriptor : TwoBody, ThreeBody or DistanceNb
    numbers : tuple of int
        As for `matching_groups`.

    Returns
    -------
    str
        Such as "distance_2b cutoff=4.5 cutoff_transition_width=0.8 Z1=29 Z2=79".
    """
    words = [f"cutoff={float(descriptor.r_cut)!r} cutoff_transition_width={float(descriptor.cutoff_width)!r}"]
    if isinstance(descriptor, DistanceNb):
        listed = " ".join(str(z) for z in numbers)
        return " ".join(["distance_Nb", *words, f"order={int(descriptor.order)} compact_clusters=T Z={{{listed}}}"])
    name, keys = ("angle_3b", ("Z_center", "Z1", "Z2")) if isinstance(descriptor, ThreeBody) else ("distance_2b", ("Z1", "Z2"))
    if isinstance(descriptor, TwoBody):
        exponents = [str(int(exponent)) for exponent in descriptor.exponents]
        if exponents != ["1"]:
            words.append(f"n_exponents={len(exponents)} exponents={{{' '.join(exponents)}}}")
        if descriptor.tail_exponent != 0:
            words.append(f"tail_exponent={int(descriptor.tail_exponent)} tail_range={float(descriptor.tail_range)!r}")
    return " ".join([name, *words, *(f"{key}={z}" for key, z in zip(keys, numbers, strict=True))])


def expanded_coordinate(one: QuipCoordinate, descriptor: DistanceNb) -> QuipCoordinate:
    """The record whose plain sum over sparse points is what QUIP's sum over permutations is.

    Parameters
    ----------
    one : QuipCoordinate
        As read.
    descriptor : DistanceNb
        From `distance_nb`.

    Returns
    -------
    QuipCoordinate
        With features and weights of ``descriptor``, every permutation of each point, and neither theta nor permutations.

    Raises
    ------
    ModelFormatError
        If the kernel is not ard_se, has f0, or sums over other permutations.
    """
    permutations = descriptor.permutations
    if one.kernel != "ard_se" or one.f0 != 0.0:
        raise ModelFormatError(
            f"distance_Nb of order {descriptor.order} must have covariance_type=ard_se and f0=0; got {one.kernel} and "
            f"{one.f0:g}. gapkit cannot run this model."
        )
    if sorted(one.permutations.tolist()) != sorted(permutations.tolist()):
        raise ModelFormatError(
            f"distance_Nb of order {descriptor.order} must have the {len(permutations)} permutations of like atoms; got "
            f"{len(one.permutations)}, of others. gapkit cannot run this model."
        )
    points, weights = expanded_points(one.points, one.cutoffs, float(descriptor.theta), permutations)
    alpha = np.repeat(one.alpha, len(permutations))
    identity = np.arange(points.shape[1])[None]
    return replace(one, theta=None, permutations=identity, points=points, cutoffs=weights, alpha=alpha)


def contracted_coordinate(one: QuipCoordinate, descriptor: DistanceNb) -> QuipCoordinate:
    """Inverse of `expanded_coordinate`: the record that QUIP reads."""
    permutations = descriptor.permutations
    points, cutoffs = contracted_points(one.points, one.cutoffs, float(descriptor.theta), permutations)
    theta, alpha = np.full(points.shape[1], float(descriptor.theta)), one.alpha[:: len(permutations)]
    return replace(one, theta=theta, permutations=permutations, points=points, cutoffs=cutoffs, alpha=alpha)


def _no_molecules(key: str, options: Arguments) -> str:
    return f"{key} of distance_2b tells molecules apart: gapkit cannot run this model. It is in {options.text!r}."
