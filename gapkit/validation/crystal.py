"""Crystals: symmetry, relaxation, equation of state, elastic constants."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.build import make_supercell
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from matscipy.elasticity import full_3x3x3x3_to_Voigt_6x6, measure_triclinic_elastic_constants
from numpy.typing import NDArray

from ..exceptions import MissingPackageError, NumericalWarning
from ..model.progress import track
from .ensemble import Ensemble, Measured, propagate
from .properties import eos_parameters

__all__ = [
    "Crystal",
    "NotConvergedError",
    "elastic_properties",
    "eos_properties",
    "extra_packages",
    "find_crystal",
    "relax",
    "relaxed_crystals",
]

Array = NDArray[np.float64]

_SYMMETRY = 1e-2  # Å; files hold few digits
_FORCE = 1e-4  # eV/Å: a hundredth of the smallest force that a strain of _STRAIN causes
_STEPS = 300
_STRAIN = 0.005  # the error of a central difference is of order _STRAIN², 1e-4 here
_VOLUMES = np.linspace(0.94, 1.06, 9)
_SYSTEMS = {2: "triclinic", 15: "monoclinic", 74: "orthorhombic", 142: "tetragonal", 167: "trigonal", 194: "hexagonal"}


class NotConvergedError(ValueError):
    """A relaxation that did not end."""


@contextmanager
def extra_packages() -> Iterator[None]:
    """Around imports of the extra ``props``.

    Raises
    ------
    MissingPackageError
        If one is not installed; the message has the command that installs it.
    """
    try:
        yield
    except ImportError as error:
        raise MissingPackageError(
            f"Properties of crystals need {error.name}, which is not installed ({error}). Run: pip install 'gapkit[props]'"
        ) from None


@dataclass(frozen=True)
class Crystal:
    """A crystal in its standard setting.

    Attributes
    ----------
    primitive : ase.Atoms
        Primitive cell.
    to_conventional : ndarray of int of shape (3, 3)
        Vectors of the conventional cell in those of the primitive one (rows).
    space_group : str
        International symbol.
    system : str
        "cubic", "hexagonal", ...
    """

    primitive: Atoms
    to_conventional: NDArray[np.int64]
    space_group: str
    system: str

    def conventional(self, primitive: Atoms) -> Atoms:
        """Conventional cell of a (relaxed) primitive one."""
        return make_supercell(primitive, self.to_conventional)


def find_crystal(atoms: Atoms) -> Crystal | None:
    """The standard setting of a structure, if it is a crystal: periodic in three directions, and of more symmetry than P1.

    Parameters
    ----------
    atoms : ase.Atoms
        Structure; symmetric to 0.01 Å.

    Returns
    -------
    Crystal or None

    Raises
    ------
    MissingPackageError
        If spglib is not installed (extra ``props``).
    """
    if not (atoms.pbc.all() and atoms.cell.rank == 3):
        return None
    with extra_packages():
        import spglib
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # spglib announces how it will report errors
        found = spglib.get_symmetry_dataset(cell, symprec=_SYMMETRY)
        both = [spglib.standardize_cell(cell, to_primitive=p, symprec=_SYMMETRY) for p in (True, False)]
    if found is None or found.number == 1 or None in both:
        return None
    primitive, conventional = (Atoms(numbers, cell=box, scaled_positions=places, pbc=True) for box, places, numbers in both)
    transform = conventional.cell.array @ np.linalg.inv(primitive.cell.array)
    system = next((name for last, name in _SYSTEMS.items() if found.number <= last), "cubic")
    return Crystal(primitive, np.rint(transform).astype(int), found.international, system)


def relax(atoms: Atoms, calculator: Any, *, cell: bool = False, force: float = _FORCE) -> Atoms:
    """A relaxed copy, without calculator.

    Parameters
    ----------
    atoms : ase.Atoms
        Where to start.
    calculator : ase calculator
        Potential.
    cell : bool, default False
        Whether the cell relaxes too.
    force : float, default 1e-4
        Largest force, eV/Å, that remains.

    Returns
    -------
    ase.Atoms

    Raises
    ------
    NotConvergedError
        If 300 steps are not enough, or atoms come together.
    """
    moving = atoms.copy()
    moving.calc = calculator
    try:
        converged = BFGS(FrechetCellFilter(moving) if cell else moving, logfile=None).run(fmax=force, steps=_STEPS)
    except ValueError as error:
        name = moving.get_chemical_formula()
        raise NotConvergedError(f"The relaxation of {name} fell apart ({error}) Add such structures to the fit.") from error
    if not converged or not np.isfinite(moving.positions).all():
        raise NotConvergedError(
            f"The relaxation of {moving.get_chemical_formula()} must end within {_STEPS} steps; the largest force is still "
            f"{np.abs(moving.get_forces()).max():.3g} eV/Å. Start nearer to a minimum, or add such structures to the fit."
        )
    moving.calc = None
    return moving


def relaxed_crystals(primitive: Atoms, ensemble: Ensemble, *, show: bool = False) -> list[Atoms | None]:
    """The crystal of each potential, cell and atoms relaxed; the samples start from that of the model itself.

    Parameters
    ----------
    primitive : ase.Atoms
        Where to start.
    ensemble : Ensemble
        The potentials.
    show : bool, default False
        Whether to show a progress bar.

    Returns
    -------
    list of ase.Atoms or None
        Of the model first; None for samples whose relaxation failed, which a `NumericalWarning` counts.
    """
    result: list[Atoms | None] = [relax(primitive, ensemble.mean, cell=True)]
    for calculator in track(ensemble.members, "relaxation", len(ensemble.members), show=show and bool(ensemble.members)):
        try:
            result.append(relax(result[0], calculator, cell=True))
        except ValueError:
            result.append(None)
    n_failed = sum(atoms is None for atoms in result)
    if n_failed:
        text = f"The crystal of {n_failed} of {len(ensemble.members)} samples of the posterior has no minimum: left out."
        warnings.warn(text, NumericalWarning, stacklevel=2)
    return result


def eos_properties(
    crystal: Crystal, relaxed: list[Atoms | None], ensemble: Ensemble, *, show: bool = False
) -> dict[str, Measured]:
    """Lattice constants and equation of state (Birch-Murnaghan, nine volumes within 6 %, atoms relaxed).

    Parameters
    ----------
    crystal : Crystal
        From `find_crystal`.
    relaxed : list of ase.Atoms or None
        From `relaxed_crystals`.
    ensemble : Ensemble
        The potentials.
    show : bool, default False
        Whether to show a progress bar.

    Returns
    -------
    dict of str to Measured
        ``a``, ``b``, ``c`` (Å) and ``alpha``, ``beta``, ``gamma`` (degrees) of the conventional cell, of these only what the
        crystal system leaves free; ``volume`` (Å³/atom), ``bulk_modulus`` (GPa); ``eos_volume``
        (Å³/atom) and ``eos_energy`` (eV/atom), the curve.
    """
    assert relaxed[0] is not None  # noqa: S101 - for the type checker
    volumes = relaxed[0].get_volume() / len(relaxed[0]) * _VOLUMES  # the same for all, so that curves can be compared

    def measure(calculator: Any, atoms: Atoms) -> dict[str, Any]:
        energies = []
        for volume in volumes:
            scaled = atoms.copy()
            scaled.set_cell(atoms.cell * (volume * len(atoms) / atoms.get_volume()) ** (1 / 3), scale_atoms=True)
            scaled = relax(scaled, calculator)
            scaled.calc = calculator
            energies.append(scaled.get_potential_energy() / len(atoms))
        equilibrium, modulus = eos_parameters(volumes, np.array(energies))
        cell = dict(zip(("a", "b", "c", "alpha", "beta", "gamma"), crystal.conventional(atoms).cell.cellpar(), strict=True))
        free = {name: cell[name] for name in _FREE[crystal.system]}
        return {**free, "volume": equilibrium, "bulk_modulus": modulus, "eos_energy": energies}

    result = propagate(measure, ensemble, relaxed, kind="stress", what="equation of state", show=show)
    return {**result, "eos_volume": Measured(volumes)}


_FREE = {
    "cubic": ("a",),
    "hexagonal": ("a", "c"),
    "trigonal": ("a", "c"),
    "tetragonal": ("a", "c"),
    "orthorhombic": ("a", "b", "c"),
    "monoclinic": ("a", "b", "c", "beta"),
    "triclinic": ("a", "b", "c", "alpha", "beta", "gamma"),
}


def elastic_properties(
    crystal: Crystal, relaxed: list[Atoms | None], ensemble: Ensemble, *, show: bool = False
) -> dict[str, Measured]:
    """Elastic constants, atoms relaxed under strain (matscipy), and the moduli of a polycrystal (Voigt-Reuss-Hill).

    Parameters
    ----------
    crystal, relaxed, ensemble, show
        As for `eos_properties`.

    Returns
    -------
    dict of str to Measured
        GPa: ``C11``, ``C12``, ``C44`` (means over directions) for cubic crystals, else ``C11``, ``C12``, ... ``C66``;
        ``bulk_modulus_hill``, ``shear_modulus_hill``; ``stability``, the smallest eigenvalue: positive where Born's criteria
        hold.
    """

    def measure(calculator: Any, atoms: Atoms) -> dict[str, Any]:
        atoms.calc = calculator
        tensor = measure_triclinic_elastic_constants(atoms, delta=_STRAIN, optimizer=BFGS, fmax=_FORCE, steps=_STEPS)
        C = full_3x3x3x3_to_Voigt_6x6(tensor, check_symmetry=False) / units.GPa
        C = (C + C.T) / 2
        return {**_constants(C, crystal.system), **_moduli(C), "stability": np.linalg.eigvalsh(C)[0]}

    return propagate(measure, ensemble, relaxed, kind="stress", what="elastic constants", show=show)


def _constants(C: Array, system: str) -> dict[str, float]:
    if system == "cubic":
        normal, shear = C[:3, :3], np.diag(C)[3:]
        return {"C11": np.trace(normal) / 3, "C12": (normal.sum() - np.trace(normal)) / 6, "C44": float(shear.mean())}
    return {f"C{i + 1}{j + 1}": C[i, j] for i in range(6) for j in range(i, 6)}


def _moduli(C: Array) -> dict[str, float]:
    """Hill's means of the bounds by Voigt and Reuss; not a number for what is not stable."""
    try:
        S = np.linalg.inv(C)
    except np.linalg.LinAlgError:
        raise ValueError("The elastic constants must not be singular; got a crystal that yields to some strain.") from None
    normal, shear, normal_s, shear_s = np.trace(C[:3, :3]), np.trace(C[3:, 3:]), np.trace(S[:3, :3]), np.trace(S[3:, 3:])
    mixed, mixed_s = (C[:3, :3].sum() - normal) / 2, (S[:3, :3].sum() - normal_s) / 2
    bulk = ((normal + 2 * mixed) / 9 + 1 / (normal_s + 2 * mixed_s)) / 2
    rigidity = ((normal - mixed + 3 * shear) / 15 + 15 / (4 * normal_s - 4 * mixed_s + 3 * shear_s)) / 2
    return {"bulk_modulus_hill": float(bulk), "shear_modulus_hill": float(rigidity)}
