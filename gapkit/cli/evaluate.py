"""gapkit evaluate."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from .._validation import check_choice
from ..checks.findings import numbered
from ..datasets import read_frames
from ..model import GAPRegressor, Prediction, load
from ..model.device import on_gpu
from ..model.familiar import extrapolated
from ..model.prediction import STD_CHOICES, STD_DEFAULT, UNCERTAINTY_CHOICES
from ..report import (
    ERROR_HEADER,
    LEARNING_HEADER,
    SPECIES_HEADER,
    UNCERTAINTY_HEADER,
    error_rows,
    learning_curve_section,
    learning_rows,
    species_rows,
    uncertainty_rows,
    write_model_report,
)
from ..validation import ErrorRow, UncertaintyRow, error_table, learning_curve, uncertainty_table
from .config import config_of, dump_config
from .console import console, errors, guarded, print_table, warn_of_extrapolation
from .training import Device, as_far_as_possible

__all__ = ["evaluate", "predicted_frames"]


_MODERATE = 5000  # atoms whose force error bars a report computes unasked: a minute or so


@guarded
def evaluate(
    model: Annotated[Path, typer.Argument(help="Model file.")],
    test: Annotated[Path, typer.Argument(help="Structures, with labels if errors are wanted.")],
    report: Annotated[
        Path | None, typer.Option("--report", help="Write an HTML page: verdict, plots, worst structures, model card.")
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the predictions as extended xyz.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the errors as JSON.")] = False,
    train: Annotated[
        Path | None,
        typer.Option("--learning-curve", help="Training set: errors of fits to parts of it; takes a fit.", metavar="TRAIN"),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(
            help="Error bars to compute: some of energy, energies (local), forces, stress, separated by commas; all; or none. "
            f"Those of forces and stresses are slow. Default: energy,energies; with --report all, up to {_MODERATE} atoms.",
            metavar="NAMES",
        ),
    ] = None,
    uncertainty: Annotated[
        str,
        typer.Option(
            help="Where error bars come from: exact or fast, from the posterior, or prior, QUIP's of the local energies, which "
            "needs none and has nothing to be compared with.",
            metavar="KIND",
        ),
    ] = "exact",
    device: Device = "cpu",
) -> None:
    """Errors of a model on labelled structures, per configuration type, and how good its error bars are.

    Example: `gapkit evaluate silicon.gap test.xyz --report report.html -o predicted.xyz`

    Would more data help: `gapkit evaluate silicon.gap test.xyz --learning-curve train.xyz --report report.html`
    """
    fitted = load(model)
    frames, _ = read_frames(test)
    names = _chosen_std(std, uncertainty, fitted, sum(map(len, frames)), report is not None)
    on_gpu(device, fitted)  # says what is missing
    fitted.device = as_far_as_possible(device)
    if not as_json:
        fitted.set_params(verbose=1)
    predictions = fitted.evaluate(frames, uncertainty=uncertainty if names else None, std=names)
    rows = error_table(frames, predictions)
    species = error_table(frames, predictions, by="species")
    bars = uncertainty_table(frames, predictions, calibration=fitted.calibration_)
    beyond, ratio = extrapolated(fitted, predictions) if uncertainty != "prior" else ([], 0.0)
    points = learning_curve(fitted, read_frames(train)[0], frames, random_state=fitted.random_state) if train else []
    if as_json:
        tables = {"errors": map(asdict, rows), "force_errors_by_species": map(asdict, species), "error_bars": map(asdict, bars)}
        tables |= {"learning_curve": map(asdict, points)} if points else {}
        print(json.dumps({**{name: list(table) for name, table in tables.items()}, "extrapolation": beyond}, indent=1))
    else:
        _print_tables(rows, species, bars, f"{model} on {test}")
        if points:
            print_table(LEARNING_HEADER, learning_rows(points), title=f"learning curve: fits to parts of {train}")
    if beyond:
        warn_of_extrapolation(f"{len(beyond)} of {len(frames)} frames ({numbered(beyond)}) have", ratio)
    if output:
        write(output, predicted_frames(frames, predictions), format="extxyz")
        if not as_json:
            console.print(f"wrote {output}")
    if report:
        more = [learning_curve_section(points)] if points else []
        title, settings = f"{model.name} on {test.name}", dump_config(config_of(fitted))
        write_model_report(report, fitted, frames, predictions, title=title, configuration=settings, bars=bars, more=more)
        if not as_json:
            console.print(f"wrote {report}")


def _chosen_std(given: str | None, uncertainty: str, model: GAPRegressor, n_atoms: int, with_report: bool) -> tuple[str, ...]:
    """Names of the standard deviations to compute."""
    check_choice("uncertainty", uncertainty, UNCERTAINTY_CHOICES[1:])
    if given is not None:
        short: dict[str, tuple[str, ...]] = {"all": STD_CHOICES, "none": ()}
        names = short[given] if given in short else tuple(name.strip() for name in given.split(","))
        for name in names:
            check_choice("std", name, STD_CHOICES, "Separate names by commas, or say all or none.")
        return names
    if uncertainty == "prior":
        return ("energies",)
    if model.potential_.posterior is None:
        return ()
    if not with_report:
        return STD_DEFAULT
    if n_atoms > _MODERATE:
        note = f"error bars of forces and stresses are left out for {n_atoms} atoms; --std all computes them"
        errors.print(note, soft_wrap=True)
        return STD_DEFAULT
    return STD_CHOICES


def _print_tables(rows: Sequence[ErrorRow], species: Sequence[ErrorRow], bars: Sequence[UncertaintyRow], title: str) -> None:
    print_table(ERROR_HEADER, error_rows(rows), title=f"errors of {title}")
    every = rows[-1]
    found = (("energy per atom", every.energy_r2), ("forces", every.forces_r2), ("stress", every.stress_r2))
    r2 = ", ".join(f"{name} {value:.4f}" for name, value in found if value is not None)
    if r2:
        console.print(f"R²  {r2}")
    if len(species) > 1 and every.forces_rmse is not None:
        print_table(SPECIES_HEADER, species_rows(species))
    if bars:
        columns = uncertainty_rows([row for row in bars if row.group == "all"])
        lines = [line for line in zip(UNCERTAINTY_HEADER, *columns, strict=True) if set(line[1:]) != {"-"}]
        print_table(lines[0], lines[2:], title="error bars (--report has them by configuration type)")


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
        if p.stress_std is not None:
            copy.info["gapkit_stress_std"] = p.stress_std
        if p.energies_std is not None:
            copy.arrays["gapkit_local_energy_std"] = p.energies_std
        result.append(copy)
    return result
