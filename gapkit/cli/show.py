"""gapkit show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..model import load
from .config import config_of, dump_config
from .console import console, guarded

__all__ = ["show"]


@guarded
def show(
    model: Annotated[Path, typer.Argument(help="Model file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show what a model is: data, atomic energies, sparse points, and its full configuration.

    Example: `gapkit show silicon.gap`
    """
    fitted = load(model)
    card = {
        "species": fitted.species_,
        "e0": fitted.e0_,
        "e0_source": fitted.e0_source_,
        "labels": fitted.n_labels_,
        "sparse_points": {
            name: dict(zip(term.descriptor.group_names_, [len(p) for p in term.points], strict=True))
            for (name, _), term in zip(fitted.named_terms(), fitted.potential_.terms, strict=True)
        },
        "table_errors": fitted.table_errors_,
        "uncertainty": fitted.potential_.posterior is not None,
        "calibration": None if fitted.calibration_ is None else fitted.calibration_.to_plain(),
        "card": fitted.card_,
        "config": config_of(fitted),
    }
    if as_json:
        print(json.dumps(card, indent=1))
        return
    console.print(f"[bold]{model}[/]  {model.stat().st_size / 1e6:.1f} MB")
    console.print("species      " + ", ".join(fitted.species_))
    console.print("e0           " + ", ".join(f"{s} {e:.6g} eV ({fitted.e0_source_[s]})" for s, e in fitted.e0_.items()))
    labels = ", ".join(f"{n} {kind} components" for kind, n in fitted.n_labels_.items())
    console.print("trained on   " + (labels or "(not in the file)"))
    for data in fitted.card_.get("data", []):
        kinds = ", ".join(f"{n} {kind or '(none)'}" for kind, n in data["config_types"].items())
        console.print(
            f"data         {data['frames']} structures ({kinds}), sha256 {data['sha256']}", markup=False, soft_wrap=True
        )
    if "software" in fitted.card_:
        versions = ", ".join(f"{name} {version}" for name, version in fitted.card_["software"].items())
        console.print(f"fitted with  {versions}", markup=False)
    for name, groups in card["sparse_points"].items():  # type: ignore[attr-defined]
        console.print(f"sparse       {name}: " + ", ".join(f"{n} {group}" for group, n in groups.items()))
    for name, left in fitted.unexplained_.items():
        console.print(f"pairs        {name}: sparse points leave at most {left:.1e} eV an environment open")
    for name, error in fitted.table_errors_.items():
        console.print(f"table        {name}: off by at most {error:.1e} eV an environment of the training set")
    console.print(
        "uncertainty  " + ("exact (posterior in the file)" if card["uncertainty"] else "prior only (no posterior in the file)")
    )
    if fitted.calibration_ is not None:
        console.print(f"calibrated   {fitted.calibration_}", markup=False)
    console.print("\n[bold]configuration[/]")
    console.print(dump_config(config_of(fitted)), markup=False, soft_wrap=True)
