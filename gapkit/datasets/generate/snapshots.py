"""Snapshots of molecular dynamics that do not depend on each other."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import Stationary, thermalize_momenta
from numpy.typing import NDArray

from ..._validation import check_integer, check_real, describe
from ...exceptions import InvalidStructureError, NumericalWarning
from .base import Made, Plan, check_atoms, check_starts, supercell

__all__ = ["inefficiency", "md"]

_STRIDE = 5  # steps between energies of the run that finds the correlation time
_PILOT, _LONGEST = 100, 1600  # energies of it, first and at most
_ENOUGH = 20  # correlation times that it must hold
_CHECKED = 50  # steps between looks at the temperature
_HOTTEST = 20.0  # times the temperature: the run has left physics
_FAILURES = (InvalidStructureError, ArithmeticError, np.linalg.LinAlgError)


def md(
    starts: Sequence[Atoms],
    rng: np.random.Generator,
    *,
    temperatures: Any = (300.0, 1000.0),
    n: int = 10,
    timestep: float = 1.0,
    equilibrate: int = 500,
    every: int | None = None,
    friction: float = 0.01,
    min_edge: float = 8.0,
    driver: Any = None,
) -> Plan:
    """Snapshots of Langevin dynamics at several temperatures, so far apart that they do not depend on each other.

    Parameters
    ----------
    temperatures : list of float
        K.
    n : int
        Of each temperature and start.
    timestep : float
        fs.
    equilibrate : int
        Steps before the first.
    every : int, optional
        Steps between two; default: the correlation time of the potential energy, found in a run of its own.
    friction : float
        1/fs.
    min_edge : float
        Cells are repeated until every periodic edge is as long, Å.
    """
    check_starts(starts, "md")
    if driver is None:
        remedy = "Name a calculator (--driver emt) or a model (--driver a.gap)."
        raise ValueError(describe("driver", "given for 'md'", None, remedy))
    kelvin = _temperatures(temperatures)
    check_integer("md.n", n, at_least=1)
    check_real("md.timestep", timestep, above=0.0, at_most=20.0, remedy="It is in fs; 0.5 to 2 is usual.")
    check_integer("md.equilibrate", equilibrate, at_least=0)
    if every is not None:
        check_integer("md.every", every, at_least=1)
    check_real("md.friction", friction, above=0.0, remedy="It is in 1/fs; 0.01 is usual.")
    check_real("md.min_edge", min_edge, at_least=0.0)
    cells = [supercell(atoms, min_edge) for atoms in starts]
    for cell in cells:
        check_atoms(cell, 2, "md")

    def run(k: int, cell: Atoms, temperature: float) -> Iterator[Made]:
        atoms = cell.copy()
        atoms.calc = driver
        thermalize_momenta(atoms, temperature_K=temperature, rng=rng)
        Stationary(atoms)
        dynamics = Langevin(
            atoms, timestep * units.fs, temperature_K=temperature, friction=friction / units.fs, rng=rng, fixcm=False
        )
        try:
            _advance(dynamics, atoms, equilibrate, temperature)
            apart = every or _correlation(dynamics, atoms, temperature)
            for _ in range(n):
                _advance(dynamics, atoms, apart, temperature)
                snapshot = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
                snapshot.wrap()
                details = {"start": k, "temperature": temperature, "step": dynamics.nsteps, "apart": apart}
                yield Made(snapshot, details, f"{temperature:g}K")
        except _FAILURES as error:
            warnings.warn(
                f"Dynamics at {temperature:g} K from frame {k} of the start ended at step {dynamics.nsteps}: {error} Take a "
                "shorter timestep, a lower temperature, or another driver.",
                NumericalWarning,
                stacklevel=2,
            )

    def structures() -> Iterator[Made]:
        for k, cell in enumerate(cells):
            for temperature in kelvin:
                yield from run(k, cell, temperature)

    return Plan(n * len(kelvin) * len(cells), structures())


def _temperatures(given: Any) -> list[float]:
    values = list(given) if isinstance(given, list | tuple) else [given]
    if not values:
        raise ValueError(describe("md.temperatures", "a list of temperatures", given, "For example [300, 1000]."))
    return [check_real("md.temperatures", value, above=0.0, remedy="It is in K.") for value in values]


def _advance(dynamics: Any, atoms: Atoms, steps: int, temperature: float) -> None:
    while steps > 0:
        dynamics.run(min(steps, _CHECKED))
        steps -= _CHECKED
        found = atoms.get_temperature()
        if not np.isfinite(atoms.positions).all() or not found < _HOTTEST * temperature + 1000.0:
            raise FloatingPointError(f"it is {found:.3g} K hot.")


def _correlation(dynamics: Any, atoms: Atoms, temperature: float) -> int:
    """Steps between snapshots whose potential energies are independent."""
    energies: list[float] = []
    length = _PILOT
    while True:
        while len(energies) < length:
            _advance(dynamics, atoms, _STRIDE, temperature)
            energies.append(float(atoms.get_potential_energy()))
        factor = inefficiency(np.array(energies))
        if _ENOUGH * factor <= length or length >= _LONGEST:
            return int(np.ceil(_STRIDE * factor))
        length *= 2


def inefficiency(series: NDArray[np.float64]) -> float:
    r"""Statistical inefficiency of a time series: how many of its values are worth an independent one.

    Parameters
    ----------
    series : ndarray of shape (n,)
        Evenly spaced values.

    Returns
    -------
    float
        :math:`g = 1 + 2 \sum_t (1 - t/n) C(t)`, summed while the normalised autocorrelation C is positive; at least 1.

    References
    ----------
    J. D. Chodera, W. C. Swope, J. W. Pitera, C. Seok, K. A. Dill, J. Chem. Theory Comput. 3, 26 (2007).
    """
    n = len(series)
    centred = series - series.mean()
    square = float(centred @ centred) / n
    if n < 3 or square == 0.0:
        return 1.0
    g = 1.0
    for t in range(1, n - 1):
        correlation = float(centred[:-t] @ centred[t:]) / (n - t) / square
        if correlation <= 0.0:
            break
        g += 2.0 * (1.0 - t / n) * correlation
    return max(1.0, g)
