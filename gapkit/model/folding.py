"""The second streamed pass of a fit: fold the rows of every label into triangular factors, here or in other processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .._backend import beside, cupy, in_threads, on_host, one_thread_in_workers
from .._cuda.memory import memory_errors
from ..gp.design import own_noise, targets
from ..gp.observations import KINDS, Labels, Noise
from ..gp.posterior import RowFactor, SparsePosterior
from ..gp.prior import rows_and_priors
from ..gp.sparse_term import SparseTerm, coefficients_from, whiten
from ..neighbors import NeighborList
from .device import fits_on_gpu
from .progress import track
from .training import RowChunk, SparseModel

__all__ = [
    "Factors",
    "RowBlock",
    "fold_block",
    "fold_rows",
    "merge_factors",
    "noise_of_group",
    "solve",
    "whitened_rows",
]

Array = NDArray[np.float64]
Factors = dict[str, RowFactor]

_OWN = "/own"  # ends the names of row groups whose rows were divided by a noise of their own
_TASKS = 32  # of a parallel fit; each sends the sparse points out and brings factors back


@dataclass(frozen=True)
class RowBlock:
    """Whitened rows of all labels of one kind of a chunk.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    structure : ndarray of shape (n,)
        Which frame of the chunk a row belongs to.
    place : ndarray of shape (n,)
        Which component of its label a row is: atoms x y z for forces, Voigt for stress.
    phi : ndarray of shape (n, n_sparse)
        Unit delta; energies divided by √N.
    target : ndarray of shape (n,)
        Labels; energies divided by √N.
    own : ndarray of shape (n,)
        Noise of the row's own, NaN where `Noise` decides, infinite for a label that is left out.
    unexplained : ndarray of shape (n_terms, n), or None
        Prior variance of each label that the sparse points of each term do not explain, unit delta; None if not asked for.
    divisor : ndarray of shape (n,)
        √N for energies, else 1.
    """

    kind: str
    structure: NDArray[np.int64]
    place: NDArray[np.int64]
    phi: Array
    target: Array
    own: Array
    unexplained: Array | None
    divisor: Array


def whitened_rows(
    terms: Sequence[SparseTerm], chunk: RowChunk, *, unexplained: bool = False, here: Sequence[SparseTerm] | None = None
) -> Iterator[RowBlock]:
    """Rows of a chunk, kind by kind.

    ``unexplained`` asks for prior variances, which cost as much again and are computed on the CPU: ``here`` has the terms with
    NumPy's arrays, if ``terms`` are on a GPU.
    """
    neighbor_range = max(term.descriptor.neighbor_range for term in terms)
    neighbors = NeighborList.from_atoms(chunk.frames, neighbor_range, first_frame=chunk.numbers[0])
    priors_of = [term if unexplained and term.descriptor.one_per_atom else None for term in here or terms]
    rows, priors = rows_and_priors(terms, neighbors, chunk.labels, priors_of)
    y, own = targets(neighbors, chunk.labels), own_noise(neighbors, chunk.labels)
    sizes = np.diff(neighbors.first_atom)
    for kind in KINDS:
        phi = whiten(terms, getattr(rows, kind))
        if not len(phi):
            continue
        missed = None
        if unexplained:
            missed = np.zeros((len(terms), len(phi)))
            for t, (term, prior) in enumerate(zip(terms, priors, strict=True)):
                if prior is not None:
                    of_term = phi[:, term.columns[0].start : term.columns[-1].stop]
                    missed[t] = np.maximum(getattr(prior, kind) - on_host(np.einsum("nm,nm->n", of_term, of_term)), 0.0)
        present = np.flatnonzero([getattr(label, kind) is not None for label in chunk.labels])
        places = [_places(kind, chunk.labels[s]) for s in present]
        structure = np.repeat(present, [len(p) for p in places])
        divisor = np.sqrt(sizes[structure]) if kind == "energy" else np.ones(len(phi))
        target = getattr(y, kind)[:, 0]
        yield RowBlock(kind, structure, np.concatenate(places), phi, target, getattr(own, kind), missed, divisor)


def _places(kind: str, labels: Labels) -> NDArray[np.int64]:
    """Which components of a label of some kind have rows."""
    if kind == "forces":
        return np.ravel(3 * labels.force_atoms()[:, None] + np.arange(3))
    return np.arange(np.size(getattr(labels, kind)))


def fold_rows(
    model: SparseModel,
    chunks: Sequence[RowChunk],
    *,
    approximation: str = "dtc",
    executor: Executor | None = None,
    onto: Factors | None = None,
    device: str = "cpu",
    show: bool = False,
) -> Factors:
    """Fold the whitened rows of all labels into one factor per row group.

    Row groups are named "forces:" or "energy:liquid" (kind and noise class; rows as they are), or "forces/own" (rows divided
    by a noise of their own: the frame's, or in FITC the label's noise and what the sparse points miss of it).

    Parameters
    ----------
    model : SparseModel
        The model with its sparse points; amplitudes and noise matter in FITC only.
    chunks : sequence of RowChunk
        From `TrainingSet.chunks`.
    approximation : {"dtc", "sor", "fitc", "vfe"}, default "dtc"
        FITC and VFE compute the prior variance of every row besides.
    executor : concurrent.futures.Executor, optional
        Where the chunks are folded; the factors are merged here, in the order of the chunks.
    onto : dict of str to RowFactor, optional
        Factors of rows that are there already; changed in place.
    device : {"cpu", "cuda", "auto"}, default "cpu"
        Where the algebra is done if there is no executor: products with the sparse points, rows, factors.  Features and their
        derivatives are computed on the CPU.
    show : bool, default False
        Whether to show a progress bar.

    Returns
    -------
    dict of str to RowFactor

    Raises
    ------
    GPUNotAvailable, DeviceMemoryError
        With "cuda", if there is no GPU that can be used, or it has too little memory.
    """
    factors: Factors = {} if onto is None else onto
    if executor is None:
        if not fits_on_gpu(device, model):
            _fold_chunks(factors, model, model, chunks, approximation, show)
            return factors
        with memory_errors(cupy()):
            there = replace(model, sparse=[term.on_device(cupy()) for term in model.sparse])
            _fold_chunks(factors, there, model, chunks, approximation, show)
            for factor in factors.values():
                factor.to_host()
        return factors
    bounds = np.linspace(0, len(chunks), min(_TASKS, len(chunks)) + 1).astype(int)
    futures = [executor.submit(fold_task, model, list(chunks[a:b]), approximation) for a, b in pairwise(bounds)]
    try:
        for found in track(_in_turn(futures), "rows", len(bounds) - 1, show=show):
            merge_factors(factors, found)
    except BrokenExecutor as error:
        raise RuntimeError(
            "A worker of the executor died. A process pool must not fork a process that has run compiled loops: use "
            "ProcessPoolExecutor(mp_context=multiprocessing.get_context('forkserver')), in a script below "
            "`if __name__ == '__main__':`. If that is so, its memory ran out."
        ) from error
    finally:
        for future in futures:
            future.cancel()
    return factors


def fold_task(model: SparseModel, chunks: Sequence[RowChunk], approximation: str) -> Factors:
    """Fold some chunks: the unit of work of an executor."""
    factors: Factors = {}
    with one_thread_in_workers():
        _fold_chunks(factors, model, model, chunks, approximation)
    return factors


def _in_turn(futures: list[Future[Factors]]) -> Iterator[Factors]:
    """Results in order; each future is let go with its factors once it was used."""
    while futures:
        yield futures.pop(0).result()


def merge_factors(factors: Factors, others: Mapping[str, RowFactor]) -> None:
    """Add the rows of ``others`` to ``factors``, in place."""
    for name in sorted(others):
        if name not in factors:
            factors[name] = RowFactor(len(others[name].triangle) - 1)
        factors[name].merge(others[name])


def _fold_chunks(
    factors: Factors, model: SparseModel, here: SparseModel, chunks: Sequence[RowChunk], approximation: str, show: bool = False
) -> None:
    """Fold the rows of chunks into ``factors``, in place and in order, while those of the next ones are computed.

    ``here`` is the same model with NumPy's arrays.
    """
    unexplained = approximation in ("fitc", "vfe")

    def rows_of(chunk: RowChunk) -> tuple[RowChunk, list[RowBlock]]:
        return chunk, list(whitened_rows(model.sparse, chunk, unexplained=unexplained, here=here.sparse))

    for chunk, blocks in track(in_threads(rows_of, chunks), "rows", len(chunks), show=show):
        while blocks:  # each goes before the next chunk comes
            fold_block(factors, model, blocks.pop(0), chunk.noise_class, approximation)


def fold_block(factors: Factors, model: SparseModel, block: RowBlock, noise_class: str, approximation: str) -> None:
    """Fold rows of one kind and noise class into ``factors``, in place; see `fold_rows`."""
    sigma, unexplained = block.own, 0.0
    if block.unexplained is not None and approximation == "fitc":
        of_class = getattr(model.noise.classes()[noise_class], block.kind)
        missed = np.array([term.delta**2 for term in model.sparse]) @ block.unexplained
        sigma = np.sqrt(np.where(np.isnan(sigma), of_class, sigma) ** 2 + missed)
    for name, members in ((f"{block.kind}:{noise_class}", np.isnan(sigma)), (block.kind + _OWN, np.isfinite(sigma))):
        if not members.any():
            continue
        own, chosen = name.endswith(_OWN), slice(None) if members.all() else members  # a slice copies nothing
        phi = block.phi if members.all() else block.phi[beside(block.phi, np.flatnonzero(members))]
        target, divisor = block.target[chosen], sigma[chosen] if own else np.ones(members.sum())
        if block.unexplained is not None and approximation == "vfe":
            unexplained = (block.unexplained[:, chosen] / divisor**2).sum(axis=1)
        factors.setdefault(name, RowFactor(block.phi.shape[1])).fold(
            phi / beside(phi, divisor[:, None]) if own else phi,
            (target / divisor)[:, None],
            log_divisors=float(np.log(divisor * block.divisor[chosen]).sum()),
            unexplained=unexplained,
        )


def noise_of_group(name: str, noise: Noise) -> float:
    """Standard deviation of the rows of a group: 1 if they were divided by a noise of their own."""
    kind, _, noise_class = name.partition(":")
    return 1.0 if kind.endswith(_OWN) else float(getattr(noise.classes()[noise_class], kind))


def solve(model: SparseModel, factors: Mapping[str, RowFactor]) -> tuple[SparsePosterior, list[list[Array]]]:
    """Posterior and coefficients of the sparse points for the noise and the amplitudes of a model.

    Parameters
    ----------
    model : SparseModel
        The model with its sparse points.
    factors : mapping of str to RowFactor
        From `fold_rows`.

    Returns
    -------
    posterior : SparsePosterior
    coefficients : list of list of ndarray
        alpha of each sparse point, per term and group, eV.
    """
    sigma = {name: noise_of_group(name, model.noise) for name in factors}
    scale = np.concatenate([np.full(term.n_points, term.delta) for term in model.sparse])
    posterior = SparsePosterior.from_factors(factors, sigma, scale)
    return posterior, coefficients_from(model.sparse, posterior.weights)
