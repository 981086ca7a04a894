"""gapkit convert."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from ase import Atoms

from .._validation import describe
from ..datasets import FORMATS, LabelKeys, guess_units, read_frames, without_labels, write_frames
from ..datasets.read import file_and_index
from ..exceptions import InvalidLabelError
from .console import console, errors, guarded, print_ledger
from .training import EnergyKey, ForcesKey, StressKey

__all__ = ["convert"]

_FORMATS = ", ".join(FORMATS)


@guarded
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="File or folder, any format that ASE reads or gapkit knows.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Extended xyz, in eV and Å.")],
    file_format: Annotated[
        str | None,
        typer.Option("--format", help=f"{_FORMATS}, dpdata:NAME, or one of ASE's. Default: recognised.", metavar="NAME"),
    ] = None,
    energy_unit: Annotated[
        str | None, typer.Option(help="eV, meV, Hartree, Ry, kcal/mol, kJ/mol. Default: the format's.")
    ] = None,
    length_unit: Annotated[str | None, typer.Option(help="Å, Bohr or nm. Default: the format's.")] = None,
    force_unit: Annotated[str | None, typer.Option(help="E.g. Hartree/Bohr. Default: energy/length.")] = None,
    stress_unit: Annotated[str | None, typer.Option(help="GPa, kbar, bar or e.g. eV/Å^3. Default: energy/length³.")] = None,
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    stress_key: StressKey = None,
    species: Annotated[
        str | None, typer.Option(help="Elements of the types 0, 1, ... where the format numbers them.", metavar="Al,Ni")
    ] = None,
    unit_check: Annotated[
        bool, typer.Option("--unit-check/--no-unit-check", help="Refuse energies that do not change by the work of the forces.")
    ] = True,
) -> None:
    """Data of other codes and potentials as extended xyz that `gapkit fit` reads, with what was found and in which units.

    Example: `gapkit convert rmd17_ethanol.npz ethanol.xyz`, or
    `gapkit convert run.xyz train.xyz --energy-unit Hartree --force-unit Hartree/Bohr`
    """
    if output.suffix not in (".xyz", ".extxyz"):
        raise ValueError(describe("OUT", "a name that ends in .xyz or .extxyz", str(output), "It is extended xyz."))
    if output.exists() and output.samefile(file_and_index(source)[0]):
        raise ValueError(describe("OUT", "another file than IN", str(output)))
    given = {"energy": energy_unit, "length": length_unit, "forces": force_unit, "stress": stress_unit}
    frames, keys = read_frames(
        source,
        energy=energy_key,
        forces=forces_key,
        stress=stress_key,
        format=file_format,
        units={kind: unit for kind, unit in given.items() if unit},
        species=species.split(",") if species else None,
    )
    print_ledger(frames, keys, str(source))
    if unit_check:
        _check_units(frames, keys)
    write_frames(output, without_labels(frames, keys))
    console.print(f"wrote {output}")


def _check_units(frames: list[Atoms], keys: LabelKeys) -> None:
    """Say what speaks for and against the units, and refuse a contradiction."""
    guess = guess_units(frames, keys.units)
    for text in guess.evidence:
        console.print(f"evidence  {text}", soft_wrap=True)
    for text in guess.doubts:
        errors.print(f"[bold yellow]warning:[/] {text}", soft_wrap=True)
    if guess.contradiction:
        raise InvalidLabelError(f"{guess.contradiction} Give the right unit, or --no-unit-check if you know better.")
