"""Value, slope and curvature of functions of one variable, carried through a formula by the rules of calculus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from .radial import Profile

__all__ = ["Jet", "variable"]

Numbers = NDArray[np.floating]


@dataclass(frozen=True)
class Jet:
    """A function and its first two derivatives at some points; operators and functions follow the product and chain rules."""

    value: Numbers
    slope: Numbers
    curvature: Numbers

    __array_ufunc__ = None  # arrays leave `array * jet` to the jet

    @property
    def profile(self) -> Profile:
        """As the tables of radial functions take it."""
        return self.value, self.slope, self.curvature

    def __add__(self, other: Any) -> Jet:
        if isinstance(other, Jet):
            return Jet(self.value + other.value, self.slope + other.slope, self.curvature + other.curvature)
        return Jet(self.value + other, self.slope, self.curvature)

    __radd__ = __add__

    def __neg__(self) -> Jet:
        return Jet(-self.value, -self.slope, -self.curvature)

    def __sub__(self, other: Any) -> Jet:
        return self.__add__(-other)

    def __rsub__(self, other: Any) -> Jet:
        return (-self).__add__(other)

    def __mul__(self, other: Any) -> Jet:
        if isinstance(other, Jet):
            return Jet(
                self.value * other.value,
                self.value * other.slope + self.slope * other.value,
                self.value * other.curvature + 2 * self.slope * other.slope + self.curvature * other.value,
            )
        return Jet(self.value * other, self.slope * other, self.curvature * other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Jet:
        return self.__mul__(other**-1.0)

    def __rtruediv__(self, other: Any) -> Jet:
        return (self**-1.0).__mul__(other)

    def __pow__(self, power: float) -> Jet:
        value = self.value**power
        return self.mapped(value, power * self.value ** (power - 1), power * (power - 1) * self.value ** (power - 2))

    def mapped(self, value: Any, first: Any, second: Any) -> Jet:
        """Chain rule: a function of this one, given by its value and derivatives at ``self.value``."""
        return Jet(value, first * self.slope, first * self.curvature + second * self.slope**2)

    def exp(self) -> Jet:
        """Exponential function."""
        value = np.exp(self.value)
        return self.mapped(value, value, value)

    def erf(self) -> Jet:
        """Error function; its value in double precision only."""
        first = 2 / np.sqrt(np.pi) * np.exp(-(self.value**2))
        return self.mapped(erf(self.value.astype(float)), first, -2 * self.value * first)

    def transformed(self, matrix: NDArray[np.floating]) -> Jet:
        """Linear combinations of the columns."""
        return Jet(self.value @ matrix, self.slope @ matrix, self.curvature @ matrix)

    @classmethod
    def of_columns(cls, columns: Sequence[Jet]) -> Jet:
        """Functions side by side."""
        value, slope, curvature = (np.concatenate(parts, axis=1) for parts in zip(*(c.profile for c in columns), strict=True))
        return cls(value, slope, curvature)


def variable(x: NDArray[np.floating]) -> Jet:
    """The variable itself at some points, as a column in extended precision."""
    column = x.astype(np.longdouble)[:, None]
    return Jet(column, np.ones_like(column), np.zeros_like(column))
