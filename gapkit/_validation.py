"""Checks of parameters, with one wording for all: "`name` must be <rule>; got <value>. <What to do.>"."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection
from numbers import Integral, Real
from typing import Any

__all__ = ["check_choice", "check_cutoff", "check_integer", "check_real", "describe", "unknown_key"]

_LARGEST_CUTOFF = 20.0  # Å


def describe(name: str, rule: str, value: object, remedy: str = "") -> str:
    """Compose the sentence that every parameter error uses."""
    return f"`{name}` must be {rule}; got {value!r}.{' ' + remedy if remedy else ''}"


def check_real(
    name: str,
    value: Any,
    *,
    above: float = -math.inf,
    at_least: float = -math.inf,
    at_most: float = math.inf,
    remedy: str = "",
) -> float:
    """Return ``value`` as a float if it is a finite real number within the bounds.

    Raises
    ------
    TypeError
        If ``value`` is not a real number.
    ValueError
        If it is not finite or out of bounds.
    """
    bounds = [f"above {above:g}"] if above > -math.inf else []
    bounds += [f"at least {at_least:g}"] if at_least > -math.inf else []
    bounds += [f"at most {at_most:g}"] if at_most < math.inf else []
    rule = "a number " + " and ".join(bounds) if bounds else "a finite number"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(describe(name, rule, value, remedy))
    number = float(value)
    if not (math.isfinite(number) and above < number and at_least <= number <= at_most):
        raise ValueError(describe(name, rule, value, remedy))
    return number


def check_integer(name: str, value: Any, *, at_least: int, at_most: int | None = None, remedy: str = "") -> int:
    """Return ``value`` as an int if it is an integer within the bounds.

    Raises
    ------
    TypeError
        If ``value`` is not an integer.
    ValueError
        If it is out of bounds.
    """
    rule = f"an integer of at least {at_least}" + ("" if at_most is None else f" and at most {at_most}")
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(describe(name, rule, value, remedy))
    number = int(value)
    if number < at_least or (at_most is not None and number > at_most):
        raise ValueError(describe(name, rule, value, remedy))
    return number


def check_choice(name: str, value: object, choices: Collection[object], remedy: str = "") -> None:
    """Raise ValueError unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(describe(name, "one of " + ", ".join(repr(c) for c in choices), value, remedy))


def check_cutoff(name: str, value: Any, *, above: float = 0.0) -> float:
    """Return a cutoff radius (Å) as a float if it is sensible.

    Raises
    ------
    TypeError
        If it is not a real number.
    ValueError
        If it is too small, or so large that a calculation would never end; the message says what it would cost.
    """
    remedy = "It is in Å; 3 to 8 is usual."
    radius = check_real(name, value, above=above, remedy=remedy)
    if radius > _LARGEST_CUTOFF:
        neighbors, cost = 0.05 * 4.0 / 3.0 * math.pi * radius**3, (radius / 5.0) ** 3
        remedy += (
            f" At 0.05 atoms/Å³ an atom would have {neighbors:,.0f} neighbours, {cost:,.0f} times those of a cutoff of 5 Å."
        )
        raise ValueError(describe(name, f"a number at most {_LARGEST_CUTOFF:g}", value, remedy))
    return radius


def unknown_key(what: str, key: object, known: Collection[object]) -> str:
    """Say that a key is not known, with the nearest that is."""
    near = difflib.get_close_matches(str(key), [str(k) for k in known], n=1, cutoff=0.6)
    hint = f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(map(str, known))}."
    return f"Unknown {what}: {key!r}.{hint}"
