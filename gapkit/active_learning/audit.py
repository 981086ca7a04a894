"""Audit: with a cheap labeler every structure of a run is labelled afterwards, and the errors that it missed are counted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np

from .._validation import check_integer
from ..gp.observations import labels_of
from ..io import replacing
from ..labeling import Labeler, Limits, SerialExecutor
from ..labeling.engine import label_task
from ..model.progress import track
from .checkpoint import RunState, read_visits
from .target import LARGE

__all__ = ["audit_run"]

_AHEAD = 64  # labels that wait for a worker
_SHOWN = 20


def audit_run(
    directory: str | Path,
    labeler: Labeler | Sequence[Labeler],
    *,
    every: int = 1,
    executor: Executor | None = None,
    show: bool = False,
) -> dict[str, Any]:
    """Label the structures that a run judged and did not label, and compare with what its model said at that time.

    Nothing is learnt from these labels.  The result is also written to ``audit.json``.

    Parameters
    ----------
    directory : str or Path
        Of the run.
    labeler : Labeler or sequence of Labeler
        The first of them is used.
    every : int, default 1
        One in so many structures is labelled.
    executor : Executor, optional
        Where labels are computed; default: here.
    show : bool, default False
        Whether to show a progress bar.

    Returns
    -------
    dict
        ``n_audited``; ``n_failed`` labels; ``n_labelled`` structures that the run labelled itself; ``target`` and ``rmse`` of
        force components, eV/Å; ``n_missed`` and ``missed_fraction``: structures with a force component that is wrong by more
        than five times the target; arrays ``max_error``, ``std_max``, ``step`` of each, and the ``largest`` ones in words.

    Raises
    ------
    FileNotFoundError
        If there is no run.
    ValueError
        If no structure was judged yet, or none of the labels could be computed.
    """
    directory = Path(directory)
    check_integer("every", every, at_least=1)
    state = RunState.read(directory)
    visits = read_visits(directory, state.turn)
    unlabelled = [atoms for atoms in visits if atoms.info["action"] != "label"][::every]
    if not unlabelled:
        raise ValueError(f"There must be structures to audit; the run in {directory} has judged none. Let it go on.")
    first = labeler[0] if isinstance(labeler, Sequence) else labeler
    workers = SerialExecutor() if executor is None else executor
    target = float(state.settings["target_force_error"])
    errors: list[float] = []
    squares: list[float] = []
    audited = []
    futures: dict[int, Any] = {}
    for k in track(range(len(unlabelled)), "audit", len(unlabelled), show=show):
        for ahead in range(k, min(k + (1 if executor is None else _AHEAD), len(unlabelled))):
            if ahead not in futures:
                plain = unlabelled[ahead].copy()
                plain.arrays.pop("momenta", None)
                futures[ahead] = workers.submit(label_task, first, plain, Limits())
        outcome = futures.pop(k).result()
        if outcome.label is None or outcome.state != "done":
            continue
        error = np.asarray(labels_of(outcome.label, 0).forces) - unlabelled[k].get_forces()
        errors.append(float(np.abs(error).max()))
        squares.append(float(np.mean(error**2)))
        audited.append(unlabelled[k])
    if not audited:
        raise ValueError(f"At least one label must be computed; all {len(unlabelled)} failed. Check the labeler.")
    missed = [k for k, error in enumerate(errors) if error > LARGE * target]
    worst = sorted(missed, key=lambda k: -errors[k])[:_SHOWN]
    result = {
        "n_audited": len(audited),
        "n_failed": len(unlabelled) - len(audited),
        "n_labelled": len(visits) - sum(atoms.info["action"] != "label" for atoms in visits),
        "target": target,
        "rmse": float(np.sqrt(np.mean(squares))),
        "n_missed": len(missed),
        "missed_fraction": len(missed) / len(audited),
        "largest": [
            f"{errors[k]:.3g} eV/Å at step {audited[k].info['step']} of walker {audited[k].info['walker']}, where the largest "
            f"std was {audited[k].info['std_max']:.3g}"
            for k in worst
        ],
        "max_error": errors,
        "std_max": [float(atoms.info["std_max"]) for atoms in audited],
        "step": [int(atoms.info["step"]) for atoms in audited],
    }
    with replacing(directory / "audit.json") as file:
        file.write(json.dumps(result, ensure_ascii=False, indent=1).encode())
    return result
