"""One file format for models: a zip of ``model.json`` and .npy arrays.  Parameters and numbers, never code.

``model.json`` carries the format number, the oldest reader that understands the file, and a SHA-256 of every array.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..exceptions import ModelFormatError
from .replace import replacing

__all__ = ["FORMAT", "read_archive", "write_archive"]

FORMAT = 1
"""Number of the format that this version writes; it reads all lower ones."""

_DOCUMENT = "model.json"
_KIND = "gapkit model"
_DATE = (1980, 1, 1, 0, 0, 0)  # the same model gives the same bytes


def write_archive(path: str | Path, document: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a file, whole or not at all (temporary file, fsync, rename).

    Parameters
    ----------
    path : str or Path
        Replaced when the new file is complete.
    document : mapping
        What JSON can hold.
    arrays : mapping of str to ndarray
        Numeric arrays by name.
    """
    encoded = {name: _to_bytes(array) for name, array in arrays.items()}
    header = {
        "kind": _KIND,
        "format": FORMAT,
        "oldest_reader": FORMAT,
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in encoded.items()},
        **document,
    }
    text = json.dumps(header, indent=1, allow_nan=False).encode()
    with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(_DOCUMENT, _DATE), text)
        for name, content in encoded.items():
            archive.writestr(zipfile.ZipInfo(name + ".npy", _DATE), content)


def read_archive(path: str | Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read and verify a file.

    Parameters
    ----------
    path : str or Path
        A file of `write_archive`.

    Returns
    -------
    document : dict
    arrays : dict of str to ndarray

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModelFormatError
        If it is not a gapkit model, is damaged, or needs a newer gapkit.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            document = json.loads(archive.read(_DOCUMENT))
            if not isinstance(document, dict) or document.get("kind") != _KIND:
                raise ModelFormatError(f"{path} must be a gapkit model; got a zip file of something else.")
            oldest = document.get("oldest_reader")
            if not isinstance(oldest, int) or oldest > FORMAT:
                raise ModelFormatError(
                    f"{path} has format {document.get('format')} and needs a reader of format {oldest}; this gapkit "
                    f"reads up to {FORMAT}. Upgrade gapkit: pip install -U gapkit."
                )
            arrays = {}
            for name, digest in document["sha256"].items():
                content = archive.read(name + ".npy")
                if hashlib.sha256(content).hexdigest() != digest:
                    raise ModelFormatError(f"{path} is damaged: array {name!r} does not match its checksum. Copy it again.")
                arrays[name] = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except (zipfile.BadZipFile, KeyError, EOFError, UnicodeDecodeError, AttributeError, ValueError) as error:
        if isinstance(error, ModelFormatError):
            raise
        raise ModelFormatError(
            f"{path} must be a gapkit model; got a truncated or foreign file ({type(error).__name__}: {error}). "
            "Copy it again, or fit the model anew."
        ) from error
    return document, arrays


def _to_bytes(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()
