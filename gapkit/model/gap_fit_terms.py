"""Terms of an estimator for the descriptors of a gap_fit command, with the sparse points that it determines."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray
from sklearn.base import clone

from ..descriptors import Descriptor
from ..exceptions import ConfigError, NumericalWarning
from ..gp.sparsify import distinct
from ..interop.gap_fit import GapFitDescriptor
from ..interop.quip_descriptors import QuipDescriptor, read_descriptor
from ..interop.quip_records import QuipCoordinate, QuipModel
from ..interop.quip_writer import GAP_VERSION
from ..kernels import RBF, Constant, DotProduct, Kernel, PiecewisePolynomial
from ..neighbors import NeighborList
from .fitting import chunks_of_frames
from .terms import Term

__all__ = ["terms_of"]

Array = NDArray[np.float64]

# gap_fit's method -> gapkit's, and whether it is the same idea
_SELECTIONS = {
    "random": ("random", True),
    "uniform": ("uniform", True),
    "kmeans": ("kmeans", True),
    "cur_points": ("cur", True),
    "cluster": ("kmeans", False),
    "fuzzy": ("kmeans", False),
    "pivot": ("cholesky", False),
    "covariance": ("cholesky", False),
    "cur_covariance": ("leverage", False),
}
_SAME = 1e-12  # relative difference of amplitudes that went through a file


def terms_of(
    descriptors: Sequence[GapFitDescriptor], frames: Sequence[Atoms], folder: Path, quip: QuipModel | None
) -> tuple[list[Term], list[str]]:
    """Make the terms.

    Parameters
    ----------
    descriptors : sequence of GapFitDescriptor
        Of the command.
    frames : sequence of ase.Atoms
        Training structures.
    folder : Path
        Where files of the command are.
    quip : QuipModel or None
        A model of gap_fit whose sparse points are taken.

    Returns
    -------
    terms : list of Term
        One for each descriptor, for all combinations of species.
    chosen : list of str
        Descriptors whose sparse points the fit will choose.
    """
    terms, chosen = [], []
    coordinates = iter(enumerate([] if quip is None else quip.coordinates, 1))
    for one in descriptors:
        meant = _meant(one, frames, folder)
        fitted = clone(meant.descriptor).fit(frames)
        groups = [fitted.group_names_[g] for g in _groups(one, meant, fitted)]
        kernel, scale = _kernel(one, fitted, groups, frames, folder)
        selection: Any
        if quip is not None:
            points, thetas = _points_of(quip, coordinates, one, fitted, groups, folder)
            selection, counts = points, {group: len(p) for group, p in points.items()}
            if one.kernel != "dot_product":
                kernel, scale = _stationary(one, 1.0, fitted.n_features), thetas
        elif one.sparse_method in _SELECTIONS and not one.config_type_n_sparse:
            selection, counts = _method(one), dict.fromkeys(groups, one.n_sparse)
            chosen.append(f"{one.name} ({one.sparse_method})")
        else:
            selection = _given(one, fitted, groups, frames, folder)
            counts = {group: len(points) for group, points in selection.items() if len(points)}
        terms.append(Term(meant.descriptor, kernel, delta=one.delta, n_sparse=counts, selection=selection, scale=scale))
    left = [number for number, _ in coordinates]
    if left:
        raise ConfigError(
            f"`points_from` must be made by this command; its descriptors from number {left[0]} on are not in it."
        )
    return terms, chosen


def _meant(one: GapFitDescriptor, frames: Sequence[Atoms], folder: Path) -> QuipDescriptor:
    """The descriptor, with the species that gap_fit adds: those of the file, in the order in which they come."""
    text = one.text
    if one.add_species and one.name in ("soap", "soap_turbo"):
        species = list(dict.fromkeys(int(z) for atoms in frames for z in atoms.numbers))
        centre = f"Z={species[0]}" if one.name == "soap" else "central_index=1"
        text += f" n_species={len(species)} {centre} species_Z={{{' '.join(map(str, species))}}}"
    return read_descriptor(text, GAP_VERSION, folder)


def _groups(one: GapFitDescriptor, meant: QuipDescriptor, fitted: Descriptor) -> list[int]:
    """Groups of environments that have sparse points."""
    if one.add_species:
        return list(range(len(fitted.group_names_)))
    absent = [z for z in meant.numbers if z and z not in fitted.species_]
    if absent:
        names = ", ".join(chemical_symbols[z] for z in absent)
        raise ConfigError(
            f"Species of a descriptor must be in the training structures; got {names} in {one.text!r}. Remove it."
        )
    meant.descriptor.species_ = list(fitted.species_)
    groups = meant.groups()
    del meant.descriptor.species_
    if len(groups) > 1:
        raise ConfigError(
            f"add_species=F must come with the species of one kind of environments; got {len(groups)} in {one.text!r}, which "
            "would share their sparse points. Leave add_species out, or write one descriptor for each kind (Z, or Z1 and Z2)."
        )
    return groups


def _kernel(
    one: GapFitDescriptor, fitted: Descriptor, groups: Sequence[str], frames: Sequence[Atoms], folder: Path
) -> tuple[Kernel, str | dict[str, Array] | None]:
    """Kernel and what the features are divided by."""
    n = fitted.n_features
    if one.zeta is not None:
        return DotProduct(int(one.zeta) if one.zeta == int(one.zeta) else one.zeta), None
    if one.theta_uniform is not None:
        return _stationary(one, one.theta_uniform, n), None
    if len(one.theta_fac) == 1:
        return _stationary(one, one.theta_fac[0], n), "range"
    if one.theta_file:
        theta = _numbers_of(folder / one.theta_file)
        if len(theta) != n or (theta <= 0.0).any():
            raise ConfigError(f"`theta_file` {one.theta_file} must hold {n} numbers above 0; got {theta.tolist()}.")
        return _stationary(one, 1.0, n), dict.fromkeys(groups, theta)
    if len(one.theta_fac) != n:
        raise ConfigError(f"`theta_fac` must be one number or {n}; got {len(one.theta_fac)} in {one.text!r}.")
    ranges = {group: np.ptp(rows[:, :-1], axis=0) for group, rows in _environments(fitted, groups, frames).items() if len(rows)}
    factors = np.array(one.theta_fac)
    return _stationary(one, 1.0, n), {g: np.where(factors * r < 1e-8, 1.0, factors * r) for g, r in ranges.items()}


def _stationary(one: GapFitDescriptor, length_scale: float, n_features: int) -> Kernel:
    kernel: Kernel = RBF(length_scale) if one.kernel == "ard_se" else PiecewisePolynomial(length_scale, dimension=n_features)
    return kernel + Constant((one.f0 / one.delta) ** 2) if one.f0 != 0.0 else kernel


def _method(one: GapFitDescriptor) -> str:
    method, same = _SELECTIONS[one.sparse_method]
    if not same:
        warnings.warn(
            f"gapkit has no sparse_method {one.sparse_method}; the nearest, selection={method!r}, chooses the sparse points of "
            f"{one.name}.",
            NumericalWarning,
            stacklevel=4,
        )
    return method


def _given(
    one: GapFitDescriptor, fitted: Descriptor, groups: Sequence[str], frames: Sequence[Atoms], folder: Path
) -> dict[str, Any]:
    """Sparse points that the command itself determines: all environments, or those of a file."""
    if one.config_type_n_sparse:
        raise ConfigError(
            f"gapkit does not choose sparse points within configuration types; got config_type_n_sparse in {one.text!r}. "
            "Use n_sparse, or give the points of gap_fit's XML (points_from)."
        )
    if one.sparse_method == "none":
        every = _environments(fitted, groups, frames)
        return {group: rows[distinct(rows[:, :-1])] for group, rows in every.items()}
    numbers, n = _numbers_of(folder / one.sparse_file), fitted.n_features
    if one.sparse_method == "index_file":
        if not fitted.one_per_atom:
            raise ConfigError(
                f"sparse_method=index_file counts the environments of {one.name} in the order of QUIP's neighbour lists, which "
                "gapkit does not know. Give the points themselves: gap_fit's XML (points_from), or sparse_method=file."
            )
        if (numbers < 1).any() or (numbers != np.rint(numbers)).any():
            raise ConfigError(f"{one.sparse_file} must hold indices from 1 on; got {numbers[numbers < 1][:1].tolist()}.")
        return {group: numbers.astype(np.int64) - 1 for group in groups}
    if len(numbers) % (n + 1) or not len(numbers):
        raise ConfigError(f"{one.sparse_file} must hold the cutoff and {n} features of each point; got {len(numbers)} numbers.")
    points = np.roll(numbers.reshape(-1, n + 1), -1, axis=1)
    return {group: points for group in groups}


def _environments(fitted: Descriptor, groups: Sequence[str], frames: Sequence[Atoms]) -> dict[str, Array]:
    """Features and weight of every environment that has an energy, by group."""
    parts: dict[str, list[Array]] = {group: [np.empty((0, fitted.n_features + 1))] for group in groups}
    for start, chunk in chunks_of_frames(frames):
        features = fitted.compute(NeighborList.from_atoms(chunk, fitted.neighbor_range, first_frame=start))
        rows = np.column_stack([features.values, features.weights_or_ones])
        for group, part in parts.items():
            part.append(rows[(features.groups == fitted.group_names_.index(group)) & (rows[:, -1] > 0.0)])
    return {group: np.concatenate(part) for group, part in parts.items()}


def _numbers_of(path: Path) -> Array:
    if not path.exists():
        raise FileNotFoundError(f"The files of a command must exist; there is no {path}.")
    try:
        return np.array(path.read_text(encoding="utf-8").replace("D", "E").split(), float)
    except ValueError as error:
        raise ConfigError(f"{path} must hold numbers; {error}.") from error


def _points_of(
    quip: QuipModel,
    coordinates: Iterator[tuple[int, QuipCoordinate]],
    one: GapFitDescriptor,
    fitted: Descriptor,
    groups: Sequence[str],
    folder: Path,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Sparse points with their cutoffs, and length scales, of one descriptor for all of its groups, from gap_fit's XML."""
    points, thetas = {}, {}
    for _ in groups:
        number, found = next(coordinates, (len(quip.coordinates) + 1, None))
        if found is None:
            raise ConfigError(f"`points_from` must be made by this command; it has no descriptor {number}, a {one.name}.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NumericalWarning)  # about what the command says, too
            meant = read_descriptor(found.descriptor, quip.gap_version, folder)
        same = repr(meant.descriptor.get_params()) == repr(clone(fitted).get_params()) and found.kernel == one.kernel
        same = (
            same and found.zeta == one.zeta and np.allclose([found.delta, found.f0], [one.delta, one.f0], rtol=_SAME, atol=0.0)
        )
        if not same or found.points.shape[1] != fitted.n_features:
            raise ConfigError(
                f"`points_from` must be made by this command; its descriptor {number} is {found.descriptor!r} with delta "
                f"{found.delta:g}, not {one.text!r}."
            )
        meant.descriptor.species_ = fitted.species_
        for group in meant.groups():
            points[fitted.group_names_[group]] = np.column_stack([found.points, found.cutoffs])
            if found.theta is not None:
                thetas[fitted.group_names_[group]] = found.theta
    return points, thetas
