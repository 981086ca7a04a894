"""The two streamed passes of a fit: choose sparse points, then fold the rows of every label into triangular factors."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from sklearn.base import clone

from ..descriptors import Descriptor
from ..exceptions import InvalidLabelError, LabelWarning, NumericalWarning
from ..gp.design import SparseTerm, kernel_rows, targets, whiten
from ..gp.observations import KINDS, Labels, Noise, labels_of
from ..gp.posterior import RowFactor, SparsePosterior
from ..gp.sparsify import distinct, select_points, share_points
from ..neighbors import NeighborList
from .baseline import AtomicEnergies
from .progress import track
from .terms import Term

__all__ = ["check_groups", "choose_terms", "chunks_of_frames", "coefficients_of", "collect_labels", "fold_rows", "solve"]

Array = NDArray[np.float64]

CHUNK_ATOMS = 256  # rows of a chunk: at most about 3 * CHUNK_ATOMS force components are held at a time
_POOL = 20  # candidates kept per sparse point
_SMALLEST_WEIGHT = 0.01  # environments closer to the cutoff are no sparse points
_SMALLEST_SCALE = 1e-8  # of a feature that does not vary, as in QUIP


def collect_labels(frames: Sequence[Atoms], energies: Sequence[float] | None = None) -> list[Labels]:
    """Labels of all frames, checked; warn once about frames that have only some.

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
    """A uniform sample of the environments of one group (the last column: their weights), however they arrive in chunks."""

    capacity: int
    rank: Array = field(default_factory=lambda: np.empty(0))
    values: list[Array] = field(default_factory=list)
    seen: int = 0
    lowest: Array | float = np.inf
    highest: Array | float = -np.inf
    moments: Array | float = 0.0

    def add(self, values: Array, rank: Array) -> None:
        """Keep the environments with the lowest random ``rank``, in order of arrival."""
        self.seen += len(values)
        if len(values):
            self.lowest = np.minimum(self.lowest, values.min(axis=0))
            self.highest = np.maximum(self.highest, values.max(axis=0))
            self.moments = self.moments + np.array([values.sum(axis=0), (values**2).sum(axis=0)])
        self.rank = np.concatenate([self.rank, rank])
        self.values.append(values)
        if len(self.rank) > 2 * self.capacity:
            self.prune()

    def spread(self, kind: str) -> Array:
        """Range or standard deviation of each feature over all environments seen."""
        if not self.seen:
            return np.ones(1)
        if kind == "range":
            return np.asarray(self.highest - self.lowest)[:-1]
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
    named_terms: Sequence[tuple[str, Term]], frames: Sequence[Atoms], random_state: int | None, *, show: bool
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

    Returns
    -------
    list of SparseTerm
    """
    result, column = [], 0
    seeds = np.random.SeedSequence(random_state).spawn(len(named_terms))
    for (name, term), seed in zip(named_terms, seeds, strict=True):
        rng = np.random.default_rng(seed)
        descriptor = clone(term.descriptor).fit(frames)
        pools = _sample(descriptor, term, frames, rng, f"environments of {name}", show)
        scales = _scales(name, term, descriptor, pools)
        points, weights = _choose(name, term, descriptor, pools, scales, rng)
        sparse, dropped = SparseTerm.build(
            descriptor, clone(term.kernel), float(term.delta), points, column, weights=weights, scales=scales
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
    descriptor: Descriptor, term: Term, frames: Sequence[Atoms], rng: np.random.Generator, title: str, show: bool
) -> list[_Pool]:
    """First pass: a sample of the environments of each group."""
    n = sum(term.n_sparse.values()) if isinstance(term.n_sparse, Mapping) else term.n_sparse
    pools = [_Pool(_POOL * n) for _ in descriptor.group_names_]
    chunks = list(chunks_of_frames(frames))
    for start, chunk in track(chunks, title, len(chunks), show=show):
        neighbors = NeighborList.from_atoms(chunk, descriptor.neighbor_range, first_frame=start)
        features = descriptor.compute(neighbors)
        rank = rng.random(len(features.values))
        weights = features.weights_or_ones
        for group, pool in enumerate(pools):
            members = (features.groups == group) & (weights >= _SMALLEST_WEIGHT)
            pool.add(np.column_stack([features.values[members], weights[members]]), rank[members])
    return pools


def _scales(name: str, term: Term, descriptor: Descriptor, pools: Sequence[_Pool]) -> list[Array] | None:
    """What the features of each group are divided by: QUIP's theta."""
    if term.scale is None:
        return None
    if isinstance(term.scale, str):
        spread = [pool.spread(term.scale) for pool in pools]
    else:
        spread = [np.atleast_1d(np.asarray(term.scale, float))] * len(pools)
        if len(spread[0]) != descriptor.n_features:
            raise ValueError(
                f"`scale` of term {name!r} must have one number per feature; got {len(spread[0])} for {descriptor.n_features} "
                "features. Correct its length, or use 'std' or 'range'."
            )
    return [np.where(s < _SMALLEST_SCALE, 1.0, s) for s in spread]


def check_groups(name: str, term: Term, descriptor: Descriptor) -> None:
    """Raise ValueError if ``n_sparse`` names a group that the fitted descriptor does not have."""
    unknown = sorted(set(term.n_sparse) - set(descriptor.group_names_)) if isinstance(term.n_sparse, Mapping) else []
    if unknown:
        raise ValueError(
            f"`n_sparse` of term {name!r} must name groups among {descriptor.group_names_}; got {unknown}. Correct the keys."
        )


