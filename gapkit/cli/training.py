"""Options that `gapkit fit` and `gapkit estimate` share: training data and a configuration make a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from ase import Atoms

from ..datasets import LabelKeys, read_frames
from ..model import ZBL, GAPRegressor, from_gap_fit
from .config import config_of, has_terms, label_keys, model_from_config, override, read_config
from .console import console

__all__ = [
    "ConfigFile",
    "Device",
    "EnergyKey",
    "ForcesKey",
    "Settings",
    "StressKey",
    "Train",
    "as_far_as_possible",
    "read_gap_fit_training",
    "read_training",
]

Train = Annotated[Path, typer.Argument(help="Structures with labels, any format that ASE reads.")]
ConfigFile = Annotated[Path | None, typer.Option("-c", "--config", help="gap.yaml; default: automatic, from the data.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Override a setting, e.g. soap.n_sparse=2000.", metavar="KEY=VALUE")
]
EnergyKey = Annotated[str | None, typer.Option(help="Key of the energies, if not one of the usual.")]
ForcesKey = Annotated[str | None, typer.Option(help="Key of the forces.")]
StressKey = Annotated[str | None, typer.Option(help="Key of the stresses or virials.")]
Device = Annotated[str, typer.Option(help="Where it is computed: cpu, cuda (an NVIDIA GPU) or auto.")]


def as_far_as_possible(device: str) -> str:
    """Where error bars and the like are computed: on the GPU, if it is asked for and has code for them."""
    return "cpu" if device == "cpu" else "auto"


def read_training(
    train: Path, config: Path | None, settings: list[str] | None, named_keys: dict[str, str | None], *, verbose: int = 0
) -> tuple[list[Atoms], LabelKeys, GAPRegressor]:
    """Read the training data, and make the model that the configuration describes, from the data where there is none.

    Parameters
    ----------
    train : Path
        Structures with labels.
    config : Path or None
        gap.yaml.
    settings : list of str or None
        Values of ``--set``.
    named_keys : dict of str to str or None
        Label keys by kind; None: one of the usual.
    verbose : int, default 0
        For the model.

    Returns
    -------
    frames : list of ase.Atoms
    keys : LabelKeys
        Where the labels were found.
    model : GAPRegressor
    """
    given = read_config(config) if config else {}
    keys: dict[str, Any] = label_keys(override(given, settings or []))
    keys.update({kind: key for kind, key in named_keys.items() if key})
    frames, found = read_frames(train, **keys)
    if not has_terms(given):
        given = {**config_of(GAPRegressor(random_state=0).explicit(frames)), **given}
    model = model_from_config(override(given, settings or []), verbose=verbose)
    if isinstance(model.baseline, ZBL):
        model.set_params(baseline=model.baseline.explicit(frames))
    return frames, found, model


def read_gap_fit_training(
    command: str, train: Path | None, points_from: Path | None
) -> tuple[list[Atoms], LabelKeys, GAPRegressor]:
    """Read the training data, and make the model, that a command line of gap_fit describes.

    Parameters
    ----------
    command : str
        Options of gap_fit.
    train : Path or None
        Replaces the file that the command names.
    points_from : Path or None
        XML of gap_fit whose sparse points are taken.

    Returns
    -------
    frames : list of ase.Atoms
    keys : LabelKeys
        Where the labels were found.
    model : GAPRegressor
    """
    job = from_gap_fit(command, train=train, points_from=points_from)
    if job.chosen:
        console.print(
            "gap_fit   chooses sparse points by random numbers and in the order of its neighbours, which cannot be reproduced: "
            f"gapkit chooses those of {', '.join(job.chosen)} itself; --points-from takes them from gap_fit's XML",
            soft_wrap=True,
        )
    return job.frames, LabelKeys(job.keys), job.model.set_params(verbose=1)
