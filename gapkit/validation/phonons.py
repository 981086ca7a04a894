"""Phonons of a crystal by finite displacements (phonopy): bands, density of states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.cell import Cell
from numpy.typing import NDArray

from ..datasets.generate.base import supercell
from .crystal import Crystal, extra_packages
from .ensemble import Ensemble, Measured, propagate

__all__ = ["MESH", "STABLE", "BandPath", "phonon_properties", "phonopy_of", "repeats_of"]

Array = NDArray[np.float64]

_DISPLACEMENT = 0.01  # Å, phonopy's own
_LEAST_EDGE = 10.0  # Å of the supercell
_N_POINTS = 121  # along the whole path
MESH = 60.0  # Å: phonopy's measure of how fine the mesh of the density of states is
STABLE = -0.05  # THz; frequencies below are imaginary, not rounded
_SMEARING = 0.1  # THz
_STEP = 0.05  # THz, of the density of states
_HIGHEST = 1.1  # of the largest frequency: end of the density of states


@dataclass(frozen=True)
class BandPath:
    """Where in reciprocal space the bands are given.

    Attributes
    ----------
    points : ndarray of shape (n_points, 3)
        In units of the reciprocal vectors of the primitive cell.
    distance : ndarray of shape (n_points,)
        Along the path, 1/Å.
    ticks : ndarray of shape (n_special,)
        Distances of the special points on the path.
    labels : list of str
        Their names.
    special : dict of str to ndarray of shape (3,)
        All special points on the path.
    """

    points: Array
    distance: Array
    ticks: Array
    labels: list[str]
    special: dict[str, Array]

    @classmethod
    def of(cls, primitive: Atoms) -> BandPath:
        """The path of Setyawan and Curtarolo (2010) for a cell, from ASE."""
        path = Cell(primitive.cell).bandpath(npoints=_N_POINTS)
        distance, ticks, labels = path.get_linear_kpoint_axis()
        names = [name for name in path.special_points if name in path.path]
        return cls(path.kpts, distance, ticks, labels, {name: path.special_points[name] for name in names})


def phonon_properties(
    crystal: Crystal, relaxed: list[Atoms | None], ensemble: Ensemble, *, show: bool = False
) -> tuple[BandPath, dict[str, Measured]]:
    """Phonon bands and density of states, each potential at its own lattice constant.

    Parameters
    ----------
    crystal : Crystal
        From `gapkit.validation.find_crystal`.
    relaxed : list of ase.Atoms or None
        From `gapkit.validation.relaxed_crystals`.
    ensemble : Ensemble
        The potentials.
    show : bool, default False
        Whether to show a progress bar.

    Returns
    -------
    path : BandPath
        Where the bands are.
    properties : dict of str to Measured
        ``bands`` of shape (n_points, n_modes), THz, imaginary ones negative; ``dos`` (states/THz/cell) over ``dos_frequency``
        (THz); ``phonon_X_1`` ...: frequencies at special points; ``phonon_lowest`` and ``phonon_highest``, THz.

    Raises
    ------
    MissingPackageError
        If phonopy is not installed (extra ``props``).
    """
    with extra_packages():
        import phonopy  # noqa: F401 - found missing before the long work, not after
    assert relaxed[0] is not None  # noqa: S101 - for the type checker
    path = BandPath.of(relaxed[0])
    repeats = repeats_of(crystal, relaxed[0])
    grid: list[Array] = []  # of the density of states; set by the model, used by all

    def measure(calculator: Any, atoms: Atoms) -> dict[str, Any]:
        phonon = phonopy_of(atoms, repeats, calculator)
        bands = phonon.run_qpoints(path.points).frequencies
        mesh = phonon.run_mesh(MESH)
        if not grid:
            grid.append(np.arange(min(0.0, float(bands.min())), _HIGHEST * float(bands.max()), _STEP))
        density = _density(mesh.frequencies, mesh.weights, grid[0])
        at = {
            f"phonon_{_plain(name)}_{k + 1}": value
            for (name, point) in path.special.items()
            for k, value in enumerate(phonon.run_qpoints([point]).frequencies[0])
        }
        extremes = {"phonon_lowest": mesh.frequencies.min(), "phonon_highest": bands.max()}
        return {"bands": bands, "dos": density, **at, **extremes}

    result = propagate(measure, ensemble, relaxed, kind="forces", what="phonons", show=show)
    return path, {**result, "dos_frequency": Measured(grid[0])}


def repeats_of(crystal: Crystal, primitive: Atoms) -> NDArray[np.int64]:
    """Vectors of the supercell of displacements in units of those of the primitive cell."""
    large = supercell(crystal.conventional(primitive), _LEAST_EDGE)
    return np.asarray(np.rint(large.cell.array @ np.linalg.inv(primitive.cell.array)), np.int64)


def phonopy_of(atoms: Atoms, repeats: NDArray[np.int64], calculator: Any) -> Any:
    """Phonopy object with force constants."""
    with extra_packages():
        import phonopy
        from phonopy.structure import atoms as structure
    cell = structure.PhonopyAtoms(
        symbols=atoms.get_chemical_symbols(), cell=atoms.cell.array, scaled_positions=atoms.get_scaled_positions()
    )
    phonon = phonopy.Phonopy(cell, supercell_matrix=repeats.T, primitive_matrix="P", symprec=1e-3)
    phonon.generate_displacements(distance=_DISPLACEMENT)
    forces = []
    for displaced in phonon.supercells_with_displacements:
        frame = Atoms(displaced.symbols, cell=displaced.cell, scaled_positions=displaced.scaled_positions, pbc=True)
        frame.calc = calculator
        forces.append(frame.get_forces())
    phonon.forces = forces
    phonon.produce_force_constants()
    phonon.symmetrize_force_constants()
    return phonon


def _density(frequencies: Array, weights: NDArray[np.int64], grid: Array) -> Array:
    """Gaussians of unit weight per mode, so that the integral is the number of modes."""
    share = (weights / weights.sum())[:, None]
    result = np.zeros(len(grid))
    for modes, w in zip(frequencies, share, strict=True):
        result += w * np.exp(-0.5 * ((grid[:, None] - modes) / _SMEARING) ** 2).sum(axis=1)
    result /= _SMEARING * np.sqrt(2 * np.pi)
    return result


def _plain(name: str) -> str:
    return {"G": "Γ"}.get(name, name)
