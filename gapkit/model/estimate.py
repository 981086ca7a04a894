"""What a fit will cost, before it starts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ase import Atoms

from .._backend import loops_are_compiled
from ..gp.observations import labels_of
from ..neighbors import check_structures
from .memory import Stages, available_memory, fit_memory, peak_memory
from .regressor import GAPRegressor
from .sizes import FitSizes, fit_sizes
from .terms import Term
from .timing import fit_seconds
from .training import TrainingSet

__all__ = ["FitEstimate", "estimate_fit", "resident_memory"]


@dataclass(frozen=True)
class FitEstimate:
    """What a fit will cost.

    Attributes
    ----------
    frames, atoms : int
        Of the training set.
    pairs : float
        Pairs (both directions) in the range of the model.
    rows : dict of str to int
        Rows of each row group: "forces:", or "forces:liquid" where a configuration type has noise of its own.
    environments, sparse_points, features : dict of str to int
        Of each term: atoms, pairs or triplets; chosen among them; length of a feature vector.
    before : float
        Memory of this process (Python, libraries, training data) before the fit, bytes.
    memory : dict of str to dict of str to float
        Bytes of each part at the peak of each stage ("selection", "rows", "solve"), over ``before``.
    available : float or None
        Bytes that may still be taken; None if unknown.
    seconds : dict of str to float
        CPU time on one thread of this machine, by part; empty if it was not asked for.
    file_size : float
        Of the saved model with its posterior, bytes.
    compiled : bool
        Whether the loops had been compiled before; if not, the first fit on a machine takes up to 30 s more.
    """

    frames: int
    atoms: int
    pairs: float
    rows: dict[str, int]
    environments: dict[str, int]
    sparse_points: dict[str, int]
    features: dict[str, int]
    before: float
    memory: Stages
    available: float | None
    seconds: dict[str, float]
    file_size: float
    compiled: bool

    @property
    def peak_memory(self) -> float:
        """Largest size of the process during the fit, bytes."""
        return self.before + peak_memory(self.memory)

    @property
    def total_seconds(self) -> float:
        """CPU time of the fit on one thread."""
        return sum(self.seconds.values())

    @property
    def fits(self) -> bool:
        """Whether `GAPRegressor.fit` would not refuse it for its memory."""
        return self.available is None or peak_memory(self.memory) <= self.available


def estimate_fit(
    model: GAPRegressor | Sequence[Term | tuple[str, Term]], frames: Sequence[Atoms], *, timing: bool = True
) -> FitEstimate:
    """Estimate memory and time of a fit, within a factor of 1.5.

    Neighbours are counted in a sample of frames.  Time comes from the functions that a fit runs, called for two to three
    seconds on frames of the training set with fewer sparse points, and extrapolated by the powers of their sizes.  Tables of
    pair and triplet terms, and variances of FITC and VFE, are not in it.

    Parameters
    ----------
    model : GAPRegressor or list of Term or of (name, Term)
        What is to be fitted; not changed.
    frames : list of ase.Atoms
        Training structures with their labels.
    timing : bool, default True
        False leaves ``seconds`` empty and takes no longer than counting does.

    Returns
    -------
    FitEstimate

    Examples
    --------
    >>> from gapkit import DotProduct, SOAP, Term
    >>> from gapkit.datasets import load_silicon
    >>> from gapkit.model import estimate_fit
    >>> frames = load_silicon(config_types=["rattled"])
    >>> found = estimate_fit([Term(SOAP(4.0, 4, 2), DotProduct(2), n_sparse=20)], frames, timing=False)
    >>> found.rows
    {'energy:': 20, 'forces:': 480, 'stress:': 120}
    """
    frames = check_structures(frames)
    compiled = loops_are_compiled()
    explicit = (model if isinstance(model, GAPRegressor) else GAPRegressor(model)).explicit(frames)
    noise = explicit.noise
    assert noise is not None  # noqa: S101 - for the type checker: nothing is automatic in an explicit model
    training = TrainingSet(frames, [labels_of(atoms, k) for k, atoms in enumerate(frames)])
    labels = training.with_force_fraction(explicit.force_fraction, explicit.random_state).labels
    sizes = fit_sizes(explicit.named_terms(), frames, labels, noise)
    seconds = fit_seconds(sizes, frames, labels) if timing else {}
    before = resident_memory()  # with the loops that a fit loads
    return FitEstimate(
        frames=sizes.frames,
        atoms=sizes.atoms,
        pairs=sizes.pairs,
        rows=sizes.rows,
        environments={term.name: int(term.environments.sum()) for term in sizes.terms},
        sparse_points={term.name: int(term.points.sum()) for term in sizes.terms},
        features={term.name: term.descriptor.n_features for term in sizes.terms},
        before=before,
        memory=fit_memory(sizes),
        available=available_memory(),
        seconds=seconds,
        file_size=_file_size(sizes),
        compiled=compiled,
    )


def resident_memory() -> float:
    """Memory of this process, bytes; outside Linux its largest so far (macOS counts in bytes, others in KiB)."""
    import resource  # Unix only

    try:
        return float(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        largest = float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return largest if sys.platform == "darwin" else 1024.0 * largest


def _file_size(sizes: FitSizes) -> float:
    """Packed triangles, and sparse points."""
    m = sizes.n_points
    elements = m * (m + 1) / 2 + len(sizes.rows) * (m + 1) * (m + 2) / 2
    for term in sizes.terms:
        for n in term.points.tolist():
            elements += n * (n + 1) / 2 + n * (term.descriptor.n_features + 2.0)
    return 8.0 * elements
