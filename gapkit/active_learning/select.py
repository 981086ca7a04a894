"""Choice of the frames of a pool that are worth a label."""

from __future__ import annotations

import heapq
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols, covalent_radii
from ase.geometry import complete_cell
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from .._validation import check_choice, check_integer, check_real, describe
from ..exceptions import InvalidStructureError, SelectionWarning
from ..model import GAPRegressor
from ..model.progress import track
from ..neighbors import SHORTEST_DISTANCE, check_structures
from .acquisition import Acquisition, Coverage, by_chance, force_deviations
from .environments import EnvironmentSpace, Twins
from .pool_variance import PoolVariance

__all__ = ["METHODS", "Selection", "pick", "select"]

Index = NDArray[np.int64]

METHODS = ("batch", "max", "mean", "fps", "random")
"""Ways to choose frames; see `select`."""

_WITHOUT_POSTERIOR = ("fps", "random")
_TOUCHING = 0.6  # of the sum of covalent radii
_SAME = 1e-9  # gains that differ by less are equal, and the earlier frame is taken


@dataclass(frozen=True)
class Selection:
    """Frames that were picked, and why the others were not.

    Attributes
    ----------
    method : str
        One of `METHODS`.
    indices : ndarray of int of shape (n_picked,)
        Frames of the pool in the order in which they were picked.
    scores : list of float
        What each was worth when it was picked: eV/Å ("max"), (eV/Å)² ("batch", "mean"), a kernel distance ("fps").
    reasons : list of str
        One per pick.
    excluded : dict of int to str
        Unphysical frames and what is wrong with them.
    twins : dict of int to int
        Frames that would have been picked if they did not repeat a pick, and which.
    """

    method: str
    indices: Index
    scores: list[float] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    excluded: dict[int, str] = field(default_factory=dict)
    twins: dict[int, int] = field(default_factory=dict)


def select(
    model: GAPRegressor,
    pool: Sequence[Atoms],
    n: int,
    *,
    method: str = "batch",
    d_min: float | None = None,
    random_state: int | None = None,
) -> Index:
    """Choose frames whose labels would improve a model most; no label is needed for that.

    Parameters
    ----------
    model : GAPRegressor
        Fitted.
    pool : list of ase.Atoms
        Structures to choose from.
    n : int
        How many.
    method : {"batch", "max", "mean", "fps", "random"}, default "batch"
        * "batch": one by one the frame whose labels, beside those of the frames picked before, leave the least variance in the
          forces of the whole pool (I-optimal);
        * "max": by the largest standard deviation of a force component;
        * "mean": by the mean variance of the force components;
        * "fps": one by one the frame whose environments are farthest, on average, from the nearest sparse point of the model or
          environment of a frame picked before (farthest-point sampling; needs no posterior);
        * "random": with equal probability.
    d_min : float, optional
        Frames with two atoms closer than this (Å) are unphysical; default 0.6 times the sum of their covalent radii.
    random_state : int, optional
        Seed of "random" and, in pools of more than 5000 atoms of a species, of a sample that "batch" takes.

    Returns
    -------
    ndarray of int of shape (n_picked,)
        Indices into ``pool``, the most useful first.  Fewer than ``n``, with a warning, where the rest of the pool is
        unphysical or repeats a frame that was picked.

    Raises
    ------
    ValueError
        If the pool is empty, or the model has no posterior and the method needs it.
    InvalidStructureError
        If a frame has a species that the model does not know.

    Examples
    --------
    >>> from gapkit import SOAP, DotProduct, GAPRegressor, Noise, Term, select
    >>> from gapkit.datasets import load_silicon
    >>> frames = load_silicon("train")
    >>> soap = Term(SOAP(r_cut=4.0, n_max=3, l_max=2), DotProduct(zeta=2), n_sparse=20)
    >>> model = GAPRegressor([soap], noise=Noise(0.01, 0.2, 0.1), random_state=0).fit(frames[:30])
    >>> len(select(model, frames[30:], 3))
    3
    """
    found = pick(model, pool, n, method=method, d_min=d_min, random_state=random_state)
    if len(found.indices) < n:
        warnings.warn(
            f"Of {n} frames {len(found.indices)} were picked: of the {len(pool)} in the pool {len(found.excluded)} are "
            f"unphysical and {len(found.twins)} repeat a pick.",
            SelectionWarning,
            stacklevel=2,
        )
    return found.indices


