"""Settings of descriptors from the data: distances decide about ranges, widths and resolution.

Nothing here looks at labels, and no number belongs to a particular data set.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.linalg import qr
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from ..exceptions import NumericalWarning
from ..neighbors import NeighborList, check_structures
from .acsf import ACSF
from .base import species_of
from .soap import SOAP

__all__ = ["DataSummary", "soap", "summarize", "symmetry_functions", "universal_soaps"]

Array = NDArray[np.float64]

SANE_CUTOFFS = {"molecules": (4.0, 5.0), "hydrogen bonds": (6.0, 8.0), "condensed": (5.0, 6.0)}
"""Ranges (Å) that practitioners use, by kind of matter."""

_REACH = 8.0  # Å, of the radial distribution functions
_SAMPLE_ATOMS = 3000
_BIN, _SMOOTH = 0.02, 0.1  # Å
_PROMINENCE = 0.08  # of the highest peak: what counts as a shell
_DONORS_ACCEPTORS = (7, 8, 9)


@dataclass(frozen=True)
class DataSummary:
    """What the geometry of a data set says.

    Attributes
    ----------
    species : list of int
        Atomic numbers, ascending.
    kind : {"molecules", "hydrogen bonds", "condensed"}
        Kind of matter.
    bonds : dict of (int, int) to float
        Typical distance of nearest neighbours of each pair of species, Å: the first peak of their radial distribution function.
    shortest : dict of (int, int) to float
        First percentile of the nearest-neighbour distances of each pair of species, Å.
    third_shells : dict of (int, int) to float
        Where the third shell of each pair of species ends, Å, if it has three within 8 Å.
    third_shell : float or None
        The same of all atoms together (all but hydrogen, if there is any).
    neighbors_within_5 : float
        Mean number of neighbours within 5 Å.
    """

    species: list[int]
    kind: str
    bonds: dict[tuple[int, int], float]
    shortest: dict[tuple[int, int], float]
    third_shells: dict[tuple[int, int], float]
    third_shell: float | None
    neighbors_within_5: float

    @property
    def r_cut(self) -> float:
        """Cutoff radius, Å: the end of the third shell, inside the range that is usual for the kind of matter."""
        low, high = SANE_CUTOFFS[self.kind]
        wanted = self.third_shell
        if wanted is None:
            return high if self.kind == "molecules" else low
        if not 0.8 * low <= wanted <= 1.25 * high:
            warnings.warn(
                f"The third shell ends at {wanted:.1f} Å; for {self.kind} {low:g} to {high:g} Å is usual, which is kept. "
                "Set r_cut yourself if the data are of another kind.",
                NumericalWarning,
                stacklevel=2,
            )
        return float(np.round(np.clip(wanted, low, high), 1))

    @property
    def typical_bond(self) -> float:
        """Shortest typical distance between atoms other than hydrogen, or of any atoms, Å."""
        heavy = [r for (a, b), r in self.bonds.items() if min(a, b) > 1]
        return min(heavy or list(self.bonds.values()), default=2.5)


def summarize(frames: Sequence[Atoms]) -> DataSummary:
    """Measure distances in a sample of the structures.

    Parameters
    ----------
    frames : list of ase.Atoms
        Structures.

    Returns
    -------
    DataSummary
    """
    species = species_of(check_structures(frames))
    frames = [atoms for atoms in frames if len(atoms) > 1]
    if not frames:
        return DataSummary(species, "condensed", {}, {}, {}, None, 0.0)
    step = max(1, int(np.ceil(sum(map(len, frames)) / _SAMPLE_ATOMS)))
    neighbors = NeighborList.from_atoms(frames[::step], _REACH)
    numbers = np.sort(neighbors.numbers[np.column_stack([neighbors.centers, neighbors.neighbors])], axis=1)
    bonds, shortest, third_shells = {}, {}, {}
    for k, high in enumerate(species):
        for low in species[: k + 1]:
            members = (numbers[:, 0] == low) & (numbers[:, 1] == high)
            if not members.any():
                continue
            nearest = _nearest(neighbors, members)
            shells = _shells(neighbors.distances[members])
            pair = (low, high)
            shortest[pair] = float(np.percentile(nearest, 1))
            bonds[pair] = shells[0][0] if shells else float(np.median(nearest))
            if len(shells) >= 3:
                third_shells[pair] = shells[2][1]
    heavy = numbers[:, 0] > 1 if species[-1] > 1 else np.ones(len(numbers), bool)
    shells = _shells(neighbors.distances[heavy])
    return DataSummary(
        species=species,
        kind=_kind(neighbors, numbers),
        bonds=bonds,
        shortest=shortest,
        third_shells=third_shells,
        third_shell=shells[2][1] if len(shells) >= 3 else None,
        neighbors_within_5=float(np.count_nonzero(neighbors.distances < 5.0) / neighbors.n_atoms),
    )


def soap(summary: DataSummary) -> SOAP:
    """One SOAP for everything: near neighbours count more, so that bonds are resolved and the third shell still seen.

    sigma is 0.5 Å, 0.4 Å where hydrogen is bound; l_max resolves sigma along the circle of nearest neighbours (clipped to
    4 to 6), n_max is 8; with more than three species one factor of the power spectrum is summed over them.
    """
    sigma = 0.4 if 1 in summary.species and len(summary.species) > 1 else 0.5
    l_max = int(np.clip(round(np.pi * summary.typical_bond / (2.0 * sigma) / 1.2), 4, 6))
    r_cut = summary.r_cut
    r0 = float(np.round(np.clip(summary.typical_bond, 2.0, 3.0), 1))
    return SOAP(
        r_cut,
        8,
        l_max,
        sigma,
        cutoff_width=round(r_cut / 2, 2),
        weighting={"function": "pow", "r0": r0, "c": 1.0, "d": 1.0, "m": 4.0},
        compression={"mode": "mu1nu1"} if len(summary.species) > 3 else None,
    )


def universal_soaps(summary: DataSummary, sharpness: float = 1.0, spacing: float = 1.5) -> list[SOAP]:
    """SOAPs of several lengths, each with a width in proportion: the universal length scales of N. Bernstein and G. Csányi.

    For each species, lengths are a geometric series around 1.3 × 1.5 bonds, from the shortest to the longest bond that it
    can take part in; gapkit's SOAPs serve all species, so lengths closer than a factor 1.2 are merged, and the longest reaches
    the third shell.

    Parameters
    ----------
    summary : DataSummary
        From `summarize`.
    sharpness : float, default 1.0
        Divides the widths sigma = r_cut / 8.
    spacing : float, default 1.5
        Ratio of neighbouring lengths.

    Returns
    -------
    list of SOAP
        From short to long.

    References
    ----------
    B. Cheng et al., Acc. Chem. Res. 53, 1981 (2020); N. Bernstein, G. Csányi, V. L. Deringer, npj Comput. Mater. 5, 99 (2019).
    """
    own = {z: min(r for pair, r in summary.bonds.items() if z in pair) for z in summary.species}
    low = {z: min(r for pair, r in summary.shortest.items() if z in pair) for z in summary.species}
    lengths: list[float] = []
    for z in summary.species:
        shortest, longest = (low[z] + min(low.values())) / 2, (own[z] + max(own.values())) / 2
        first = own[z] * 1.3 * spacing * 1.01
        length = first
        while length >= 1.3 * shortest:
            lengths.append(length)
            length /= spacing
        if 1.3 * longest > 1.1 * first:
            length = first * spacing
            lengths.append(length)
            while length < 1.3 * longest:
                length *= spacing
                lengths.append(length)
    merged = [max(group) for group in _merged(sorted(lengths), 1.2)]
    if merged[-1] < 0.8 * summary.r_cut:
        merged.append(summary.r_cut - 1.0)
    result = []
    for length in merged:
        width = min(2.0, length / 3.5)
        r_cut = round(length + width / 2, 2)
        result.append(SOAP(r_cut, 8, 4, round(r_cut / 8 / sharpness, 2), cutoff_width=round(width, 2)))
    return result


def symmetry_functions(summary: DataSummary, frames: Sequence[Atoms], *, n_pairs: int = 12, n_triplets: int = 24) -> ACSF:
    """Symmetry functions that cover the distances of the data, pruned to those that the data tell apart.

    Candidates are the centred and shifted sets of Imbalzano with the narrow shifted Gaussians of Gastegger, and angular
    functions of every width with zeta 1, 4, 16 and both signs.  They are ranked by pivoted QR of their standardised values.

    Parameters
    ----------
    summary : DataSummary
        From `summarize`.
    frames : list of ase.Atoms
        Structures; a sample is used.
    n_pairs, n_triplets : int
        Numbers of G2 and G4 functions to keep.

    Returns
    -------
    ACSF

    References
    ----------
    G. Imbalzano et al., J. Chem. Phys. 148, 241730 (2018); M. Gastegger et al., J. Chem. Phys. 148, 241709 (2018).
    """
    r_cut, r_min, n = summary.r_cut, min(summary.shortest.values(), default=1.0), 8
    scale = [n ** (m / n) for m in range(n + 1)]
    radii = [r_cut / s for s in scale]
    pairs = [((s / r_cut) ** 2, 0.0) for s in scale]
    pairs += [(1.0 / (a - b) ** 2, b) for a, b in pairwise(radii) if b + 3.0 * (a - b) > r_min]
    grid = np.linspace(r_min, r_cut - 0.5, n)
    pairs += [(0.5 / (grid[1] - grid[0]) ** 2, float(r)) for r in grid]
    triplets = [((s / r_cut) ** 2, zeta, sign) for s in scale[::2] for zeta in (1, 4, 16) for sign in (-1.0, 1.0)]
    full = ACSF(r_cut, g2_params=pairs, g4_params=triplets, species=summary.species)
    step = max(1, int(np.ceil(sum(map(len, frames)) / (_SAMPLE_ATOMS // 3))))
    values = full.fit_transform([atoms for atoms in frames if len(atoms) > 1][::step])
    n_species = len(summary.species)
    pair_columns = np.arange(n_species * (1 + len(pairs))).reshape(n_species, -1)
    triplet_columns = pair_columns.size + np.arange(values.shape[1] - pair_columns.size).reshape(-1, len(triplets))
    kept_pairs = _most_independent(values, pair_columns[:, 1:], n_pairs)
    kept_triplets = _most_independent(values, triplet_columns, n_triplets)
    return ACSF(
        r_cut,
        g2_params=[(round(float(pairs[k][0]), 6), round(float(pairs[k][1]), 4)) for k in kept_pairs],
        g4_params=[(round(float(triplets[k][0]), 6), *triplets[k][1:]) for k in kept_triplets],
    )


def _most_independent(values: Array, columns: NDArray[np.int64], n: int) -> list[int]:
    """Functions (columns of ``columns``, one row per group of species) in the order in which pivoted QR meets them."""
    spread = values[:, columns.ravel()].std(axis=0)
    usable = np.flatnonzero(spread > 1e-4 * spread.max(initial=0.0))
    standard = values[:, columns.ravel()[usable]]
    standard = (standard - standard.mean(axis=0)) / spread[usable]
    _, pivots = qr(standard, mode="r", pivoting=True)
    functions = usable[pivots] % columns.shape[1]
    return sorted(list(dict.fromkeys(functions.tolist()))[:n])


def _nearest(neighbors: NeighborList, members: NDArray[np.bool_]) -> Array:
    """Distance to the nearest neighbour of every atom that has one among some pairs."""
    nearest = np.full(neighbors.n_atoms, np.inf)
    np.minimum.at(nearest, neighbors.centers[members], neighbors.distances[members])
    result: Array = nearest[np.isfinite(nearest)]
    return result


def _shells(distances: Array) -> list[tuple[float, float]]:
    """Peak and end of each shell of the radial distribution function."""
    counts, edges = np.histogram(distances, bins=int(_REACH / _BIN), range=(0.0, _REACH))
    middle = (edges[:-1] + edges[1:]) / 2
    density = gaussian_filter1d(counts / middle**2, _SMOOTH / _BIN)
    if not density.any():
        return []
    peaks, _ = find_peaks(np.append(density, 0.0), prominence=_PROMINENCE * density.max())
    ends = [p + int(np.argmin(density[p:q])) for p, q in pairwise(peaks)]
    if len(peaks):
        below = np.flatnonzero(density[peaks[-1] :] < 0.5 * density[peaks[-1]])
        ends.append(peaks[-1] + 2 * int(below[0]) if len(below) else len(middle) - 1)
    return [(float(middle[p]), float(middle[e])) for p, e in zip(peaks, ends, strict=True) if e < len(middle) - 1]


def _kind(neighbors: NeighborList, numbers: NDArray[np.int64]) -> str:
    """Kind of matter: finite molecules, hydrogen bonds in a periodic cell, or anything else that is condensed."""
    periodic = np.array([pbc.any() for pbc in neighbors.pbc])[neighbors.structure]
    if np.count_nonzero(periodic) * 2 < neighbors.n_atoms:
        return "molecules"
    bridges = (numbers[:, 0] == 1) & np.isin(numbers[:, 1], _DONORS_ACCEPTORS)
    bridges &= (neighbors.distances > 1.4) & (neighbors.distances < 2.2)
    hydrogens = np.count_nonzero(neighbors.numbers == 1)
    return "hydrogen bonds" if hydrogens and np.count_nonzero(bridges) / 2 > 0.2 * hydrogens else "condensed"


def _merged(ascending: Sequence[float], ratio: float) -> list[list[float]]:
    """Groups of neighbours closer than a ratio."""
    groups: list[list[float]] = []
    for length in ascending:
        if groups and length < ratio * groups[-1][0]:
            groups[-1].append(length)
        else:
            groups.append([length])
    return groups
