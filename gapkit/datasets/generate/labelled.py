"""Labels for structures, bought in the run that makes them, and never twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.io import read

from ...io import replacing
from ...labeling import Entry, Labeler, LabelQueue, read_journal, structure_hash
from ...model.progress import track
from ..write import write_frames

__all__ = ["Labelled", "kept_in", "label_frames"]

_FRAMES, _RECIPE = "generated.xyz", "recipe.json"


@dataclass
class Labelled:
    """What became of structures that were to be labelled.

    Attributes
    ----------
    frames : list of ase.Atoms
        Those with labels, in their order.
    failed : list of (int, str)
        Numbers of the others, and why.
    bought : int
        How many labels were computed now; the others were there.
    """

    frames: list[Atoms]
    failed: list[tuple[int, str]]
    bought: int


def label_frames(
    frames: Sequence[Atoms],
    labeler: Labeler | Sequence[Labeler],
    directory: str | Path,
    *,
    executor: Executor | None = None,
    attempts: int = 2,
    settings: Mapping[str, Any] | None = None,
    verbose: int = 0,
) -> Labelled:
    """Label structures, in parallel; what the folder has already is not computed again.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Structures.
    labeler, executor, attempts, settings
        As for `gapkit.labeling.LabelQueue`.
    directory : str or Path
        Of the journal and the labels.
    verbose : int, default 0
        Whether to show a progress bar.

    Returns
    -------
    Labelled

    Raises
    ------
    LockedError
        If another process has the folder.
    """
    names = [structure_hash(atoms, settings) for atoms in frames]
    before: dict[str, Entry] = {}
    with suppress(FileNotFoundError):
        before = read_journal(directory)
    missing = {name for name in names if name not in before or before[name].state != "done"}
    with LabelQueue(directory, labeler, executor=executor, attempts=attempts, settings=settings) as queue:

        def finished() -> Iterator[Entry]:
            for atoms in frames:
                words = ("generated", atoms.info.get("config_type", ""), atoms.info.get("gapkit_frame", ""))
                queue.submit(atoms, " ".join(word for word in words if word))
                yield from queue.poll()
            while new := queue.wait():
                yield from new

        for _ in track(finished(), "labelling", len(missing), show=bool(verbose)):
            pass
        result = Labelled([], [], len(missing))
        for k, name in enumerate(names):
            entry = queue.finished(name)
            if entry is not None and entry.state == "done":
                result.frames.append(queue.label(name))
            else:
                result.failed.append((k, entry.message if entry is not None else "not labelled"))
    return result


def kept_in(directory: str | Path, recipe: str, make: Callable[[], list[Atoms]]) -> list[Atoms]:
    """Structures of a folder that was filled with this recipe before, or new ones, which it keeps.

    Dynamics are not run twice, and what is labelled when a run goes on is what was labelled before.

    Parameters
    ----------
    directory : str or Path
        Made if it does not exist.
    recipe : str
        Text that says all that the structures depend on.
    make : callable
        Makes them.

    Returns
    -------
    list of ase.Atoms

    Raises
    ------
    ValueError
        If the folder has structures of another recipe.
    """
    directory = Path(directory)
    frames, known = directory / _FRAMES, directory / _RECIPE
    if known.exists() and frames.exists():
        if known.read_text(encoding="utf-8") != recipe:
            raise ValueError(
                f"{directory} must be a new folder, or one of the same recipe; its {_RECIPE} has another start, seed or "
                "parameters. Take another folder, or remove this one with its labels."
            )
        return list(read(frames, ":", format="extxyz"))
    made = make()
    directory.mkdir(parents=True, exist_ok=True)
    write_frames(frames, made)
    with replacing(known) as file:  # last: a folder with a recipe has its structures
        file.write(recipe.encode())
    return made
