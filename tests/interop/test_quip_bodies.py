"""Texts of distance_2b, angle_3b and distance_Nb: read, refused, written, and which environments they are about."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gapkit.descriptors import DistanceNb, ThreeBody, TwoBody, distance_permutations
from gapkit.exceptions import ModelFormatError
from gapkit.interop.arguments import parse_arguments
from gapkit.interop.quip_bodies import (
    body_text,
    contracted_coordinate,
    distance_nb,
    expanded_coordinate,
    matching_groups,
    three_body,
    two_body,
)
from gapkit.interop.quip_records import QuipCoordinate
from gapkit.neighbors import NeighborList
from tests.conftest import copper_gold

MODERN = 1596837814


def read(text: str, theta=None, version: int = MODERN):
    options = parse_arguments(text)
    if "distance_Nb" in options:
        return distance_nb(options, theta, version)
    return three_body(options) if "angle_3b" in options else two_body(options)


@pytest.mark.parametrize(
    ("text", "descriptor"),
    [
        ("distance_2b cutoff=4.5", TwoBody(4.5, cutoff_width=0.5)),
        ("distance_2b cutoff=4.5 cutoff_transition_width=0.8 only_intra=F Z1=1 Z2=8", TwoBody(4.5, cutoff_width=0.8)),
        ("distance_2b cutoff=4 n_exponents=3", TwoBody(4.0, cutoff_width=0.5, exponents=(-1, -2, -3))),
        ("distance_2b cutoff=4 exponents={-6}", TwoBody(4.0, cutoff_width=0.5, exponents=(-6,))),
        (
            "distance_2b cutoff=4 n_exponents=2 exponents={-1 -2} tail_exponent=1 tail_range=2.0",
            TwoBody(4.0, cutoff_width=0.5, exponents=(-1, -2), tail_exponent=1, tail_range=2.0),
        ),
        ("angle_3b cutoff=3.0 Z=8 Z1=1 Z2=1", ThreeBody(3.0, cutoff_width=0.5)),
        ("distance_Nb order=3 cutoff=3.0 Z={14 14 14}", DistanceNb(3.0, cutoff_width=0.5, theta=1.5)),
        ("distance_Nb order=2 cutoff=3.0 Z={14 8}", TwoBody(3.0, cutoff_width=0.5)),
    ],
)
def test_options_and_defaults(text, descriptor):
    found = read(text, np.full(3, 1.5))
    found.check_parameters()
    assert repr(found) == repr(descriptor)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("distance_2b cutoff=4 resid_name=molecule", "resid_name of distance_2b tells molecules apart"),
        ("distance_2b cutoff=4 only_intra=T", "only_intra of distance_2b"),
        ("distance_2b cutoff=4 only_inter", "only_inter of distance_2b"),
        ("distance_2b cutoff=4 n_exponents=2 exponents={-1}", "`exponents` must be 2 numbers"),
        ("distance_2b cutoff=4 exponents={-1.5}", "`exponents` must be integers"),
        ("distance_2b cutoff=4 n_exponents=0", "`n_exponents` must be at least 1"),
        ("distance_2b Z1=1", "'cutoff'; missing"),
        ("angle_3b Z=1", "'cutoff'; missing"),
        ("distance_Nb cutoff=4", "'order'; missing"),
        ("distance_Nb cutoff=4 order=3 compact_clusters=F", "must have compact_clusters=T"),
        ("distance_Nb cutoff=4 order=3 Z={14 14 32}", "issue 669"),
        ("distance_Nb cutoff=4 order=3 Z={14 14}", "`Z` must be 3 numbers"),
    ],
)
def test_what_is_refused(text, message):
    with pytest.raises(ModelFormatError, match=message):
        read(text, np.ones(3))


def test_old_files_and_other_kernels_of_clusters_are_refused():
    text = "distance_Nb cutoff=4 order=3 Z={14 14 14}"
    with pytest.raises(ModelFormatError, match="compact_clusters=T"):
        read(text, np.ones(3), version=MODERN - 1)
    with pytest.raises(ModelFormatError, match="covariance_type=ard_se"):
        read(text, None)
    with pytest.raises(ModelFormatError, match="must be equal"):
        read(text, np.array([1.0, 1.0, 2.0]))


def cluster_record(descriptor: DistanceNb) -> QuipCoordinate:
    rng, d = np.random.default_rng(0), descriptor.n_features
    points, cutoffs, alpha = rng.uniform(2, 4, (4, d)), rng.uniform(0.1, 1.0, 4), rng.standard_normal(4)
    theta, permutations = np.full(d, descriptor.theta), distance_permutations(descriptor.order)
    return QuipCoordinate("", "ard_se", 0.5, 0.0, None, theta, permutations, points, cutoffs, alpha)


def test_clusters_are_expanded_and_contracted():
    descriptor = DistanceNb(4.0, order=4, theta=0.7)
    one = cluster_record(descriptor)
    expanded = expanded_coordinate(one, descriptor)
    assert expanded.points.shape == (4 * 24, 6)
    assert expanded.theta is None
    assert expanded.permutations.tolist() == [list(range(6))]
    back = contracted_coordinate(expanded, descriptor)
    for name in ("points", "cutoffs", "alpha", "theta"):
        assert_allclose(getattr(back, name), getattr(one, name), rtol=1e-15)
    np.testing.assert_array_equal(back.permutations, one.permutations)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"kernel": "pp"}, "f0=0; got pp"), ({"f0": 0.1}, "f0=0; got ard_se and 0.1"), ({"permutations": 2}, "got 2, of others")],
)
def test_clusters_that_cannot_be_expanded(change, message):
    descriptor = DistanceNb(4.0)
    one = cluster_record(descriptor)
    if "permutations" in change:
        change = {"permutations": one.permutations[:2]}
    with pytest.raises(ModelFormatError, match=message):
        expanded_coordinate(replace(one, **change), descriptor)


NUMBERS = [0, 29, 79]
WRITTEN = [
    *((TwoBody(4.123456789012345, cutoff_width=0.7), pair) for pair in product(NUMBERS, repeat=2)),
    (TwoBody(3.9, cutoff_width=1 / 3, exponents=(-1, -3), tail_exponent=2, tail_range=0.1 + 0.2), (79, 29)),
    (TwoBody(3.9, cutoff_width=1 / 3, exponents=(2,)), (29, 29)),
    *((ThreeBody(3.123456789012345, cutoff_width=1 / 3), triplet) for triplet in product(NUMBERS, repeat=3)),
]


@pytest.mark.parametrize(("descriptor", "numbers"), WRITTEN, ids=lambda x: repr(x))
def test_texts_mean_the_same_to_quip_and_here(descriptor, numbers):
    """Number of environments, features and weights."""
    quippy = pytest.importorskip("quippy.descriptors", reason="quippy-ase is only built for Linux on x86-64")
    atoms = copper_gold(0)
    text = body_text(descriptor, numbers)
    assert repr(read(text)) == repr(descriptor)
    features = descriptor.fit([atoms]).compute(NeighborList.from_atoms([atoms], descriptor.neighbor_range))
    members = np.isin(features.groups, matching_groups(descriptor, numbers))
    found = quippy.Descriptor(text).calc(atoms)
    rows = np.column_stack([features.values, features.weights])[members].repeat(2, axis=0)  # QUIP has both orders
    theirs = np.column_stack([found["data"], found["covariance_cutoff"]]) if "data" in found else rows[:0]
    assert len(rows) == len(theirs)
    ours, theirs = (r[np.lexsort(r.round(8).T)] for r in (rows, theirs))
    assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)


def test_groups_of_clusters():
    descriptor = DistanceNb(4.0)
    descriptor.species_ = [14, 32]
    assert matching_groups(descriptor, (32, 32, 32)) == [1]
    assert matching_groups(descriptor, (8, 8, 8)) == []
    with pytest.raises(ModelFormatError, match="like atoms only"):
        matching_groups(descriptor, (0, 0, 0))
    descriptor.species_ = [14]
    assert matching_groups(descriptor, (0, 0, 0)) == [0]
    assert body_text(descriptor, (14, 14, 14)).endswith("order=3 compact_clusters=T Z={14 14 14}")


def test_unknown_species_have_no_groups():
    descriptor = TwoBody(4.0)
    descriptor.species_ = [14]
    assert matching_groups(descriptor, (14, 8)) == []
