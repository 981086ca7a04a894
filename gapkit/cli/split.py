"""gapkit split."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .._validation import describe
from ..datasets import read_frames, without_labels, write_frames
from ..datasets import split as split_frames
from ..gp.observations import config_type_of
from .console import console, guarded, print_table
from .training import EnergyKey, ForcesKey, StressKey

__all__ = ["split"]

_NAMES = ("train", "validation", "test")


@guarded
def split(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="Structures, any format that ASE reads or gapkit knows.")],
    fractions: Annotated[
        tuple[float, float, float], typer.Option(help="Of training, validation and test; a part of 0 is not written.")
    ] = (0.8, 0.1, 0.1),
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of train.xyz, validation.xyz, test.xyz.")] = Path("."),
    by: Annotated[
        str | None,
        typer.Option(
            help="Key whose values are groups that stay together, e.g. config_type. Default: trajectories, found.",
            metavar="KEY",
        ),
    ] = None,
    stratify: Annotated[bool, typer.Option(help="Deal out every configuration type in these fractions.")] = True,
    seed: Annotated[int, typer.Option(help="Of the order in which groups are dealt out.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    stress_key: StressKey = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers of the frames of each part as JSON.")] = False,
) -> None:
    """Training, validation and test files that do not leak: frames that follow each other in time stay together.

    Example: `gapkit split all.xyz --fractions 0.8 0.1 0.1 -o sets`
    """
    paths = {name: output / f"{name}.xyz" for name, share in zip(_NAMES, fractions, strict=True) if share > 0}
    there = [str(path) for path in paths.values() if path.exists()]
    if there and not overwrite:
        raise ValueError(describe("-o", "a folder without these files", ", ".join(there), "Add --overwrite to replace them."))
    frames, keys = read_frames(source, energy=energy_key, forces=forces_key, stress=stress_key)
    found = split_frames(frames, fractions, by=by, stratify=stratify, random_state=seed)
    parts = {name: part.tolist() for name, part in zip(_NAMES, found.parts, strict=True)}
    plain = without_labels(frames, keys)
    output.mkdir(parents=True, exist_ok=True)
    for name, path in paths.items():
        write_frames(path, [plain[k] for k in parts[name]])
    if as_json:
        print(json.dumps({**parts, "left_out": found.left_out.tolist(), "groups": found.groups, "how": found.how}, indent=1))
        return
    kinds = [config_type_of(atoms) or "(none)" for atoms in frames]
    columns = {**{name: parts[name] for name in paths}, "left out": found.left_out.tolist()}
    rows = [[kind, *(str(sum(kinds[k] == kind for k in part)) for part in columns.values())] for kind in dict.fromkeys(kinds)]
    rows.append(["all", *(str(len(part)) for part in columns.values())])
    print_table(("type", *columns), rows, title=f"frames of {source}")
    console.print(f"groups    {found.groups}: {found.how}", soft_wrap=True)
    if len(found.left_out):
        console.print(f"left out  {len(found.left_out)} training frames, in time next to frames of another part")
    for path in paths.values():
        console.print(f"wrote {path}")
