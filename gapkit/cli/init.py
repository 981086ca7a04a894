"""gapkit init."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .._validation import check_choice
from ..datasets import read_frames
from ..gp.observations import config_type_of
from ..model import RECIPES, ZBL, GAPRegressor, automatic_noise, automatic_terms, collect_labels
from .config import config_of, dump_config, model_from_config, read_config
from .console import console, guarded, print_ledger

__all__ = ["init"]

_TEXT = """\
# gapkit configuration: `gapkit fit {train} -c {path}`.  Units: eV, Å, eV/Å, eV/Å³.

soap:
  r_cut: 5.0          # range of an environment; 5-6 for metals and semiconductors, 4-5 for molecules
  n_max: 8            # radial functions: more for sharper distances (6 to 12)
  l_max: 6            # angular resolution (4 to 9)
  sigma: 0.5          # width of the atomic Gaussians; 0.3 to 0.4 with H
  cutoff_width: 1.0   # over this distance, neighbours fade out before r_cut
  zeta: 4             # power of the kernel: higher is sharper
  delta: 1.0          # expected spread of the energy per atom
  n_sparse: 1000      # accuracy and cost grow with it
  selection: cur      # cur or fps

noise:                # what the fit may miss the labels by
  energy: 1e-3        # per atom
  forces: 0.05
  stress: 1e-2
{types}
e0: auto              # energies of isolated atoms: auto, one number, or {{Si: -0.8}}
baseline: {{type: zbl}} # repulsion of nuclei at distances below those of the data; null: none
random_state: 0
# labels: {{energy: REF_energy, forces: REF_forces, stress: REF_virial}}   # only where the keys are not the usual ones
"""


_DERIVED = """\
# gapkit configuration, from the geometry and labels of {train}.  Units: eV, Å, eV/Å, eV/Å³.
# r_cut: range; n_max, l_max: radial and angular resolution; sigma: width of the atomic Gaussians; cutoff_width: neighbours fade
# out over it; zeta, length_scale: the kernel; delta: expected spread of an energy; n_sparse: accuracy and cost.
# baseline: repulsion of nuclei that is complete at r_inner and ends at r_outer, below the distances of the data (null: none).
# `gapkit fit` prints every setting that is left at its default.

{blocks}
{types}# labels: {{energy: REF_energy, forces: REF_forces, stress: REF_virial}}   # only where the keys are not the usual ones
"""


@guarded
def init(
    train: Annotated[Path | None, typer.Argument(help="Training structures, from which settings are derived.")] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write; must not exist.")] = Path("gap.yaml"),
    recipe: Annotated[
        str,
        typer.Option(
            help="With TRAIN: soap; universal (several lengths); bodies (pairs, triplets, soap); acsf; quip (runs in QUIP)."
        ),
    ] = "soap",
) -> None:
    """Write a short, commented configuration.

    Example: `gapkit init train.xyz --recipe bodies -o gap.yaml`
    """
    if output.exists():
        raise ValueError(f"{output} exists already. Remove it, or choose another name with -o.")
    check_choice("recipe", recipe, RECIPES)
    if train is None:
        text = _TEXT.format(train="train.xyz", path=output, types="")
    else:
        frames, keys = read_frames(train)
        print_ledger(frames, keys, str(train))
        names = sorted({config_type_of(atoms) for atoms in frames} - {""})
        types = f"# noise may hold a block for each configuration type: {', '.join(names)}\n" if names else ""
        noise = automatic_noise(collect_labels(frames))
        model = GAPRegressor(automatic_terms(frames, recipe), noise=noise, baseline=ZBL().explicit(frames), random_state=0)
        text = _DERIVED.format(train=train, path=output, blocks=dump_config(config_of(model, defaults=False)), types=types)
    output.write_text(text, encoding="utf-8")
    model_from_config(read_config(output))  # what is written must be readable
    console.print(f"wrote {output}; next: gapkit fit {train or 'train.xyz'} -c {output}")
