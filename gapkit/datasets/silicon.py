"""The silicon data set that ships with gapkit."""

from __future__ import annotations

from collections.abc import Collection
from importlib import resources

from ase import Atoms
from ase.io import read

from .._validation import check_choice

__all__ = ["load_silicon"]


def load_silicon(split: str | None = None, *, config_types: Collection[str] | None = None) -> list[Atoms]:
    """Silicon with DFT energies, forces and stresses (PBE, computed with GPAW; see data/README.md).

    Cells of 1 to 16 atoms: an isolated atom, the equation of state of the diamond structure, strained and rattled crystals,
    molecular dynamics at 300, 1000 and 2000 K, and a vacancy.  ``info["config_type"]`` and ``info["split"]`` say which.

    Parameters
    ----------
    split : None, "train" or "test"
        Part of the set; default all.  Every fifth frame of each type is in "test".
    config_types : collection of str, optional
        Only these types: isolated_atom, eos, strained, rattled, md_300K, md_1000K, md_2000K, vacancy.

    Returns
    -------
    list of ase.Atoms
        Labels are in ``atoms.calc.results``.

    Examples
    --------
    >>> from gapkit.datasets import load_silicon
    >>> len(load_silicon("train")), len(load_silicon("test"))
    (75, 19)
    """
    check_choice("split", split, (None, "train", "test"))
    with resources.as_file(resources.files(__package__) / "silicon.xyz") as path:
        frames: list[Atoms] = read(path, ":")
    known = {atoms.info["config_type"] for atoms in frames}
    for name in config_types or ():
        check_choice("config_types", name, sorted(known))
    return [
        atoms
        for atoms in frames
        if split in (None, atoms.info["split"]) and (config_types is None or atoms.info["config_type"] in config_types)
    ]
