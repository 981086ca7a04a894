"""The first streamed pass of a fit: labels, and sparse points chosen from the environments of the training set."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from sklearn.base import clone

from .._backend import in_threads
from ..descriptors import Descriptor, Features
from ..exceptions import InvalidLabelError, LabelWarning, NumericalWarning
from ..gp.observations import Labels, labels_of
from ..gp.sparse_term import SparseTerm
from ..gp.sparsify import distinct, greedy_cholesky, select_points, selection_of_groups, share_points
from ..neighbors import NeighborList
from .progress import track
from .suspects import warn_of_conflicts, warn_of_outliers
from .terms import Term

__all__ = ["CHUNK_ATOMS", "check_groups", "choose_terms", "chunks_of_frames", "collect_labels", "grow_terms", "known_by_points"]

Array = NDArray[np.float64]
Selection = list[str | NDArray[np.int64] | Array]

CHUNK_ATOMS = 512  # rows of a chunk: at most about 3 * CHUNK_ATOMS force components are held at a time
_POOL = 20  # candidates kept per sparse point
_SMALLEST_SCALE = 1e-8  # of a feature that does not vary, as in QUIP


def collect_labels(frames: Sequence[Atoms], energies: Sequence[float] | None = None) -> list[Labels]:
    """Labels of all frames, checked; warn once about frames that have only some, and about labels that contradict others.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Training structures.
    energies : sequence of float, optional
        Total energies (eV) that replace those of the frames.

    Returns
    -------
    list of Labels

    Raises
    ------
    InvalidLabelError
        If a label is not finite, has the wrong shape, or no frame has any label.
    """
    if energies is not None and len(energies) != len(frames):
        raise ValueError(f"`y` must have one energy per frame; got {len(energies)} for {len(frames)} frames.")
    given = [None] * len(frames) if energies is None else list(energies)
    labels = [labels_of(atoms, k, e) for k, (atoms, e) in enumerate(zip(frames, given, strict=True))]
    without_energy = sum(y.energy is None for y in labels)
    without_forces = sum(y.forces is None and len(atoms) > 1 for y, atoms in zip(labels, frames, strict=True))
    if all(y.energy is None and y.forces is None and y.stress is None for y in labels):
        raise InvalidLabelError(
            f"Frames must carry labels in atoms.calc.results; got none in {len(frames)} frames. "
            "Read them with gapkit.datasets.read_frames, which finds the usual keys."
        )
    if without_energy or without_forces:
        warnings.warn(
            f"Of {len(frames)} frames, {without_energy} have no energy and {without_forces} no forces; "
            "they are used for what they have.",
            LabelWarning,
            stacklevel=3,
        )
    warn_of_conflicts(frames, labels)
    warn_of_outliers(frames, labels)
    return labels


def chunks_of_frames(frames: Sequence[Atoms], max_atoms: int = CHUNK_ATOMS) -> Iterator[tuple[int, list[Atoms]]]:
    """Yield (index of the first frame, frames) with at most ``max_atoms`` atoms, or one frame, at a time."""
    start, size = 0, 0
    for k, atoms in enumerate(frames):
        if k > start and size + len(atoms) > max_atoms:
            yield start, list(frames[start:k])
            start, size = k, 0
        size += len(atoms)
    if start < len(frames):
        yield start, list(frames[start:])


@dataclass
class _Pool:
    """A uniform sample of the environments of one group (the last column: their weights), however they arrive in chunks.

    With ``given`` indices, it takes these environments and samples none.
    """

    capacity: int
    given: NDArray[np.int64] | None = None
    rank: Array = field(default_factory=lambda: np.empty(0))
    values: list[Array] = field(default_factory=list)
    seen: int = 0
    lowest: Array | float = np.inf
    highest: Array | float = -np.inf
    moments: Array | float = 0.0
    taken: list[Array] = field(default_factory=list)
    numbered: int = 0

    def look(self, values: Array) -> None:
        """Note the range of all environments, those at the cutoff included (as QUIP does)."""
        if len(values):
            self.lowest = np.minimum(self.lowest, values.min(axis=0))
            self.highest = np.maximum(self.highest, values.max(axis=0))

    def add(self, values: Array, rank: Array) -> None:
        """Keep the environments with the lowest random ``rank``, in order of arrival."""
        self.seen += len(values)
        if len(values):
            self.moments = self.moments + np.array([values.sum(axis=0), (values**2).sum(axis=0)])
        self.rank = np.concatenate([self.rank, rank])
        self.values.append(values)
        if len(self.rank) > 2 * self.capacity:
            self.prune()

    def take(self, values: Array, number: NDArray[np.int64], numbered: int) -> None:
        """Keep the environments whose ``number`` is given; ``numbered`` of them have been counted so far."""
        if self.given is not None:
            self.taken.append(values[np.isin(number, self.given)])
            self.numbered = numbered

    def spread(self, kind: str) -> Array:
        """Range of each feature over all environments, or standard deviation over those that may become sparse points."""
        if kind == "range" and np.ndim(self.highest):
            return np.asarray(self.highest - self.lowest)[:-1]
        if not self.seen:
            return np.ones(1)
        mean, square = np.asarray(self.moments)[:, :-1] / self.seen
        deviation: Array = np.sqrt(np.maximum(square - mean**2, 0.0))
        return deviation

    def prune(self) -> Array:
        values = np.concatenate(self.values)
        if len(self.rank) > self.capacity:
            kept = np.sort(np.argpartition(self.rank, self.capacity)[: self.capacity])
            self.rank, values = self.rank[kept], values[kept]
        self.values = [values]
        return values


def choose_terms(
    named_terms: Sequence[tuple[str, Term]],
    frames: Sequence[Atoms],
    random_state: int | None,
    *,
    show: bool,
    jitter: float = 0.0,
) -> list[SparseTerm]:
    """Fit the descriptors and choose the sparse points of every term.

    Parameters
    ----------
    named_terms : sequence of (str, Term)
        The model; not changed.
    frames : sequence of ase.Atoms
        Training structures.
    random_state : int or None
        Seed of the sampling and of CUR.
    show : bool
        Whether to show a progress bar.
    jitter : float, default 0.0
        Added to the diagonal of delta² K_uu, eV².

    Returns
    -------
    list of SparseTerm
    """
    result, column = [], 0
    seeds = np.random.SeedSequence(random_state).spawn(len(named_terms))
    for (name, term), seed in zip(named_terms, seeds, strict=True):
        rng = np.random.default_rng(seed)
        descriptor = clone(term.descriptor).fit(frames)
        term.kernel.check_features(descriptor.n_features)
        selection = selection_of_groups(name, term.selection, descriptor.group_names_)
        pools = _sample(descriptor, term, selection, frames, rng, f"environments of {name}", show)
        scales = _scales(name, term, descriptor, pools)
        points, weights = _choose(name, term, descriptor, selection, pools, scales, rng)
        sparse, dropped = SparseTerm.build(
            descriptor, clone(term.kernel), float(term.delta), points, column, weights=weights, scales=scales, jitter=jitter
        )
        if dropped:
            warnings.warn(
                f"{dropped} of {dropped + sparse.n_points} sparse points of term {name!r} were dropped: the others determine "
                "them to rounding. Fewer sparse points, or a sharper kernel (higher zeta), would do.",
                NumericalWarning,
                stacklevel=3,
            )
        column += sparse.n_points
        result.append(sparse)
    return result


def _sample(
    descriptor: Descriptor,
    term: Term,
    selection: Selection,
    frames: Sequence[Atoms],
    rng: np.random.Generator,
    title: str,
    show: bool,
) -> list[_Pool]:
    """First pass: of each group, a sample of the environments or those whose indices are given."""
    n = sum(term.n_sparse.values()) if isinstance(term.n_sparse, Mapping) else term.n_sparse
    pools = [
        _Pool(_POOL * n) if isinstance(chosen, str) else _Pool(0, None if chosen.ndim == 2 else chosen.astype(np.int64))
        for chosen in selection
    ]
    if not isinstance(term.scale, str) and all(np.ndim(chosen) == 2 for chosen in selection):
        for pool in pools:  # all points are given: nothing is asked of the structures
            pool.values.append(np.empty((0, descriptor.n_features + 1)))
        return pools
    by_group = isinstance(term.selection, Mapping)
    counted = np.zeros(len(pools), np.int64)  # environments of each group in the chunks before
    for features in _features(descriptor, frames, title, show):
        rank = rng.random(len(features.values))
        candidates = descriptor.may_be_sparse(features)
        rows = np.column_stack([features.values, features.weights_or_ones])
        for group, pool in enumerate(pools):
            own = np.flatnonzero(features.groups == group)
            members = own[candidates[own]]
            pool.look(rows[own])
            pool.add(rows[members], rank[members])
            if by_group:
                pool.take(rows[own], counted[group] + np.arange(len(own)), int(counted[group]) + len(own))
            else:
                pool.take(rows[own], counted.sum() + own, int(counted.sum()) + len(rows))
        counted += np.bincount(features.groups, minlength=len(pools))
    return pools


def _scales(name: str, term: Term, descriptor: Descriptor, pools: Sequence[_Pool]) -> list[Array] | None:
    """What the features of each group are divided by: QUIP's theta."""
    if term.scale is None:
        return None
    groups = descriptor.group_names_
    if isinstance(term.scale, str):
        spread = [pool.spread(term.scale) for pool in pools]
    else:
        by_group = term.scale if isinstance(term.scale, Mapping) else dict.fromkeys(groups, term.scale)
        _check_names(name, "scale", by_group, groups)
        spread = [np.atleast_1d(np.asarray(by_group.get(g, np.ones(descriptor.n_features)), float)) for g in groups]
        for of_group in spread:
            if len(of_group) != descriptor.n_features:
                raise ValueError(
                    f"`scale` of term {name!r} must have one number per feature; got {len(of_group)} for "
                    f"{descriptor.n_features} features. Correct its length, or use 'std' or 'range'."
                )
    return [np.where(s < _SMALLEST_SCALE, 1.0, s) for s in spread]


