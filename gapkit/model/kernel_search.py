"""Length scales of kernels and scales of features by evidence, on a sample of the rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.base import clone

from ..gp.likelihood import maximize_evidence
from ..gp.sparse_term import SparseTerm
from .atomic_energies import AtomicEnergies
from .folding import Factors, RowBlock, fold_block, solve, whitened_rows
from .left_out import left_out_errors, rows_of_some
from .progress import track
from .search import MOST_STRUCTURES, SearchReport, amplitudes_of, not_worse, rounded
from .training import SparseModel, TrainingSet

__all__ = ["search_kernels"]

Array = NDArray[np.float64]

_MOST_ROWS = 20_000  # of the sample
_MOST_SCALES = 6  # features of a term whose scales are searched one by one
_RANGE = 10.0  # length scales and scales change by this factor at most, either way
_TRIALS = 15  # kernels that are tried per parameter


@dataclass(frozen=True)
class _Parameter:
    """A length scale (``key`` is its name in the kernel), or the scale of a feature (``key`` is its number)."""

    term: int
    key: str | int


def search_kernels(
    model: SparseModel,
    training: TrainingSet,
    e0: AtomicEnergies,
    optimize: Collection[str],
    approximation: str,
    random_state: int | None,
    *,
    show: bool,
) -> tuple[SparseModel, SearchReport]:
    """Length scales and scales of the largest evidence on a sample of at most 20,000 rows; the sparse points stay.

    Noise and delta, if they are searched too, follow each trial; `search_amplitudes` sets them from all rows in the end.  The
    solution is taken unless it makes leave-one-out errors worse (`not_worse`).

    Parameters
    ----------
    model : SparseModel
        Where to start.
    training : TrainingSet
        All structures.
    e0 : dict of int to float
        Energies of isolated atoms.
    optimize : collection of str
        From `SEARCHES`.
    approximation : str
        Whose evidence.
    random_state : int or None
        Seed of the sample.
    show : bool
        Whether to show a progress bar.

    Returns
    -------
    model : SparseModel
    report : SearchReport
    """
    parameters = _parameters(model, optimize)
    if not parameters:
        return model, SearchReport()
    sample = training.sample(_some_structures(training, random_state))
    trials = _Trials(_with_common_scales(model, parameters), sample, e0, parameters, optimize, approximation)
    n_trials = _TRIALS * len(parameters)
    bar = track(range(n_trials), "length scales", n_trials, show=show)

    def objective(x: Array) -> float:
        next(bar, None)
        return -trials.log_evidence(x)

    found = minimize(
        objective,
        np.zeros(len(parameters)),
        method="Powell",
        bounds=[(-np.log(_RANGE), np.log(_RANGE))] * len(parameters),
        options={"maxfev": n_trials, "xtol": 0.03, "ftol": 1e-6},
    )
    bar.close()  # type: ignore[attr-defined]
    reached = trials.model_at(found.x)
    before, after = (trials.errors(m, random_state) for m in (model, reached))
    if not not_worse(before, after):
        return model, SearchReport(errors={kind: (e, e) for kind, e in before.items()}, refused=True)
    return reached, SearchReport(_changes(model, reached), errors={kind: (before[kind], after[kind]) for kind in before})


def _parameters(model: SparseModel, optimize: Collection[str]) -> list[_Parameter]:
    """What is searched, term by term; raise ValueError where there is nothing of the kind in the model."""
    found: list[_Parameter] = []
    for t, (_, term) in enumerate(model.named):
        if "length_scale" in optimize:
            names = sorted(term.kernel.get_params())
            found += [_Parameter(t, name) for name in names if name.rpartition("__")[2] == "length_scale"]
        n_features = model.sparse[t].descriptor.n_features
        if "scale" in optimize and term.kernel.is_stationary() and 1 < n_features <= _MOST_SCALES:
            found += [_Parameter(t, feature) for feature in range(n_features)]
    if not found and {"length_scale", "scale"} & set(optimize):
        raise ValueError(
            "`optimize` must name what the model has; got 'length_scale' or 'scale' for kernels without a length scale "
            f"({', '.join(repr(term.kernel) for _, term in model.named)}). Leave them out: zeta, r_cut and n_max are chosen by "
            "GridSearchCV."
        )
    return found


def _some_structures(training: TrainingSet, random_state: int | None) -> list[int]:
    """A seeded sample of structures with at most `_MOST_ROWS` rows, at least one structure."""
    order = np.random.default_rng(random_state).permutation(len(training.frames))
    rows = [(y.energy is not None) + 3 * len(y.force_atoms()) + (0 if y.stress is None else 6) for y in training.labels]
    until = np.cumsum([rows[k] for k in order])
    return sorted(int(k) for k in order[: max(1, int(np.searchsorted(until, _MOST_ROWS, side="right")))])


def _with_common_scales(model: SparseModel, parameters: Sequence[_Parameter]) -> SparseModel:
    """The model with one scale per feature for all groups of the terms whose scales are searched: a Term has no others."""
    named, sparse = list(model.named), list(model.sparse)
    for t in {p.term for p in parameters if isinstance(p.key, int)}:
        (name, term), old = named[t], sparse[t]
        scales = [np.ones(old.descriptor.n_features)] if old.scales is None else old.scales
        common = np.exp(np.mean(np.log(scales), axis=0))
        named[t] = name, clone(term).set_params(scale=[float(s) for s in common])
        sparse[t] = replace(old, scales=[common] * len(old.points))
    return SparseModel(named, sparse, model.noise)


class _Trials:
    """Evidence of a sample for other kernels; rows of terms that do not change are computed once."""

    def __init__(
        self,
        model: SparseModel,
        sample: TrainingSet,
        e0: AtomicEnergies,
        parameters: Sequence[_Parameter],
        optimize: Collection[str],
        approximation: str,
    ) -> None:
        self.model, self.sample, self.e0, self.parameters = model, sample, e0, parameters
        self.optimize, self.approximation = optimize, approximation
        self.chunks = sample.chunks(e0, model.noise)
        searched = {p.term for p in parameters}
        self.kept = {t: self._rows(term) for t, term in enumerate(model.sparse) if t not in searched}

    def _rows(self, term: SparseTerm) -> list[list[RowBlock]]:
        """Rows of one term alone, chunk by chunk."""
        first = term.columns[0].start
        alone = replace(term, columns=[slice(c.start - first, c.stop - first) for c in term.columns])
        return [list(whitened_rows([alone], chunk, unexplained=self.approximation == "vfe")) for chunk in self.chunks]

    def model_at(self, x: Array) -> SparseModel:
        """The model with each parameter times exp(x), to four digits."""
        named, sparse, column = [], [], 0
        for t, ((name, term), old) in enumerate(zip(self.model.named, self.model.sparse, strict=True)):
            kernel, changed = clone(term.kernel), clone(term)
            scale: list[float] | None = list(term.scale) if isinstance(term.scale, list) else None
            for parameter, log_factor in zip(self.parameters, x, strict=True):
                if parameter.term != t:
                    continue
                if isinstance(parameter.key, int):
                    assert scale is not None  # noqa: S101 - for the type checker: `_with_common_scales`
                    scale[parameter.key] = rounded(scale[parameter.key] * float(np.exp(log_factor)))
                    changed.set_params(scale=scale)
                else:
                    value = kernel.get_params()[parameter.key]
                    kernel = kernel.set_params(**{parameter.key: rounded(value * float(np.exp(log_factor)))})
            changed.set_params(kernel=kernel)
            scales = old.scales if scale is None else [np.array(scale)] * len(old.points)
            built, _ = SparseTerm.build(
                old.descriptor, clone(kernel), old.delta, old.points, column, weights=old.weights, scales=scales
            )
            column += built.n_points
            named.append((name, changed))
            sparse.append(built)
        return SparseModel(named, sparse, self.model.noise)

    def factors(self, model: SparseModel) -> Factors:
        """Factors of the sample."""
        of_terms = [self.kept[t] if t in self.kept else self._rows(term) for t, term in enumerate(model.sparse)]
        factors: Factors = {}
        for chunk, *blocks_of_terms in zip(self.chunks, *of_terms, strict=True):
            for blocks in zip(*blocks_of_terms, strict=True):
                missed = [b.unexplained for b in blocks if b.unexplained is not None]
                block = replace(
                    blocks[0],
                    phi=np.hstack([b.phi for b in blocks]),
                    unexplained=np.concatenate(missed) if missed else None,
                )
                fold_block(factors, model, block, chunk.noise_class, self.approximation)
        return factors

    def log_evidence(self, x: Array) -> float:
        """Of the sample, at the best noise and delta if these are searched."""
        model = self.model_at(np.atleast_1d(x))
        evidence, log_sigma, log_delta = amplitudes_of(model, self.factors(model))
        searched = np.array([":" in name for name in evidence.names])
        return maximize_evidence(
            evidence,
            log_sigma,
            log_delta,
            free_noise=searched & ("noise" in self.optimize),
            free_delta="delta" in self.optimize,
            starts=(0.0,),
            max_iterations=15,
        )[2]

    def errors(self, model: SparseModel, random_state: int | None) -> dict[str, float]:
        """Leave-one-out errors of the sample."""
        rows = rows_of_some(model.sparse, self.sample, self.e0, model.noise, MOST_STRUCTURES, random_state)
        return left_out_errors(model, solve(model, self.factors(model))[0], rows)


def _changes(before: SparseModel, after: SparseModel) -> dict[str, tuple[float, float]]:
    """Length scales and scales that are not what they were."""
    changes = {}
    for t, ((name, old), (_, new)) in enumerate(zip(before.named, after.named, strict=True)):
        pairs = {key: (old.kernel.get_params()[key], value) for key, value in new.kernel.get_params().items()}
        changes.update({f"{name}.{k}": (float(a), float(b)) for k, (a, b) in pairs.items() if isinstance(b, float) and a != b})
        if isinstance(new.scale, list) and new.scale is not old.scale:
            scales = before.sparse[t].scales
            was = np.ones(len(new.scale)) if scales is None else np.exp(np.mean(np.log(scales), axis=0))
            changes.update({f"{name}.scale[{k}]": (float(a), b) for k, (a, b) in enumerate(zip(was, new.scale, strict=True))})
    return changes
