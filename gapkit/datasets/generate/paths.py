"""Images of a path between two structures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from ase import Atoms
from ase.mep import NEB
from ase.optimize import FIRE

from ..._validation import check_choice, check_integer, check_real, describe
from ...neighbors import check_structures
from .base import Made, Plan

__all__ = ["band", "check_ends", "neb"]

_FORCE = 0.05  # eV/Å, at which a path is relaxed


def neb(
    starts: Sequence[Atoms],
    rng: np.random.Generator,
    *,
    n_images: int = 7,
    method: str = "idpp",
    steps: int = 0,
    every: int = 10,
    spring: float = 0.1,
    driver: Any = None,
) -> Plan:
    """Images between each frame of the start and the next, ends included; with a driver, also while the path relaxes.

    Parameters
    ----------
    n_images : int
        Between two ends.
    method : "idpp" or "linear"
        Interpolation: distances of atoms, or positions.
    steps : int
        Of the relaxation; 0: none.
    every : int
        Steps between images that are kept.
    spring : float
        eV/Å².
    """
    if len(starts) < 2:
        rule = "a file of at least two structures, the ends of the path, for 'neb'"
        raise ValueError(describe("start", rule, f"{len(starts)}", "Put both into one file."))
    for one, other in pairwise(starts):
        check_ends(one, other)
    check_integer("neb.n_images", n_images, at_least=1)
    check_choice("neb.method", method, ("idpp", "linear"))
    check_integer("neb.steps", steps, at_least=0)
    check_integer("neb.every", every, at_least=1)
    check_real("neb.spring", spring, above=0.0, remedy="It is in eV/Å².")
    if steps and driver is None:
        raise ValueError(describe("driver", "given where `neb.steps` relaxes the path", None, "Name a calculator or a model."))

    def structures() -> Iterator[Made]:
        for path, (one, other) in enumerate(pairwise(starts)):
            images = band(one, other, n_images, method)
            for number, image in enumerate(images):
                if number or path == 0:  # the end of one path is where the next begins
                    yield Made(image.copy(), {"path": path, "image": number, "step": 0})
            if steps:
                for done, relaxed in _relaxation(images, driver, steps, every, spring):
                    for number, image in enumerate(relaxed, 1):
                        yield Made(image, {"path": path, "image": number, "step": done})

    paths = len(starts) - 1
    return Plan(paths * (n_images + 1) + 1 + paths * (steps // every) * n_images, structures())


def _relaxation(images: list[Atoms], driver: Any, steps: int, every: int, spring: float) -> Iterator[tuple[int, list[Atoms]]]:
    """Copies of the images between the ends, while they relax."""
    for image in images:
        image.calc = driver
    chain = NEB(images, k=spring, method="improvedtangent", allow_shared_calculator=True)
    relaxation = FIRE(chain, logfile=None)
    for done in range(every, steps + 1, every):
        converged = relaxation.run(fmax=_FORCE, steps=every)
        yield done, [image.copy() for image in images[1:-1]]
        if converged:
            return


def band(initial: Atoms, final: Atoms, n_images: int, method: str = "linear") -> list[Atoms]:
    """A chain of structures from one end to the other, through the periodic boundaries where that is shorter.

    Parameters
    ----------
    initial, final : ase.Atoms
        Of the same atoms in the same order and cell; see `check_ends`.
    n_images : int
        Between them.
    method : "linear" or "idpp", default "linear"
        What is interpolated.

    Returns
    -------
    list of ase.Atoms
        Ends included.
    """
    images = [initial.copy() for _ in range(n_images + 1)] + [final.copy()]
    NEB(images, method="improvedtangent").interpolate(method=method, mic=bool(initial.pbc.any()))
    return images


def check_ends(initial: Atoms, final: Atoms) -> None:
    """Raise unless two structures have the same atoms in the same order, and one cell."""
    initial, final = check_structures([initial, final], name="initial and final")
    if not np.array_equal(initial.numbers, final.numbers):
        rule = f"a structure with the atoms of `initial` ({initial.symbols}) in its order"
        raise ValueError(describe("final", rule, str(final.symbols)))
    if (initial.pbc != final.pbc).any() or not np.allclose(initial.cell.array, final.cell.array, rtol=0.0, atol=1e-8):
        rule = f"a structure in the cell of `initial` ({_cell_of(initial)})"
        raise ValueError(describe("final", rule, _cell_of(final), "Relax the ends in one cell."))


def _cell_of(atoms: Atoms) -> str:
    return f"{np.round(atoms.cell.cellpar(), 4).tolist()}, pbc {atoms.pbc.tolist()}"
