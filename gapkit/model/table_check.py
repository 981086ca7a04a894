"""How far the tables of a fitted potential are from the kernels that they replace."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from ase import Atoms

from ..exceptions import NumericalWarning
from ..neighbors import NeighborList
from .fitting import chunks_of_frames
from .potential import Potential
from .prediction import table_errors
from .tables import ERROR_BOUNDS
from .terms import Term

__all__ = ["check_tables"]

_CHUNK_ATOMS = 1024


def check_tables(potential: Potential, terms: Sequence[tuple[str, Term]], frames: Sequence[Atoms]) -> dict[str, float]:
    """Largest error of each tabulated term on some structures; warn where it is too large.

    Parameters
    ----------
    potential : Potential
        The fitted model.
    terms : sequence of (str, Term)
        Its terms with their names.
    frames : sequence of ase.Atoms
        Structures.

    Returns
    -------
    dict of str to float
        eV an environment, by the name of the term; empty without tables.
    """
    errors: dict[str, float] = {}
    if not any(potential.tables):
        return errors
    names = [name for name, _ in terms]
    for start, chunk in chunks_of_frames(frames, _CHUNK_ATOMS):
        neighbors = NeighborList.from_atoms(chunk, potential.neighbor_range, first_frame=start)
        for t, error in table_errors(potential, neighbors).items():
            errors[names[t]] = max(errors.get(names[t], 0.0), error)
    for name, term in terms:
        bound = ERROR_BOUNDS.get(term.descriptor.n_features, np.inf) if name in errors else np.inf
        if errors.get(name, 0.0) > bound:
            warnings.warn(
                f"The table of term {name!r} ({type(term.descriptor).__name__}) is off by up to {errors[name]:.1e} eV an "
                f"environment of the training set; the aim is {bound:.0e} eV. Set tabulate=False or use a smoother kernel.",
                NumericalWarning,
                stacklevel=4,
            )
    return errors
