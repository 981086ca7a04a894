"""What all commands share: output, errors, tables."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from ..checks import label_ledger, stress_sign
from ..datasets import LabelKeys
from ..exceptions import LabelWarning, NumericalWarning
from ..gp.observations import KINDS, Labels, labels_of

__all__ = ["STATE", "console", "guarded", "print_ledger", "print_table", "warn_of_extrapolation"]

_P = ParamSpec("_P")
_R = TypeVar("_R")

_WIDTH = None if sys.stdout.isatty() else 140  # files and pipes do not wrap tables
console = Console(highlight=False, width=_WIDTH)
errors = Console(stderr=True, highlight=False)


class STATE:
    """Options given before the command."""

    debug = False


def guarded(command: Callable[_P, _R]) -> Callable[_P, _R]:
    """Show errors as one sentence, warnings as they come; a traceback only with --debug."""

    @functools.wraps(command)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with warnings.catch_warnings():
            warnings.simplefilter("default", NumericalWarning)
            warnings.simplefilter("default", LabelWarning)
            warnings.showwarning = _show_warning
            try:
                return command(*args, **kwargs)
            except (OSError, ValueError, TypeError, MemoryError) as error:
                if STATE.debug:
                    raise
                errors.print(f"[bold red]error:[/] {_escape(str(error))}", soft_wrap=True)
                raise typer.Exit(1) from None

    return run


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    errors.print(f"[bold yellow]warning:[/] {_escape(str(message))}", soft_wrap=True)


def _escape(text: str) -> str:
    return text.replace("[", r"\[")


def _has_own_noise(labels: Labels) -> bool:
    return any(getattr(labels, f"{kind}_sigma") is not None for kind in KINDS)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None = None) -> None:
    """Print a table; the first column is text, the others are numbers."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for k, name in enumerate(header):
        table.add_column(name, justify="left" if k == 0 else "right")
    for row in rows:
        table.add_row(*(_escape(cell) for cell in row))
    console.print(table)


def print_ledger(frames: Sequence[Any], keys: LabelKeys, source: str) -> None:
    """Print what a file holds, under which keys, in which units."""
    rows = []
    for row in label_ledger(frames):
        low, high = row.energy_per_atom or (float("nan"),) * 2
        rows.append(
            [
                row.config_type or "(none)",
                *(str(n) for n in (row.frames, row.atoms, row.energies, row.forces, row.stresses)),
                "-" if row.energy_per_atom is None else f"{low:.3f} .. {high:.3f}",
                "-" if row.force_rms is None else f"{row.force_rms:.3f}",
                "-" if row.pressure is None else f"{row.pressure[0]:.2f} .. {row.pressure[1]:.2f}",
            ]
        )
    header = ("type", "frames", "atoms", "energies", "forces", "stresses", "eV/atom", "force RMS eV/Å", "pressure GPa")
    print_table(header, rows, title=f"labels of {source}")
    found = "; ".join(
        f"{kind}: " + (", ".join(f"{key} ({n})" for key, n in counts.items()) or "none") for kind, counts in keys.found.items()
    )
    console.print(f"keys      {found}")
    own = [y for y in (labels_of(atoms, k) for k, atoms in enumerate(frames)) if _has_own_noise(y)]
    if own:
        left_out = sum(int((~y.used(kind)).sum()) for y in own for kind in KINDS)
        console.print(f"noise     {len(own)} frames have noise of their own or masks; {left_out} components are left out")
    if keys.units.converted:
        console.print(f"units     {keys.units} of {keys.format or 'the frames'}, converted to eV, eV/Å, eV/Å³")
    else:
        console.print("units     eV, eV/Å, eV/Å³ assumed (virials in eV become stress = -virial / volume)")
    for text in keys.remarks:
        console.print(f"note      {_escape(text)}", soft_wrap=True)
    if keys.found["stress"]:
        sign = stress_sign(frames)
        console.print(f"sign      stress is {sign}{' (does tension grow with volume?)' if sign == 'not testable' else ''}")
        if sign.startswith("OPPOSITE"):
            errors.print("[bold yellow]warning:[/] the stress falls when the volume grows: its sign is probably wrong.")


def warn_of_extrapolation(what: str, ratio: float) -> None:
    """Say that a model is asked for what it was not trained on; ``ratio`` is that of `gapkit.model.familiar.extrapolated`."""
    errors.print(
        f"[bold yellow]warning:[/] extrapolation: {what} atoms that the model knows less of than of any it was trained on: "
        f"standard deviations of local energies up to {ratio:.2g} times as large. Label some (gapkit select) and fit anew.",
        soft_wrap=True,
    )