def check_groups(name: str, term: Term, descriptor: Descriptor) -> None:
    """Raise ValueError if ``n_sparse`` names a group that the fitted descriptor does not have."""
    if isinstance(term.n_sparse, Mapping):
        _check_names(name, "n_sparse", term.n_sparse, descriptor.group_names_)


def _check_names(name: str, parameter: str, by_group: Mapping[str, object], groups: Sequence[str]) -> None:
    unknown = sorted(set(by_group) - set(groups))
    if unknown:
        raise ValueError(f"`{parameter}` of term {name!r} must name groups among {groups}; got {unknown}. Correct the keys.")


def _choose(
    name: str,
    term: Term,
    descriptor: Descriptor,
    selection: Selection,
    pools: Sequence[_Pool],
    scales: Sequence[Array] | None,
    rng: np.random.Generator,
) -> tuple[list[Array], list[Array]]:
    """Sparse points of each group and their weights."""
    candidates = [pool.prune() for pool in pools]
    candidates = [values[distinct(values[:, :-1])] for values in candidates]
    counts = np.array([len(values) for values in candidates])
    free = [isinstance(chosen, str) for chosen in selection]  # to be chosen
    if isinstance(term.n_sparse, Mapping):
        check_groups(name, term, descriptor)
        wanted = [int(term.n_sparse.get(g, 0)) if f else 0 for g, f in zip(descriptor.group_names_, free, strict=True)]
        shares = [min(w, int(c)) for w, c in zip(wanted, counts, strict=True)]
    else:
        wanted = [int(term.n_sparse)] if any(free) else []
        shares = share_points(int(term.n_sparse), np.minimum(counts, [pool.seen for pool in pools]))
    if sum(shares) < sum(wanted):
        warnings.warn(
            f"Term {name!r} was asked for {sum(wanted)} sparse points and gets {sum(shares)}: "
            f"there are only {int(counts.sum())} distinct environments.",
            NumericalWarning,
            stacklevel=4,
        )
    points, weights = [], []
    for group, (rows, share, method) in enumerate(zip(candidates, shares, selection, strict=True)):
        if isinstance(method, str):
            values = rows[:, :-1] if scales is None else rows[:, :-1] / scales[group]
            chosen = rows[select_points(method, values, share, rng, term.kernel)] if share else rows[:0]
        elif method.ndim == 2:
            chosen = _points(name, descriptor, group, method.astype(float))
        else:
            chosen = _given(name, pools[group])
        points.append(np.ascontiguousarray(chosen[:, :-1]))
        weights.append(chosen[:, -1])
    return points, weights


