"""gapkit select."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from ase import Atoms

from ..active_learning import METHODS, Selection, pick
from ..datasets import read_frames, write_frames
from ..model import load
from .console import console, guarded, print_table

__all__ = ["select"]

_SHOWN = 10  # lines of a table; the file and --json have them all


@guarded
def select(
    model: Annotated[Path, typer.Argument(help="Model file.")],
    pool: Annotated[Path, typer.Argument(help="Structures to choose from; labels are not needed.")],
    n: Annotated[int, typer.Option("-n", help="How many frames.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Extended xyz of the frames, the most useful first.")],
    method: Annotated[str, typer.Option(help=f"One of {', '.join(METHODS)}.")] = "batch",
    d_min: Annotated[
        float | None,
        typer.Option(
            help="Leave out frames with atoms closer than this, Å. Default: 0.6 times the sum of their covalent radii."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of random choices.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print picks and exclusions as JSON.")] = False,
) -> None:
    """Frames of a pool that are worth a label, with the reason for each.

    Example: `gapkit select silicon.gap pool.xyz -n 50 -o picked.xyz`
    """
    fitted = load(model)
    frames, _ = read_frames(pool)
    if not as_json:
        fitted.set_params(verbose=1)
    found = pick(fitted, frames, n, method=method, d_min=d_min, random_state=seed)
    write_frames(output, _with_reasons(frames, found))
    if as_json:
        print(json.dumps(_as_dict(found, len(frames)), indent=1))
        return
    rows = [[str(rank), str(k), why] for rank, (k, why) in enumerate(zip(found.indices, found.reasons, strict=True), 1)]
    print_table(("pick", "frame", "reason"), rows[:_SHOWN], title=f"{len(rows)} of {len(frames)} frames, method {method}")
    if len(rows) > _SHOWN:
        console.print(f"... and {len(rows) - _SHOWN} more")
    for k, why in list(found.excluded.items())[:_SHOWN]:
        console.print(f"left out  frame {k}: {why}")
    if len(found.excluded) > _SHOWN:
        console.print(f"left out  {len(found.excluded) - _SHOWN} more unphysical frames")
    if found.twins:
        console.print(f"left out  {len(found.twins)} frames that repeat a pick")
    if len(rows) < n:
        console.print(f"picked    {len(rows)} of the {n} asked for: the pool has no more")
    console.print(f"wrote {output}")


def _with_reasons(frames: list[Atoms], found: Selection) -> list[Atoms]:
    result = []
    for rank, (k, why) in enumerate(zip(found.indices.tolist(), found.reasons, strict=True), 1):
        copy = frames[k].copy()
        copy.calc = frames[k].calc
        copy.info |= {"gapkit_pick": rank, "gapkit_frame": k, "gapkit_reason": why}
        result.append(copy)
    return result


def _as_dict(found: Selection, n_frames: int) -> dict[str, object]:
    picks = zip(found.indices.tolist(), found.scores, found.reasons, strict=True)
    return {
        "method": found.method,
        "pool": n_frames,
        "picked": [{"pick": r, "frame": k, "score": score, "reason": why} for r, (k, score, why) in enumerate(picks, 1)],
        "excluded": [{"frame": k, "reason": why} for k, why in found.excluded.items()],
        "twins": [{"frame": k, "of": other} for k, other in found.twins.items()],
    }
