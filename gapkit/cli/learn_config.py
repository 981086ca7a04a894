"""learn.yaml: the settings of a learning run, strict keys, to an `ActiveLearner`."""

from __future__ import annotations

import runpy
from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.calculator import get_calculator_class, names
from ase.io import read

from .._validation import check_integer, unknown_key
from ..active_learning import EXPLORERS, ActiveLearner
from ..exceptions import ConfigError
from ..labeling import CalculatorLabeler, CommandLabeler, Labeler, ProcessLabeler
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
_SOURCES = ("calculator", "script", "command")
_LABELER = (*_SOURCES, "options", "timeout", "workers", "attempts", "in_process", "settings")


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
    labeler_block = _block(config, "labeler", _LABELER)
    labeler, executor, workers = _labeler(labeler_block, directory)
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
        attempts=labeler_block.get("attempts", 2),
        label_settings=labeler_block.get("settings"),
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


def _labeler(block: Config, directory: Path) -> tuple[Labeler | list[Labeler], Executor | None, int]:
    given = [key for key in _SOURCES if block.get(key) is not None]
    if len(given) != 1:
        raise ConfigError(f"Block 'labeler' must have one of {', '.join(_SOURCES)}; got {', '.join(given) or 'none'}.")
    workers = check_integer("workers", block.get("workers", 1), at_least=1)
    timeout = block.get("timeout")
    if given == ["command"]:
        labeler: Labeler = CommandLabeler(_in_folder(str(block["command"]), directory), timeout=timeout)
        return labeler, ThreadPoolExecutor(workers), workers
    make = _script(block["script"], directory) if given == ["script"] else _by_name(block["calculator"], block.get("options"))
    if block.get("in_process", False):
        if timeout is not None or workers > 1:
            raise ConfigError(
                "`in_process: true` computes one label at a time, without time-out. Remove `timeout` and `workers`."
            )
        return CalculatorLabeler(make), None, 1
    return ProcessLabeler(make, timeout=timeout), ThreadPoolExecutor(workers), workers


def _in_folder(command: str, directory: Path) -> str:
    """Words that name files of the folder, in full."""
    import shlex

    words = shlex.split(command)
    return shlex.join(str((directory / w).resolve()) if (directory / w).is_file() else w for w in words)


def _script(name: Any, directory: Path) -> Any:
    """`make_calculator` of a Python file of the folder: the user's own code, named in the user's own settings."""
    path = directory / str(name)
    if not path.is_file():
        raise ConfigError(f"`script` must be a Python file in {directory}; there is no {path}.")
    make = runpy.run_path(str(path)).get("make_calculator")
    if not callable(make):
        raise ConfigError(f"{path} must define a function make_calculator() that returns an ASE calculator.")
    return make


def _by_name(name: Any, options: Any) -> Any:
    if name not in names:
        raise ConfigError(unknown_key("calculator", name, names) + " Others go into a `script` with make_calculator().")
    if options is not None and not isinstance(options, Mapping):
        raise ConfigError(f"`options` must hold arguments of the calculator; got {options!r}.")
    cls = get_calculator_class(name)
    return lambda: cls(**(options or {}))


def _block(config: Config, name: str, known: tuple[str, ...]) -> Config:
    block = config[name]
    if not isinstance(block, Mapping):
        raise ConfigError(f"Block {name!r} must hold settings; got {block!r}.")
    for key in block:
        if key not in known:
            raise ConfigError(unknown_key(f"key of block {name!r}", key, known))
    return dict(block)


def _frames(path: Path) -> list[Atoms]:
    if not path.is_file():
        raise ConfigError(f"There is no file {path}.")
    return list(read(path, ":"))
