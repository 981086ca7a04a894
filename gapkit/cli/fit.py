"""gapkit fit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from ase import Atoms

from ..checks import check_weights
from ..model import GAPRegressor
from ..report import (
    ERROR_HEADER,
    EXTRAPOLATION_HEADER,
    error_rows,
    extrapolation_rows,
    extrapolation_section,
    write_model_report,
)
from ..validation import GroupTest, error_table, extrapolation
from .config import card_of, config_of, dump_config, override, read_config
from .console import console, errors, guarded, print_ledger, print_table
from .training import (
    ConfigFile,
    Device,
    EnergyKey,
    ForcesKey,
    Settings,
    StressKey,
    as_far_as_possible,
    read_gap_fit_training,
    read_training,
)

__all__ = ["fit"]


@guarded
def fit(
    train: Annotated[Path | None, typer.Argument(help="Structures with labels, any format that ASE reads.")] = None,
    config: ConfigFile = None,
    settings: Settings = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Model file.")] = Path("model.gap"),
    optimize: Annotated[bool, typer.Option("--optimize", help="Noise and amplitudes by evidence.")] = False,
    calibrate: Annotated[
        bool, typer.Option(help="Calibrate error bars, and check weights, by leave-one-out errors: as long as the fit.")
    ] = True,
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    stress_key: StressKey = None,
    leave_out: Annotated[
        str | None,
        typer.Option(
            help="Test extrapolation by more fits: each, one without each configuration type; or the types, separated by "
            "commas, that one fit goes without.",
            metavar="TYPES",
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write an HTML page: errors on the training set, sparse points, model card.")
    ] = None,
    device: Device = "cpu",
    gap_fit: Annotated[
        str | None,
        typer.Option("--gap-fit", help="Options of QUIP's gap_fit, in place of others; TRAIN replaces at_file."),
    ] = None,
    points_from: Annotated[
        Path | None, typer.Option(help="XML that gap_fit made with these options: take its sparse points.")
    ] = None,
) -> None:
    """Fit a potential to DFT data, with settings from the data where no configuration is given.

    Example: `gapkit fit train.xyz --set soap.r_cut=5.5 --optimize -o silicon.gap`

    Trained cold, tested hot: `gapkit fit train.xyz --leave-out md_1000K,md_2000K --report fit.html`

    Example: `gapkit fit --gap-fit "at_file=train.xyz gap={soap ...} default_sigma={0.001 0.05 0.05 0}" -o silicon.gap`
    """
    named = {"energy": energy_key, "forces": forces_key, "stress": stress_key}
    if gap_fit is not None:
        if config or settings or any(named.values()):
            raise ValueError("`--gap-fit` must stand without --config, --set and names of keys: its options say all of that.")
        frames, found, model = read_gap_fit_training(gap_fit, train, points_from)
    elif train is None or points_from is not None:
        raise ValueError("TRAIN must be given without --gap-fit, and --points-from only with it.")
    else:
        frames, found, model = read_training(train, config, settings, named, verbose=1)
    if optimize:
        model.set_params(optimize=("noise", "delta"))
    print_ledger(frames, found, str(train or "at_file"))
    console.print("\n[bold]configuration[/]" + ("" if config or gap_fit else " (from the data)"))
    console.print(dump_config(config_of(model)), markup=False, soft_wrap=True)
    console.print()
    card = card_of(override(read_config(config) if config else {}, settings or []))
    if not output.parent.is_dir():
        raise FileNotFoundError(f"The folder of the output must exist; there is no {output.parent}.")
    start = time.perf_counter()
    model.set_params(device=device).fit(frames)
    model.device = as_far_as_possible(device)
    model.card_["given"] = card
    seconds = time.perf_counter() - start
    if calibrate:
        _calibrate(model)
        _check_weights(model)
    model.save(output)
    e0 = ", ".join(f"{s} {e:.6g} eV ({model.e0_source_[s]})" for s, e in model.e0_.items())
    console.print(f"e0        {e0}")
    counts = ", ".join(f"{n} {kind}" for kind, n in model.n_labels_.items())
    console.print(f"fitted    {counts} components with {model.n_sparse_} sparse points in {seconds:.1f} s")
    if model.search_:
        for name, (old, new) in model.search_.changed.items():
            console.print(f"optimized {name}: {old:.4g} -> {new:.4g}")
    if model.calibration_:
        console.print(f"error bars {model.calibration_}", markup=False)
    for name, left in model.unexplained_.items():
        console.print(f"pairs     {name}: sparse points leave at most {left:.1e} eV an environment open")
    for name, error in model.table_errors_.items():
        console.print(f"table     {name}: off by at most {error:.1e} eV an environment of the training set")
    tests = _left_out(model, frames, leave_out) if leave_out else []
    _report(model, frames, output, report, tests)
    console.print(f"next      gapkit evaluate {output} TEST.xyz --report report.html")


def _left_out(model: GAPRegressor, frames: list[Atoms], leave_out: str) -> list[GroupTest]:
    """Errors and error bars of fits without some configuration types."""
    names = None if leave_out == "each" else [[name.strip() for name in leave_out.split(",")]]
    tests = extrapolation(model, frames, names)
    print_table(EXTRAPOLATION_HEADER, extrapolation_rows(tests), title="extrapolation: fits without some configuration types")
    return tests


def _report(model: GAPRegressor, frames: list[Atoms], output: Path, report: Path | None, tests: Sequence[GroupTest]) -> None:
    """Errors on the training set, and a page of them if asked for."""
    predictions = model.evaluate(frames, uncertainty="exact" if report else None)
    print_table(ERROR_HEADER, error_rows(error_table(frames, predictions)), title="errors on the training set")
    console.print(f"wrote     {output} ({output.stat().st_size / 1e6:.1f} MB)")
    if report:
        title, as_yaml = f"{output.name} on its training set", dump_config(config_of(model))
        more = [extrapolation_section(tests)] if tests else []
        write_model_report(report, model, frames, predictions, title=title, configuration=as_yaml, seen=True, more=more)
        console.print(f"wrote     {report}")


def _calibrate(model: GAPRegressor) -> None:
    """By leave-one-out errors, if there are enough structures for that."""
    try:
        model.calibrate("loo")
    except ValueError as error:
        console.print(f"[yellow]error bars are not calibrated:[/] {error}")


def _check_weights(model: GAPRegressor) -> None:
    for finding in check_weights(model, show=True):
        errors.print(f"[bold yellow]warning:[/] {finding.id}: {finding.message}. {finding.remedy}", soft_wrap=True)
