r"""From raw standard deviations to calibrated ones: maps learned on errors of structures that the model had not seen.

A posterior of a sparse Gaussian process knows what the data leave open under its own assumptions.  Where these are wrong its
standard deviations s are too small, by a factor of 3 to 9 for forces in our trials.  Three remedies, in order of strength:

* a factor :math:`a = \sqrt{\langle z^2 \rangle}`, :math:`z = r / s`, with r = label - prediction;
* the same with a factor per class (species of the atom or configuration type of the frame), shrunk towards the common one;
* an isotonic map: the least-squares non-decreasing function of s for :math:`\langle r^2 \rangle`.

Beside them, for intervals that hold without any assumption on the shape of the errors, conformal multipliers: components within
a structure depend on each other, so structures are what is exchangeable.  With n structures, :math:`F_k` the distribution of
:math:`|r| / s` within structure k, and a new structure,

.. math:: q(1 - \alpha) = \min \Big\{ q : \frac{1}{n + 1} \sum_k F_k(q) \ge 1 - \alpha \Big\}

covers a component of it with probability at least :math:`1 - \alpha`; with too few structures for that, q is infinite.  The
proof asks for scores that do not depend on the calibration structures: it holds for the plain factor, which cancels, and only
nearly for the other maps and for leave-one-out errors.

References
----------
* P. Pernot, arXiv 2402.10043 (2024): why :math:`\langle z^2 \rangle` and not a correlation.
* R. Dunn, L. Wasserman, A. Ramdas, J. Am. Stat. Assoc. 118, 2491 (2023); Y. Lee, R. F. Barber, R. Willett, arXiv 2306.06342:
  conformal sets for data in groups.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.isotonic import isotonic_regression

from .._validation import check_choice, check_real, describe
from ..exceptions import NumericalWarning

__all__ = ["Calibration", "ErrorMap", "ErrorSample", "check_calibration"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

METHODS = ("scale", "isotonic")
CLASSES = (None, "species", "config_type")

_KINDS = ("energy", "forces", "stress")
_SHARED = {"energies": "energy"}  # local energies have no labels of their own
_FEWEST = 5  # structures that a map, or a class of it, is learned from
_PRIOR = 10.0  # structures that the common factor counts for when a class gets its own
_IN_BIN = 30  # errors that one bin of an isotonic map averages
_MOST_BINS = 20
_ROUNDING = 1e-7  # eV, eV/Å, eV/Å³: below all labels are rounded
_CURVED = 3  # levels of an isotonic map that show more than a factor
_LEVELS = np.append(np.arange(100, 200) / 200, 0.999)  # 0.500, 0.505, ... 0.995, 0.999
_ZERO = 1e-2  # of the median: standard deviations below are 0 by symmetry, but for the precision of the labels


class ErrorSample(NamedTuple):
    """Errors of one kind of label with their standard deviations, component by component.

    Attributes
    ----------
    residual : ndarray of shape (n_values,)
        Label - prediction.
    std : ndarray of shape (n_values,)
        Standard deviation of the prediction, in the same unit.
    structure : ndarray of int of shape (n_values,)
        Number of the structure that each belongs to.
    classes : ndarray of str of shape (n_values,) or None
        Species or configuration type.
    """

    residual: Array
    std: Array
    structure: NDArray[np.int64]
    classes: NDArray[np.str_] | None = None

    def part(self, mask: Mask) -> ErrorSample:
        """Those values."""
        names = None if self.classes is None else self.classes[mask]
        return ErrorSample(self.residual[mask], self.std[mask], self.structure[mask], names)

    def nonzero(self) -> Mask:
        """Which standard deviations say something: those above 1 % of their median (of those above 1e-7).

        The others are 0 by symmetry (forces in a perfect crystal, on an isolated atom) up to rounding of the positions; so is
        the error, and their ratio says how labels were rounded.
        """
        mask: Mask = self.std > _smallest(self.std) if len(self.std) else np.zeros(0, bool)
        return mask


def _smallest(std: Array) -> float:
    """Deviations below are 0 by symmetry."""
    known = std[std > _ROUNDING]
    return max(_ROUNDING, _ZERO * float(np.median(known))) if len(known) else _ROUNDING


def check_calibration(method: str, by: str | None) -> None:
    """Raise ValueError unless there is such a method and such classes."""
    check_choice("method", method, METHODS)
    check_choice("by", by, CLASSES)


class TooFewStructuresError(ValueError):
    """There is nothing to learn a map from."""


@dataclass(frozen=True)
class ErrorMap:
    """The map of one kind of prediction.

    Attributes
    ----------
    raw, calibrated : tuple of float
        Points of the map, not decreasing; straight lines between them in logarithms, proportional outside.
    factors : dict of str to float
        Factor of each class, on top.
    scale : float
        Root mean square of residual / raw standard deviation: raw values are too small by this factor, on average.
    multipliers : tuple of float
        Conformal multipliers of the calibrated standard deviation at 0.500, 0.505, ... 0.995, 0.999; inf where there were
        too few structures.
    n_structures, n_values : int
        What the map was learned from.
    n_zero : int
        Values left out because their standard deviation was 0.
    """

    raw: tuple[float, ...]
    calibrated: tuple[float, ...]
    factors: dict[str, float]
    scale: float
    multipliers: tuple[float, ...]
    n_structures: int
    n_values: int
    n_zero: int

    def apply(self, std: ArrayLike, classes: ArrayLike | None = None) -> Array:
        """Calibrated standard deviations; ``classes`` has the shape of ``std`` without its last axes."""
        std = np.asarray(std, float)
        result = _along(self.raw, self.calibrated, std)
        if classes is not None and self.factors:
            factor = _factors_of(self.factors, classes)
            result *= factor.reshape(factor.shape + (1,) * (std.ndim - factor.ndim))
        return result


@dataclass(frozen=True)
class Calibration:
    """Maps from raw to calibrated standard deviations, one per kind of prediction.

    Make it with `fit`; it is stored in model files and applied by ``model.evaluate``.

    Attributes
    ----------
    method : {"scale", "isotonic"}
        One factor, or a non-decreasing function.
    by : None, "species" or "config_type"
        What classes have factors of their own.  By species: forces only, energies and stresses have none.
    source : str
        Where the errors come from: "loo" (leave one out) or "frames" (structures given for the purpose).
    maps : dict of str to ErrorMap
        For "energy", "forces", "stress", as far as there were labels.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> std = rng.uniform(0.01, 0.1, 3000)
    >>> errors = ErrorSample(rng.normal(0.0, 3 * std), std, np.arange(3000) // 30)  # three times too confident
    >>> calibration = Calibration.fit({"forces": errors}, method="scale")
    >>> round(calibration.maps["forces"].scale, 1), round(float(calibration.apply("forces", 0.02)), 2)
    (3.0, 0.06)
    >>> round(calibration.multiplier("forces", 0.9), 1)  # 1.64 for a Gaussian
    1.7
    """

    method: str
    by: str | None
    source: str
    maps: dict[str, ErrorMap]

    @classmethod
    def fit(
        cls, samples: Mapping[str, ErrorSample], *, method: str = "isotonic", by: str | None = None, source: str = "frames"
    ) -> Self:
        """Learn the maps.

        Parameters
        ----------
        samples : mapping of str to ErrorSample
            For "energy" (total energies), "forces", "stress"; standard deviations are raw ones.  Those that are 0 by
            symmetry are left out and counted.
        method : {"scale", "isotonic"}, default "isotonic"
            See the class.
        by : None, "species" or "config_type", default None
            What ``classes`` of the samples mean; None: they are not looked at.  A class with fewer than 5 structures has no
            factor of its own; the squares of the others are shrunk towards 1 with a weight of 10 structures.
        source : str, default "frames"
            Stored.

        Returns
        -------
        Calibration

        Raises
        ------
        ValueError
            If no kind has 5 structures, or a value is not finite.  Kinds with fewer get no map, and a warning.
        """
        check_calibration(method, by)
        if not samples:
            raise ValueError(describe("samples", "errors of at least one kind", {}, "Give structures with labels."))
        for kind in samples:
            check_choice("samples", kind, _KINDS)
        maps, reasons = {}, []
        for kind, sample in samples.items():
            try:
                maps[kind] = _fit(kind, sample, method, by is not None)
            except TooFewStructuresError as reason:
                reasons.append(str(reason))
        if not maps:
            raise ValueError(" ".join(reasons))
        if reasons:
            warnings.warn(" ".join(reasons) + " They stay raw.", NumericalWarning, stacklevel=3)
        return cls(method, by, source, maps)

    def apply(self, kind: str, std: ArrayLike, classes: ArrayLike | None = None) -> Array:
        """Calibrate standard deviations.

        Parameters
        ----------
        kind : {"energy", "energies", "forces", "stress"}
            Local energies, which have no labels, get the map of total energies.  Without a map for this kind (no such
            labels) the raw values come back; see `maps`.
        std : array-like
            Raw standard deviations, any shape.
        classes : array-like of str, optional
            Species or configuration types, see `by`; of the shape of ``std`` without its last axes.  Unknown ones get the
            common map.

        Returns
        -------
        ndarray of the shape of ``std``
        """
        found = self.maps.get(_SHARED.get(kind, kind))
        return np.asarray(std, float) if found is None else found.apply(std, classes)

    def multiplier(self, kind: str, confidence: float = 0.9) -> float:
        """Conformal half width of an interval, in calibrated standard deviations.

        Parameters
        ----------
        kind : {"energy", "forces", "stress"}
            Kind of prediction.
        confidence : float, default 0.9
            Fraction of the values, averaged over structures, that lie within; 0.5 to 0.999.  Between tabulated levels the
            next higher one is taken.

        Returns
        -------
        float
            inf if there were too few structures for this confidence: n structures suffice up to n / (n + 1).
        """
        check_choice("kind", kind, tuple(self.maps), "Calibrate with structures that have such labels.")
        check_real("confidence", confidence, at_least=_LEVELS[0], at_most=_LEVELS[-1])
        return self.maps[kind].multipliers[int(np.searchsorted(_LEVELS, confidence - 1e-9))]

    def __str__(self) -> str:
        """One line for people."""
        where = {"loo": "leave-one-out errors", "frames": "errors on other structures"}.get(self.source, self.source)
        mean = "" if self.method == "scale" else "on average "
        factors = ", ".join(f"{kind} {mean}×{m.scale:.3g} ({m.n_structures} structures)" for kind, m in self.maps.items())
        classes = f" per {self.by.replace('_', ' ')}" if self.by else ""
        return f"{self.method}{classes} from {where}: {factors}"

    def to_plain(self) -> dict[str, Any]:
        """As JSON can hold it; infinite multipliers become None."""
        plain = asdict(self)
        for values in plain["maps"].values():
            values.update(raw=list(values["raw"]), calibrated=list(values["calibrated"]))
            values["multipliers"] = [q if np.isfinite(q) else None for q in values["multipliers"]]
        return plain

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Inverse of `to_plain`."""
        maps = {}
        for kind, values in plain["maps"].items():
            lists = {name: tuple(values[name]) for name in ("raw", "calibrated")}
            multipliers = tuple(np.inf if q is None else float(q) for q in values["multipliers"])
            maps[kind] = ErrorMap(**{**values, **lists, "multipliers": multipliers})
        return cls(plain["method"], plain["by"], plain["source"], maps)


def _fit(kind: str, sample: ErrorSample, method: str, with_classes: bool) -> ErrorMap:
    residual, std = sample.residual, sample.std
    name = f"samples[{kind!r}]"
    if not (np.isfinite(residual).all() and np.isfinite(std).all() and (std >= 0.0).all()):
        bad = np.flatnonzero(~(np.isfinite(residual) & np.isfinite(std) & (std >= 0.0)))[0]
        got = f"residual {residual[bad]}, standard deviation {std[bad]}"
        raise ValueError(f"`{name}` must be finite with std >= 0; got {got} in structure {sample.structure[bad]}.")
    used = sample.part(sample.nonzero())
    r, s, structure = used.residual, used.std, np.unique(used.structure, return_inverse=True)[1]
    n_structures = int(structure.max()) + 1 if len(structure) else 0
    if n_structures < _FEWEST:
        raise TooFewStructuresError(
            f"`{name}` must be of at least {_FEWEST} structures with a standard deviation above 0; got {n_structures}. "
            "Calibrate with more labelled structures (20 or more), or leave the standard deviations as they are."
        )
    if not r.any():
        raise TooFewStructuresError(
            f"`{name}` must not be all 0; got {len(r)} errors of 0. Are the labels predictions of this model?"
        )
    scale = float(np.sqrt(np.mean((r / s) ** 2)))
    raw, calibrated = ((1.0,), (scale,)) if method == "scale" else _isotonic(r, s, n_structures, _smallest(std))
    calibrated_std = _along(raw, calibrated, s)
    factors: dict[str, float] = {}
    if with_classes and used.classes is not None:
        factors = _class_factors(r / calibrated_std, structure, used.classes)
        calibrated_std = calibrated_std * _factors_of(factors, used.classes)
    multipliers = tuple(_pooled_quantiles(np.abs(r) / calibrated_std, structure).tolist())
    return ErrorMap(raw, calibrated, factors, scale, multipliers, n_structures, len(r), len(residual) - len(r))


def _along(raw: Sequence[float], calibrated: Sequence[float], std: Array) -> Array:
    """The map: log(calibrated / raw) is a line from point to point and constant outside, so is then log(calibrated)."""
    positive = std > 0.0
    logs = np.log(np.where(positive, std, 1.0))
    shift = np.interp(logs, np.log(raw), np.log(calibrated) - np.log(raw))
    result: Array = np.where(positive, std * np.exp(shift), 0.0)
    return result


def _factors_of(factors: Mapping[str, float], classes: ArrayLike) -> Array:
    names = np.asarray(classes)
    return np.array([factors.get(str(name), 1.0) for name in names.ravel()]).reshape(names.shape)


def _isotonic(r: Array, s: Array, n_structures: int, smallest: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Points (raw, calibrated) of the non-decreasing map, one per level of the isotonic regression.

    Errors are averaged in bins of equal size first, so that the highest step does not hang on one error; lines between the
    middles of the steps then replace the steps.
    """
    n_bins = int(np.clip(min(len(s) // _IN_BIN, n_structures // 2), 1, _MOST_BINS))
    edges = np.unique(np.quantile(s, np.arange(1, n_bins) / n_bins))
    member = np.searchsorted(edges, s)  # equal values share a bin
    count = np.bincount(member)
    filled = count > 0
    count = count[filled]
    mean_s2, mean_r2 = (np.bincount(member, weights=x**2)[filled] / count for x in (s, r))
    level = isotonic_regression(mean_r2, sample_weight=count)
    steps = np.unique(level[level > 0.0])  # a level of 0 (labels that are met exactly) is extended from above
    raw = [float(np.sqrt(np.average(mean_s2[level == step], weights=count[level == step]))) for step in steps]
    calibrated = np.sqrt(steps)
    if len(raw) >= _CURVED and smallest < raw[0]:
        # errors do not vanish with the deviation: the lowest level stays, down to what counts as 0 by symmetry
        raw, calibrated = [smallest, *raw], np.concatenate([calibrated[:1], calibrated])
    calibrated = calibrated * np.sqrt(np.mean((r / _along(raw, calibrated, s)) ** 2))  # lines are not steps: mean z² is 1 again
    return tuple(raw), tuple(calibrated.tolist())


def _class_factors(z: Array, structure: NDArray[np.int64], classes: NDArray[np.str_]) -> dict[str, float]:
    """Factor of each class: the mean z² of n structures and a prior of 1 that counts for `_PRIOR` of them."""
    factors = {}
    for name in np.unique(classes):
        member = classes == name
        n = len(np.unique(structure[member]))
        if n >= _FEWEST:
            factors[str(name)] = float(np.sqrt((n * np.mean(z[member] ** 2) + _PRIOR) / (n + _PRIOR)))
    return factors


def _pooled_quantiles(score: Array, structure: NDArray[np.int64]) -> Array:
    """Conformal quantiles of the scores at `_LEVELS`; every structure has the same weight, a new one stands at infinity."""
    size = np.bincount(structure)
    order = np.argsort(score)
    mass = np.cumsum(1.0 / size[structure[order]]) / (len(size) + 1)
    place = np.searchsorted(mass, _LEVELS - 1e-9)
    return np.append(score[order], np.inf)[place]
