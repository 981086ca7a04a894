r"""Whether energies change with the strain as the stresses say.

Between two frames of the same atoms in slightly different cells, with the logarithmic strain :math:`\varepsilon` and the
displacements :math:`u_i` inside the cell,

.. math:: \Delta E = -\frac12 \sum_i (F_i + F_i') \cdot u_i + \frac12 (V \sigma + V' \sigma') : \varepsilon

to third order.  No model is needed; a constant missing from the diagonal stress (a Pulay stress) is seen, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.linalg import polar

from ..datasets.pairs import runs_of_equal_atoms
from ..gp.observations import VOIGT, Labels

__all__ = ["strain_pairs"]

Array = NDArray[np.float64]

_STRAIN = (0.003, 0.08)  # largest component: enough energy, and an error of third order
_MOVED = 0.25  # Å, root mean square: likewise
_NEIGHBORS = 4
_PAIRS = 400


def strain_pairs(frames: Sequence[Atoms], labels: Sequence[Labels]) -> Array:
    """Energy changes between frames of slightly different cells, and what stresses make of them.

    Parameters
    ----------
    frames : sequence of ase.Atoms
    labels : sequence of Labels

    Returns
    -------
    ndarray of shape (n_pairs, 4)
        Energy change less the work of the forces, work of the stresses, trace of the strain (all energies over the volume:
        eV/Å³), and volume (Å³).
    """
    complete = [y.energy is not None and y.forces is not None and y.stress is not None for y in labels]
    runs = [[k for k in run if complete[k] and frames[k].pbc.all()] for run in runs_of_equal_atoms(frames)]
    runs = [run for run in runs if len(run) > 1]
    allowed = max(_PAIRS // max(len(runs), 1), 20)
    rows: list[tuple[float, ...]] = []
    for run in runs:
        cells = np.array([frames[k].cell.array for k in run])
        step = max(1, _NEIGHBORS * len(run) // allowed)
        for n in range(0, len(run), step):
            strain = np.abs(np.linalg.solve(cells[n], cells) - np.eye(3)).max(axis=(1, 2))
            near = [m for m in np.argsort(strain).tolist() if _STRAIN[0] < strain[m] < _STRAIN[1]]
            for m in near[:_NEIGHBORS]:
                row = _pair(frames[run[n]], labels[run[n]], frames[run[m]], labels[run[m]])
                rows += [row] if row is not None else []
    return np.array(rows).reshape(-1, 4)


def _pair(first: Atoms, one: Labels, second: Atoms, other: Labels) -> tuple[float, ...] | None:
    if one.forces is None or other.forces is None or one.energy is None or other.energy is None:
        return None
    rotation, stretch = polar(np.linalg.solve(first.cell.array, second.cell.array), "left")
    scaled = second.cell.scaled_positions(second.positions) - first.cell.scaled_positions(first.positions)
    scaled -= np.round(scaled)
    moved = scaled @ (0.5 * (first.cell.array + second.cell.array @ rotation.T))
    moved -= moved.mean(axis=0)
    if np.sqrt((moved**2).sum(axis=1).mean()) > _MOVED:
        return None
    work_of_forces = -0.5 * float(((one.forces + other.forces @ rotation.T) * moved).sum())
    values, axes = np.linalg.eigh(stretch)
    strain = axes * np.log(values) @ axes.T
    v, w = first.get_volume(), second.get_volume()
    virial = 0.5 * (v * _tensor(one) + w * rotation @ _tensor(other) @ rotation.T)
    volume = 0.5 * (v + w)
    change = other.energy - one.energy - work_of_forces
    return change / volume, float((virial * strain).sum()) / volume, float(np.trace(strain)), volume


def _tensor(labels: Labels) -> Array:
    result = np.zeros((3, 3))
    if labels.stress is not None:
        for value, (a, b) in zip(labels.stress, VOIGT, strict=True):
            result[a, b] = result[b, a] = value
    return result
