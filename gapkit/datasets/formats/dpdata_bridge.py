"""Any format of dpdata (ABACUS, SIESTA, OpenMX, PWmat, ...): ``--format dpdata:abacus/scf``; needs the extra ``io``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ase import Atoms
from ase.data import atomic_numbers

from ..units import Units
from .base import RawFrames, labelled, missing

__all__ = ["PREFIX", "read_with_dpdata"]

PREFIX = "dpdata:"


def read_with_dpdata(path: Path, name: str) -> RawFrames:
    """Read a file or folder through `dpdata.LabeledSystem`, which converts to eV and Å.

    Parameters
    ----------
    path : Path
        The file or folder.
    name : str
        A format of dpdata, e.g. abacus/scf.

    Returns
    -------
    RawFrames

    Raises
    ------
    ImportError
        If dpdata is not installed.
    ValueError
        If dpdata does not know the format or cannot read the file.
    """
    try:
        import dpdata
    except ImportError as error:
        raise missing("dpdata", f"The format {PREFIX}{name}", error) from None
    try:
        system = dpdata.LabeledSystem(str(path), fmt=name)
    except Exception as error:  # its readers raise whatever they meet
        raise ValueError(f"{path} must be a file that dpdata reads as {name!r}; {type(error).__name__}: {error}.") from error
    frames = [_frame(system.data, k) for k in range(len(system))]
    return RawFrames(frames, Units(), ["dpdata converted the units, with constants of CODATA 2018 (1e-8 from ASE's)"])


def _frame(data: dict[str, Any], k: int) -> Atoms:
    periodic = not data.get("nopbc", False)
    numbers = [atomic_numbers[data["atom_names"][t]] for t in data["atom_types"]]
    atoms = Atoms(numbers, data["coords"][k], cell=data["cells"][k] if periodic else None, pbc=periodic)
    if "virials" in data:
        atoms.info["virial"] = data["virials"][k]
    forces = data["forces"][k] if "forces" in data and data["forces"].size else None
    return labelled(atoms, energy=float(data["energies"][k]), forces=forces)
