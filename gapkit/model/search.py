"""Hyperparameters by evidence, guarded by leave-one-out errors: what ``GAPRegressor(optimize=...)`` does."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from .._validation import check_choice, describe
from ..exceptions import NumericalWarning
from ..gp.likelihood import Evidence, maximize_evidence
from ..gp.observations import KINDS
from ..gp.posterior import RowFactor
from .atomic_energies import AtomicEnergies
from .folding import noise_of_group, solve
from .left_out import left_out_errors, rows_of_some
from .training import SparseModel, TrainingSet

__all__ = ["SEARCHES", "SearchReport", "check_search", "log_evidence", "search_amplitudes"]

Array = NDArray[np.float64]

SEARCHES = ("noise", "delta", "length_scale", "scale")
"""What can be searched for."""

MOST_STRUCTURES = 40  # whose leave-one-out errors decide
_WORSE, _WORSE_OF_ONE = 1.01, 1.1  # a solution is refused if errors grow by more: on average over the kinds, of one kind
_TINY = 1e-12  # errors below are rounding: perfect crystals have no forces


@dataclass(frozen=True)
class SearchReport:
    """What a search found.

    Attributes
    ----------
    changed : dict of str to (float, float)
        Parameter -> value before and after.
    log_evidence : (float, float) or None
        Before and after; of noise and delta.
    errors : dict of str to (float, float)
        Kind of label -> root mean square of the leave-one-out residuals before and after, eV/atom^½, eV/Å, eV/Å³.
    refused : bool
        Whether the evidence's choice made these worse, so that only the noise of forces and delta, or nothing, was taken.
    """

    changed: dict[str, tuple[float, float]] = field(default_factory=dict)
    log_evidence: tuple[float, float] | None = None
    errors: dict[str, tuple[float, float]] = field(default_factory=dict)
    refused: bool = False

    def __add__(self, other: SearchReport) -> SearchReport:
        return SearchReport(
            {**self.changed, **other.changed},
            other.log_evidence or self.log_evidence,
            {**self.errors, **other.errors},
            self.refused or other.refused,
        )


def check_search(optimize: Collection[str], approximation: str, jitter: float) -> None:
    """Raise ValueError unless ``optimize`` is some of `SEARCHES` and the model has an evidence in terms of its amplitudes."""
    if isinstance(optimize, str) or not isinstance(optimize, Collection):
        raise ValueError(describe("optimize", "a collection such as ('noise', 'delta')", optimize, "Put it in a tuple."))
    for name in optimize:
        check_choice("optimize", name, SEARCHES)
    if optimize and approximation == "fitc":
        remedy = "FITC's evidence needs every row; use 'vfe' or 'dtc'."
        raise ValueError(describe("optimize", "() with approximation='fitc'", optimize, remedy))
    if optimize and jitter:
        remedy = "A jitter does not scale with the amplitudes: set it to 0, or reproduce gap_fit without a search."
        raise ValueError(describe("optimize", f"() with jitter={jitter:g}", optimize, remedy))


def log_evidence(model: SparseModel, factors: Mapping[str, RowFactor], approximation: str) -> float:
    """Log marginal likelihood of a model; see `GAPRegressor.log_marginal_likelihood`."""
    if approximation == "fitc" or not factors:
        remedy = "Use 'dtc' or 'vfe', and save with posterior=True."
        raise ValueError(describe("approximation", "one with an evidence and row factors", approximation, remedy))
    evidence, log_sigma, log_delta = amplitudes_of(model, factors)
    return evidence.value_and_gradient(log_sigma, log_delta)[0]


def search_amplitudes(
    model: SparseModel,
    factors: Mapping[str, RowFactor],
    training: TrainingSet,
    e0: AtomicEnergies,
    optimize: Collection[str],
    random_state: int | None,
) -> tuple[SparseModel, SearchReport]:
    """Noise and delta of the largest evidence, as far as they are in ``optimize``.

    The solution is taken if the leave-one-out errors of a sample of structures do not grow by more than 1 % (geometric mean
    over the kinds of labels) and none by more than 10 %; else that in which noise of energies and stresses stays; else nothing
    changes.  Energies and stresses that contradict each other (stress of a plane-wave basis that is too small) mislead the
    evidence: it takes the more numerous stresses for true and the energies for noise.

    Parameters
    ----------
    model : SparseModel
        Where to start.
    factors : mapping of str to RowFactor
        Of the training rows.
    training : TrainingSet
        All structures.
    e0 : dict of int to float
        Energies of isolated atoms.
    optimize : collection of str
        From `SEARCHES`.
    random_state : int or None
        Seed of the sample.

    Returns
    -------
    model : SparseModel
    report : SearchReport
    """
    if not {"noise", "delta"} & set(optimize):
        return model, SearchReport()
    evidence, log_sigma, log_delta = amplitudes_of(model, factors)
    before = evidence.value_and_gradient(log_sigma, log_delta)[0]
    rows = list(rows_of_some(model.sparse, training, e0, model.noise, MOST_STRUCTURES, random_state))
    errors = left_out_errors(model, solve(model, factors)[0], rows)
    if not errors:
        message = "No structure can be left out to judge the evidence: noise and amplitudes stay."
        warnings.warn(message, NumericalWarning, stacklevel=3)
        return model, SearchReport({}, (before, before), {}, refused=True)
    of_class = np.array([":" in name for name in evidence.names])  # the others were divided by a noise of their own
    of_forces = np.array([name.startswith("forces") for name in evidence.names])
    worst: tuple[float, str] = (0.0, "")
    for trial, free in enumerate([of_class, of_class & of_forces]):
        found_sigma, found_delta, reached = maximize_evidence(
            evidence, log_sigma, log_delta, free_noise=free & ("noise" in optimize), free_delta="delta" in optimize
        )
        found = _with_amplitudes(model, evidence.names, found_sigma, found_delta)
        new_errors = left_out_errors(found, solve(found, factors)[0], rows)
        if not_worse(errors, new_errors):
            both = {kind: (errors[kind], new_errors[kind]) for kind in errors}
            return found, SearchReport(_changes(model, found), (before, reached), both, refused=trial > 0)
        worst = max((max(new_errors[kind], _TINY) / max(errors[kind], _TINY), kind) for kind in errors)
    warnings.warn(
        f"The noise and amplitudes of the largest evidence make leave-one-out errors worse ({worst[1]}: {worst[0]:.1f} times); "
        "noise and amplitudes stay. The labels may be too few or of one kind, or contradict each other.",
        NumericalWarning,
        stacklevel=3,
    )
    return model, SearchReport({}, (before, before), {k: (e, e) for k, e in errors.items()}, refused=True)


def amplitudes_of(model: SparseModel, factors: Mapping[str, RowFactor]) -> tuple[Evidence, Array, Array]:
    """Evidence with the logarithms of the present noise and delta."""
    term_of_column = np.repeat(np.arange(len(model.sparse)), [term.n_points for term in model.sparse])
    groups = [columns.stop - columns.start for term in model.sparse for columns in term.columns]
    place_of_column = np.concatenate([np.arange(n) / n for n in groups] or [np.empty(0)])
    evidence = Evidence.from_factors(factors, term_of_column, place_of_column, len(model.sparse))
    log_sigma = np.log([noise_of_group(name, model.noise) for name in evidence.names])
    return evidence, log_sigma, np.log([term.delta for term in model.sparse])


def _with_amplitudes(model: SparseModel, names: Sequence[str], log_sigma: Array, log_delta: Array) -> SparseModel:
    """The model with other noise (of the row groups ``names``) and other delta."""
    values: dict[str, dict[str, float]] = {}
    for name, log_value in zip(names, log_sigma, strict=True):
        kind, colon, noise_class = name.partition(":")
        if colon:
            old = float(getattr(model.noise.classes()[noise_class], kind))
            values.setdefault(noise_class, {})[kind] = _moved(old, log_value)
    noise = clone(model.noise).set_params(**values.pop("", {}))
    if noise.per_config_type:
        types = {key: clone(n).set_params(**values.get(key, {})) for key, n in noise.per_config_type.items()}
        noise = noise.set_params(per_config_type=types)
    named, sparse = [], []
    for (name, term), of_term, log_value in zip(model.named, model.sparse, log_delta, strict=True):
        delta = _moved(of_term.delta, log_value)
        named.append((name, clone(term).set_params(delta=delta)))
        sparse.append(replace(of_term, delta=delta))
    return SparseModel(named, sparse, noise)


def _moved(old: float, log_value: float) -> float:
    """The new value to four digits; the old one where it did not move."""
    return old if abs(log_value - np.log(old)) < 1e-12 else rounded(float(np.exp(log_value)))


def rounded(value: float) -> float:
    """Four digits: what a person copies into a configuration is what was fitted."""
    return float(f"{value:.4g}")


def _changes(before: SparseModel, after: SparseModel) -> dict[str, tuple[float, float]]:
    changes = {}
    for key, old in before.noise.classes().items():
        new = after.noise.classes()[key]
        for kind in KINDS:
            name = ".".join(part for part in ("noise", key, kind) if part)
            changes[name] = (float(getattr(old, kind)), float(getattr(new, kind)))
    for (name, old_term), (_, new_term) in zip(before.named, after.named, strict=True):
        changes[f"{name}.delta"] = (float(old_term.delta), float(new_term.delta))
    return {name: pair for name, pair in changes.items() if pair[0] != pair[1]}


def not_worse(before: Mapping[str, float], after: Mapping[str, float]) -> bool:
    """Whether leave-one-out errors have not grown by more than 1 % (geometric mean over the kinds), and none by 10 %."""
    ratios = np.array([max(after[kind], _TINY) / max(before[kind], _TINY) for kind in before])
    return not len(ratios) or bool(np.exp(np.mean(np.log(ratios))) <= _WORSE and ratios.max() <= _WORSE_OF_ONE)
