"""Units of data files; everything is eV and Å inside, with the constants of `ase.units`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import ase.units
from ase import Atoms

from .._validation import check_choice, describe

__all__ = ["ENERGY_UNITS", "LENGTH_UNITS", "STRESS_UNITS", "Units", "scale_structure", "units_of"]

ENERGY_UNITS: dict[str, float] = {
    "eV": 1.0,
    "meV": 1e-3,
    "Hartree": float(ase.units.Hartree),
    "Ry": float(ase.units.Rydberg),
    "kcal/mol": float(ase.units.kcal / ase.units.mol),
    "kJ/mol": float(ase.units.kJ / ase.units.mol),
}
"""Units of energy in eV."""

LENGTH_UNITS: dict[str, float] = {"Å": 1.0, "Bohr": float(ase.units.Bohr), "nm": 10.0}
"""Units of length in Å."""

STRESS_UNITS: dict[str, float] = {
    "GPa": float(ase.units.GPa),
    "kbar": 0.1 * float(ase.units.GPa),
    "bar": 1e-4 * float(ase.units.GPa),
}
"""Units of stress in eV/Å³, beside energy/length³."""

_OTHER_NAMES = {
    "ev": "eV",
    "electronvolt": "eV",
    "mev": "meV",
    "ha": "Hartree",
    "hartree": "Hartree",
    "eh": "Hartree",
    "ry": "Ry",
    "rydberg": "Ry",
    "kcal/mol": "kcal/mol",
    "kj/mol": "kJ/mol",
    "å": "Å",
    "a": "Å",
    "ang": "Å",
    "angstrom": "Å",
    "bohr": "Bohr",
    "a0": "Bohr",
    "au": "Bohr",
    "nm": "nm",
    "gpa": "GPa",
    "kbar": "kbar",
    "kb": "kbar",
    "bar": "bar",
}


@dataclass(frozen=True)
class Units:
    """Units of one data file.

    Parameters
    ----------
    energy : str, default "eV"
        eV, meV, Hartree, Ry, kcal/mol or kJ/mol; of virials, too.
    length : str, default "Å"
        Å, Bohr or nm.
    forces : str, default ""
        Energy and length, e.g. "Hartree/Bohr"; "": energy/length.
    stress : str, default ""
        GPa, kbar, bar, or energy and volume, e.g. "eV/Å^3"; "": energy/length³.  Signs are ASE's (positive: the cell wants to
        shrink).

    Raises
    ------
    ValueError
        If a unit is not known.

    Examples
    --------
    >>> units = Units("kcal/mol", "Å")
    >>> round(units.factor("energy"), 6), str(units)
    (0.043364, 'kcal/mol, Å, kcal/mol/Å')
    """

    energy: str = "eV"
    length: str = "Å"
    forces: str = ""
    stress: str = ""

    def __post_init__(self) -> None:
        for kind in ("energy", "length"):
            object.__setattr__(self, kind, _named(kind, getattr(self, kind)))
        for kind in ("forces", "stress"):
            if getattr(self, kind):
                object.__setattr__(self, kind, _composed(kind, getattr(self, kind)))

    def factor(self, kind: str) -> float:
        """What a number of this kind ("energy", "length", "forces", "stress") is multiplied by to be in eV and Å."""
        if kind == "energy":
            return ENERGY_UNITS[self.energy]
        if kind == "length":
            return LENGTH_UNITS[self.length]
        given = getattr(self, kind)
        if given in STRESS_UNITS:
            return STRESS_UNITS[given]
        energy, length = given.removesuffix("^3").rsplit("/", 1) if given else (self.energy, self.length)
        return ENERGY_UNITS[energy] / LENGTH_UNITS[length] ** (1 if kind == "forces" else 3)

    @property
    def converted(self) -> bool:
        """Whether any of them is not eV and Å."""
        return any(self.factor(kind) != 1.0 for kind in ("energy", "length", "forces", "stress"))

    def __str__(self) -> str:
        forces = self.forces or f"{self.energy}/{self.length}"
        return f"{self.energy}, {self.length}, {forces}" + (f", {self.stress}" if self.stress else "")


def units_of(given: Mapping[str, str] | Units | None, default: Units) -> Units:
    """Units with those parts replaced that are given.

    Parameters
    ----------
    given : mapping of str to str, Units or None
        Keys energy, length, forces, stress.
    default : Units
        Of the format or the file itself.

    Returns
    -------
    Units

    Raises
    ------
    ValueError
        If a key or a unit is not known.
    """
    if isinstance(given, Units):
        return given
    names = [f.name for f in fields(Units)]
    for key in given or {}:
        check_choice("units", key, names, "Its keys are these.")
    parts = {name: getattr(default, name) for name in names}
    for key, other in (("energy", ("forces", "stress")), ("length", ("forces", "stress"))):
        if key in (given or {}):  # what the format says of forces was meant for its own unit of energy
            parts |= dict.fromkeys(other, "")
    return Units(**{**parts, **(given or {})})


def scale_structure(atoms: Atoms, units: Units) -> None:
    """Bring positions and cell to Å, in place."""
    factor = units.factor("length")
    if factor != 1.0:
        atoms.set_cell(atoms.cell.array * factor)
        atoms.positions *= factor


def _named(kind: str, name: str) -> str:
    known = ENERGY_UNITS if kind == "energy" else LENGTH_UNITS
    found = _OTHER_NAMES.get(str(name).strip().lower(), name)
    if found not in known:
        raise ValueError(describe(f"units.{kind}", "one of " + ", ".join(known), name))
    return found


def _composed(kind: str, name: str) -> str:
    single = _OTHER_NAMES.get(name.strip().lower(), name)
    if kind == "stress" and single in STRESS_UNITS:
        return single
    energy, _, length = name.removesuffix("³").removesuffix("^3").removesuffix("**3").rpartition("/")
    try:
        return f"{_named('energy', energy)}/{_named('length', length)}" + ("^3" if kind == "stress" else "")
    except ValueError:
        rule = "an energy divided by a length, e.g. 'Hartree/Bohr'"
        if kind == "stress":
            rule = "GPa, kbar, bar or an energy divided by a volume, e.g. 'eV/Å^3'"
        remedy = f"Energies: {', '.join(ENERGY_UNITS)}; lengths: {', '.join(LENGTH_UNITS)}."
        raise ValueError(describe(f"units.{kind}", rule, name, remedy)) from None
