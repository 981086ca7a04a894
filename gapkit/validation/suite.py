"""All properties of a structure with one potential, with names, units and a table."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from ase import Atoms

from .._validation import check_choice, describe
from ..datasets.generate.base import supercell
from ..exceptions import MissingPackageError
from .crystal import Crystal, elastic_properties, eos_properties, find_crystal, relaxed_crystals
from .defects import surface_properties, vacancy_properties
from .dynamics import step_advice
from .ensemble import Ensemble, Measured
from .expansion import expansion_properties
from .motion import motion_properties
from .phonons import STABLE, BandPath, phonon_properties

__all__ = ["PROPERTIES", "PropertyRow", "PropertySet", "measure_properties", "property_rows", "read_reference", "unit_of"]

PROPERTIES = ("eos", "elastic", "phonons", "expansion", "vacancy", "surfaces", "dynamics")
"""What can be measured."""

_FEW = 8  # samples that run what takes long: dynamics, and phonons at seven volumes
_LEAST_EDGE = 10.0  # Å of the cell of dynamics
_SAME = 1e-3  # THz: modes that are one by symmetry

_UNITS = {
    **dict.fromkeys(("a", "b", "c", "first_peak", "first_shell", "rdf_r"), "Å"),
    **dict.fromkeys(("alpha", "beta", "gamma", "adf_angle"), "°"),
    **dict.fromkeys(("volume", "eos_volume", "thermal_volume"), "Å³/atom"),
    **dict.fromkeys(("bulk_modulus", "bulk_modulus_hill", "shear_modulus_hill", "stability"), "GPa"),
    **dict.fromkeys(("eos_energy", "fluctuation", "total_energy"), "eV/atom"),
    **dict.fromkeys(("temperature", "temperatures", "expansion_temperature"), "K"),
    **dict.fromkeys(("bands", "dos_frequency"), "THz"),
    **dict.fromkeys(("thermal_expansion", "expansion"), "1e-6/K"),
    "dos": "1/THz",
    "vacancy_energy": "eV",
    "drift": "eV/atom/ps",
    "drift_per_step": "eV/step",
    "adf": "1/°",
    "time": "ps",
}
_FAMILIES = {"phonon_": "THz", "surface_energy_": "J/m²", "diffusion_": "cm²/s", "C": "GPa"}


def unit_of(name: str) -> str:
    """Unit of a property; "" for a pure number."""
    family = next((unit for start, unit in _FAMILIES.items() if name.startswith(start)), "")
    return _UNITS.get(name, family)


@dataclass
class PropertySet:
    """What was measured.

    Attributes
    ----------
    crystal : Crystal or None
        The structure in its standard setting, if it is a crystal.
    properties : dict of str to Measured
        Numbers and curves; `unit_of` has their units.
    path : BandPath or None
        Where the phonon bands are.
    remarks : list of str
        What was left out and why, and what to beware of.
    """

    crystal: Crystal | None
    properties: dict[str, Measured] = field(default_factory=dict)
    path: BandPath | None = None
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class PropertyRow:
    """One number of a table.

    Attributes
    ----------
    name : str
        E.g. "C11"; phonon modes that are equal by symmetry share a row, e.g. "phonon_X_1-2".
    value : float
        Of the model.
    std : float or None
        Error bar.
    unit : str
        Of both.
    reference : float or None
        Reference value.
    """

    name: str
    value: float
    std: float | None
    unit: str
    reference: float | None = None

    @property
    def z(self) -> float | None:
        """Error over error bar."""
        return (self.value - self.reference) / self.std if self.std and self.reference is not None else None


def measure_properties(
    ensemble: Ensemble,
    atoms: Atoms,
    only: Collection[str] = PROPERTIES,
    *,
    temperature: float = 300.0,
    steps: int = 1000,
    timestep: float = 1.0,
    random_state: int | None = 0,
    show: bool = False,
) -> PropertySet:
    """Measure the properties that a structure has.

    Parameters
    ----------
    ensemble : Ensemble
        The potential, with samples of its posterior for error bars.
    atoms : ase.Atoms
        A crystal (periodic, with symmetry) has all properties, vacancy and surfaces if it is an element; others have dynamics.
    only : collection of {"eos", "elastic", "phonons", "expansion", "vacancy", "surfaces", "dynamics"}, default all
        What to measure.
    temperature, steps, timestep
        Of the dynamics, as for `motion_properties`, and of thermal expansion; at most eight samples run either.
    random_state : int, optional
        Seed of the dynamics.
    show : bool, default False
        Whether to show progress bars.

    Returns
    -------
    PropertySet

    Raises
    ------
    NotConvergedError
        If the crystal has no minimum.
    MissingPackageError
        If phonopy or spglib is missing (extra ``props``).
    """
    for name in only:
        check_choice("only", name, PROPERTIES)
    crystal = find_crystal(atoms)
    result = PropertySet(crystal)
    if not ensemble.members:
        result.remarks.append("The model has no posterior to draw samples from: no error bars.")
    starts: list[Atoms | None] = [atoms] * (1 + len(ensemble.members))
    if crystal is not None:
        starts = relaxed_crystals(crystal.primitive, ensemble, show=show)
        _measure_crystal(result, crystal, starts, ensemble, only, temperature, show)
        starts = [x and supercell(crystal.conventional(x), _LEAST_EDGE) for x in starts]
    elif set(only) - {"dynamics"}:
        result.remarks.append("The structure is no crystal (periodic in three directions, with symmetry): dynamics only.")
    if "dynamics" in only:
        found = motion_properties(
            starts[: 1 + _FEW],
            ensemble.first(_FEW),
            temperature=temperature,
            steps=steps,
            timestep=timestep,
            random_state=random_state,
            show=show,
        )
        result.properties.update(found)
        advice = step_advice(float(found["drift_per_step"]), timestep)
        if advice:
            result.remarks.append(advice)
    return result


def _measure_crystal(
    result: PropertySet,
    crystal: Crystal,
    starts: list[Atoms | None],
    ensemble: Ensemble,
    only: Collection[str],
    temperature: float,
    show: bool,
) -> None:
    """Fill in what only a crystal has; what fails is remarked, the rest goes on."""
    elemental, cubic = len(set(crystal.primitive.numbers)) == 1, crystal.system == "cubic"

    def phonons() -> dict[str, Measured]:
        result.path, found = phonon_properties(crystal, starts, ensemble, show=show)
        if found["phonon_lowest"].value < STABLE:
            result.remarks.append(f"Phonons are unstable: the lowest is {found['phonon_lowest'].value:.2f} THz (imaginary).")
        return found

    def expansion() -> dict[str, Measured]:
        return expansion_properties(crystal, starts[: 1 + _FEW], ensemble.first(_FEW), temperature=temperature, show=show)

    tasks: dict[str, Callable[[], dict[str, Measured]]] = {
        "eos": lambda: eos_properties(crystal, starts, ensemble, show=show),
        "elastic": lambda: elastic_properties(crystal, starts, ensemble, show=show),
        "phonons": phonons,
        "expansion": expansion,
        "vacancy": lambda: vacancy_properties(crystal, starts, ensemble, show=show),
        "surfaces": lambda: surface_properties(crystal, starts, ensemble, show=show),
    }
    for name, task in tasks.items():
        if name not in only:
            continue
        if name in ("vacancy", "surfaces") and not elemental:
            result.remarks.append(f"{name}: left out, since energies of a compound depend on chemical potentials.")
        elif name == "surfaces" and not cubic:
            result.remarks.append("surfaces: left out, since (100) and (111) are those of cubic crystals.")
        else:
            try:
                result.properties.update(task())
            except MissingPackageError:
                raise
            except ValueError as error:
                result.remarks.append(f"{name}: failed. {error}")
    stability = result.properties.get("stability")
    if stability is not None and stability.value <= 0:
        result.remarks.append("The crystal is not stable: an elastic constant (an eigenvalue of them) is negative.")


def property_rows(found: PropertySet, reference: Mapping[str, float] | None = None) -> list[PropertyRow]:
    """The numbers of a set of properties; phonon modes that are equal by symmetry are one row.

    Parameters
    ----------
    found : PropertySet
        From `measure_properties`.
    reference : mapping of str to float, optional
        Reference values by name.

    Returns
    -------
    list of PropertyRow
    """
    rows: list[PropertyRow] = []
    for name, one in found.properties.items():
        if one.value.ndim or name in ("first_shell", "stability"):
            continue
        std = None if one.std is None else float(one.std)
        row = PropertyRow(name, float(one.value), std, unit_of(name), (reference or {}).get(name))
        last = rows[-1] if rows else None
        if last is not None and _are_one(last, row):
            first = last.name.split("-")[0]
            rows[-1] = PropertyRow(f"{first}-{name.split('_')[-1]}", last.value, last.std, last.unit, last.reference)
        else:
            rows.append(row)
    return rows


def _are_one(last: PropertyRow, row: PropertyRow) -> bool:
    """Whether two rows are modes of one phonon point with one frequency."""
    same_point = row.name.startswith("phonon_") and row.name.split("_")[:2] == last.name.split("_")[:2]
    return same_point and row.name.count("_") == 2 and abs(last.value - row.value) < _SAME


def read_reference(path: str | Path, found: PropertySet) -> dict[str, float]:
    """Reference values: a JSON file of numbers by name.

    Parameters
    ----------
    path : str or Path
        E.g. ``{"a": 5.475, "C11": 153.0, "phonon_X_1": 4.2}``.
    found : PropertySet
        What they are compared with; other known names are passed over.

    Returns
    -------
    dict of str to float

    Raises
    ------
    ValueError
        If the file is no such thing, or a name is none of a property.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f'{path} must be JSON, such as {{"a": 5.475, "C11": 153.0}}; {error}.') from None
    if not isinstance(content, dict) or not all(isinstance(x, (int, float)) for x in content.values()):
        raise ValueError(describe("reference", "an object of numbers by name", type(content).__name__, f"See {path}."))
    for name in content:
        if name not in found.properties and not unit_of(name):
            near = get_close_matches(name, [*found.properties, *_UNITS], 1)
            hint = f"Did you mean {near[0]}?" if near else "`gapkit props --json` prints the names."
            raise ValueError(describe("reference", "of properties", name, hint))
    return {name: float(value) for name, value in content.items()}