def pick(
    model: GAPRegressor,
    pool: Sequence[Atoms],
    n: int,
    *,
    method: str = "batch",
    d_min: float | None = None,
    random_state: int | None = None,
) -> Selection:
    """Choose frames as `select` does, and say why.

    Parameters
    ----------
    model, pool, n, method, d_min, random_state
        As for `select`.

    Returns
    -------
    Selection
    """
    check_is_fitted(model, "potential_")
    check_choice("method", method, METHODS)
    check_integer("n", n, at_least=1)
    if d_min is not None:
        check_real("d_min", d_min, at_least=SHORTEST_DISTANCE, remedy="It is in Å.")
    if random_state is not None:
        check_integer("random_state", random_state, at_least=0)
    if model.potential_.posterior is None and method not in _WITHOUT_POSTERIOR:
        rule = "'fps' or 'random' for a model without posterior"
        raise ValueError(describe("method", rule, method, "Or use the model that was fitted, or save it with posterior=True."))
    excluded = _unphysical(pool, d_min)
    members = [k for k in range(len(pool)) if k not in excluded]
    _check_species(model, pool, members)
    frames = [pool[k] for k in members]
    if not frames:
        return Selection(method, np.empty(0, np.int64), excluded=excluded)
    space, show = EnvironmentSpace(model.potential_, frames), bool(model.verbose)
    acquisition: Acquisition
    if method == "batch":
        acquisition = PoolVariance(model.potential_, model.noise_, model.calibration_, frames, random_state, show=show)
    elif method == "fps":
        acquisition = Coverage(space, show=show)
    elif method == "random":
        acquisition = by_chance(len(frames), random_state)
    else:
        acquisition = force_deviations(model.potential_, model.calibration_, frames, method, show=show)
    indices, scores, reasons, twins = _greedy(acquisition, Twins(space), n, show)
    return Selection(
        method,
        np.array(members, np.int64)[indices],
        scores,
        reasons,
        excluded,
        {members[k]: members[other] for k, other in twins.items()},
    )


def _greedy(
    acquisition: Acquisition, twins: Twins, n: int, show: bool
) -> tuple[list[int], list[float], list[str], dict[int, int]]:
    """One by one the frame with the largest gain.

    A gain is never more than it was before: frames wait in the order of what they were worth when they were last looked at, and
    are looked at again until no other can be better.
    """
    waiting = [(-float(gain), k) for k, gain in enumerate(acquisition.bounds)]
    heapq.heapify(waiting)
    picked, scores, reasons, repeated = list[int](), list[float](), list[str](), dict[int, int]()
    for _ in track(range(n), "picks", n, show=show):
        current: dict[int, float] = {}
        best, found = -np.inf, None
        while found is None:
            while waiting and (not current or -waiting[0][0] >= best - _SAME * abs(best)):
                _, k = heapq.heappop(waiting)
                current[k] = acquisition.gain(k)
                best = max(best, current[k])
            if not current:
                return picked, scores, reasons, repeated
            found = min(k for k, gain in current.items() if gain >= best - _SAME * abs(best))
            other = twins.twin_of(found)
            if other is not None:
                repeated[found] = other
                del current[found]
                best, found = max(current.values(), default=-np.inf), None
        scores.append(current.pop(found))
        reasons.append(acquisition.take(found))
        twins.add(found)
        picked.append(found)
        for k, gain in current.items():
            heapq.heappush(waiting, (-gain, k))
    return picked, scores, reasons, repeated


def _check_species(model: GAPRegressor, pool: Sequence[Atoms], members: Sequence[int]) -> None:
    known = set(model.potential_.e0)
    for k in members:
        unknown = sorted(set(pool[k].numbers.tolist()) - known)
        if unknown:
            given, new = (", ".join(chemical_symbols[z] for z in numbers) for numbers in (sorted(known), unknown))
            raise InvalidStructureError(
                f"Species must be among those of the training set ({given}); got {new} in frame {k} of the pool. "
                "Leave such frames out, or label a few of them first and fit anew."
            )


def _unphysical(pool: Sequence[Atoms], d_min: float | None) -> dict[int, str]:
    """Frames that nobody should spend a label on, and why."""
    result = {}
    if isinstance(pool, Atoms) or not len(pool):
        check_structures(pool, name="pool")  # raises
    for k, atoms in enumerate(pool):
        if isinstance(atoms, Atoms) and not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
            result[k] = "positions or cell are not finite"
        else:
            (checked,) = check_structures([atoms], name="pool", first_frame=k)
            reason = too_close(checked, d_min)
            if reason:
                result[k] = reason
    return result


def too_close(atoms: Atoms, d_min: float | None) -> str | None:
    """The pair of atoms that is closest in comparison with what it may be, if it is too close."""
    radii = covalent_radii[atoms.numbers]
    cutoff = 2.0 * _TOUCHING * float(radii.max()) if d_min is None else d_min
    from vesin import NeighborList as VesinList  # imports CuPy where it is installed

    i, j, distances = VesinList(cutoff=cutoff, full_list=False, n_threads=1).compute(
        points=np.ascontiguousarray(atoms.positions, float),
        box=complete_cell(atoms.cell.array),
        periodic=atoms.pbc,
        quantities="ijd",
    )
    limit = _TOUCHING * (radii[i] + radii[j]) if d_min is None else np.full(len(i), d_min)
    if not (distances < limit).any():
        return None
    p = int(np.argmin(distances / limit))
    a, b = sorted((int(i[p]), int(j[p])))
    return f"atoms {a} ({atoms.symbols[a]}) and {b} ({atoms.symbols[b]}) are {distances[p]:.2f} Å apart, below {limit[p]:.2f} Å"
