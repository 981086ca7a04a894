"""Training, validation and test sets that do not leak into each other.

Consecutive frames of a trajectory are nearly the same structure: a test set of frames drawn at random from it measures memory.
So whole groups are given to a part; a trajectory that is too long for one part is cut into blocks, and training frames next to
a cut are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from .._validation import describe
from ..gp.observations import config_type_of
from .pairs import distance, runs_of_equal_atoms

__all__ = ["GROUP_KEYS", "Split", "split"]

Indices = NDArray[np.intp]

GROUP_KEYS = ("trajectory", "trajectory_id", "group", "molecule")
"""Keys in ``info`` that name a frame's group, the first that all frames have."""

_RELATED = 0.7  # neighbours in the file are related if they are that much nearer than frames far apart
_FORGOTTEN = 0.8  # of the usual distance: after one correlation time, where exp(-1) of a step is left, it is sqrt(1 - exp(-1))


@dataclass(frozen=True)
class Split:
    """Frames of each part.

    Attributes
    ----------
    parts : tuple of ndarray of int
        Numbers of the frames of each part, in file order.
    left_out : ndarray of int
        Training frames that are too near, in time, to a frame of another part.
    groups : int
        How many groups there were to deal out.
    how : str
        What a group was, as a sentence.
    """

    parts: tuple[Indices, ...]
    left_out: Indices
    groups: int
    how: str


def split(
    frames: Sequence[Atoms],
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    *,
    by: str | None = None,
    stratify: bool = True,
    random_state: int | np.random.RandomState | None = None,
) -> Split:
    """Deal frames out to parts, groups as a whole, each configuration type in proportion.

    scikit-learn's group splitters count groups; here parts have their fraction of the frames, though groups differ in size.

    Parameters
    ----------
    frames : sequence of ase.Atoms
    fractions : sequence of float, default (0.8, 0.1, 0.1)
        Of training, validation, test or whatever the parts are; they sum to 1.
    by : str, optional
        Key in ``info`` whose values are the groups, e.g. "config_type"; default: one of `GROUP_KEYS` if all frames have it
        and its groups are enough to fill the smallest part, else trajectories are found: runs of frames that are nearer to
        their neighbours in the file than to others.
    stratify : bool, default True
        Whether every configuration type is dealt out in these fractions by itself, as far as its groups allow.
    random_state : int, RandomState or None
        Order in which groups are dealt out.

    Returns
    -------
    Split

    Raises
    ------
    ValueError
        If the fractions do not sum to 1, a frame lacks the key, or there are too few groups to fill every part.

    Notes
    -----
    Isolated atoms always go to the first part: a fit needs them.
    """
    shares = np.array(fractions, dtype=float)
    if shares.ndim != 1 or len(shares) < 2 or (shares < 0).any() or abs(shares.sum() - 1.0) > 1e-6 or shares[0] == 0:
        raise ValueError(describe("fractions", "at least two numbers that sum to 1, the first above 0", list(fractions)))
    if not len(frames):
        raise ValueError(describe("frames", "at least one structure", frames))
    rng = check_random_state(random_state)
    types = [config_type_of(atoms) if stratify else "" for atoms in frames]
    groups, how, reach = _groups(frames, by, types, float(shares[shares > 0].min()))
    part = _deal(groups, frames, types, shares, rng)
    empty = [k for k in np.flatnonzero(shares > 0) if not (part == k).any()]
    if empty:
        raise ValueError(
            f"Every part with a fraction must get a group; {len(groups)} groups ({how}) fill {len(shares) - len(empty)} of "
            f"{len(shares)} parts. Group by another key, or collect independent frames for the test."
        )
    out = _too_near(part, reach)
    parts = tuple(np.flatnonzero((part == k) & ~out) for k in range(len(shares)))
    return Split(parts, np.flatnonzero(out), len(groups), how)


