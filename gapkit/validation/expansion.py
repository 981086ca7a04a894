"""Thermal expansion of a crystal in the quasi-harmonic approximation (phonopy)."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from .._validation import check_real
from .crystal import Crystal, extra_packages, relax
from .ensemble import Ensemble, Measured, propagate
from .phonons import MESH, STABLE, phonopy_of, repeats_of

__all__ = ["expansion_properties", "quasi_harmonic"]

Array = NDArray[np.float64]

_VOLUMES = np.linspace(0.97, 1.05, 7)  # of the relaxed volume; at high temperature the minimum lies above 1
_ORDER = 3  # of the polynomials
_STEP = 20.0  # K
_HIGHEST = 600.0  # K, of the curve at least


def expansion_properties(
    crystal: Crystal,
    relaxed: list[Atoms | None],
    ensemble: Ensemble,
    *,
    temperature: float = 300.0,
    show: bool = False,
) -> dict[str, Measured]:
    """Volume and thermal expansion from the harmonic free energies of seven volumes, zero-point motion included.

    The cell is scaled isotropically and the atoms relax.  Anharmonicity at constant volume is left out: good to about two
    thirds of the melting temperature.

    Parameters
    ----------
    crystal : Crystal
        From `gapkit.validation.find_crystal`.
    relaxed : list of ase.Atoms or None
        From `gapkit.validation.relaxed_crystals`.
    ensemble : Ensemble
        The potentials.
    temperature : float, default 300.0
        K.
    show : bool, default False
        Whether to show a progress bar.

    Returns
    -------
    dict of str to Measured
        ``thermal_expansion``: (1/V) dV/dT, 1e-6/K, of a cubic crystal three times the linear one; ``thermal_volume``,
        Å³/atom; ``expansion`` (1e-6/K) over ``expansion_temperature`` (K), the curve.

    Raises
    ------
    ValueError
        If phonons are imaginary at one of the volumes, or the free energy has no minimum among them.
    MissingPackageError
        If phonopy is not installed (extra ``props``).
    """
    check_real("temperature", temperature, above=0.0, remedy="It is in K.")
    with extra_packages():
        import phonopy  # noqa: F401 - found missing before the long work, not after
    assert relaxed[0] is not None  # noqa: S101 - for the type checker
    repeats = repeats_of(crystal, relaxed[0])
    grid = np.arange(0.0, max(_HIGHEST, temperature) + 1.5 * _STEP, _STEP)

    def measure(calculator: Any, atoms: Atoms) -> dict[str, Any]:
        volumes = atoms.get_volume() / len(atoms) * _VOLUMES
        found = [_harmonic(_scaled(atoms, volume, calculator), repeats, calculator, grid) for volume in volumes]
        free, entropy = (np.array(part).T for part in zip(*found, strict=True))
        volume, slope = quasi_harmonic(volumes, free, entropy)
        return {
            "thermal_expansion": 1e6 * np.interp(temperature, grid, slope),
            "thermal_volume": np.interp(temperature, grid, volume),
            "expansion": 1e6 * slope,
        }

    result = propagate(measure, ensemble, relaxed, kind="forces", what="thermal expansion", show=show)
    return {**result, "expansion_temperature": Measured(grid)}


def quasi_harmonic(volumes: Array, free: Array, entropy: Array) -> tuple[Array, Array]:
    """Volume of least free energy and expansion there, from cubic polynomials in the volume.

    Differentiating dF/dV = 0 along the minimum gives (1/V) dV/dT = (dS/dV) / (V d²F/dV²): nothing is differenced in T.

    Parameters
    ----------
    volumes : ndarray of shape (n_volumes,)
        Å³.
    free : ndarray of shape (n_temperatures, n_volumes)
        Free energy, eV.
    entropy : ndarray of shape (n_temperatures, n_volumes)
        eV/K.

    Returns
    -------
    volume : ndarray of shape (n_temperatures,)
        Å³.
    expansion : ndarray of shape (n_temperatures,)
        1/K.

    Raises
    ------
    ValueError
        If there is no minimum between the first and the last volume.
    """
    middle, half = (volumes[0] + volumes[-1]) / 2.0, (volumes[-1] - volumes[0]) / 2.0
    x = (volumes - middle) / half
    found = []
    for f, s in zip(free, entropy, strict=True):
        energy, of_entropy = (np.polynomial.Polynomial.fit(x, y - y[0], _ORDER, domain=[-1, 1]) for y in (f, s))
        curvature = energy.deriv(2)
        roots = [z.real for z in energy.deriv().roots() if abs(z.imag) < 1e-9 and abs(z.real) < 1.0 and curvature(z.real) > 0.0]
        if not roots:
            raise ValueError(
                f"The free energy must have its minimum between {volumes[0]:.2f} and {volumes[-1]:.2f} Å³/atom; got none. "
                "Lower the temperature."
            )
        volume = middle + half * roots[0]
        found.append((volume, of_entropy.deriv()(roots[0]) * half / (volume * curvature(roots[0]))))
    volume, expansion = np.array(found).T
    return volume, expansion


def _scaled(atoms: Atoms, volume: float, calculator: Any) -> Atoms:
    """Relaxed at a volume per atom."""
    scaled = atoms.copy()
    scaled.set_cell(atoms.cell * (volume * len(atoms) / atoms.get_volume()) ** (1 / 3), scale_atoms=True)
    return relax(scaled, calculator)


def _harmonic(atoms: Atoms, repeats: NDArray[np.int64], calculator: Any, grid: Array) -> tuple[Array, Array]:
    """Free energy with that of the motionless crystal (eV/atom), and entropy (eV/K/atom)."""
    phonon = phonopy_of(atoms, repeats, calculator)
    mesh = phonon.run_mesh(MESH)
    lowest = float(mesh.frequencies.min())
    if lowest < STABLE:
        raise ValueError(f"Phonons at {atoms.get_volume() / len(atoms):.2f} Å³/atom are imaginary: {lowest:.2f} THz.")
    thermal = phonon.run_thermal_properties(temperatures=grid, exclude_gamma_acoustic=True)
    moving = atoms.copy()
    moving.calc = calculator
    free = moving.get_potential_energy() + np.asarray(thermal.free_energy) * units.kJ / units.mol
    entropy = np.asarray(thermal.entropy) * units.J / units.mol
    return free / len(atoms), entropy / len(atoms)
