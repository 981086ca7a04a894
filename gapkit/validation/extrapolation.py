"""What happens outside the training set: fits to some groups of structures, tested on others, and whether error bars say so."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from sklearn.base import clone

from .._validation import check_integer, describe
from ..gp.calibration import ErrorSample
from ..gp.observations import config_type_of
from ..model import GAPRegressor
from ..neighbors import check_structures
from . import uncertainty as metrics
from .uncertainty_rows import error_samples

__all__ = ["GroupTest", "extrapolation"]

_STD = ("energy", "energies", "forces")
_FEWEST = 5  # structures that a calibration needs
_WARNS = 4.0  # mean z² up to which error bars are within a factor of two of the errors


@dataclass(frozen=True)
class GroupTest:
    """Errors and standard deviations on structures of one group that a fit has not seen.

    Attributes
    ----------
    left_out : tuple of str
        Groups that the fit had nothing of.
    group : str
        Group of these structures.
    n_frames : int
        How many.
    samples : dict of str to ErrorSample
        Errors and calibrated standard deviations of "energy" (meV/atom) and "forces" (eV/Å), as far as there are labels.
    """

    left_out: tuple[str, ...]
    group: str
    n_frames: int
    samples: dict[str, ErrorSample]

    @property
    def outside(self) -> bool:
        """Whether the fit had nothing of this group."""
        return self.group in self.left_out

    def rmse(self, kind: str) -> float | None:
        """Root mean square error; None without labels."""
        return None if kind not in self.samples else float(np.sqrt(np.mean(self.samples[kind].residual ** 2)))

    def std(self, kind: str) -> float | None:
        """Root mean square standard deviation."""
        return None if kind not in self.samples else float(np.sqrt(np.mean(self.samples[kind].std ** 2)))

    def zms(self, kind: str) -> float | None:
        """Mean of (error / standard deviation)²: 1 is right, 4 where standard deviations are half of what they should be."""
        return None if kind not in self.samples else metrics.zms(self.samples[kind].residual, self.samples[kind].std)

    def warns(self, kind: str) -> bool | None:
        """Whether the error bars are at least half as long as the errors."""
        z2 = self.zms(kind)
        return None if z2 is None else z2 <= _WARNS


def extrapolation(
    model: GAPRegressor,
    frames: Sequence[Atoms],
    left_out: Sequence[Collection[str]] | None = None,
    *,
    groups: Sequence[str] | None = None,
    every: int = 5,
    calibrate: bool = True,
) -> list[GroupTest]:
    """Fit without some groups of structures, and see errors and error bars on them and on unseen structures of the others.

    Train cold and test hot: ``left_out=[["md_1000K", "md_2000K"]]``.

    Parameters
    ----------
    model : GAPRegressor
        Whose settings are fitted anew, sparse points and calibration included; fitted or not, left as it is.
    frames : list of ase.Atoms
        All structures, with labels.  Isolated atoms are in every fit.
    left_out : sequence of collections of str, optional
        Groups that are left out together, for each fit; default: each group in turn.
    groups : sequence of str, optional
        Group of each structure; default: its configuration type.
    every : int, default 5
        Every so many-th structure of the other groups is kept from the fit too, to compare with.  Neighbours in time of
        these are in the fit: they are as near to it as structures can be.
    calibrate : bool, default True
        Whether to calibrate each fit by its leave-one-out errors, as ``gapkit fit`` does.

    Returns
    -------
    list of GroupTest
        For each fit the groups left out, then the others.

    Raises
    ------
    ValueError
        If there is no such group, or a fit would have nothing to learn from.
    """
    frames = check_structures(frames)
    check_integer("every", every, at_least=2, remedy="It is the share of structures kept for comparison.")
    names = [config_type_of(atoms) for atoms in frames] if groups is None else list(groups)
    if len(names) != len(frames):
        raise ValueError(describe("groups", f"one name for each of {len(frames)} structures", len(names)))
    alone = np.array([len(atoms) == 1 for atoms in frames])
    found = list(dict.fromkeys(name for name, single in zip(names, alone, strict=True) if not single))
    cases = [(name,) for name in found] if left_out is None else [tuple(case) for case in left_out]
    for case in cases:
        for name in case:
            if name not in found:
                raise ValueError(describe("left_out", f"of groups among {found}", name))
        if not set(found) - set(case):
            raise ValueError(describe("left_out", f"not all of the groups {found}", list(case), "A fit needs some of them."))
    settings = model.explicit() if hasattr(model, "potential_") else model.explicit(frames)
    return [row for case in cases for row in _of_fit(settings, frames, names, alone, case, every, calibrate)]


def _of_fit(
    settings: GAPRegressor,
    frames: list[Atoms],
    names: list[str],
    alone: np.ndarray,
    case: tuple[str, ...],
    every: int,
    calibrate: bool,
) -> list[GroupTest]:
    """One fit and its tests."""
    tests: dict[str, list[int]] = {name: [] for name in case}
    train, seen = [], dict.fromkeys(names, 0)
    for k, name in enumerate(names):
        if alone[k]:
            train.append(k)
        elif name in case:
            tests[name].append(k)
        else:
            seen[name] += 1
            if seen[name] % every:
                train.append(k)
            else:
                tests.setdefault(name, []).append(k)
    fitted = clone(settings).fit([frames[k] for k in train])
    if calibrate and len(train) >= _FEWEST:
        fitted.calibrate("loo")
    rows = []
    for name, members in tests.items():
        chosen = [frames[k] for k in members]
        predictions = fitted.evaluate(chosen, stress=False, uncertainty="exact", std=_STD)
        samples = {kind: sample for kind, sample in error_samples(chosen, predictions).items() if len(sample.std)}
        rows.append(GroupTest(case, name, len(chosen), samples))
    return rows