def _choose(
    name: str,
    term: Term,
    descriptor: Descriptor,
    pools: Sequence[_Pool],
    scales: Sequence[Array] | None,
    rng: np.random.Generator,
) -> tuple[list[Array], list[Array]]:
    """Sparse points of each group and their weights."""
    candidates = [pool.prune() for pool in pools]
    candidates = [values[distinct(values[:, :-1])] for values in candidates]
    counts = np.array([len(values) for values in candidates])
    if isinstance(term.n_sparse, Mapping):
        check_groups(name, term, descriptor)
        wanted = [int(term.n_sparse.get(group, 0)) for group in descriptor.group_names_]
        shares = [min(w, int(c)) for w, c in zip(wanted, counts, strict=True)]
    else:
        wanted = [int(term.n_sparse)]
        shares = share_points(int(term.n_sparse), np.minimum(counts, [pool.seen for pool in pools]))
    if sum(shares) < sum(wanted):
        warnings.warn(
            f"Term {name!r} was asked for {sum(wanted)} sparse points and gets {sum(shares)}: "
            f"there are only {int(counts.sum())} distinct environments.",
            NumericalWarning,
            stacklevel=4,
        )
    points, weights = [], []
    for group, (rows, share) in enumerate(zip(candidates, shares, strict=True)):
        values = rows[:, :-1] if scales is None else rows[:, :-1] / scales[group]
        chosen = select_points(term.selection, values, share, rng) if share else np.arange(0)
        points.append(np.ascontiguousarray(rows[chosen, :-1]))
        weights.append(rows[chosen, -1])
    return points, weights


def fold_rows(
    terms: Sequence[SparseTerm],
    frames: Sequence[Atoms],
    labels: Sequence[Labels],
    e0: AtomicEnergies,
    noise: Noise,
    *,
    show: bool = False,
    max_atoms: int = CHUNK_ATOMS,
) -> dict[str, RowFactor]:
    """Second pass: fold the whitened rows of all labels into one factor per row group ("forces", "energy:liquid", ...).

    Parameters
    ----------
    terms : sequence of SparseTerm
        The model with its sparse points.
    frames, labels : sequences
        Training structures and their labels.
    e0 : dict of int to float
        Energies of isolated atoms, subtracted from the energies.
    noise : Noise
        Decides which configuration types have a row group of their own.
    show : bool, default False
        Whether to show a progress bar.
    max_atoms : int
        Size of a chunk.

    Returns
    -------
    dict of str to RowFactor
    """
    n_sparse = sum(term.n_points for term in terms)
    neighbor_range = max(term.descriptor.neighbor_range for term in terms)
    factors: dict[str, RowFactor] = {}
    for noise_class in noise.classes():
        members = [k for k, y in enumerate(labels) if noise.class_of(y.config_type) == noise_class]
        chunks = list(chunks_of_frames([frames[k] for k in members], max_atoms))
        for start, chunk in track(chunks, f"rows {noise_class}".strip(), len(chunks), show=show):
            numbers = members[start : start + len(chunk)]
            neighbors = NeighborList.from_atoms(chunk, neighbor_range, first_frame=numbers[0])
            chunk_labels = [_without_e0(labels[k], frames[k], e0) for k in numbers]
            rows, y = kernel_rows(terms, neighbors, chunk_labels), targets(neighbors, chunk_labels)
            for kind in KINDS:
                block = getattr(rows, kind)
                if len(block):
                    name = f"{kind}:{noise_class}"
                    factors.setdefault(name, RowFactor(n_sparse)).fold(whiten(terms, block), getattr(y, kind))
    return factors


def _without_e0(labels: Labels, atoms: Atoms, e0: AtomicEnergies) -> Labels:
    if labels.energy is None:
        return labels
    constant = sum(e0[int(z)] for z in atoms.numbers)
    return Labels(labels.energy - constant, labels.forces, labels.stress, labels.config_type)


def solve(
    terms: Sequence[SparseTerm], factors: Mapping[str, RowFactor], noise: Noise
) -> tuple[SparsePosterior, list[list[Array]]]:
    """Posterior and coefficients of the sparse points for given noise and amplitudes.

    Parameters
    ----------
    terms : sequence of SparseTerm
        The model with its sparse points.
    factors : mapping of str to RowFactor
        From `fold_rows`.
    noise : Noise
        Standard deviations of the labels.

    Returns
    -------
    posterior : SparsePosterior
    coefficients : list of list of ndarray
        alpha of each sparse point, per term and group, eV.
    """
    classes = noise.classes()
    sigma = {name: float(getattr(classes[name.partition(":")[2]], name.partition(":")[0])) for name in factors}
    scale = np.concatenate([np.full(term.n_points, term.delta) for term in terms])
    posterior = SparsePosterior.from_factors(factors, sigma, scale)
    return posterior, coefficients_of(terms, posterior)


def coefficients_of(terms: Sequence[SparseTerm], posterior: SparsePosterior) -> list[list[Array]]:
    """alpha = delta L^-T w of each group of each term, eV."""
    from scipy.linalg import solve_triangular

    return [
        [
            term.delta * solve_triangular(factor, posterior.weights[columns], lower=True, trans="T")
            if factor.size
            else np.empty(0)
            for factor, columns in zip(term.cholesky, term.columns, strict=True)
        ]
        for term in terms
    ]
