"""gapkit compare."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from .. import __version__
from ..datasets import read_frames
from ..report import Section, Table, contest_figure, error_rows, write_page
from ..validation import Contestant, as_rows
from ..validation import compare as run_comparison
from .console import console, guarded, print_table

__all__ = ["compare"]


@guarded
def compare(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Models (gapkit's or QUIP's XML), or calculators as module:Class, made without arguments; last the test set.",
            metavar="MODEL_OR_CALCULATOR... TEST",
        ),
    ],
    report: Annotated[Path | None, typer.Option("--report", help="Write an HTML page with table and plot.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Accuracy, speed and memory of potentials on one labelled test set.

    Example: `gapkit compare silicon.gap gp_iter6_sparse9k.xml ase.calculators.lj:LennardJones test.xyz --report compare.html`

    A module that is named here is imported; names are never taken from files.
    """
    *names, test = models
    if not names:
        raise ValueError(f"`models` must be at least one potential and a test set; got {test!r} alone.")
    frames, _ = read_frames(Path(test))
    contestants = run_comparison(names, frames, show=not as_json)
    if as_json:
        print(json.dumps(as_rows(contestants), indent=1))
    else:
        print_table(_HEADER, _cells(contestants), title=f"on {test} ({len(frames)} frames)")
        console.print(_explanation(contestants))
    if report:
        _write_report(report, contestants, Path(test).name)
        if not as_json:
            console.print(f"wrote {report}")


_HEADER = (
    "potential",
    "energy MAE (meV/atom)",
    "energy RMSE (meV/atom)",
    "force MAE (eV/Å)",
    "force RMSE (eV/Å)",
    "stress RMSE (GPa)",
    "time (µs/atom)",
    "memory (MB)",
)


def _cells(contestants: Sequence[Contestant]) -> list[list[str]]:
    short = [Path(one.name).name for one in contestants]
    names = short if len(set(short)) == len(short) else [one.name for one in contestants]
    return [
        [
            name + (" *" if one.shifted else ""),
            *error_rows([one.errors])[0][2:],
            f"{one.speed.microseconds:.3g}",
            f"{one.speed.memory:.0f}",
        ]
        for name, one in zip(names, contestants, strict=True)
    ]


def _explanation(contestants: Sequence[Contestant]) -> str:
    text = (
        f"Time: energy, forces and stress of {contestants[0].speed.n_atoms} atoms, compiled and loaded. Memory: peak of a "
        "process of its own, Python included."
    )
    if any(one.shifted for one in contestants):
        text += " *: its energies are counted from another zero; a constant per species was fitted to the labels first."
    return text


def _write_report(path: Path, contestants: Sequence[Contestant], test: str) -> None:
    headline = []
    best = [one for one in contestants if one.errors.forces_rmse is not None]
    if best:
        winner = min(best, key=lambda one: one.errors.forces_rmse or 0.0)
        headline.append((f"{winner.errors.forces_rmse:.3g} eV/Å", f"least force RMSE: {Path(winner.name).name}"))
    fastest = min(contestants, key=lambda one: one.speed.microseconds)
    headline.append((f"{fastest.speed.microseconds:.3g} µs/atom", f"fastest: {Path(fastest.name).name}"))
    table = Table(_HEADER, _cells(contestants), sums=False)
    sections = [
        Section("Potentials", _explanation(contestants), table=table),
        Section("Accuracy against time", "Down and left is better.", figure=contest_figure(contestants)),
    ]
    write_page(path, f"Potentials on {test}", headline, sections, f"gapkit {__version__}")