def _points(name: str, descriptor: Descriptor, group: int, given: Array) -> Array:
    """Points that were given with their weights, checked."""
    where = f"`selection` of term {name!r} and group {descriptor.group_names_[group]!r}"
    if given.shape[1] != descriptor.n_features + 1:
        raise ValueError(
            f"{where} must have {descriptor.n_features + 1} columns, the {descriptor.n_features} features and the weight; got "
            f"{given.shape[1]}. Take points of this very descriptor."
        )
    if descriptor.one_per_atom and (given[:, -1] != 1.0).any():
        raise ValueError(f"{where} must have weights of 1: an environment is an atom; got {given[:, -1].min()}. Correct them.")
    return given


def _given(name: str, pool: _Pool) -> Array:
    """The environments whose indices were given, checked."""
    if pool.given is not None and pool.given[-1] >= pool.numbered:
        raise ValueError(
            f"`selection` of term {name!r} must hold indices below {pool.numbered}, the number of environments; got "
            f"{pool.given[-1]}. They count from 0."
        )
    rows = np.concatenate(pool.taken)
    if (rows[:, -1] <= 0.0).any():
        raise ValueError(
            f"`selection` of term {name!r} must not hold environments at the cutoff, which have no energy; got "
            f"{int((rows[:, -1] <= 0.0).sum())} of them. Remove these indices."
        )
    return rows


