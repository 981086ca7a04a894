"""Three ways to get a label: an ASE calculator here, in a process of its own, or a command that reads and writes a file."""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import cloudpickle
from ase import Atoms
from ase.io import read

from .._validation import check_real, describe
from ..exceptions import InvalidLabelError
from . import child
from .processes import run_guarded
from .structures import to_text

__all__ = ["CalculatorLabeler", "CommandLabeler", "Labeler", "ProcessLabeler"]

_IN_PROCESS = threading.Lock()  # calculators of ASE keep files and states: one label at a time


class Labeler(Protocol):
    """Anything with ``label``; it must survive being sent to the workers of the executor."""

    def label(self, atoms: Atoms) -> Atoms:
        """Compute one label.

        Parameters
        ----------
        atoms : ase.Atoms
            The structure; not to be changed.

        Returns
        -------
        ase.Atoms
            The same atoms in the same order, energy and forces (and stress) in ``calc.results``, ``info["converged"]`` false
            if it is not.

        Raises
        ------
        Exception
            Any: the attempt has failed.
        """


class CalculatorLabeler:
    """Labels by an ASE calculator in the process that asks, which is that of the driver or a worker of the executor.

    There is no time-out: a calculation that hangs, hangs for ever, and one that crashes takes its process along.  Take
    `ProcessLabeler` where that can happen.  In one process labels are computed one at a time.

    Parameters
    ----------
    calculator : ase calculator, or callable
        A calculator, or a function (or class) without arguments that makes one for each label: then no label depends on
        those before it.  It must survive being sent to the workers, if there are some.
    """

    def __init__(self, calculator: Any) -> None:
        self.calculator = calculator

    def label(self, atoms: Atoms) -> Atoms:
        """Compute one label; see `Labeler`."""
        with _IN_PROCESS:
            return child.compute(self.calculator, atoms)


class _InScratchFolder:
    """What the two labelers with processes share."""

    timeout: float | None
    scratch: str | Path | None

    def _run(self, command: Sequence[str], atoms: Atoms, request: bytes = b"") -> Atoms:
        """Run a command on a structure in a scratch folder, and read what it wrote."""
        with tempfile.TemporaryDirectory(prefix="gapkit-label-", dir=self.scratch, ignore_cleanup_errors=True) as folder:
            source, target = Path(folder) / "input.xyz", Path(folder) / "output.xyz"
            source.write_text(to_text(atoms), encoding="utf-8")
            words = {"input": str(source), "output": str(target)}
            command = [w.replace("{input}", words["input"]).replace("{output}", words["output"]) for w in command]
            finished = run_guarded(command, Path(folder), self.timeout, request)
            printed = f": {finished.tail}" if finished.tail else ", and nothing was printed"
            if finished.timed_out:
                raise TimeoutError(f"no label after {self.timeout:g} s; its processes were killed")
            if finished.code:
                raise RuntimeError(f"exit status {finished.code} after {finished.seconds:.1f} s{printed}")
            if not target.exists():
                raise RuntimeError(f"no file {target.name} was written{printed}")
            try:
                frames = read(target, ":", format="extxyz")
            except Exception as error:  # ASE's readers raise whatever they meet
                raise InvalidLabelError(f"The output must be extended XYZ; {type(error).__name__}: {error}") from error
        if len(frames) != 1:
            raise InvalidLabelError(f"The output must hold one structure; got {len(frames)}.")
        answer: Atoms = frames[0]
        return answer


class ProcessLabeler(_InScratchFolder):
    """Labels by an ASE calculator, each in a process (and process group) of its own.

    A label that hangs is killed with all its processes, one that crashes is a failed attempt and nothing more, and nothing
    survives the driver, however that ends.  With ``ThreadPoolExecutor(n)`` n labels run at a time.  Starting a process and
    importing ASE takes about a second.

    Parameters
    ----------
    calculator : ase calculator, or callable
        As for `CalculatorLabeler`; functions of scripts and notebooks will do.
    timeout : float, optional
        s; None is no limit.
    scratch : str or Path, optional
        Where the scratch folders of labels are made; default: that of the system for temporary files.
    """

    def __init__(self, calculator: Any, *, timeout: float | None = None, scratch: str | Path | None = None) -> None:
        self.calculator = calculator
        self.timeout = None if timeout is None else check_real("timeout", timeout, above=0.0, remedy="It is in s.")
        self.scratch = scratch

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "calculator": _send(self.calculator)}  # by value: a worker may not know the script

    def label(self, atoms: Atoms) -> Atoms:
        """Compute one label; see `Labeler`.

        Raises
        ------
        TimeoutError
            If it took too long.
        RuntimeError
            If its process failed.
        InvalidLabelError
            If what it wrote is no label.
        """
        blob = self.calculator if isinstance(self.calculator, bytes) else _send(self.calculator)
        request = json.dumps(sys.path).encode() + b"\n" + blob
        return self._run([sys.executable, "-P", child.__file__, "{input}", "{output}"], atoms, request)


def _send(calculator: Any) -> bytes:
    if isinstance(calculator, bytes):
        return calculator
    try:
        blob: bytes = cloudpickle.dumps(calculator)
    except Exception as error:  # whatever the parts of a calculator raise
        remedy = f"Give a function that makes it. ({type(error).__name__}: {error})"
        raise TypeError(describe("calculator", "what can be sent to another process", calculator, remedy)) from error
    return blob


class CommandLabeler(_InScratchFolder):
    """Labels by a command that reads a file and writes one: any code, any batch system.

    Parameters
    ----------
    command : str
        ``"python label.py {input} {output}"``; split into words as a shell would, but run without one.  ``{input}`` is an
        extended XYZ file with one structure, ``{output}`` where the command must write the same one with ``energy`` (eV),
        ``forces`` (eV/Å) and, if it likes, ``stress`` (eV/Å³) and ``converged=F``.  It runs in a scratch folder of its own;
        words that name existing files are made absolute.  A non-zero exit status is a failed attempt.  On a time-out all its
        processes get SIGTERM, and SIGKILL five seconds later.
    timeout : float, optional
        s; None is no limit.
    scratch : str or Path, optional
        As for `ProcessLabeler`.
    """

    def __init__(self, command: str, *, timeout: float | None = None, scratch: str | Path | None = None) -> None:
        if not isinstance(command, str) or "{input}" not in command or "{output}" not in command:
            rule = "a command with {input} and {output} in it"
            raise ValueError(describe("command", rule, command, 'For example "python label.py {input} {output}".'))
        self.command = command
        self.timeout = None if timeout is None else check_real("timeout", timeout, above=0.0, remedy="It is in s.")
        self.scratch = scratch
        self._words = [str(Path(w).resolve()) if Path(w).is_file() else w for w in shlex.split(command)]

    def label(self, atoms: Atoms) -> Atoms:
        """Compute one label; see `ProcessLabeler.label`."""
        return self._run(self._words, atoms)
