"""QUIP's GAP XML to records, read as a stream: a file of 100 MB needs the memory of its numbers.

No document type declaration is accepted, so that no entity can expand.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import warnings
from pathlib import Path
from typing import Any, NoReturn
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from ..exceptions import ModelFormatError, NumericalWarning
from .arguments import parse_arguments
from .quip_records import KERNELS, GluePair, QuipCoordinate, QuipModel

__all__ = ["read_glue", "read_quip"]

Array = NDArray[np.float64]
Attributes = dict[str, str]

_CHUNK = 1 << 20
_TEXTS = ("theta", "descriptor", "permutation", "sparseX", "sparseX_slice", "part")  # elements whose text matters
_OLDEST = 1  # gap_version of files without one
_SPECIES = range(1, 119)


def read_quip(path: str | Path) -> QuipModel:
    """Read a file.

    Parameters
    ----------
    path : str or Path
        The XML; sparse points in files of their own are found relative to it.

    Returns
    -------
    QuipModel

    Raises
    ------
    FileNotFoundError
        If the file or one of its files of sparse points does not exist.
    ModelFormatError
        If it is no GAP, incomplete, damaged, or has a document type declaration.
    """
    return _parsed(Path(path)).result()


def read_glue(path: str | Path) -> tuple[dict[tuple[int, int], GluePair], tuple[int, ...]]:
    """Read the tables of a Glue potential from a file of parameters, with or without a GAP beside them.

    Parameters
    ----------
    path : str or Path
        The XML.

    Returns
    -------
    glue : dict of (int, int) to GluePair
        As in `QuipModel`.
    embedding : tuple of int
        Atomic numbers that have an embedding energy.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ModelFormatError
        If it has no tables, or is damaged.
    """
    state = _parsed(Path(path))
    if not state.glue:
        raise ModelFormatError(f"{path} must hold the tables of a Glue potential (<Glue_params> with <per_pair_data>).")
    return state.glue, state.embedding()


def _parsed(path: Path) -> _Parser:
    """What is in a file, as far as it is known here."""
    state = _Parser(path)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = state.start, state.end
    parser.CharacterDataHandler = state.text
    parser.StartDoctypeDeclHandler = state.refuse_doctype
    try:
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                parser.Parse(chunk, False)
            parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise ModelFormatError(f"{path} must be complete XML; {error}. Copy it again.") from error
    except (KeyError, ValueError) as error:
        if isinstance(error, ModelFormatError):
            raise
        what = f"attribute {error} is missing" if isinstance(error, KeyError) else str(error)
        raise ModelFormatError(f"{path} must be QUIP's GAP XML; line {parser.CurrentLineNumber}: {what}.") from error
    return state


def _read_numbers(path: Path, md5: str | None) -> Array:
    """Numbers of a text file, in chunks; ModelFormatError if its checksum is not ``md5``."""
    digest, parts, rest = hashlib.md5(usedforsecurity=False), [], b""
    if not path.exists():
        raise FileNotFoundError(f"The sparse points of the model are in {path}, which does not exist. Copy it too.")
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            head, _, rest = (rest + chunk).rpartition(b"\n")
            parts.append(np.array(head.split(), float))
    parts.append(np.array(rest.split(), float))
    if md5 and digest.hexdigest() != md5.strip().lower():
        raise ModelFormatError(f"{path} must have the md5 sum of the XML, {md5}; got {digest.hexdigest()}. Copy both again.")
    return np.concatenate(parts)


class _Parser:
    """Collects the records of one file.

    Parameters
    ----------
    path : Path
        For messages, and for files of sparse points beside it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stack: list[str] = []
        self._texts: list[str] = []
        self._e0: dict[int, float] = {}
        self._coordinates: list[QuipCoordinate] = []
        self._gap: Attributes | None = None
        self._arguments = ""
        self._do_core = False
        self._promised: int | None = None
        self._parts: list[bytes] = []
        self.glue: dict[tuple[int, int], GluePair] = {}
        self._types: dict[int, int] = {}
        self._embedding: dict[int, list[float]] = {}
        self._type = 0
        self._pair: tuple[int, int] = (0, 0)
        self._table: tuple[Attributes, list[tuple[float, float]]] = ({}, [])
        self._one: dict[str, Any] = {}

    def refuse_doctype(self, *_: Any) -> NoReturn:
        """GAP files declare no document type; entities in one could expand without end."""
        raise ModelFormatError(f"{self.path} must not have a document type declaration (<!DOCTYPE ...>). Remove it.")

    def text(self, data: str) -> None:
        """Keep what stands between tags, where it matters."""
        if self._stack and self._stack[-1] in _TEXTS:
            self._texts.append(data)

    def start(self, tag: str, attributes: Attributes) -> None:
        """Begin an element."""
        self._stack.append(tag)
        self._texts = []
        begin = getattr(self, f"_start_{tag}", None)
        if begin is not None:
            begin(attributes)

    def end(self, tag: str) -> None:
        """Finish an element."""
        finish = getattr(self, f"_end_{tag}", None)
        if finish is not None:
            finish()
        self._stack.pop()
        self._texts = []

    def _start_Potential(self, attributes: Attributes) -> None:
        self._arguments = self._arguments or attributes.get("init_args", "")

    def _start_GAP_params(self, attributes: Attributes) -> None:
        if self._gap is not None:
            raise ModelFormatError(f"{self.path} must hold one GAP; got a second. Split the file.")
        self._gap = attributes

    def _start_GAP_data(self, attributes: Attributes) -> None:
        self._do_core = attributes.get("do_core", "F").strip().upper().startswith("T")
        if "e0" in attributes:  # an old form: one value for all
            self._e0 = dict.fromkeys(_SPECIES, float(attributes["e0"]))

    def _start_e0(self, attributes: Attributes) -> None:
        self._e0[int(attributes["Z"])] = float(attributes["value"])

    def _start_gpSparse(self, attributes: Attributes) -> None:
        if attributes.get("fitted", "T").strip().upper().startswith("F"):
            raise ModelFormatError(f"{self.path} must hold a fitted GAP; this one has sparse points only. Fit it.")
        self._promised = int(attributes["n_coordinate"]) if "n_coordinate" in attributes else None

    def _start_gpCoordinates(self, attributes: Attributes) -> None:
        self._one = {"attributes": attributes, "permutations": [], "points": [], "alpha": [], "cutoffs": []}

    def _end_theta(self) -> None:
        self._one["theta"] = np.array("".join(self._texts).split(), float)

    def _end_descriptor(self) -> None:
        self._one["descriptor"] = "".join(self._texts).strip()

    def _end_permutation(self) -> None:
        self._one["permutations"].append(np.array("".join(self._texts).split(), np.int64) - 1)

    def _start_sparseX(self, attributes: Attributes) -> None:
        self._one["alpha"].append(float(attributes["alpha"]))
        self._one["cutoffs"].append(float(attributes.get("sparseCutoff", "1.0")))
        self._one["slices"] = []

    def _end_sparseX_slice(self) -> None:
        self._one["slices"].append(np.array("".join(self._texts).split(), float))

    def _end_sparseX(self) -> None:
        slices = self._one["slices"]
        point = np.concatenate(slices) if slices else np.array("".join(self._texts).split(), float)
        if len(point):
            self._one["points"].append(point)

    def _end_gpCoordinates(self) -> None:
        one, attributes = self._one, self._one["attributes"]
        number, d, n = len(self._coordinates) + 1, int(attributes["dimensions"]), int(attributes["n_sparseX"])
        kind = attributes["covariance_type"].strip()
        if kind not in KERNELS:
            known = ", ".join(f"{k} ({name})" for k, name in KERNELS.items())
            raise ModelFormatError(f"{self.path}: covariance_type of descriptor {number} must be one of {known}; got {kind}.")
        theta, zeta = one.get("theta"), attributes.get("zeta")
        if kind == "2":
            zeta, theta = zeta if zeta is not None else one["theta"][0], None  # an old form has it in theta
        elif theta is None or len(theta) != d:
            raise ModelFormatError(f"{self.path}: <theta> of descriptor {number} must have {d} numbers.")
        points = self._points(attributes, one["points"], number, n, d)
        for name, values in (("points", points), ("alpha", one["alpha"]), ("cutoffs", one["cutoffs"])):
            if len(values) != n:
                raise ModelFormatError(
                    f"{self.path}: descriptor {number} must have {n} sparse points; got {len(values)} {name}. Copy it again."
                )
            if not np.isfinite(values).all():
                raise ModelFormatError(
                    f"{self.path}: {name} of descriptor {number} must be finite; got NaN or infinity. Fit it again."
                )
        permutations = np.array([p for p in one["permutations"] if len(p) == d]).reshape(-1, d)
        self._coordinates.append(
            QuipCoordinate(
                descriptor=one["descriptor"],
                kernel=KERNELS[kind],
                delta=float(attributes["signal_variance"]),  # delta, in spite of its name
                f0=float(attributes.get("signal_mean", "0")),
                zeta=float(zeta) if kind == "2" else None,
                theta=theta,
                permutations=permutations if len(permutations) else np.arange(d)[None],
                points=points,
                cutoffs=np.array(one["cutoffs"]),
                alpha=np.array(one["alpha"]),
            )
        )
        self._one = {}

    def _points(self, attributes: Attributes, inline: list[Array], number: int, n: int, d: int) -> Array:
        name = attributes.get("sparseX_filename")
        if name:
            file = self.path.parent / name.strip()
            numbers = _read_numbers(file, attributes.get("sparseX_md5sum"))
            if len(numbers) != n * d:
                raise ModelFormatError(
                    f"{file} must have {n} x {d} = {n * d} numbers; got {len(numbers)}. It is truncated, or of another model."
                )
            return numbers.reshape(n, d)
        wrong = {len(point) for point in inline} - {d}
        if wrong:
            raise ModelFormatError(
                f"{self.path}: sparse points of descriptor {number} must have {d} numbers; got {wrong.pop()}."
            )
        return np.array(inline).reshape(-1, d)

    def _end_part(self) -> None:
        try:
            self._parts.append(base64.b64decode("".join(self._texts), validate=True))
        except binascii.Error as error:
            raise ModelFormatError(f"{self.path}: what gapkit wrote along is damaged ({error}). Remove <gapkit>.") from error

    def _start_per_type_data(self, attributes: Attributes) -> None:
        self._type = int(attributes["atomic_num"])
        self._types[int(attributes["type"])] = self._type

    def _start_potential_density(self, attributes: Attributes) -> None:
        self._table = attributes, []

    def _end_potential_density(self) -> None:
        self._embedding[self._type] = [energy for _, energy in self._table[1]]

    def _start_per_pair_data(self, attributes: Attributes) -> None:
        self._pair = int(attributes["type1"]), int(attributes["type2"])

    def _start_potential_pair(self, attributes: Attributes) -> None:
        self._table = attributes, []

    def _start_point(self, attributes: Attributes) -> None:
        if self._stack[-2] != "density":
            key = "r" if self._stack[-2] == "potential_pair" else "rho"
            self._table[1].append((float(attributes[key]), float(attributes["E"])))

    def _end_potential_pair(self) -> None:
        attributes, knots = self._table
        r, energy = np.array(knots).reshape(-1, 2).T
        if len(r) < 2 or not np.isfinite(energy).all() or not (np.diff(r) > 0).all():
            raise ModelFormatError(f"{self.path}: a potential_pair must have two or more knots, r ascending, energies finite.")
        low, high = sorted(self._types[t] for t in self._pair)
        self.glue[low, high] = GluePair(r, energy, (float(attributes.get("y1", "0")), float(attributes.get("yn", "0"))))

    def embedding(self) -> tuple[int, ...]:
        """Atomic numbers with an embedding energy that is not 0."""
        return tuple(z for z, energies in self._embedding.items() if any(energies))

    def result(self) -> QuipModel:
        """The records, once the file has ended."""
        if self._gap is None or not self._coordinates:
            raise ModelFormatError(f"{self.path} must be QUIP's GAP XML; it has no <GAP_params> with <gpCoordinates>.")
        if self._promised not in (None, len(self._coordinates)):
            raise ModelFormatError(
                f"{self.path} must have {self._promised} descriptors; got {len(self._coordinates)}. Copy the file again."
            )
        own, core = _gap_and_core(self._arguments)
        if self._do_core and not core:
            warnings.warn(
                f"{self.path} was fitted on top of another potential (do_core) that its <Potential> does not name; QUIP leaves "
                "it out, and so does gapkit. Check energies before you trust them.",
                NumericalWarning,
                stacklevel=3,
            )
        return QuipModel(
            label=self._gap.get("label", ""),
            gap_version=int(self._gap.get("gap_version", _OLDEST)),
            e0=self._e0,
            coordinates=self._coordinates,
            core=core,
            glue=self.glue if core else {},
            embedding=self.embedding() if core else (),
            energy_scale=own,
            gapkit=b"".join(self._parts),
        )


def _gap_and_core(text: str) -> tuple[float, str]:
    """E_scale of the GAP, and the initialisation of what it is summed with."""
    options = parse_arguments(text)
    parts = [value for key, value in options.values.items() if re.fullmatch(r"init_args_pot\d+", key)] or [text]
    of_gap = [part for part in parts if re.match(r"\s*IP\s+GAP\b", part)]
    scale = parse_arguments(of_gap[0]).real("E_scale", default=1.0) if of_gap else 1.0
    return scale, " + ".join(part.strip() for part in parts if part not in of_gap and part.strip())
