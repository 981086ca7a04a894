"""Calculators and labelers that a settings file or an option names: an ASE calculator, a script, a command, a model."""

from __future__ import annotations

import runpy
from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ase.calculators.calculator import get_calculator_class, names

from .._validation import check_integer, unknown_key
from ..calculator import GAPCalculator
from ..exceptions import ConfigError
from ..labeling import CalculatorLabeler, CommandLabeler, Labeler, ProcessLabeler
from ..model import load
from .config import Config

__all__ = ["driver_from_block", "labeler_block", "labeler_from_block"]

_SOURCES = ("calculator", "script", "command")
_LABELER = (*_SOURCES, "options", "timeout", "workers", "attempts", "in_process", "settings")
_DRIVERS = ("calculator", "script", "model")


def labeler_block(block: Any) -> Config:
    """Check the keys of the block ``labeler``."""
    return _checked(block, "labeler", _LABELER)


def labeler_from_block(block: Config, directory: Path) -> tuple[Labeler, Executor | None, int]:
    """Make a labeler.

    Parameters
    ----------
    block : dict
        From `labeler_block`.
    directory : Path
        That names of files are relative to.

    Returns
    -------
    labeler : Labeler
    executor : Executor or None
        Where labels are computed; to be shut down when the run has ended.
    workers : int
        Labels at a time.
    """
    given = _one_of(block, "labeler", _SOURCES)
    workers = check_integer("workers", block.get("workers", 1), at_least=1)
    timeout = block.get("timeout")
    if given == "command":
        labeler: Labeler = CommandLabeler(_in_folder(str(block["command"]), directory), timeout=timeout)
        return labeler, ThreadPoolExecutor(workers), workers
    make = _script(block["script"], directory) if given == "script" else _by_name(block["calculator"], block.get("options"))
    if block.get("in_process", False):
        if timeout is not None or workers > 1:
            raise ConfigError(
                "`in_process: true` computes one label at a time, without time-out. Remove `timeout` and `workers`."
            )
        return CalculatorLabeler(make), None, 1
    return ProcessLabeler(make, timeout=timeout), ThreadPoolExecutor(workers), workers


def driver_from_block(block: Any, directory: Path) -> Any:
    """Make the calculator that drives dynamics.

    Parameters
    ----------
    block : dict
        With ``calculator`` (and ``options``), ``script`` or ``model``.
    directory : Path
        That names of files are relative to.

    Returns
    -------
    ase calculator
    """
    block = _checked(block, "driver", (*_DRIVERS, "options"))
    given = _one_of(block, "driver", _DRIVERS)
    if given == "model":
        return GAPCalculator(load(directory / str(block["model"])))
    return (_script(block["script"], directory) if given == "script" else _by_name(block["calculator"], block.get("options")))()


def _checked(block: Any, name: str, known: tuple[str, ...]) -> Config:
    if not isinstance(block, Mapping):
        raise ConfigError(f"Block {name!r} must hold settings; got {block!r}.")
    for key in block:
        if key not in known:
            raise ConfigError(unknown_key(f"key of block {name!r}", key, known))
    return dict(block)


def _one_of(block: Config, name: str, sources: tuple[str, ...]) -> str:
    given = [key for key in sources if block.get(key) is not None]
    if len(given) != 1:
        raise ConfigError(f"Block {name!r} must have one of {', '.join(sources)}; got {', '.join(given) or 'none'}.")
    return given[0]


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
