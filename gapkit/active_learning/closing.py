"""Which of the states visited stand for all of them when exploration has ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np
from ase import Atoms

__all__ = ["sample_of", "verification_of"]

_SAMPLE = 100


def sample_of(visits: Sequence[Atoms], random_state: int) -> list[Atoms]:
    """At most 100 states over which the error is predicted, drawn at random; the same for the same visits."""
    return [visits[k] for k in sorted(_order(visits, [random_state, 1])[:_SAMPLE])]


def verification_of(
    visits: Sequence[Atoms], n: int, random_state: int, number: int, known: Callable[[Atoms], bool]
) -> list[Atoms]:
    """States whose labels verify the error for the ``number``-th time, drawn at random from those that are not ``known``."""
    order = _order(visits, [random_state, 2, number])
    unknown = (visits[k] for k in order if not known(visits[k]))
    return list(islice(unknown, max(n, 0)))


def _order(visits: Sequence[Atoms], seed: Sequence[int]) -> list[int]:
    order: list[int] = np.random.default_rng(list(seed)).permutation(len(visits)).tolist()
    return order