def grow_terms(
    named_terms: Sequence[tuple[str, Term]], terms: Sequence[SparseTerm], frames: Sequence[Atoms], n_more: int
) -> list[SparseTerm]:
    """Add sparse points from new structures: those of which the present ones leave the largest prior variance, one by one.

    Parameters
    ----------
    named_terms : sequence of (str, Term)
        The model.
    terms : sequence of SparseTerm
        The same with sparse points.
    frames : sequence of ase.Atoms
        New structures.
    n_more : int
        How many points are added to all terms together.

    Returns
    -------
    list of SparseTerm
        Fewer points are added where the rest is determined by those before; a warning counts them.
    """
    picks: list[tuple[float, int, int, Array, float]] = []  # variance left (eV²), term, group, features, weight
    for t, term in enumerate(terms):
        for group, (values, weights) in enumerate(_environments(term.descriptor, frames)):
            if len(values):
                index, _, variance = greedy_cholesky(
                    term.kernel,
                    term.seen(group, values),
                    n_more,
                    weights=weights,
                    known=known_by_points(term, group, values, weights),
                )
                found = zip(term.delta**2 * variance, index, strict=True)
                picks += [(v, t, group, values[k], weights[k]) for v, k in found]
    chosen = sorted(picks, key=lambda pick: -pick[0])[:n_more]
    result, column = [], 0
    for t, ((_, term), old) in enumerate(zip(named_terms, terms, strict=True)):
        points, of_points = list(old.points), list(old.weights)
        for group in range(len(points)):
            new = [pick for pick in chosen if pick[1:3] == (t, group)]
            if new:
                points[group] = np.vstack([points[group], *(pick[3] for pick in new)])
                of_points[group] = np.append(of_points[group], [pick[4] for pick in new])
        sparse, _ = SparseTerm.build(
            old.descriptor,
            clone(term.kernel),
            old.delta,
            points,
            column,
            weights=of_points,
            scales=old.scales,
            jitter=old.jitter,
        )
        column += sparse.n_points
        result.append(sparse)
    added = column - sum(term.n_points for term in terms)
    if added < n_more:
        warnings.warn(
            f"Of {n_more} sparse points to be added {added} were: the others are determined by them to rounding.",
            NumericalWarning,
            stacklevel=3,
        )
    return result


def known_by_points(term: SparseTerm, group: int, values: Array, weights: Array) -> Array:
    """L⁻¹ k of environments: what the sparse points of their group know of them."""
    points = term.seen(group, term.points[group])
    if not len(points):
        return np.empty((0, len(values)))
    covariance = term.weights[group][:, None] * term.kernel(points, term.seen(group, values)) * weights
    known: Array = solve_triangular(term.cholesky[group], covariance, lower=True)
    return known


def _environments(descriptor: Descriptor, frames: Sequence[Atoms]) -> list[tuple[Array, Array]]:
    """Features and weights of the environments of each group that may become sparse points."""
    found: list[list[tuple[Array, Array]]] = [[] for _ in descriptor.group_names_]
    for features in _features(descriptor, frames):
        weights, candidates = features.weights_or_ones, descriptor.may_be_sparse(features)
        for group, parts in enumerate(found):
            members = (features.groups == group) & candidates
            parts.append((features.values[members], weights[members]))
    return [(np.concatenate([v for v, _ in parts]), np.concatenate([w for _, w in parts])) for parts in found]


def _features(descriptor: Descriptor, frames: Sequence[Atoms], title: str = "", show: bool = False) -> Iterator[Features]:
    """Features of all structures, chunk by chunk."""

    def of_chunk(chunk: tuple[int, list[Atoms]]) -> Features:
        start, members = chunk
        return descriptor.compute(NeighborList.from_atoms(members, descriptor.neighbor_range, first_frame=start))

    chunks = list(chunks_of_frames(frames))
    return track(in_threads(of_chunk, chunks), title, len(chunks), show=show)
