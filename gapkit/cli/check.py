"""gapkit check."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from ase import Atoms
from rich.table import Table

from ..checks import SEVERITIES, Finding, check_doubts, check_frames, check_weights
from ..datasets import LabelKeys, Units, read_frames
from ..model import load
from .console import console, guarded, print_ledger
from .training import EnergyKey, ForcesKey, StressKey

__all__ = ["check"]

_COLORS = {"error": "bold red", "warning": "bold yellow", "info": "cyan"}


@guarded
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILES...", help="Structures with labels, numbered through.")],
    test: Annotated[
        Path | None, typer.Option("--test", help="What the model will be tested on or asked for: is it covered, does it leak?")
    ] = None,
    cutoff: Annotated[
        float | None, typer.Option(help="Cutoff radius that you mean to use, Å: is it long enough?", metavar="R_CUT")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Model that was fitted to FILES, in this order; with --loo.", metavar="MODEL")
    ] = None,
    loo: Annotated[
        bool, typer.Option("--loo", help="Which labels the model doubts when it has not seen them; takes as long as its fit.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of {id, severity, frames, message, remedy}.")] = False,
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    stress_key: StressKey = None,
) -> None:
    """The classic mistakes in a data set, by name: units, signs, labels that do not belong together, gaps, leaks.

    Exit status 1 if a finding is an error.

    Example: `gapkit check train.xyz --test hot.xyz`

    After the fit: `gapkit check train.xyz --model silicon.gap --loo`
    """
    if loo != (model is not None):
        raise ValueError("`--model` and `--loo` must stand together: gapkit check train.xyz --model a.gap --loo")
    frames: list[Atoms] = []
    units: Units | None = None
    for path in files:
        read, keys = read_frames(path, energy=energy_key, forces=forces_key, stress=stress_key)
        if not as_json:
            _print_ledger(read, keys, path, len(frames))
        units = keys.units if units is None else units
        frames += read
    asked = read_frames(test, energy=energy_key, forces=forces_key, stress=stress_key)[0] if test else None
    findings = check_frames(frames, asked, cutoff=cutoff, units=units)
    if model is not None:
        fitted = load(model).remember(frames)
        findings += check_doubts(fitted, show=not as_json) + check_weights(fitted, show=not as_json)
        findings.sort(key=lambda f: SEVERITIES.index(f.severity))
    if as_json:
        print(json.dumps([f.as_dict() for f in findings], indent=1))
    else:
        _print_findings(findings)
    if any(f.severity == "error" for f in findings):
        raise typer.Exit(1)


def _print_ledger(frames: Sequence[Atoms], keys: LabelKeys, path: Path, before: int) -> None:
    print_ledger(frames, keys, str(path) + (f", frames {before} to {before + len(frames) - 1}" if before else ""))
    console.print()


def _print_findings(findings: Sequence[Finding]) -> None:
    table = Table(box=None, pad_edge=False, title="findings", title_justify="left", padding=(0, 2, 0, 0))
    for name in ("severity", "id", "what, and what to do"):
        table.add_column(name, overflow="fold")
    for f in findings:
        text = f"{f.message}. {f.remedy}".replace("[", r"\[")
        table.add_row(f"[{_COLORS[f.severity]}]{f.severity}[/]", f.id, text)
    if findings:
        console.print(table)
    counts = {s: sum(f.severity == s for f in findings) for s in _COLORS}
    if not counts["error"] and not counts["warning"]:
        console.print("[bold green]no mistake found[/]")
    console.print(", ".join(f"{n} {s}{'s' if n != 1 and s != 'info' else ''}" for s, n in counts.items() if n))
