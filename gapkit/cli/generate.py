"""gapkit generate."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import typer
from ase import Atoms

from .._validation import check_integer, describe, unknown_key
from ..datasets import KINDS, Generated, Labelled, kept_in, label_frames, read_frames, write_frames
from ..datasets import generate as generate_frames
from ..exceptions import ConfigError
from ..labeling import structure_hash
from .calculators import driver_from_block, labeler_block, labeler_from_block
from .config import Config, override, read_config
from .console import console, errors, guarded, print_table

__all__ = ["generate"]

_TOP = ("start", "driver", "labeler", "min_distance", "random_state")
_SHOWN = 5


@guarded
def generate(
    start: Annotated[Path | None, typer.Argument(help="What to start from: crystals in conventional cells, molecules.")] = None,
    kinds: Annotated[
        str | None, typer.Option(help=f"What to make, separated by commas: {', '.join(KINDS)}.", metavar="NAMES")
    ] = None,
    config: Annotated[Path | None, typer.Option("-c", "--config", help="Recipe (YAML) with all of this.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A parameter, e.g. strain.n=40.", metavar="KEY=VALUE")
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Extended xyz.")] = Path("generated.xyz"),
    driver: Annotated[
        str | None,
        typer.Option(help="What drives dynamics: a calculator of ASE (emt), a model (a.gap), or a script (a.py)."),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            help='Label all in the same run: a calculator of ASE, a script (a.py), or "a command with {input} {output}".'
        ),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Labels at a time.")] = None,
    journal: Annotated[
        Path | None, typer.Option(help="Folder of the labels, from which a run goes on. Default: OUTPUT.labels.")
    ] = None,
    min_distance: Annotated[
        float | None, typer.Option(help="Leave out structures with atoms closer than this share of their covalent radii (0.5).")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of random numbers (0).")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was made as JSON.")] = False,
) -> None:
    """New structures for a training set, each with where it comes from, labelled in the same run if you like.

    Example: `gapkit generate bulk.xyz --kinds volume,strain,rattle,vacancy --set strain.n=40 -o new.xyz`

    With labels: `gapkit generate bulk.xyz --kinds md --driver emt --label "python dft.py {input} {output}" --workers 8`
    """
    if output.suffix not in (".xyz", ".extxyz"):
        raise ValueError(describe("-o", "a name that ends in .xyz or .extxyz", str(output), "It is extended xyz."))
    if output.exists() and not overwrite:
        raise ValueError(describe("-o", "a new file", str(output), "Add --overwrite to replace it."))
    if not output.parent.is_dir():
        raise FileNotFoundError(f"The folder of the output must exist; there is no {output.parent}.")
    recipe, folder = _recipe(config, kinds, settings or [], driver, label, workers, min_distance, seed)
    frames = _frames(start if start is not None else recipe.get("start"), folder if start is None else Path())
    blocks = {name: _with_start(block, folder) for name, block in _blocks(recipe).items()}
    made: list[Generated] = []

    def make() -> list[Atoms]:
        drives = recipe.get("driver")
        made.append(
            generate_frames(
                blocks,
                frames,
                driver=None if drives is None else driver_from_block(drives, folder),
                min_distance=recipe.get("min_distance", 0.5),
                random_state=recipe.get("random_state", 0),
                verbose=not as_json,
            )
        )
        return made[0].frames

    labelled = None
    if recipe.get("labeler") is None:
        if journal is not None or workers is not None:
            raise ValueError("`--journal` and `--workers` must stand with --label, or with a `labeler` in the recipe.")
        result = make()
    else:
        directory = output.with_name(output.name + ".labels") if journal is None else journal
        named = {**recipe, **blocks, "start": frames, "labeler": None, "driven by": _contents(recipe.get("driver"), folder)}
        structures = kept_in(directory, json.dumps(named, sort_keys=True, default=_as_text), make)
        labelled = _labelled(structures, recipe["labeler"], folder, directory, verbose=not as_json)
        result = labelled.frames
    write_frames(output, result)
    if as_json:
        print(json.dumps(_as_dict(output, result, made, labelled), indent=1))
    else:
        _print(output, result, made, labelled)


def _recipe(
    config: Path | None,
    kinds: str | None,
    settings: list[str],
    driver: str | None,
    label: str | None,
    workers: int | None,
    min_distance: float | None,
    seed: int | None,
) -> tuple[Config, Path]:
    """The recipe that file and options make, and the folder that its names of files are relative to."""
    recipe = read_config(config) if config else {}
    folder = config.parent if config else Path()
    for name in kinds.split(",") if kinds else ():
        if name.strip() not in KINDS:
            raise ConfigError(unknown_key("kind", name.strip(), list(KINDS)))
        recipe.setdefault(name.strip(), {})
    recipe = override(recipe, settings)
    if driver is not None:
        recipe["driver"] = {_source(driver, ("model", "script")): _from_here(driver, config)}
    if label is not None:
        source = "command" if "{" in label else _source(label, ("script",))
        recipe["labeler"] = {source: _from_here(label, config)}
    if workers is not None and recipe.get("labeler") is not None:
        recipe["labeler"] = {**labeler_block(recipe["labeler"]), "workers": check_integer("workers", workers, at_least=1)}
    recipe |= {key: value for key, value in (("min_distance", min_distance), ("random_state", seed)) if value is not None}
    if not _blocks(recipe):
        raise ConfigError(f"`--kinds` must name what to make: {', '.join(KINDS)}.")
    return recipe, folder


def _source(text: str, choices: tuple[str, ...]) -> str:
    """Which key of a block a word on the command line stands for."""
    if "model" in choices and Path(text).suffix in (".gap", ".xml"):
        return "model"
    return "script" if text.endswith(".py") else "calculator"


def _from_here(text: str, config: Path | None) -> str:
    """Names of files on the command line are relative to where it is typed, not to the recipe."""
    return str(Path(text).resolve()) if config is not None and Path(text).is_file() else text


def _blocks(recipe: Config) -> dict[str, Any]:
    return {name: block for name, block in recipe.items() if name not in _TOP}


def _with_start(block: Any, folder: Path) -> Any:
    """A block with structures in the place of the file that it starts from."""
    if isinstance(block, Mapping) and block.get("start") is not None:
        return {**block, "start": _frames(block["start"], folder)}
    return block


def _frames(name: Any, folder: Path) -> list[Atoms]:
    return [] if name is None else read_frames(folder / str(name))[0]


def _contents(driver: Any, folder: Path) -> list[str]:
    """Hashes of the files of a driver: another model of the same name gives other structures."""
    names = [driver.get(key) for key in ("model", "script")] if isinstance(driver, Mapping) else []
    files = [folder / str(name) for name in names if name is not None]
    return [sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()]


def _as_text(value: Any) -> str:
    """What a recipe holds beside words and numbers."""
    return structure_hash(value) if isinstance(value, Atoms) else str(value)


def _labelled(frames: Sequence[Atoms], block: Any, folder: Path, directory: Path, *, verbose: bool) -> Labelled:
    block = labeler_block(block)
    labeler, executor, _ = labeler_from_block(block, folder)
    try:
        found = label_frames(
            frames,
            labeler,
            directory,
            executor=executor,
            attempts=block.get("attempts", 2),
            settings=block.get("settings"),
            verbose=verbose,
        )
    finally:
        if executor is not None:
            executor.shutdown(cancel_futures=True)
    for k, why in found.failed[:_SHOWN]:
        errors.print(f"[bold yellow]warning:[/] structure {k} has no label: {why}".replace("\n", " "), soft_wrap=True)
    if not found.frames:
        raise ValueError(f"No structure could be labelled; the last reason: {found.failed[-1][1]} All are in {directory}.")
    return found


def _as_dict(output: Path, frames: Sequence[Atoms], made: Sequence[Generated], labelled: Labelled | None) -> dict[str, Any]:
    return {
        "output": str(output),
        "frames": len(frames),
        "blocks": [asdict(block) for found in made for block in found.blocks],
        "labels": labelled
        and {
            "done": len(labelled.frames),
            "bought": labelled.bought,
            "failed": [{"structure": k, "message": why} for k, why in labelled.failed],
        },
    }


def _print(output: Path, frames: Sequence[Atoms], made: Sequence[Generated], labelled: Labelled | None) -> None:
    if made:
        rows = [[block.name, block.kind, str(block.frames), str(block.too_close)] for block in made[0].blocks]
        print_table(("block", "kind", "structures", "atoms too close"), rows, title="generated")
    else:
        console.print("generated structures of an earlier run with this recipe go on")
    if labelled is not None:
        there = len(labelled.frames) + len(labelled.failed) - labelled.bought
        console.print(f"labels    {len(labelled.frames)}, of which {there} were there; {len(labelled.failed)} failed")
    console.print(f"wrote {output} ({len(frames)} frames)")
