"""learn.yaml: the settings of a learning run, strict keys, to an `ActiveLearner`."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from ase import Atoms

from .._validation import unknown_key
from ..active_learning import EXPLORERS, ActiveLearner
from ..datasets import read_frames
from ..exceptions import ConfigError
from .calculators import labeler_block, labeler_from_block
from .config import Config, model_from_config, read_config

__all__ = ["CONFIG_NAME", "learner_from_config", "read_learn_config"]

CONFIG_NAME = "learn.yaml"

_TOP = (
    "target_force_error",
    "start",
    "initial",
    "labeler",
    "explorer",
    "model",
    "max_labels",
    "d_min",
    "random_state",
)


def read_learn_config(directory: str | Path) -> Config:
    """Read the settings of a run.

    Parameters
    ----------
    directory : str or Path
        Folder with a ``learn.yaml``.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ConfigError
        If a key is unknown or missing.
    """
    path = Path(directory) / CONFIG_NAME
    if not path.exists():
        raise FileNotFoundError(f"There is no {path}. `gapkit learn init {directory}` writes one.")
    config = read_config(path)
    for key in config:
        if key not in _TOP:
            raise ConfigError(unknown_key("key", key, _TOP))
    for key in ("target_force_error", "labeler", "explorer"):
        if config.get(key) is None:
            raise ConfigError(f"{path} must have the key {key!r}. `gapkit learn init` shows all keys with an example.")
    return config


def learner_from_config(directory: str | Path, *, verbose: int = 0) -> tuple[ActiveLearner, Executor | None]:
    """Make the learner of a folder.

    Parameters
    ----------
    directory : str or Path
        Folder with a ``learn.yaml``; file names in it are relative to the folder.
    verbose : int, default 0
        For the learner.

    Returns
    -------
    learner : ActiveLearner
    executor : Executor or None
        Where labels are computed; to be shut down when the run has ended.
    """
    directory = Path(directory)
    config = read_learn_config(directory)
    block = labeler_block(config["labeler"])
    labeler, executor, workers = labeler_from_block(block, directory)
    model_block = config.get("model") or {}
    if not isinstance(model_block, Mapping):
        raise ConfigError(f"Block 'model' must hold what a gap.yaml holds; got {model_block!r}.")
    initial = config.get("initial")
    learner = ActiveLearner(
        model_from_config(model_block),
        labeler,
        explorer=_explorer(config, directory),
        target_force_error=config["target_force_error"],
        workdir=directory,
        initial=None if initial is None else _frames(directory / str(initial)),
        executor=executor,
        max_labels=config.get("max_labels", 500),
        max_pending=0 if executor is None or workers == 1 else workers,
        attempts=block.get("attempts", 2),
        label_settings=block.get("settings"),
        d_min=config.get("d_min"),
        random_state=config.get("random_state", 0),
        verbose=verbose,
    )
    return learner, executor


def _explorer(config: Config, directory: Path) -> Any:
    """The explorer, with files in the place of structures."""
    block = config["explorer"]
    kind = block.get("type", "md") if isinstance(block, Mapping) else None
    if kind not in EXPLORERS:
        raise ConfigError(unknown_key("type of explorer", kind, EXPLORERS))
    parameters = _parameters_of(EXPLORERS[kind])
    values = {key: value for key, value in block.items() if key != "type"}
    for key in values:
        if key not in parameters:
            raise ConfigError(unknown_key(f"key of explorer {kind!r}", key, parameters))
    if "start" in parameters:
        start = config.get("start", values.pop("start", None))
        if start is None:
            raise ConfigError("`start` must name a file with the structures that exploration starts from.")
        values["start"] = _frames(directory / str(start))
    for key in ("initial", "final"):
        if key in parameters and isinstance(values.get(key), str):
            values[key] = _frames(directory / values[key])[-1]
    return EXPLORERS[kind](**values)


def _parameters_of(explorer: Any) -> list[str]:
    import inspect

    return [name for name in inspect.signature(explorer.__init__).parameters if name != "self"]


def _frames(path: Path) -> list[Atoms]:
    return read_frames(path)[0]
