"""Formats of data sets: those that ASE does not read, one small file each, and how a file is recognised."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ase.io import read
from ase.io.formats import UnknownFileTypeError, filetype, ioformats, string2index

from ...exceptions import InvalidLabelError
from ..units import Units
from .ani import ANI
from .base import FileFormat, RawFrames
from .cp2k import CP2K, CP2K_TRAJECTORY
from .deepmd import DEEPMD
from .dpdata_bridge import PREFIX, read_with_dpdata
from .fitsnap import FITSNAP
from .md17 import MD17
from .mtp import MTP
from .pymatgen_json import PYMATGEN
from .qm9 import QM9
from .runner import RUNNER

__all__ = ["FORMATS", "UNITLESS", "FileFormat", "RawFrames", "format_of", "read_raw"]

FORMATS = {f.name: f for f in (MD17, ANI, DEEPMD, QM9, RUNNER, MTP, FITSNAP, PYMATGEN, CP2K, CP2K_TRAJECTORY)}
"""Formats that are not ASE's, in the order in which they are tried."""

UNITLESS = {"extxyz", "xyz", "traj", "db", "json", *FORMATS}
"""Formats whose numbers are in whatever units their writer used; ASE converts those of all others."""

_UNSAFE = {"py", "pickle", "bundletrajectory", "mysql", "postgresql"}  # code in files; servers
_PEEK = 4096


def format_of(path: Path) -> str:
    """Name of the format of a file or folder, by content first and then by name: one of `FORMATS`, or ASE's.

    Raises
    ------
    ValueError
        If it is not recognised, with the known formats.
    """
    head = b""
    if path.is_file():
        with open(path, "rb") as file:
            head = file.read(_PEEK)
    for candidate in FORMATS.values():
        if candidate.recognises(path, head):
            return candidate.name
    if path.is_dir():
        return "folder"
    try:
        name = str(filetype(str(path)))
    except UnknownFileTypeError:
        name = ""
    if name not in ioformats:  # it may be no more than the end of the name
        raise ValueError(
            f"{path} must be of a known format; neither content nor name tells which. Name it (format=... or --format): "
            f"{', '.join(FORMATS)}, {PREFIX}NAME for dpdata's, or one of ASE's (`ase info --formats` lists them)."
        )
    return name


def read_raw(path: Path, name: str | None, species: Sequence[str] | None, index: str = ":") -> tuple[RawFrames, str]:
    """Read a file or folder as it is, without looking at labels.

    Parameters
    ----------
    path : Path
        Exists.
    name : str or None
        Format; None: recognised.
    species : sequence of str or None
        Elements of the types 0, 1, ... where a format numbers them.
    index : str, default ":"
        Which frames, a slice in ASE's notation; ASE's readers read no others.

    Returns
    -------
    raw : RawFrames
    name : str
        The format.

    Raises
    ------
    ImportError
        If the format needs a package of the extra ``io``.
    ValueError
        If it cannot be read as this format.
    """
    name = format_of(path) if name is None else name
    if name.startswith(PREFIX):
        return _some(read_with_dpdata(path, name.removeprefix(PREFIX)), index, path), name
    if name == "folder":
        raw, name = _folder(path, species)
        return _some(raw, index, path), name
    if name in FORMATS:
        try:
            return _some(FORMATS[name].read(path, species), index, path), name
        except (ImportError, InvalidLabelError, OSError):
            raise
        except Exception as error:  # a damaged file makes any reader raise whatever it meets
            complete = isinstance(error, ValueError) and str(path) in str(error)
            text = str(error) if complete else f"{path} must be {FORMATS[name].title}; {type(error).__name__}: {error}."
            raise ValueError(text) from error
    if name not in ioformats or name in _UNSAFE:
        raise ValueError(f"`format` must be one of {', '.join(FORMATS)}, {PREFIX}NAME, or one that ASE reads; got {name!r}.")
    try:
        at_once = ":" if name == "db" else index  # ASE's database knows no steps
        frames = read(str(path), at_once, format=name, do_not_split_by_at_sign=True)
    except Exception as error:  # ASE's readers raise whatever they meet
        raise ValueError(
            f"{path} must be a complete file in a format that ASE reads; as {name}: {type(error).__name__}: {error}. "
            "Is it truncated, or does its name end unlike its format?"
        ) from error
    return _some(RawFrames(frames), index if name == "db" else ":", path, index), name


def _some(raw: RawFrames, index: str, path: Path, said: str | None = None) -> RawFrames:
    """Of frames that have all been read, those that are meant; ``said`` is what messages call them."""
    raw.frames = raw.frames[string2index(index)]
    if not raw.frames and (said or index) != ":":
        raise ValueError(f"{path} must hold frames @{said or index}; it has none there. Frames are numbered from 0.")
    return raw


def _folder(path: Path, species: Sequence[str] | None) -> tuple[RawFrames, str]:
    """All files of a folder that is a data set: QM9 and FitSNAP keep one structure per file."""
    files = sorted(file for file in path.rglob("*") if file.suffix in (".json", ".xyz") and file.is_file())
    if not files:
        raise ValueError(
            f"{path} must be a DeePMD-kit data set, or hold files of QM9 (.xyz) or FitSNAP (.json); it holds none."
        )
    frames, units, remarks = [], set(), []
    others: dict[str, str] = {}
    for file in files:
        name = format_of(file)
        if name not in ("qm9", "fitsnap"):
            raise ValueError(
                f"Folders are read if all their files are QM9's or FitSNAP's; {file} is {name}. Read it on its own."
            )
        raw, _ = read_raw(file, name, species)
        frames += raw.frames
        units.add(raw.units)
        others |= raw.others
        remarks += [text for text in raw.remarks if text not in remarks]
    if len(units) > 1:
        raise ValueError(f"All files of {path} must have the same units; got {' and '.join(sorted(map(str, units)))}.")
    return RawFrames(frames, units.pop() if units else Units(), remarks, others), name
