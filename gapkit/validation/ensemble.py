"""Error bars of properties: each is computed again with potentials drawn from the posterior."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from .._validation import check_integer
from ..calculator import GAPCalculator
from ..exceptions import NumericalWarning
from ..model import GAPRegressor
from ..model.progress import track

__all__ = ["Ensemble", "Measured", "propagate"]

Array = NDArray[np.float64]

_FEWEST = 3  # samples that a spread is taken of


@dataclass(frozen=True)
class Measured:
    """A property with its error bar.

    Attributes
    ----------
    value : ndarray
        Of the model itself; a scalar has the shape ().
    std : ndarray or None
        Standard deviation over samples of the posterior, times the factor of the calibration; None without posterior.
    """

    value: Array
    std: Array | None = None

    def __float__(self) -> float:
        return float(self.value)


@dataclass(frozen=True)
class Ensemble:
    """A potential, and potentials that are as good as it in the light of the training data.

    Attributes
    ----------
    mean : ase calculator
        What is judged.
    members : tuple of ase calculator
        Drawn from the posterior; none for a model without one, or another calculator.
    factors : dict of str to float
        By how much the spread of quantities that derive from "energy", "forces", "stress" is too small, as `calibrate` found.
    """

    mean: Any
    members: tuple[Any, ...] = ()
    factors: Mapping[str, float] = field(default_factory=dict)

    def first(self, n: int) -> Ensemble:
        """The potential with at most so many of its samples."""
        return replace(self, members=self.members[:n])

    @classmethod
    def of(cls, model: GAPRegressor, n: int = 20, random_state: int | None = 0) -> Self:
        """A fitted model with samples of its posterior.

        Parameters
        ----------
        model : GAPRegressor
            Fitted; without a posterior (QUIP's files, ``posterior=False``) there are no members.
        n : int, default 20
            Number of samples; a standard deviation is known to 1/√(2n) of itself.
        random_state : int, optional
            Seed.

        Returns
        -------
        Ensemble
        """
        check_integer("n", n, at_least=0)
        drawn = model.sample(n, random_state) if n and model.potential_.posterior is not None else []
        maps = {} if model.calibration_ is None else model.calibration_.maps
        factors = {kind: found.scale for kind, found in maps.items()}
        return cls(GAPCalculator(model), tuple(GAPCalculator(member) for member in drawn), factors)

    def __iter__(self) -> Any:
        return iter((self.mean, *self.members))


def propagate(
    measure: Callable[[Any, Any], Mapping[str, Any]],
    ensemble: Ensemble,
    starts: Sequence[Atoms | None],
    *,
    kind: str,
    what: str,
    show: bool = False,
) -> dict[str, Measured]:
    """Measure with every potential of an ensemble; the spread is the error bar.

    Parameters
    ----------
    measure : callable
        ``measure(calculator, atoms) -> {name: number or array}``.
    ensemble : Ensemble
        The potentials.
    starts : sequence of ase.Atoms or None
        What each of them starts from, as of `relaxed_crystals`; None for a sample that has failed before.
    kind : {"energy", "forces", "stress"}
        Label that the property derives from, for the factor of the calibration.
    what : str
        For the progress bar and messages.
    show : bool, default False
        Whether to show a progress bar.

    Returns
    -------
    dict of str to Measured
        Samples for which the measurement fails are left out, with a `NumericalWarning` that counts them.

    Raises
    ------
    ValueError
        If it fails for the model itself.
    """
    found: list[Mapping[str, Any]] = []
    failed = ""
    pairs = list(zip(ensemble, starts, strict=True))
    for k, (calculator, atoms) in enumerate(track(pairs, what, len(pairs), show=show and len(pairs) > 1)):
        if atoms is None:
            continue
        try:
            found.append(measure(calculator, atoms.copy()))
        except ValueError as error:
            if k == 0:
                raise
            failed = str(error)
    if failed:
        missing = sum(atoms is not None for atoms in starts) - len(found)
        warnings.warn(
            f"{what}: {missing} of {len(ensemble.members)} samples of the posterior failed and are left out ({failed})",
            NumericalWarning,
            stacklevel=2,
        )
    factor = ensemble.factors.get(kind, 1.0)
    result = {}
    for name, value in found[0].items():
        std = None
        if len(found) > _FEWEST:
            std = np.asarray(factor * np.std([np.asarray(one[name], float) for one in found[1:]], axis=0, ddof=1))
        result[name] = Measured(np.asarray(value, float), std)
    return result
