"""Weights of energies against forces: whether less noise of the one would serve it and not harm the other."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from ..exceptions import NumericalWarning
from ..gp.leave_one_out import leave_one_out
from ..gp.observations import Noise
from ..model import GAPRegressor
from ..model.folding import solve
from ..model.left_out import rows_of_some
from .findings import Finding
from .left_out import check_remembers, sparse_model

__all__ = ["check_weights"]

Array = NDArray[np.float64]

_STRUCTURES = 24  # that are left out
_STEP = 0.1  # factor of the noise
_MOST_STEPS = 6
_HINT = 1.1  # ratio of errors that a step must bring one kind of label, to be followed
_BETTER = {"energy": 3.0, "forces": 1.5}  # what all steps must bring, to be worth a word; forces have most of the rows
_NO_WORSE = 1.1  # what a step, and all of them, may cost the other kind


@dataclass(frozen=True)
class _Errors:
    """Root mean square leave-one-out errors: energies in eV/atom, forces in eV/Å; and both over the noise of their labels."""

    energy: float
    forces: float
    over_noise: Mapping[str, float]

    def beats(self, other: _Errors, energy: float, forces: float) -> bool:
        """Whether one kind is better than in ``other`` by its factor, and none is worse."""
        if not np.isfinite([self.energy, other.energy]).all():
            return False
        gains = other.energy / self.energy, other.forces / self.forces
        return (gains[0] >= energy or gains[1] >= forces) and min(gains) >= 1.0 / _NO_WORSE


def check_weights(model: GAPRegressor, *, show: bool = False) -> list[Finding]:
    """Finding unbalanced-weights: energies, or forces, would be clearly better with less noise of theirs, at no cost.

    Of structures that are left out (24 at most), errors over the noise that the fit assumed say which kind of label it
    neglects.  The fit is solved again, from its factors, with a noise of that kind like its errors, or a tenth of what it was,
    and so on as long as it helps.

    Parameters
    ----------
    model : GAPRegressor
        Fitted, with its posterior and training set; see `check_doubts`.
    show : bool, default False
        Whether to show a progress bar.

    Returns
    -------
    list of Finding
        None where there are no energies or no forces, and in "fitc" and "vfe", whose factors contain the noise.

    Raises
    ------
    ValueError
        If the model has no posterior or no training set.
    """
    check_remembers(model)
    if (
        model.approximation not in ("sor", "dtc")
        or not model.factors_
        or not all(map(model.n_labels_.get, ("energy", "forces")))
    ):
        return []
    now = _errors(model, {}, show)
    kind = min(now.over_noise, key=lambda name: now.over_noise[name])
    best, factor = now, 1.0
    for _ in range(_MOST_STEPS):
        smaller = factor * min(best.over_noise[kind], _STEP)
        further = _errors(model, {kind: smaller}, show)
        if not further.beats(best, _HINT, _HINT):
            break
        best, factor = further, smaller
    if not best.beats(now, **_BETTER):
        return []
    return [_finding(kind, model.noise_, _scaled(model.noise_, {kind: factor}), now, best)]


def _finding(kind: str, noise: Noise, other: Noise, now: _Errors, then: _Errors) -> Finding:
    name, against = ("energies", "forces") if kind == "energy" else ("forces", "energies")
    value, unit = f"{getattr(other, kind):.2g}", "eV/atom" if kind == "energy" else "eV/Å"
    text = (
        f"{name} weigh too little against {against}: in structures that are left out energies are off by "
        f"{1e3 * now.energy:.3g} meV/atom and forces by {now.forces:.3g} eV/Å; with a noise of {name} of {value} instead of "
        f"{getattr(noise, kind):.2g} {unit} by {1e3 * then.energy:.3g} meV/atom and {then.forces:.3g} eV/Å"
    )
    remedy = f"Fit with --set noise.{kind}={value}, or with --optimize."
    return Finding("unbalanced-weights", "warning", text, remedy)


def _errors(model: GAPRegressor, factors: Mapping[str, float], show: bool) -> _Errors:
    """Errors of structures that are left out, with factors of the noise."""
    assert model.training_ is not None  # noqa: S101 - for the type checker
    sparse = sparse_model(model, _scaled(model.noise_, factors))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)
        posterior = solve(sparse, model.factors_)[0]
    delta = np.repeat([term.delta for term in sparse.sparse], [term.n_points for term in sparse.sparse])
    errors: dict[str, list[Array]] = {"energy": [], "forces": []}
    over_noise: dict[str, list[Array]] = {"energy": [], "forces": []}
    for row in rows_of_some(sparse.sparse, model.training_, model.potential_.e0, sparse.noise, _STRUCTURES, 0, show=show):
        sigma = row.sigma(sparse.noise)
        try:
            residual = leave_one_out(posterior, row.phi * delta, row.target, sigma)[0]
        except np.linalg.LinAlgError:  # labels of so little noise that rounding hides what is left without them
            residual = np.full(len(sigma), np.inf)
        for kind, found in errors.items():
            chosen = row.kind == kind
            per_atom = row.divisor[chosen] if kind == "energy" else 1.0  # residuals are per √N
            found.append((residual[chosen] / per_atom) ** 2)
            over_noise[kind].append((residual[chosen] / sigma[chosen]) ** 2)
    rms = {kind: float(np.sqrt(np.mean(np.concatenate(parts)))) for kind, parts in errors.items()}
    return _Errors(**rms, over_noise={k: float(np.sqrt(np.mean(np.concatenate(parts)))) for k, parts in over_noise.items()})


def _scaled(noise: Noise, factors: Mapping[str, float]) -> Noise:
    """Another noise of some kinds of labels, in all classes."""
    result: Noise = clone(noise)
    result.set_params(**{kind: getattr(noise, kind) * factor for kind, factor in factors.items()})
    if noise.per_config_type:
        result.set_params(per_config_type={name: _scaled(one, factors) for name, one in noise.per_config_type.items()})
    return result