def _groups(
    frames: Sequence[Atoms], by: str | None, types: Sequence[str], smallest: float
) -> tuple[list[list[int]], str, list[tuple[list[int], int]]]:
    """Groups, what they are, and trajectories that were cut, with the number of frames that are related."""
    key = by or next((k for k in GROUP_KEYS if _enough(frames, k, smallest)), None)
    if key is not None:
        named: dict[str, list[int]] = {}
        for k, atoms in enumerate(frames):
            if key not in atoms.info:
                raise ValueError(f"`by` must be a key in info of every frame; got {key!r}, which frame {k} does not have.")
            named.setdefault(str(atoms.info[key]), []).append(k)
        return list(named.values()), f"frames of one {key}", []
    sizes = {name: types.count(name) for name in set(types)}
    groups: list[list[int]] = []
    cut: list[tuple[list[int], int]] = []
    for run in runs_of_equal_atoms(frames):
        for chain, memory in _chains(frames, run):
            longest = max(math.ceil(smallest * sizes[types[chain[0]]]), 1)
            if len(chain) == 1 or len(chain) <= longest:
                groups.append(chain)
                continue
            blocks = math.ceil(len(chain) / longest)
            groups += [list(map(int, block)) for block in np.array_split(chain, blocks)]
            cut.append((chain, memory))
    related = sum(len(group) for group in groups if len(group) > 1)
    how = f"{related} frames follow each other in time and stay together" if related else "no frames follow each other in time"
    how += f"; {len(cut)} long trajectories are cut into blocks" if cut else ""
    return groups, how, cut


def _enough(frames: Sequence[Atoms], key: str, smallest: float) -> bool:
    """Whether all frames have a key, and it has enough values to fill the smallest part."""
    return all(key in atoms.info for atoms in frames) and len({str(a.info[key]) for a in frames}) * smallest >= 1.0 - 1e-9


def _chains(frames: Sequence[Atoms], run: list[int]) -> list[tuple[list[int], int]]:
    """Trajectories among frames of equal atoms, each with the number of frames after which it has forgotten."""
    if len(run) < 4 or len(frames[run[0]]) < 2:
        return [([k], 0) for k in run]
    steps = np.array([distance(frames[i], frames[j]) for i, j in pairwise(run)])
    usual = _usual_distance(frames, run)
    linked = steps < _RELATED * usual
    if linked.mean() < 0.5:  # by chance some neighbours are near, in any set
        return [([k], 0) for k in run]
    ends = [0, *(np.flatnonzero(~linked) + 1).tolist(), len(run)]
    chains = [run[a:b] for a, b in pairwise(ends)]
    return [(chain, _memory(frames, chain, usual)) for chain in chains]


def _usual_distance(frames: Sequence[Atoms], run: list[int]) -> float:
    """Median distance of frames that are far from each other in the file."""
    half = len(run) // 2
    pairs = [(run[k], run[k + half]) for k in range(0, len(run) - half, max(1, (len(run) - half) // 50))]
    return float(np.median([distance(frames[i], frames[j]) for i, j in pairs]))


def _memory(frames: Sequence[Atoms], chain: list[int], usual: float) -> int:
    """Frames after which a trajectory is as far from where it was as any other frame; at most a tenth of it."""
    lag = 1
    while lag < max(len(chain) // 10, 1):
        starts = range(0, len(chain) - lag, max(1, (len(chain) - lag) // 20))
        if np.median([distance(frames[chain[k]], frames[chain[k + lag]]) for k in starts]) > _FORGOTTEN * usual:
            break
        lag = min(2 * lag, max(len(chain) // 10, 1))
    return lag


def _deal(
    groups: Sequence[list[int]],
    frames: Sequence[Atoms],
    types: Sequence[str],
    shares: NDArray[np.float64],
    rng: np.random.RandomState,
) -> Indices:
    """Part of every frame: in each stratum, large groups first, each to the part that lacks most."""
    part = np.zeros(len(frames), np.intp)
    lacking = np.zeros(len(shares))
    strata: dict[str, list[list[int]]] = {}
    for group in groups:
        isolated = len(group) == 1 and len(frames[group[0]]) == 1 and not frames[group[0]].pbc.any()
        if not isolated:  # those stay in part 0
            strata.setdefault(types[group[0]], []).append(group)
    for members in strata.values():
        lacking += shares * sum(map(len, members))
        order = rng.permutation(len(members))
        for k in sorted(order.tolist(), key=lambda k: -len(members[k])):  # stable: chance orders groups of one size
            chosen = int(np.argmax(np.where(shares > 0, lacking, -np.inf)))
            part[members[k]] = chosen
            lacking[chosen] -= len(members[k])
    return part


def _too_near(part: Indices, cut: Sequence[tuple[list[int], int]]) -> NDArray[np.bool_]:
    """Frames of part 0 within the memory of their trajectory from a frame of another part; never more than they leave."""
    out = np.zeros(len(part), bool)
    for chain, memory in cut:
        mine = part[chain]
        for k in np.flatnonzero(mine == 0):
            if (mine[max(0, k - memory) : k + memory + 1] != 0).any():
                out[chain[k]] = True
    return out
