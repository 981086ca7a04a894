"""Structures that can be turned in a page: canvases and a small script that draws them, nothing from a network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.data.colors import jmol_colors
from ase.neighborlist import natural_cutoffs, neighbor_list
from matplotlib import colormaps
from matplotlib.colors import to_hex
from numpy.typing import NDArray

__all__ = ["View", "viewer"]

Array = NDArray[np.float64]

_MOST = 1000  # atoms that are drawn: those near the worst
_COLORS = "YlOrRd"
_CORNERS = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)], float)
_EDGES = [(a, b) for a in range(8) for b in range(a + 1, 8) if np.abs(_CORNERS[a] - _CORNERS[b]).sum() == 1.0]


@dataclass(frozen=True)
class View:
    """One structure to look at.

    Attributes
    ----------
    atoms : ase.Atoms
        The structure.
    errors : ndarray of shape (n_atoms,)
        What the atoms are coloured by, from 0 on.
    caption : str
        One or two lines.
    """

    atoms: Atoms
    errors: Array
    caption: str


def viewer(views: Sequence[View], unit: str) -> str:
    """HTML of structures side by side.

    Parameters
    ----------
    views : sequence of View
        Structures; the largest error of all of them has the darkest colour.
    unit : str
        Of the errors.

    Returns
    -------
    str
        A fragment; at most one of them can stand in a page.
    """
    largest = max((float(view.errors.max()) for view in views), default=0.0)
    data = json.dumps([_plain(view, largest) for view in views], separators=(",", ":")).replace("<", "\\u003c")
    script = (resources.files(__package__) / "viewer.js").read_text(encoding="utf-8")
    bar = ",".join(to_hex(color) for color in colormaps[_COLORS](np.linspace(0, 1, 6)))
    cells = "\n".join(
        f'<figure><canvas class="frame"></canvas><figcaption>{escape(view.caption)}</figcaption></figure>' for view in views
    )
    return (
        f'<p class="scale">0 <span style="background: linear-gradient(to right,{bar})"></span> {largest:.3g} {escape(unit)} '
        f'<button id="paint" type="button">colour by element</button> drag a structure to turn it</p>\n'
        f'<div class="frames">\n{cells}\n</div>\n<noscript><p>The pictures need JavaScript.</p></noscript>\n'
        f'<script type="application/json" id="frames">{data}</script>\n<script>\n{script}</script>'
    )


def _plain(view: View, largest: float) -> dict[str, Any]:
    """What the script draws, around the origin."""
    atoms, errors = view.atoms, view.errors
    corners = _CORNERS @ atoms.cell.array
    edges = [(corners[a], corners[b]) for a, b in _EDGES] if atoms.pbc.any() and atoms.cell.rank == 3 else []
    if len(atoms) > _MOST:
        far = np.linalg.norm(atoms.positions - atoms.positions[errors.argmax()], axis=1)
        kept = np.argsort(far, kind="stable")[:_MOST]
        atoms, errors, edges = atoms[kept], errors[kept], []
    ends = np.concatenate([atoms.positions, *([np.reshape(edges, (-1, 3))] if edges else [])])
    middle = (ends.min(axis=0) + ends.max(axis=0)) / 2.0
    radii = 0.45 * covalent_radii[atoms.numbers] + 0.05
    alone = Atoms(atoms.numbers, atoms.positions)  # no bonds through the walls of the cell
    first, second = neighbor_list("ij", alone, natural_cutoffs(alone, mult=1.2))
    share = errors / largest if largest > 0.0 else np.zeros(len(errors))
    return {
        "positions": np.round(atoms.positions - middle, 3).tolist(),
        "radii": np.round(radii, 2).tolist(),
        "colors": [to_hex(color) for color in jmol_colors[atoms.numbers]],
        "errors": [to_hex(color) for color in colormaps[_COLORS](share)],
        "bonds": [[int(i), int(j)] for i, j in zip(first, second, strict=True) if i < j],
        "edges": [[np.round(a - middle, 3).tolist(), np.round(b - middle, 3).tolist()] for a, b in edges],
        "reach": round(float(np.linalg.norm(ends - middle, axis=1).max() + 1.0), 3),
    }
