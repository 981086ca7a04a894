"""The `gapkit` command: one module per subcommand."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import __version__
from .check import check
from .compare import compare
from .console import STATE
from .convert import convert
from .demo import demo
from .doctor import doctor
from .estimate import estimate
from .evaluate import evaluate
from .export import export
from .fit import fit
from .generate import generate
from .init import init
from .learn import learn
from .md import md
from .props import props
from .select import select
from .show import show
from .split import split

__all__ = ["app"]

app = typer.Typer(
    name="gapkit",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Gaussian approximation potentials from DFT data: fit, evaluate, run. Units: eV, Å, eV/Å, eV/Å³.",
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"gapkit {__version__}")
        raise typer.Exit


@app.callback()
def main(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """Run a command."""
    STATE.debug = debug


for _command in (
    demo,
    init,
    check,
    estimate,
    fit,
    evaluate,
    compare,
    show,
    props,
    md,
    select,
    convert,
    split,
    generate,
    export,
    doctor,
):
    app.command()(_command)
app.add_typer(learn, name="learn")
