"""Terms and noise for those who give none: from the geometry and the labels of the training set."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import numpy as np
from ase import Atoms
from sklearn.base import clone

from .._validation import check_choice, describe
from ..descriptors import ACSF, SOAP, QuipBasis, ThreeBody, TwoBody, auto
from ..gp.observations import Labels, Noise
from ..kernels import RBF, DotProduct
from .terms import Term, name_terms

__all__ = ["RECIPES", "automatic_noise", "automatic_terms", "decide_terms"]

RECIPES = ("soap", "universal", "bodies", "acsf", "quip")
"""One SOAP; SOAPs of several lengths; pairs, triplets and SOAP; symmetry functions; as "bodies", in QUIP's own basis."""

_OPERATIONS = 1e13  # of a fit: one to five minutes on one core
_MOST_POINTS, _FEWEST_POINTS = 4000, 500


def decide_terms(
    terms: Sequence[Term | tuple[str, Term]] | None, noise: Noise | None, frames: Sequence[Atoms], labels: Sequence[Labels]
) -> tuple[list[tuple[str, Term]], Noise]:
    """Copies of the terms and the noise, from the data where they are not given."""
    if noise is not None and not isinstance(noise, Noise):
        raise TypeError(describe("noise", "a Noise such as Noise(energy=1e-3)", noise))
    if terms is not None:
        return [(name, clone(term)) for name, term in name_terms(terms)], Noise() if noise is None else clone(noise)
    return automatic_terms(frames), automatic_noise(labels) if noise is None else noise


def automatic_terms(frames: Sequence[Atoms], recipe: str = "soap") -> list[tuple[str, Term]]:
    """Terms for a training set.

    Parameters
    ----------
    frames : list of ase.Atoms
        Training structures; labels are not looked at.
    recipe : {"soap", "universal", "bodies", "acsf", "quip"}, default "soap"
        See `RECIPES`.

    Returns
    -------
    list of (str, Term)
    """
    check_choice("recipe", recipe, RECIPES)
    summary = auto.summarize(frames)
    if recipe == "acsf":
        functions = auto.symmetry_functions(summary, frames)
        n_features, n_points = _size(functions, frames, summary)
        # distances grow with the square root of the number of features; the range, unlike the standard deviation, stays
        # sensible for functions that are almost always 0
        term = Term(functions, RBF(round(float(np.sqrt(n_features)), 1)), n_sparse=n_points, scale="range")
        return name_terms([("acsf", term)])
    soaps = auto.universal_soaps(summary) if recipe == "universal" else [auto.soap(summary)]
    terms: list[tuple[str, Term]] = []
    if recipe == "quip":
        soaps = [SOAP(s.r_cut, s.n_max, s.l_max, s.sigma, rbf=QuipBasis(), cutoff_width=s.cutoff_width) for s in soaps]
    if recipe in ("bodies", "quip"):
        r_pair, n_species = summary.r_cut, len(summary.species)
        n_pairs, n_triplets = comb(n_species + 1, 2), n_species * comb(n_species + 1, 2)
        r_triplet = round(min(1.6 * summary.typical_bond, r_pair), 1)
        terms = [
            ("pair", Term(TwoBody(r_pair), RBF(0.7), delta=1.0, n_sparse=12 * n_pairs)),
            ("triplet", Term(ThreeBody(r_triplet), RBF(1.0), delta=0.1, n_sparse=min(150 * n_triplets, 1000), scale="std")),
        ]
    for k, soap in enumerate(soaps):
        _, n_points = _size(soap, frames, summary)
        n_points = max(_FEWEST_POINTS, n_points // len(soaps)) if n_points > _FEWEST_POINTS else n_points
        name = "soap" if len(soaps) == 1 else f"soap-{k + 1}"
        terms.append((name, Term(soap, DotProduct(4), n_sparse=n_points)))
    return name_terms(terms)


def _size(descriptor: SOAP | ACSF, frames: Sequence[Atoms], summary: auto.DataSummary) -> tuple[int, int]:
    """Number of features, and of sparse points: as many as there are environments, or as a fit affords.

    A fit costs covariances of the derivatives, and QR.
    """
    n_features, n_atoms = clone(descriptor).fit(frames).n_features, sum(map(len, frames))
    n_neighbors = summary.neighbors_within_5 * (float(descriptor.r_cut) / 5.0) ** 3
    n_rows = 3.0 * n_atoms
    of_point = 6.0 * n_atoms * (n_neighbors + 1.0) * n_features
    # 2 n_rows M² + of_point M = operations
    affordable = (-of_point + np.sqrt(of_point**2 + 8.0 * n_rows * _OPERATIONS)) / (4.0 * n_rows)
    wanted = int(np.clip(affordable, _FEWEST_POINTS, _MOST_POINTS))
    wanted = wanted if wanted < 1000 else 100 * (wanted // 100)
    return n_features, max(1, min(wanted, int(0.75 * n_atoms)))  # some environments are equal by symmetry


def automatic_noise(labels: Sequence[Labels]) -> Noise:
    """Noise for some labels: forces to 1 % of their root mean square (0.005 to 0.1 eV/Å), the rest as `Noise` has it."""
    forces = [y.forces.ravel()[y.used("forces")] for y in labels if y.forces is not None and len(y.forces) > 1]
    size = float(np.sqrt(np.mean(np.concatenate(forces) ** 2))) if sum(map(len, forces)) else 0.0
    return Noise(forces=float(f"{np.clip(0.01 * size, 0.005, 0.1):.1g}")) if size else Noise()
