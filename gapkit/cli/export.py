"""gapkit export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .._validation import check_choice
from ..interop.quip_writer import write_quip
from ..model import load
from ..model.quip import to_quip
from .console import console, guarded

__all__ = ["export"]

_SUFFIXES = (".xml", ".gap")


@guarded
def export(
    model: Annotated[Path, typer.Argument(help="Model file: .gap, or QUIP's .xml.")],
    output: Annotated[Path, typer.Argument(help="Where to: *.xml for QUIP and LAMMPS, *.gap for gapkit.")],
    posterior: Annotated[
        bool, typer.Option(help="Keep what error bars and refits need; without it, files are several times smaller.")
    ] = True,
) -> None:
    """Write a model for QUIP and LAMMPS (pair_style quip), or a potential of QUIP for gapkit.

    Example: `gapkit export silicon.gap silicon.xml`
    """
    check_choice("OUTPUT", output.suffix, _SUFFIXES, "The name's end says which format is meant.")
    fitted = load(model)
    if output.suffix == ".gap":
        fitted.save(output, posterior=posterior)
    else:
        quip = to_quip(fitted, posterior=posterior)
        write_quip(quip, output)
        console.print(
            f'LAMMPS    pair_style quip; pair_coeff * * {output.name} "Potential xml_label={quip.label}"', markup=False
        )
        console.print("          followed by the atomic number of each type", markup=False)
    console.print(f"wrote     {output} ({output.stat().st_size / 1e6:.1f} MB)")
