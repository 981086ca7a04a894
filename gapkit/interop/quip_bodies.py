"""QUIP's pairs and triplets: text to descriptors and back."""

from __future__ import annotations

from itertools import product

from ..descriptors import Descriptor, ThreeBody, TwoBody
from .arguments import Arguments

__all__ = ["body_text", "matching_groups", "three_body", "two_body"]


def two_body(options: Arguments) -> TwoBody:
    """Descriptor of distance_2b."""
    return TwoBody(options.real("cutoff"), cutoff_width=options.real("cutoff_transition_width", default=0.5))


def three_body(options: Arguments) -> ThreeBody:
    """Descriptor of angle_3b."""
    return ThreeBody(options.real("cutoff"), cutoff_width=options.real("cutoff_transition_width", default=0.5))


def matching_groups(descriptor: Descriptor, numbers: tuple[int, ...]) -> list[int]:
    """Groups of a fitted descriptor that atomic numbers stand for, 0 for any."""
    species = descriptor.species_
    n = len(species)
    centres = [range(n) if not z else [species.index(z)] for z in numbers]
    found = set()
    for *first, a, b in product(*centres):
        low, high = sorted((a, b))
        pair = high * (high + 1) // 2 + low
        found.add(first[0] * (n * (n + 1) // 2) + pair if first else pair)
    return sorted(found)


def body_text(descriptor: TwoBody | ThreeBody, numbers: tuple[int, ...]) -> str:
    """Text that QUIP reads."""
    name, keys = ("distance_2b", ("Z1", "Z2")) if isinstance(descriptor, TwoBody) else ("angle_3b", ("Z_center", "Z1", "Z2"))
    listed = " ".join(f"{key}={z}" for key, z in zip(keys, numbers, strict=True))
    return f"{name} cutoff={float(descriptor.r_cut)!r} cutoff_transition_width={float(descriptor.cutoff_width)!r} {listed}"
