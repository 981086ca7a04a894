"""All checks of a data set, in one call."""

from __future__ import annotations

from collections.abc import Sequence

from ase import Atoms

from ..datasets import Units, guess_units
from ..gp.observations import labels_of
from ..neighbors import check_structures
from .coverage import check_composition, check_cutoff_radius, check_energy_range, check_temperatures
from .energies import check_energies
from .findings import SEVERITIES, Finding
from .frames import check_convergence, check_isolated_atoms, check_net_forces, check_outliers
from .probe import fit_probe
from .similarity import check_duplicates, check_leak
from .stresses import check_stresses

__all__ = ["check_frames"]


def check_frames(
    frames: Sequence[Atoms],
    test: Sequence[Atoms] | None = None,
    *,
    cutoff: float | None = None,
    units: Units | None = None,
) -> list[Finding]:
    """Look for the classic mistakes in a data set, and name each.

    A small model is fitted to the forces of a sample, which takes seconds; energies and stresses are compared with it, and
    with each other along pairs of near frames.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Structures with labels in ``atoms.calc.results``: eV, eV/Å, eV/Å³.
    test : sequence of ase.Atoms, optional
        What the model will be asked for, or tested on.
    cutoff : float, optional
        Cutoff radius that is to be used, Å.
    units : Units, optional
        What the file was said to be in; for advice.

    Returns
    -------
    list of Finding
        Errors first.

    Raises
    ------
    InvalidStructureError
        If a structure is not valid, e.g. atoms closer than 0.1 Å.
    InvalidLabelError
        If a label is not finite.

    Examples
    --------
    >>> from gapkit.checks import check_frames
    >>> from gapkit.datasets import load_silicon
    >>> [f.id for f in check_frames(load_silicon(config_types=["eos"])) if f.severity != "info"]
    []
    """
    frames = check_structures(frames, name="frames")
    labels = [labels_of(atoms, k) for k, atoms in enumerate(frames)]
    probe = fit_probe(frames, labels)
    found = check_energies(frames, labels, probe, guess_units(frames, units), units or Units())
    broken = bool(found)  # nothing that follows could be trusted
    found += [] if broken else check_stresses(frames, labels, probe)
    found += check_convergence(frames, labels, compare=not broken)
    said = {k for f in found for k in f.frames}
    found += [] if broken else [f for f in check_outliers(frames, labels, probe) if not set(f.frames) <= said]
    found += check_net_forces(frames, labels)
    found += check_isolated_atoms(frames, labels) if not broken else []
    found += [] if cutoff is None else check_cutoff_radius(frames, cutoff)
    others = None if test is None else check_structures(test, name="test")
    asked = [labels_of(atoms, k) for k, atoms in enumerate(others or ())]
    hot = [] if others is None or broken else check_temperatures(frames, labels, others, asked)
    # hot frames have high energies, and frames of one well are much alike: one cause, one id
    narrow = hot or ([] if broken else check_energy_range(frames, labels, others, asked))
    found += narrow
    found += check_duplicates(frames, labels, only_equal=bool(narrow))
    found += check_composition(frames, others)
    found += [] if others is None else check_leak(frames, others)
    return sorted(found, key=lambda f: SEVERITIES.index(f.severity))
