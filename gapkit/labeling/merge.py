"""One folder of labels from several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..exceptions import JournalError
from .journal import Journal, read_journal, read_label

__all__ = ["MergeCounts", "merge_journals"]


@dataclass(frozen=True)
class MergeCounts:
    """What a merge found.

    Attributes
    ----------
    added : int
        Labels that are new to the target.
    duplicates : int
        Labels that it had.
    unfinished : int
        Structures of the sources without a label, left where they are.
    """

    added: int
    duplicates: int
    unfinished: int


def merge_journals(target: str | Path, sources: Sequence[str | Path]) -> MergeCounts:
    """Copy the labels of other folders, each once, with the reasons they were bought for.

    Parameters
    ----------
    target : str or Path
        Folder that gets them; made if it does not exist.
    sources : sequence of (str or Path)
        Folders; they are only read, and may be in use.

    Returns
    -------
    MergeCounts

    Raises
    ------
    JournalError
        If a journal or a label is damaged.
    LockedError
        If another process is working in ``target``.
    """
    read = [(Path(source), read_journal(source)) for source in sources]  # all of them, before anything is written
    added = duplicates = unfinished = 0
    with Journal(target) as journal:
        for source, entries in read:
            before = added
            for entry in entries.values():
                known = journal.entries.get(entry.hash)
                if entry.state != "done":
                    unfinished += 1
                elif known is not None and known.state == "done":
                    duplicates += 1
                else:
                    label = read_label(source, entry)
                    if label.info.get("gapkit_hash") != entry.hash:
                        raise JournalError(
                            f"{source / entry.file} must be the label {entry.hash}; got {label.info.get('gapkit_hash')!r}. "
                            "Restore the file, or leave this folder out."
                        )
                    journal.adopt(entry, label)
                    added += 1
            journal.note(f"merged {added - before} labels of {source.resolve()}")
    return MergeCounts(added, duplicates, unfinished)
