"""gapkit evaluate."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from .. import __version__
from ..datasets import read_frames
from ..model import GAPRegressor, Prediction, load
from ..report import ERROR_HEADER, Section, Table, error_rows, parity_figure, write_page
from ..validation import error_table, residuals
from .config import config_of, dump_config
from .console import console, guarded, print_table

__all__ = ["evaluate", "predicted_frames"]


@guarded
def evaluate(
    model: Annotated[Path, typer.Argument(help="Model file.")],
    test: Annotated[Path, typer.Argument(help="Structures, with labels if errors are wanted.")],
    report: Annotated[Path | None, typer.Option("--report", help="Write an HTML page with parity plots.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the predictions as extended xyz.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the errors as JSON.")] = False,
    uncertainty: Annotated[bool, typer.Option(help="Compute standard deviations of energies.")] = True,
) -> None:
    """Errors of a model on labelled structures, per configuration type.

    Example: `gapkit evaluate silicon.gap test.xyz --report report.html -o predicted.xyz`
    """
    fitted = load(model)
    frames, _ = read_frames(test)
    with_std = uncertainty and fitted.potential_.posterior is not None
    predictions = fitted.evaluate(frames, uncertainty="exact" if with_std else None)
    rows = error_table(frames, predictions)
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        print_table(ERROR_HEADER, error_rows(rows), title=f"errors of {model} on {test}")
    if output:
        write(output, predicted_frames(frames, predictions), format="extxyz")
        if not as_json:
            console.print(f"wrote {output}")
    if report:
        _write_report(report, fitted, frames, predictions, str(model), str(test))
        if not as_json:
            console.print(f"wrote {report}")


def predicted_frames(frames: list[Atoms], predictions: list[Prediction]) -> list[Atoms]:
    """Frames with their labels and, beside them, the predictions under gapkit_... keys."""
    result = []
    for atoms, p in zip(frames, predictions, strict=True):
        copy = atoms.copy()
        copy.calc = SinglePointCalculator(copy, **atoms.calc.results)
        copy.info["gapkit_energy"] = p.energy
        copy.arrays["gapkit_local_energy"] = p.energies
        if p.forces is not None:
            copy.arrays["gapkit_forces"] = p.forces
        if p.stress is not None:
            copy.info["gapkit_stress"] = p.stress
        if p.energy_std is not None:
            copy.info["gapkit_energy_std"] = p.energy_std
        if p.forces_std is not None:
            copy.arrays["gapkit_forces_std"] = p.forces_std
        if p.energies_std is not None:
            copy.arrays["gapkit_local_energy_std"] = p.energies_std
        result.append(copy)
    return result


def _write_report(
    path: Path, model: GAPRegressor, frames: list[Atoms], predictions: list[Prediction], name: str, source: str
) -> None:
    rows = error_table(frames, predictions)
    every = rows[-1]
    headline = [
        (f"{value:.3g} {unit}", what)
        for value, unit, what in (
            (every.energy_rmse, "meV/atom", "energy RMSE"),
            (every.forces_rmse, "eV/Å", "force RMSE"),
            (every.stress_rmse, "GPa", "stress RMSE"),
        )
        if value is not None
    ]
    r = residuals(frames, predictions)
    sections = [Section("Errors by configuration type", table=Table(ERROR_HEADER, error_rows(rows)))]
    if len(r.energy) or len(r.forces):
        text = "Bars on energy errors are one standard deviation of the posterior: what the training data leave open."
        sections.append(Section("Predicted against DFT", text, figure=parity_figure({"test": r})))
    sections.append(Section("Configuration", pre=dump_config(config_of(model))))
    write_page(path, f"{name} on {source}", headline, sections, f"gapkit {__version__}; {len(frames)} structures.")
