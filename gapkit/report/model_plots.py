"""Pictures of one model: errors by group, and a map of its sparse points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from ..gp.sparse_term import SparseTerm
from ..model import GAPRegressor, Prediction
from ..neighbors import NeighborList
from ..validation import ErrorRow, LearningPoint
from .plots import INK, MODEL

__all__ = ["data_efficiency_figure", "group_figure", "map_figure"]

Array = NDArray[np.float64]

_MOST = 4000  # environments on the map
_MOST_PANELS = 6
_KINDS = (
    ("energy_rmse", "energy RMSE (meV/atom)", 1.0),
    ("forces_rmse", "force RMSE (meV/Å)", 1e3),
    ("stress_rmse", "stress RMSE (GPa)", 1.0),
)


def group_figure(rows: Sequence[ErrorRow], total: ErrorRow | None = None) -> Figure | None:
    """Errors by configuration type, or species, as bars; a dotted line is all together.

    Parameters
    ----------
    rows : sequence of ErrorRow
        One per group.
    total : ErrorRow, optional
        All together.

    Returns
    -------
    matplotlib.figure.Figure or None
        None where no row has an error.
    """
    kinds = [kind for kind in _KINDS if any(getattr(row, kind[0]) is not None for row in rows)]
    if not kinds:
        return None
    figure = Figure(figsize=(1.0 + 3.4 * len(kinds), 0.9 + 0.34 * len(rows)), layout="constrained")
    place = np.arange(len(rows))
    for axes, (name, label, scale) in zip(figure.subplots(1, len(kinds), squeeze=False, sharey=True)[0], kinds, strict=True):
        values = [scale * (getattr(row, name) or 0.0) for row in rows]
        axes.bar_label(axes.barh(place, values, color=MODEL, height=0.65), fmt=" %.3g", fontsize=8)
        of_all = None if total is None else getattr(total, name)
        if of_all is not None:
            axes.axvline(scale * of_all, color=INK, lw=0.9, ls=":")
        axes.set(xlabel=label, yticks=place, xlim=(0.0, 1.2 * max([*values, 1e-12])))
        axes.set_yticklabels([row.config_type or "(none)" for row in rows])
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].invert_yaxis()
    return figure


def data_efficiency_figure(points: Sequence[LearningPoint]) -> Figure:
    """Errors on a test set against the number of training structures.

    Parameters
    ----------
    points : sequence of LearningPoint
        From `gapkit.validation.learning_curve`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    kinds = [kind for kind in _KINDS if any(getattr(point.errors, kind[0]) is not None for point in points)]
    figure = Figure(figsize=(4.0 * max(1, len(kinds)), 3.6), layout="constrained")
    for axes, (name, label, scale) in zip(figure.subplots(1, max(1, len(kinds)), squeeze=False)[0], kinds, strict=False):
        axes.plot([p.n_frames for p in points], [scale * getattr(p.errors, name) for p in points], "o-", color=MODEL)
        axes.set(xscale="log", yscale="log", xlabel="training structures", ylabel=label)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3)
    return figure


def map_figure(
    model: GAPRegressor, frames: Sequence[Atoms], predictions: Sequence[Prediction], *, random_state: int | None = 0
) -> Figure | None:
    """Sparse points (circles) and environments of structures (dots), in the plane of two principal components.

    The first panel has all species.  The others have one each, in components of its own, with environments coloured by the
    standard deviation of their energy where it was computed.

    Parameters
    ----------
    model : GAPRegressor
        Fitted; its first term with a feature vector per atom is drawn.
    frames : sequence of ase.Atoms
        Structures.
    predictions : sequence of Prediction
        One per structure.
    random_state : int, optional
        Seed of the choice of environments, where there are more than 4000.

    Returns
    -------
    matplotlib.figure.Figure or None
        None for a model without such a term.
    """
    terms = [t for t in model.potential_.terms if t.descriptor.one_per_atom and t.descriptor.n_features > 1 and t.n_points > 2]
    if not terms:
        return None
    term = terms[0]
    names = term.descriptor.group_names_
    points = np.concatenate(term.points)
    of_points = np.repeat(np.arange(len(names)), [len(p) for p in term.points])
    values, groups, std = _environments(term, frames, predictions, random_state)
    has_std = bool(np.isfinite(std).all())
    members = [g for g in range(len(names)) if np.count_nonzero(of_points == g) > 2 and (groups == g).any()]
    panels: list[tuple[str, list[int], bool]] = [("by species", list(range(len(names))), False)]
    if has_std or len(members) > 1:  # features of species differ so much that only a panel of its own shows what one has
        panels += [(names[g], [g], has_std) for g in members[: _MOST_PANELS - 1]]
    columns = 2 if len(panels) in (2, 4) else min(3, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(1.0 + 4.4 * columns, 4.2 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    limit = 1e3 * float(std.max()) if has_std else 0.0
    for axis, (title, shown, by_std) in zip(axes, panels, strict=False):
        dots, circles = np.isin(groups, shown), np.isin(of_points, shown)
        pca = PCA(2, svd_solver="full").fit(points[circles])
        seen, drawn = pca.transform(values[dots]), pca.transform(points[circles])
        if by_std:
            axis.scatter(*drawn.T, s=20, facecolors="none", edgecolors="#8c959f", lw=0.7)
            order = np.argsort(std[dots])  # the uncertain ones on top
            scatter = axis.scatter(*seen[order].T, s=8, c=1e3 * std[dots][order], cmap="viridis", lw=0, vmin=0.0, vmax=limit)
            figure.colorbar(scatter, ax=axis, label="standard deviation of the local energy (meV)")
        else:
            for g in shown:
                color = f"C{g % 10}"
                axis.scatter(*seen[groups[dots] == g].T, s=7, color=color, alpha=0.35, lw=0, label=names[g])
                axis.scatter(*drawn[of_points[circles] == g].T, s=20, facecolors="none", edgecolors=color, lw=0.8)
            axis.legend(fontsize=8, frameon=False, markerscale=2)
        shares = 100 * pca.explained_variance_ratio_
        axis.set(title=title, xlabel=f"first component ({shares[0]:.0f} %)", ylabel=f"second component ({shares[1]:.0f} %)")
    return figure


def _environments(
    term: SparseTerm, frames: Sequence[Atoms], predictions: Sequence[Prediction], seed: int | None
) -> tuple[Array, NDArray[np.int64], Array]:
    """Features, groups and standard deviations (eV, NaN if not known) of at most so many environments."""
    sizes = [len(atoms) for atoms in frames]
    kept = np.random.default_rng(seed).permutation(sum(sizes))[:_MOST]
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    values, groups, std = [], [], []
    for k, (atoms, p) in enumerate(zip(frames, predictions, strict=True)):
        chosen = kept[(kept >= bounds[k]) & (kept < bounds[k + 1])] - bounds[k]
        if len(chosen):
            features = term.descriptor.compute(NeighborList.from_atoms([atoms], term.descriptor.neighbor_range, first_frame=k))
            values.append(features.values[chosen])
            groups.append(features.groups[chosen])
            std.append(np.full(len(chosen), np.nan) if p.energies_std is None else p.energies_std[chosen])
    return np.concatenate(values), np.concatenate(groups), np.concatenate(std)
