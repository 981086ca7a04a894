"""Time of a fit, from the functions that it runs: called on a sample of the frames, extrapolated by the powers of sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import process_time

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from .._backend import one_thread
from ..gp.design import kernel_rows, targets
from ..gp.observations import KINDS, Labels
from ..gp.posterior import RowFactor
from ..gp.sparse_term import SparseTerm, pivoted_cholesky, whiten
from ..gp.sparsify import distinct, select_points, selection_of_groups
from ..neighbors import NeighborList
from .fitting import _POOL, CHUNK_ATOMS, Selection, _Pool, _sample
from .sizes import FitSizes, TermSizes, evenly

__all__ = ["fit_seconds"]

Array = NDArray[np.float64]
Counts = NDArray[np.int64]

_FIRST_ATOMS = 64  # of the first sample; it grows until its time can be trusted
_ENOUGH = 0.1  # s, of a sample
_SHORT = 0.02  # s, below which a call is repeated
_TURNS = 5  # what is subtracted is timed in turn, so that a busy machine slows both
_OPERATIONS = 4e9  # of one call of the kernels, and of the largest fold
_COLUMNS = 2500  # of triangles into which rows are folded
_FACTOR = 1000  # size of factorisations
_FEATURES, _CANDIDATES = 500, 2000  # size of choices of sparse points
_LEVERAGE = ("auto", "cur")  # an eigenvalue problem; the cost of the others grows with candidates times sparse points


def fit_seconds(sizes: FitSizes, frames: Sequence[Atoms], labels: Sequence[Labels]) -> dict[str, float]:
    """CPU seconds of each part of a fit on one thread of this machine; takes two to three seconds.

    Parameters
    ----------
    sizes : FitSizes
        From `fit_sizes`.
    frames, labels : sequences
        Training structures and their labels.

    Returns
    -------
    dict of str to float
        "selection" of sparse points, "descriptors" of both passes with their neighbours, "kernels", "whitening" and "folding"
        of the rows, "solve".
    """
    seconds = dict.fromkeys(("selection", "descriptors", "kernels", "whitening", "folding", "solve"), 0.0)
    with one_thread():
        for derivatives in (True, False):
            members = [k for chunk in sizes.chunks if chunk.derivatives == derivatives for k in chunk.numbers]
            if members:
                descriptors, kernels = _of_rows(sizes, [frames[k] for k in members], [labels[k] for k in members])
                seconds["descriptors"] += descriptors
                seconds["kernels"] += kernels
        for term in sizes.terms:
            first_pass, choice = _of_selection(term, frames, sizes.atoms)
            seconds["descriptors"] += first_pass
            seconds["selection"] += choice
        seconds["whitening"], seconds["folding"] = _of_folding(sizes)
        m = min(sizes.n_points, _FACTOR)
        seconds["solve"] = len(sizes.rows) * _of_merging(m) * (sizes.n_points / m) ** 3
    return seconds


def _timed(function: Callable[..., object], *arguments: object, at_least: float = _SHORT) -> float:
    """CPU seconds of a call; the mean of several where one is shorter than ``at_least``."""
    start, calls, elapsed = process_time(), 0, 0.0
    while not calls or elapsed < at_least:
        function(*arguments)
        calls += 1
        elapsed = process_time() - start
    return elapsed / calls


def _sample_of(frames: Sequence[Atoms], function: Callable[[list[Atoms]], object], most_atoms: int) -> list[Atoms]:
    """Evenly spaced frames: as few as keep ``function`` busy long enough to be timed."""
    function(evenly(frames, 1)[:1])  # compiled loops and tables are ready
    n_atoms, total = _FIRST_ATOMS, sum(map(len, frames))
    while True:
        sample = evenly(frames, n_atoms)
        if n_atoms >= min(total, most_atoms) or _timed(function, sample, at_least=0.0) >= _ENOUGH:
            return sample
        n_atoms *= 2


def _of_rows(sizes: FitSizes, frames: Sequence[Atoms], labels: Sequence[Labels]) -> tuple[float, float]:
    """Descriptors with their derivatives, and kernels, of the second pass over some frames.

    With one sparse point per group there are no kernels to speak of; their time is linear in the number of points.
    """
    neighbor_range = max(term.descriptor.neighbor_range for term in sizes.terms)
    place = {id(atoms): k for k, atoms in enumerate(frames)}

    def rows(sample: list[Atoms], terms: list[SparseTerm]) -> None:
        neighbors = NeighborList.from_atoms(sample, neighbor_range)
        of_sample = [labels[place[id(atoms)]] for atoms in sample]
        kernel_rows(terms, neighbors, of_sample)
        targets(neighbors, of_sample)

    pools = [_environments(term, evenly(frames, _FIRST_ATOMS), neighbor_range) for term in sizes.terms]
    single = _sparse_terms(sizes, pools, [np.minimum(term.points, 1) for term in sizes.terms])
    sample = _sample_of(frames, lambda sample: rows(sample, single), CHUNK_ATOMS)
    share = sum(map(len, sample)) / sizes.atoms
    operations = sum(
        share * (2.0 * t.descriptor.n_features + 16.0) * (3.0 * t.entries + 10.0 * t.environments.sum()) * t.points.max()
        for t in sizes.terms
    )
    fraction = min(1.0, _OPERATIONS / max(float(operations), 1.0))
    numbers = [np.minimum(t.points, np.maximum(32, (fraction * t.points).astype(np.int64))) for t in sizes.terms]
    some = _sparse_terms(sizes, pools, numbers)
    times = np.median([[_timed(rows, sample, terms) for terms in (single, some)] for _ in range(_TURNS)], axis=0)
    without, both = float(times[0]), float(times[1])
    done, wanted = (
        sum(t.entries * float(t.environments @ n) for t, n in zip(sizes.terms, points, strict=True))
        for points in (numbers, [t.points for t in sizes.terms])
    )
    scale = sum(map(len, frames)) / sum(map(len, sample))
    return scale * without, scale * max(both - without, 0.0) * wanted / max(done, 1.0)


def _environments(term: TermSizes, frames: Sequence[Atoms], neighbor_range: float) -> list[Array]:
    """Features of each group, from some frames; a random vector where a group has none there."""
    features = term.descriptor.compute(NeighborList.from_atoms(frames, neighbor_range))
    found = [features.values[features.groups == g] for g in range(len(term.points))]
    rng = np.random.default_rng(0)
    return [x if len(x) else rng.random((1, term.descriptor.n_features)) for x in found]


def _sparse_terms(sizes: FitSizes, pools: Sequence[list[Array]], numbers: Sequence[Counts]) -> list[SparseTerm]:
    """Terms with so many sparse points, drawn from the environments; their factors have the size only."""
    result, column = [], 0
    for term, pool, counts in zip(sizes.terms, pools, numbers, strict=True):
        points = [np.resize(x, (n, x.shape[1])) for x, n in zip(pool, counts.tolist(), strict=True)]
        columns = []
        for p in points:
            columns.append(slice(column, column + len(p)))
            column += len(p)
        scales = None if term.term.scale is None else [np.ones(p.shape[1]) for p in points]
        weights = [np.ones(len(p)) for p in points]
        factors = [np.asfortranarray(np.eye(len(p)) + np.tril(np.full((len(p), len(p)), 1e-4))) for p in points]
        result.append(SparseTerm(term.descriptor, term.term.kernel, 1.0, points, weights, scales, factors, columns))
    return result


def _of_selection(term: TermSizes, frames: Sequence[Atoms], n_atoms: int) -> tuple[float, float]:
    """Descriptors of the first pass, and the choice of sparse points with their kernel."""
    methods = selection_of_groups("", term.term.selection, term.descriptor.group_names_)
    any_method: Selection = ["auto"] * len(methods)

    def collect(sample: list[Atoms]) -> list[_Pool]:
        return _sample(term.descriptor, term.term, any_method, sample, np.random.default_rng(0), "", False)

    sample = _sample_of(frames, collect, 4 * CHUNK_ATOMS)
    first_pass = _timed(collect, sample) * n_atoms / sum(map(len, sample))
    choice = 0.0
    groups = zip(collect(sample), methods, term.environments.tolist(), term.points.tolist(), strict=True)
    for pool, method, n_environments, n_points in groups:
        if n_points and pool.seen:
            values, n_candidates = pool.prune()[:, :-1], min(n_environments, _POOL * term.requested)
            choice += _of_factor(term, values, n_points)
            if isinstance(method, str):
                choice += _of_choice(term, method, values, n_candidates, n_points)
    return first_pass, choice


def _of_factor(term: TermSizes, values: Array, n_points: int) -> float:
    """Kernel of the sparse points of a group, and its factorisation."""
    m = min(n_points, _FACTOR)
    kernel = _timed(term.term.kernel, np.resize(values, (m, values.shape[1])))
    return kernel * (n_points / m) ** 2 + _timed(pivoted_cholesky, 0.5 * np.eye(m) + 0.5) * (n_points / m) ** 3


def _of_choice(term: TermSizes, method: str, values: Array, n_candidates: int, n_points: int) -> float:
    """Distinct candidates of a group, and the sparse points among them."""
    seconds = _timed(distinct, values[:500]) * n_candidates / min(len(values), 500)
    if n_points >= n_candidates:
        return seconds
    n, d = min(n_candidates, _CANDIDATES), min(values.shape[1], _FEATURES)
    candidates = np.resize(values[:, :d], (n, d)) + 1e-3 * np.random.default_rng(0).standard_normal((n, d))

    def choose(n: int, m: int) -> float:
        return _timed(select_points, method, candidates[:n], m, np.random.default_rng(0), term.term.kernel)

    m, wider = max(1, min(n_points * n // n_candidates, n // 4)), float(values.shape[1] / d)
    if method in _LEVERAGE and d > 3:  # eigenvectors D³, leverages of each candidate D²
        full = choose(n, m)
        slope = max(full - choose(n // 2, m), 0.0) / (n - n // 2)
        return seconds + max(full - n * slope, 0.0) * wider**3 + n_candidates * slope * wider**2
    power = 2 if method in ("cholesky", "leverage") else 1
    return seconds + choose(n, m) * (n_candidates / n) * (n_points / m) ** power * wider


def _of_folding(sizes: FitSizes) -> tuple[float, float]:
    """Whitening and folding: linear in the rows of a chunk beside a constant for reading the triangle, both times M²."""
    reduced = sizes.with_points(min(1.0, _COLUMNS / sizes.n_points))
    m = reduced.n_points
    pools = [[np.zeros((1, 1))] * len(t.points) for t in reduced.terms]
    terms = _sparse_terms(reduced, pools, [t.points for t in reduced.terms])
    factor = RowFactor(m)
    counts = np.array([chunk.rows[kind] for chunk in sizes.chunks for kind in KINDS if chunk.rows[kind]])
    few, many = 4, int(np.clip(_OPERATIONS / (4.0 * m**2), 36, max(36, counts.max())))
    rng, times = np.random.default_rng(0), []
    for n in (few, many):
        rows, target = rng.standard_normal((n, m)), rng.standard_normal((n, 1))
        times.append([_timed(whiten, terms, rows), _timed(factor.fold, rows, target)])
    slope = (np.array(times[1]) - np.array(times[0])) / (many - few)
    constant = np.maximum(np.array(times[0]) - few * slope, 0.0)
    whitening, folding = (len(counts) * constant + counts.sum() * slope).tolist()
    squares, reduced_squares = (sum(float(n) ** 2 for t in s.terms for n in t.points) for s in (sizes, reduced))
    return whitening * squares / reduced_squares, folding * (sizes.n_points / m) ** 2


def _of_merging(m: int) -> float:
    """One row group joins the posterior."""
    factor, triangle = RowFactor(m), np.triu(np.random.default_rng(0).random((m + 1, m + 1)))
    return _timed(lambda: factor.merge(RowFactor.from_triangle(triangle * 1.0, m)))
