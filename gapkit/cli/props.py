"""gapkit props."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from ase.io import read

from .. import __version__
from .._validation import check_integer
from ..model import load
from ..report import (
    Section,
    Table,
    bands_figure,
    drift_figure,
    drift_of,
    eos_curve_figure,
    expansion_figure,
    structure_figure,
    write_page,
)
from ..validation import (
    PROPERTIES,
    Ensemble,
    PropertyRow,
    PropertySet,
    measure_properties,
    property_rows,
    read_reference,
    unit_of,
)
from .console import console, errors, guarded, print_table

__all__ = ["props"]


@guarded
def props(
    model: Annotated[Path, typer.Argument(help="Model file.")],
    structure: Annotated[Path, typer.Argument(help="Structure (the last frame of the file); a crystal for most properties.")],
    only: Annotated[
        str, typer.Option(help="Which: some of " + ", ".join(PROPERTIES) + ", separated by commas.", metavar="NAMES")
    ] = ",".join(PROPERTIES),
    samples: Annotated[int, typer.Option(help="Potentials drawn from the posterior for the error bars.")] = 20,
    temperature: Annotated[float, typer.Option(help="Of dynamics and thermal expansion, K.")] = 300.0,
    steps: Annotated[int, typer.Option(help="Of the dynamics.")] = 1000,
    timestep: Annotated[float, typer.Option(help="Of the dynamics, fs.")] = 1.0,
    reference: Annotated[
        Path | None, typer.Option(help="JSON of reference values by name, which are put beside the model's.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of samples and velocities.")] = 0,
    report: Annotated[Path | None, typer.Option("--report", help="Write an HTML page with the curves.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Physical properties with error bars: lattice, elasticity, phonons, defects, dynamics (pip install 'gapkit[props]').

    Example: `gapkit props silicon.gap diamond.xyz --report props.html`

    Without defects and dynamics, beside reference values: `gapkit props silicon.gap diamond.xyz --only eos,elastic,phonons
    --reference dft.json`
    """
    check_integer("samples", samples, at_least=0, remedy="20 know an error bar to a sixth of itself.")
    names = [name.strip() for name in only.split(",")]
    fitted = load(model)
    ensemble = Ensemble.of(fitted, samples, seed)
    found = measure_properties(
        ensemble,
        read(structure, index=-1),
        names,
        temperature=temperature,
        steps=steps,
        timestep=timestep,
        random_state=seed,
        show=not as_json,
    )
    values = read_reference(reference, found) if reference else {}
    rows = property_rows(found, values)
    if as_json:
        print(json.dumps(_as_json(found, ensemble, values), indent=1, ensure_ascii=False))
    else:
        title = f"{structure.name} with {model.name}" + (f": {_name(found)}" if found.crystal else "")
        print_table(_header(bool(values)), _cells(rows, bool(values)), title=title)
        console.print(_explanation(ensemble))
        for remark in found.remarks:
            errors.print(f"note: {remark}", soft_wrap=True, markup=False)
    if report:
        _write_report(report, found, rows, values, ensemble, f"{structure.name} with {model.name}")
        if not as_json:
            console.print(f"wrote {report}")


def _header(with_reference: bool) -> tuple[str, ...]:
    names = ("property", "value", "std", "unit", "reference", "error/std")
    return names if with_reference else names[:4]


def _cells(rows: Sequence[PropertyRow], with_reference: bool) -> list[list[str]]:
    result = []
    for row in rows:
        digits = 4 if row.unit == "Å" else 3
        small = row.unit in ("cm²/s", "eV/step", "eV/atom/ps", "eV/atom")
        style = ".1e" if small else f".{digits}f"
        cells = [row.name.replace("_", " "), f"{row.value:{style}}", "-" if row.std is None else f"{row.std:{style}}", row.unit]
        if with_reference:
            cells += ["-" if row.reference is None else f"{row.reference:{style}}", "-" if row.z is None else f"{row.z:+.1f}"]
        result.append(cells)
    return result


def _name(found: PropertySet) -> str:
    assert found.crystal is not None  # noqa: S101 - for the type checker
    return f"{found.crystal.primitive.get_chemical_formula()}, {found.crystal.system}, {found.crystal.space_group}"


def _explanation(ensemble: Ensemble) -> str:
    if not ensemble.members:
        return "no error bars: the model has no posterior"
    text = f"std: spread of {len(ensemble.members)} potentials drawn from the posterior (at most 8 in dynamics and expansion)"
    if ensemble.factors:
        factors = ", ".join(f"{kind} ×{factor:.2g}" for kind, factor in ensemble.factors.items())
        return f"{text}, times the factors of the calibration ({factors})"
    return f"{text}; the model is not calibrated: they tend to be too small"


def _as_json(found: PropertySet, ensemble: Ensemble, values: Mapping[str, float]) -> dict[str, Any]:
    properties = {}
    for name, one in found.properties.items():
        entry: dict[str, Any] = {"value": one.value.tolist(), "unit": unit_of(name)}
        if one.std is not None:
            entry["std"] = one.std.tolist()
        if name in values:
            entry["reference"] = values[name]
        properties[name] = entry
    crystal = found.crystal
    return {
        "crystal": None if crystal is None else {"space_group": crystal.space_group, "system": crystal.system},
        "samples": len(ensemble.members),
        "calibration": dict(ensemble.factors),
        "properties": properties,
        "band_path": None if found.path is None else {"labels": found.path.labels, "ticks": found.path.ticks.tolist()},
        "remarks": found.remarks,
    }


_PICKED = ("a", "bulk_modulus", "C11", "C12", "C44", "vacancy_energy")


def _write_report(
    path: Path,
    found: PropertySet,
    rows: Sequence[PropertyRow],
    values: Mapping[str, float],
    ensemble: Ensemble,
    title: str,
) -> None:
    by_name = {row.name: row for row in rows}
    headline = []
    for name in _PICKED:
        if name in by_name:
            row = by_name[name]
            bar = "" if row.std is None else f" ± {row.std:.2g}"
            meaning = name.replace("_", " ") + ("" if row.reference is None else f" (reference {row.reference:.4g})")
            headline.append((f"{row.value:.4g}{bar} {row.unit}", meaning))
    p = found.properties
    table = Table(_header(bool(values)), _cells(rows, bool(values)), words=(0, 3), sums=False)
    sections = [Section("Remarks", pre="\n".join(found.remarks))] if found.remarks else []
    sections.append(Section("Properties", f"{_explanation(ensemble)}.", table=table))
    if "eos_energy" in p:
        text = "Birch-Murnaghan through nine volumes within 6 %; dotted: the equilibrium."
        sections.append(Section("Equation of state", text, figure=eos_curve_figure(p)))
    if "bands" in p and found.path is not None:
        text = (
            "Finite displacements of 0.01 Å in a cell with edges of at least 10 Å; imaginary frequencies are shown as negative."
        )
        sections.append(Section("Phonons", text, figure=bands_figure(p, found.path, values)))
    if "expansion" in p:
        text = "Quasi-harmonic: free energies of phonons at seven volumes. Of a cubic crystal it is three times the linear one."
        sections.append(Section("Thermal expansion", text, figure=expansion_figure(p)))
    if "rdf" in p:
        text = f"Short dynamics at {float(p['temperature']):.0f} K; dotted: end of the first shell."
        sections.append(Section("Structure in motion", text, figure=structure_figure(p)))
    if "total_energy" in p:
        sections.append(
            Section("Conservation of energy", "The same run, at constant energy.", figure=drift_figure(drift_of(p)))
        )
    write_page(path, title, headline, sections, f"gapkit {__version__}")
