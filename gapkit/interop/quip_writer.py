"""Records to QUIP's GAP XML."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from numpy.typing import NDArray

from .quip_records import KERNELS, GluePair, QuipCoordinate, QuipModel

__all__ = ["GAP_VERSION", "write_quip"]

Array = NDArray[np.float64]

GAP_VERSION = 1596837814
"""For new files: the newest meaning of all options, and old enough that no QUIP refuses it."""

_SLICE = 50  # numbers per element: QUIP reads longer vectors in slices
_PART = 48 * 1024  # bytes of an own file per element


def write_quip(model: QuipModel, path: str | Path) -> None:
    """Write a file that QUIP reads, whole or not at all.

    QUIP takes the first tag as the label, so there is neither a declaration nor a comment before it; it crashes without
    <permutation>, and takes files without gap_version for very old ones.  Elements that it does not know it skips.

    Parameters
    ----------
    model : QuipModel
    path : str or Path
        Replaced when the new file is complete.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "w", encoding="ascii") as file:
            for line in _lines(model):
                file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _lines(model: QuipModel) -> Iterator[str]:
    label = model.label
    gap = f"IP GAP label={label}" + (f" E_scale={model.energy_scale!r}" if model.energy_scale != 1.0 else "")
    arguments = f"Sum init_args_pot1={{{model.core}}} init_args_pot2={{{gap}}}" if model.core else gap
    yield f"<{label}>"
    yield f"<Potential label={quoteattr(label)} init_args={quoteattr(arguments)}/>"
    yield f'<GAP_params label={quoteattr(label)} gap_version="{model.gap_version}">'
    yield f'<GAP_data do_core="{"T" if model.core else "F"}">'
    for z, energy in sorted(model.e0.items()):
        yield f'<e0 Z="{z}" value="{energy!r}"/>'
    yield "</GAP_data>"
    yield f'<gpSparse label={quoteattr(label)} n_coordinate="{len(model.coordinates)}" fitted="T">'
    for number, coordinate in enumerate(model.coordinates, 1):
        yield from _coordinate_lines(coordinate, f"{label}{number}")
    yield "</gpSparse>"
    if model.gapkit:
        yield "<gapkit>"
        for start in range(0, len(model.gapkit), _PART):
            yield f"<part>{base64.b64encode(model.gapkit[start : start + _PART]).decode()}</part>"
        yield "</gapkit>"
    yield "</GAP_params>"
    if model.glue:
        yield from _glue_lines(model.glue)
    yield f"</{label}>"


def _coordinate_lines(one: QuipCoordinate, label: str) -> Iterator[str]:
    kind = next(number for number, name in KERNELS.items() if name == one.kernel)
    zeta = f' zeta="{one.zeta!r}"' if one.zeta is not None else ""
    yield (
        f'<gpCoordinates label={quoteattr(label)} dimensions="{one.points.shape[1]}" signal_variance="{one.delta!r}" '
        f'signal_mean="{one.f0!r}" sparsified="T" n_permutations="{len(one.permutations)}" covariance_type="{kind}"{zeta} '
        f'n_sparseX="{len(one.alpha)}">'
    )
    if one.theta is not None:
        yield f"<theta>{_text(one.theta)}</theta>"
    yield f"<descriptor>{escape(one.descriptor)}</descriptor>"
    for number, permutation in enumerate(one.permutations, 1):
        yield f'<permutation i="{number}">{_words(str(k + 1) for k in permutation)}</permutation>'
    for number, (alpha, cutoff, point) in enumerate(zip(one.alpha, one.cutoffs, one.points, strict=True), 1):
        head = f'<sparseX i="{number}" alpha="{float(alpha)!r}" sparseCutoff="{float(cutoff)!r}"'
        if len(point) <= _SLICE:
            yield f"{head}>{_text(point)}</sparseX>"
            continue
        yield f'{head} sliced="T">'
        for start in range(0, len(point), _SLICE):
            part = point[start : start + _SLICE]
            yield f'<sparseX_slice start="{start + 1}" end="{start + len(part)}">{_text(part)}</sparseX_slice>'
        yield "</sparseX>"
    yield "</gpCoordinates>"


def _glue_lines(glue: Mapping[tuple[int, int], GluePair]) -> Iterator[str]:
    species = sorted({z for pair in glue for z in pair})
    yield f'<Glue_params n_types="{len(species)}">'
    for number, z in enumerate(species, 1):  # densities and embeddings are mandatory: zero
        yield f'<per_type_data atomic_num="{z}" type="{number}">'
        yield '<density num_points="2" density_y1="0.0" density_yn="0.0">'
        yield '<point a="0.5" rho="0.0"/><point a="1.0" rho="0.0"/></density>'
        yield '<potential_density num_points="2"><point rho="0.0" E="0.0"/><point rho="1.0" E="0.0"/></potential_density>'
        yield "</per_type_data>"
    for (low, high), pair in glue.items():
        first, last = pair.slopes
        yield f'<per_pair_data type1="{species.index(low) + 1}" type2="{species.index(high) + 1}">'
        yield f'<potential_pair num_points="{len(pair.r)}" y1="{first!r}" yn="{last!r}">'
        for r, energy in zip(pair.r, pair.energy, strict=True):
            yield f'<point r="{float(r)!r}" E="{float(energy)!r}"/>'
        yield "</potential_pair></per_pair_data>"
    yield "</Glue_params>"


def _text(numbers: Sequence[float] | Array) -> str:
    return _words(repr(float(x)) for x in numbers)


def _words(words: Iterable[str]) -> str:
    """One to a line: QUIP reads text in pieces of 1024 characters, and loses a blank at the end of a piece."""
    return "\n".join(words)
