"""gapkit estimate."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer

from ..model import FitEstimate, estimate_fit
from .console import console, guarded, print_ledger, print_table
from .training import ConfigFile, EnergyKey, ForcesKey, Settings, StressKey, Train, read_training

__all__ = ["estimate"]

_GB = 1e9


@guarded
def estimate(
    train: Train,
    config: ConfigFile = None,
    settings: Settings = None,
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    stress_key: StressKey = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Say what a fit would take: rows, memory and time, from a few seconds of calculation on this machine.

    Example: `gapkit estimate train.xyz --set soap.n_sparse=4000`
    """
    named = {"energy": energy_key, "forces": forces_key, "stress": stress_key}
    frames, found, model = read_training(train, config, settings, named)
    if not as_json:
        print_ledger(frames, found, str(train))
    cost = estimate_fit(model, frames)
    if as_json:
        totals = {"peak_memory": cost.peak_memory, "total_seconds": cost.total_seconds, "fits": cost.fits}
        print(json.dumps({**dataclasses.asdict(cost), **totals}, indent=1))
    else:
        _print(cost)


def _print(cost: FitEstimate) -> None:
    console.print(f"\n{cost.frames} frames, {cost.atoms} atoms, {cost.pairs / cost.atoms:.1f} neighbours of an atom\n")
    sizes = (cost.environments, cost.features, cost.sparse_points)
    terms = [[name, *(f"{size[name]:,}" for size in sizes)] for name in cost.features]
    print_table(("term", "environments", "features", "sparse points"), terms)
    rows = [[name.removesuffix(":"), f"{n:,}"] for name, n in cost.rows.items()]
    print_table(("\nlabels", "\nrows"), [*rows, ["all", f"{sum(cost.rows.values()):,}"]])
    memory = [["Python, libraries and data, before the fit", "", _size(cost.before)]]
    for stage, parts in cost.memory.items():
        memory += [[f"{stage}: {part}", _size(size), ""] for part, size in parts.items()]
        memory.append([f"{stage}, at its peak", "", _size(sum(parts.values()))])
    print_table(("\nmemory", "\nGB", "\nsum"), [*memory, ["largest", "", _size(cost.peak_memory)]])
    seconds = [[part, f"{time:.1f}"] for part, time in cost.seconds.items()]
    print_table(("\ntime of one thread", "\ns"), [*seconds, ["all", f"{cost.total_seconds:.1f}"]])
    console.print(f"\nfile      {cost.file_size / 1e6:.1f} MB with the posterior")
    if not cost.compiled:
        console.print("compiling the first fit on another machine like this takes up to 30 s more; here it is done now")
    if cost.available is None:
        console.print("memory    how much is available is not known here")
    else:
        verdict = "it fits" if cost.fits else "[bold red]it does not fit, gapkit fit will refuse it[/]"
        console.print(f"memory    {verdict}: {_size(cost.available)} GB are available")


def _size(size: float) -> str:
    return f"{size / _GB:.2f}"
