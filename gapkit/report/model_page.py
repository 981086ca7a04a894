"""The report of a model on labelled structures: whether to trust it, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from .._version import __version__
from ..gp.observations import config_type_of, labels_of
from ..model import GAPRegressor, Prediction, software_card
from ..validation import (
    ErrorRow,
    LearningPoint,
    UncertaintyRow,
    Verdict,
    error_samples,
    error_table,
    gain_of_doubling,
    judge,
    residuals,
)
from .model_plots import data_efficiency_figure, group_figure, map_figure
from .page import ERROR_HEADER, UNCERTAINTY_HEADER, Section, Table, error_rows, uncertainty_rows, write_page
from .plots import parity_figure
from .uncertainty_plots import calibration_figure
from .viewer import View, viewer

__all__ = [
    "LEARNING_HEADER",
    "SPECIES_HEADER",
    "error_bar_section",
    "learning_curve_section",
    "learning_rows",
    "species_rows",
    "write_model_report",
]

SPECIES_HEADER = ("forces on", *ERROR_HEADER[1:2], *ERROR_HEADER[4:6])
"""Column titles of a table of force errors by species."""

_WORST = 6  # structures that are drawn

_ERROR_BARS = (
    "Are the standard deviations right? {} Left: fraction of the errors within central intervals, against the fraction that a "
    "Gaussian promises. Middle: errors against standard deviations; dots should lie on the line of 1 std. Right: their ratio. "
    "In brackets: what a perfectly calibrated model with these standard deviations would show, for the area what it reaches by "
    "chance in 5 % of the cases. Mean z² is 1 where the bars are right, and 4 where they are half as long as they should be."
)
_MAP = (
    "Dots are atoms of these structures with their neighbours, circles the sparse points that the model is made of; axes are "
    "principal components of the sparse points. Atoms far from all circles are extrapolated: their error bars (colours) should "
    "be long."
)


def write_model_report(
    path: str | Path,
    model: GAPRegressor,
    frames: Sequence[Atoms],
    predictions: Sequence[Prediction],
    *,
    title: str,
    configuration: str,
    bars: Sequence[UncertaintyRow] = (),
    seen: bool = False,
    more: Sequence[Section] = (),
) -> None:
    """Write one page: verdict, errors, error bars, map, worst structures, model card.

    Parameters
    ----------
    path : str or Path
        HTML file.
    model : GAPRegressor
        Fitted.
    frames : sequence of ase.Atoms
        Structures with labels.
    predictions : sequence of Prediction
        One per structure.
    title : str
        Heading of the page.
    configuration : str
        Hyperparameters, as YAML.
    bars : sequence of UncertaintyRow
        From `gapkit.validation.uncertainty_table`.
    seen : bool, default False
        Whether these are the structures of the fit.
    more : sequence of Section
        Stand after the error bars.
    """
    rows = error_table(frames, predictions)
    species = error_table(frames, predictions, by="species")
    verdict = judge(rows, bars, seen=seen)
    sections = [_targets(verdict)]
    text = "Root mean square errors; dotted: of all." if len(rows) > 2 else ""
    figure = group_figure(rows[:-1], rows[-1]) if len(rows) > 2 else None
    sections.append(Section("Errors by configuration type", text, figure=figure, table=Table(ERROR_HEADER, error_rows(rows))))
    if len(species) > 1 and rows[-1].forces_rmse is not None:
        table = Table(SPECIES_HEADER, species_rows(species), sums=False)
        sections.append(Section("Force errors by species", figure=group_figure(species, rows[-1]), table=table))
    many = [k for k, atoms in enumerate(frames) if len(atoms) > 1]  # isolated atoms would stretch the axis of energies
    r = residuals([frames[k] for k in many], [predictions[k] for k in many])
    if len(r.energy) or len(r.forces):
        bar = "calibrated standard deviation" if model.calibration_ else "standard deviation"
        text = f"Bars on energy errors are one {bar} of the posterior: what the training data leave open."
        figure = parity_figure({"train" if seen else "test": r})
        sections.append(Section("Predicted against DFT", text if r.energy_std is not None else "", figure=figure))
    if bars:
        sections.append(error_bar_section(model, frames, predictions, bars))
    sections += more
    figure = map_figure(model, frames, predictions, random_state=model.random_state)
    if figure is not None:
        sections.append(Section("Where the model knows", _MAP, figure=figure))
    sections += _worst(frames, predictions)
    sections.append(
        Section("Data and model", _card_text(model), table=Table(("", ""), _card_rows(model), words=(0, 1), sums=False))
    )
    sections.append(Section("Hyperparameters", pre=configuration))
    footer = f"gapkit {__version__}; {len(frames)} structures, {sum(map(len, frames))} atoms."
    shown = (verdict.mark, verdict.title, verdict.text)
    write_page(path, title, _headline(verdict, frames, seen), sections, footer, verdict=shown)


LEARNING_HEADER = ("structures", "components of labels", *ERROR_HEADER[2:])
"""Column titles of a learning curve."""


def learning_rows(points: Sequence[LearningPoint]) -> list[list[str]]:
    """Format a learning curve, under `LEARNING_HEADER`."""
    cells = error_rows([point.errors for point in points])
    return [[str(p.n_frames), str(p.n_labels), *row[2:]] for p, row in zip(points, cells, strict=True)]


def learning_curve_section(points: Sequence[LearningPoint]) -> Section:
    """How errors fall with the number of training structures, and what more of them would bring.

    Parameters
    ----------
    points : sequence of LearningPoint
        From `gapkit.validation.learning_curve`.

    Returns
    -------
    Section
    """
    names = {"energy_rmse": "energies", "forces_rmse": "forces", "stress_rmse": "stresses"}
    gains = ", ".join(
        f"{names[name]} {max(0.0, 100 * (1 - 1 / factor)):.0f} %" for name, factor in gain_of_doubling(points).items()
    )
    text = "Errors on the test set of models with the same sparse points, fitted to parts of the training set in random order. "
    if gains:
        text += (
            f"By the slope at the end, twice the data would lower the errors by: {gains}. Where that is little, more sparse "
            "points or a longer cutoff may help, and more data of the same kind will not."
        )
    table = Table(LEARNING_HEADER, learning_rows(points), words=(), sums=False)
    return Section("Learning curve", text, figure=data_efficiency_figure(points), table=table)


def species_rows(rows: Sequence[ErrorRow]) -> list[list[str]]:
    """Format a table of force errors by species, under `SPECIES_HEADER`."""
    return [cells[:2] + cells[4:6] for cells in error_rows(rows)]


def error_bar_section(
    model: GAPRegressor, frames: Sequence[Atoms], predictions: Sequence[Prediction], bars: Sequence[UncertaintyRow]
) -> Section:
    """Whether the error bars of a model are right: pictures and numbers.

    Parameters
    ----------
    model : GAPRegressor
        Fitted.
    frames : sequence of ase.Atoms
        Structures with labels, not those of the fit.
    predictions : sequence of Prediction
        One per structure, with standard deviations.
    bars : sequence of UncertaintyRow
        From `gapkit.validation.uncertainty_table`.

    Returns
    -------
    Section
    """
    figure = calibration_figure(error_samples(frames, predictions))
    text = _ERROR_BARS.format(_calibration_state(model))
    return Section("Error bars", text, figure=figure, table=Table(UNCERTAINTY_HEADER, uncertainty_rows(bars), words=(0, 1)))


def _calibration_state(model: GAPRegressor) -> str:
    calibration = model.calibration_
    if calibration is None:
        return "The model is not calibrated: these are raw standard deviations of the posterior, which tend to be too small."
    return f"The model is calibrated: {calibration}."


def _headline(verdict: Verdict, frames: Sequence[Atoms], seen: bool) -> list[tuple[str, ...]]:
    tiles: list[tuple[str, ...]] = [(j.value, j.quantity, j.mark) for j in verdict.judgements if "RMSE" in j.quantity]
    of_bars = [j for j in verdict.judgements if j.quantity in ("error bars of energies", "error bars of forces")]
    tiles += [(j.value, j.quantity, j.mark) for j in of_bars[-1:]]
    return [*tiles, (str(len(frames)), "training structures" if seen else "test structures")]


def _targets(verdict: Verdict) -> Section:
    words = {"good": "good", "fair": "fair", "poor": "outside"}
    rows = [[j.quantity, j.value, j.target, words[j.mark]] for j in verdict.judgements]
    text = (
        "Targets that people usually set; what an application needs may be more or less. R² compares the error with the spread "
        "of the labels. Properties, which matter more than errors, are measured by gapkit props."
    )
    return Section("Targets", text, table=Table(("", "this model", "usual target", "verdict"), rows, words=(0, 3), sums=False))


def _worst(frames: Sequence[Atoms], predictions: Sequence[Prediction]) -> list[Section]:
    """The structures with the largest errors of forces, or of energies where no forces are known."""
    found: list[tuple[float, int, np.ndarray, str]] = []
    for k, (atoms, p) in enumerate(zip(frames, predictions, strict=True)):
        y = labels_of(atoms, k)
        if y.forces is not None and p.forces is not None:
            errors = np.linalg.norm(p.forces - y.forces, axis=1)
            i, rmse = int(errors.argmax()), float(np.sqrt(np.mean(errors**2) / 3.0))
            text = f"force RMSE {rmse:.3g} eV/Å, most on atom {i} ({atoms.symbols[i]}): {errors[i]:.3g} eV/Å"
            found.append((rmse, k, errors, text))
    if not found:
        return []
    found.sort(key=lambda item: (-item[0], item[1]))
    views = []
    for _, k, errors, text in found[:_WORST]:
        kind = config_type_of(frames[k])
        name = f"frame {k}" + (f" ({kind})" if kind else "") + f", {frames[k].get_chemical_formula()}: "
        y, energy = labels_of(frames[k], k), ""
        if y.energy is not None:
            energy = f"; energy error {1e3 * (predictions[k].energy - y.energy) / len(frames[k]):+.3g} meV/atom"
        views.append(View(frames[k], errors, name + text + energy))
    text = "The structures with the largest force errors; atoms are coloured by the length of the error. Frames count from 0."
    return [Section("Worst structures", text, markup=viewer(views, "eV/Å"))]


def _card_text(model: GAPRegressor) -> str:
    if not model.card_:
        return "The model file has no card: it was written by an older gapkit, or by QUIP."
    if model.card_.get("given"):
        return ""
    return "Nothing is said of the DFT settings: a block `card:` in gap.yaml keeps them in the model."


def _card_rows(model: GAPRegressor) -> list[list[str]]:
    """What the model is made of, line by line."""
    rows = [[key, _words(value)] for key, value in model.card_.get("given", {}).items()]
    parts = model.card_.get("data", [])
    for k, data in enumerate(parts):
        name = "training data" if len(parts) == 1 else f"training data, part {k + 1}"
        kinds = {kind or "(none)": n for kind, n in data["config_types"].items()}
        rows.append([name, f"{data['frames']} structures: {_words(kinds)}"])
        rows.append(["atoms", _words(data["atoms"])])
        rows.append(["components of labels", _words(data["labels"])])
        rows.append(["units", _words(data["units"])])
        rows.append(["sha256 of structures and labels", data["sha256"]])
    e0 = ", ".join(
        f"{s} {e:.6g} eV" + (f" ({model.e0_source_[s]})" if s in model.e0_source_ else "") for s, e in model.e0_.items()
    )
    rows.append(["energies of isolated atoms", e0])
    for (name, _), term in zip(model.named_terms(), model.potential_.terms, strict=True):
        of_groups = dict(zip(term.descriptor.group_names_, [len(p) for p in term.points], strict=True))
        rows.append([f"sparse points of {name}", _words(of_groups)])
    rows.append(["calibration of error bars", str(model.calibration_ or "none")])
    rows.append(["seed", str(model.random_state)])
    if "software" in model.card_:
        rows.append(["fitted with", _words(model.card_["software"])])
    rows.append(["this page made with", _words(software_card())])
    return rows


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_words(part)}" for key, part in value.items())
    return ", ".join(map(_words, value)) if isinstance(value, list) else str(value)
