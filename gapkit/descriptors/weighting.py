"""Radial weights of neighbours in SOAP, with dscribe's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._validation import check_choice, check_real, describe
from .radial import Array, Profile

__all__ = ["central_weight", "check_weighting", "frozen_weighting", "weight_end", "weight_profile"]

Weighting = tuple[tuple[str, Any], ...]

_ALLOWED = {
    "poly": ("c", "m", "r0"),
    "pow": ("c", "d", "m", "r0"),
    "exp": ("c", "d", "r0"),
}


def check_weighting(weighting: Mapping[str, Any] | None) -> None:
    """Raise if ``weighting`` is not what `SOAP` documents."""
    if weighting is None:
        return
    if not isinstance(weighting, Mapping):
        raise TypeError(describe("weighting", "a dict such as {'function': 'poly', 'r0': 5.0, 'c': 1, 'm': 2}", weighting))
    function = weighting.get("function")
    names: tuple[str, ...] = ()
    if function is not None:
        check_choice("weighting['function']", function, tuple(_ALLOWED))
        names = _ALLOWED[function]
    unknown = sorted(set(weighting) - {"function", "w0", *names})
    if unknown:
        raise ValueError(describe("weighting", f"a dict with the keys {', '.join(('function', 'w0', *names))}", unknown[0]))
    if function is None and "w0" not in weighting:
        raise ValueError(describe("weighting", "a dict with 'function' or 'w0'", dict(weighting)))
    for name in names:
        if name not in weighting:
            raise ValueError(describe("weighting", f"given {name!r} for the function {function!r}", dict(weighting)))
        label = f"weighting[{name!r}]"
        if name == "r0":
            check_real(label, weighting[name], above=0.0, remedy="It is in Å.")
        else:
            check_real(label, weighting[name], at_least=0.0)
    if "w0" in weighting:
        check_real("weighting['w0']", weighting["w0"], at_least=0.0)


def frozen_weighting(weighting: Mapping[str, Any] | None) -> Weighting:
    """The weighting as a hashable value; () for none."""
    return tuple(sorted((k, v if isinstance(v, str) else float(v)) for k, v in (weighting or {}).items() if v is not None))


def weight_end(weighting: Weighting) -> float:
    """Distance (Å) from which the weight is 0; infinite where there is none."""
    settings = dict(weighting)
    return float(settings["r0"]) if settings.get("function") == "poly" else np.inf


def weight_profile(r: Array, weighting: Weighting) -> Profile:
    """Weight of a neighbour, its slope and curvature, as columns."""
    settings = dict(weighting)
    function = settings.get("function")
    x = r[:, None] / settings.get("r0", 1.0)
    if function is None:
        return np.ones_like(x), np.zeros_like(x), np.zeros_like(x)
    c, r0 = settings["c"], settings["r0"]
    if function == "poly":  # y^(2m) v^m with y = 1 - x, v = 1 + 2 x
        m, y, v = settings["m"], np.maximum(1 - x, 0.0), 1 + 2 * x
        with np.errstate(divide="ignore", invalid="ignore"):
            value, outer = y ** (2 * m) * v**m, -6 * m * v ** (m - 1) * (x <= 1)
            slope = outer * x * y ** (2 * m - 1)
            curvature = outer * (y ** (2 * m - 1) * (1 + 2 * (m - 1) * x / v) - (2 * m - 1) * x * y ** (2 * m - 2))
    else:
        d = settings["d"]
        if function == "pow":
            m = settings["m"]
            u, u1, u2 = x**m, m * _power(x, m - 1), m * (m - 1) * _power(x, m - 2)
        else:
            u = u1 = u2 = np.exp(x)
        with np.errstate(divide="ignore", invalid="ignore"):
            value = 1 / (d + u)
            slope = -u1 * value**2
            curvature = -u2 * value**2 + 2 * u1**2 * value**3
    # pow is infinite at r = 0 for small m or d = 0; no two atoms are closer than 0.1 Å, several knots away
    value, slope, curvature = (np.nan_to_num(a, nan=0.0, posinf=0.0, neginf=0.0) for a in (value, slope, curvature))
    return c * value, c * slope / r0, c * curvature / r0**2


def central_weight(weighting: Weighting) -> float:
    """Weight of the central atom: ``w0``, or that of distance 0."""
    settings = dict(weighting)
    if "w0" in settings:
        return float(settings["w0"])
    return float(weight_profile(np.zeros(1), weighting)[0][0, 0])


def _power(base: Array, exponent: float) -> Array:
    with np.errstate(divide="ignore"):
        result: Array = base**exponent
    return result
