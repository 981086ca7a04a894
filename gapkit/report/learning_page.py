"""The report of a learning run: one page that is read from its folder, whatever phase the run is in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._validation import check_integer
from .._version import __version__
from ..active_learning import Committee, LabelCost, run_status
from ..active_learning.checkpoint import visit_infos
from ..active_learning.status import WorkingTime, read_entries, read_state, seconds_since_1970
from ..labeling import Entry, read_label
from ..model import load
from ..validation import compare_error_bars
from .learning_plots import error_bar_figure, fits_figure, labels_figure, learning_curve_figure, walk_figure
from .page import Section, Table, write_page

__all__ = ["write_learning_report"]

_WALKERS = 6  # that are drawn


def write_learning_report(directory: str | Path, path: str | Path, *, committee: int = 0) -> None:
    """Write the report of a run.

    Parameters
    ----------
    directory : str or Path
        Of the run; another process may be working in it.
    path : str or Path
        HTML file, replaced when the new one is complete.
    committee : int, default 0
        Members of a committee (at least 2) whose error bars are compared with those of the posterior, on the states that
        verified the run; both are fitted to the other labels, which takes as many fits and one more.

    Raises
    ------
    FileNotFoundError
        If there is no run in the folder.
    JournalError
        If its state or journal is damaged.
    """
    directory = Path(directory)
    check_integer("committee", committee, at_least=0)
    status, state, entries = run_status(directory), read_state(directory), read_entries(directory)
    events, target = state["events"], float(state["settings"].get("target_force_error", float("nan")))
    visits = visit_infos(directory, state["turn"])
    audit_file = directory / "audit.json"
    audit = json.loads(audit_file.read_text(encoding="utf-8")) if audit_file.exists() else None
    sections = [_outcome(state)]
    if any(event["kind"] in ("labelled", "verified", "threshold") for event in events):
        text = (
            "Each label is predicted before it is learnt. Labels are bought where the model is least certain: their errors are "
            "larger than those of the states visited, which the target is about."
        )
        sections.append(Section("Learning curve", text, figure=learning_curve_figure(events, target)))
    if audit or any(event["kind"] == "labelled" for event in events):
        text = _error_bars(events) + "On the line errors are as large as expected; the bands are factors of two and five."
        sections.append(Section("Error bars against true errors", text, figure=error_bar_figure(events, target, audit)))
    sections += _walks(visits, target)
    sections += _timing(events, entries)
    if audit:
        sections.append(_audit(audit))
    if committee:
        sections.append(_committee(directory, events, entries, committee))
    sections += [*_cost(status, events), _labels(state, entries), *_lost(entries), *_retreats(events), *_fits(events)]
    write_page(path, f"Learning run {directory.resolve().name}", _headline(status), sections, f"gapkit {__version__}")


def _headline(status: Mapping[str, Any]) -> list[tuple[str, str]]:
    labels, share = status["labels"], status["share_labelled"]
    found = [
        (status["phase"], "phase"),
        (_number(status["target"]) + " eV/Å", "target: force error over states visited"),
        (_number(status["verified_rmse"]) + " eV/Å", "verified"),
        (_number(status["predicted_rmse"]) + " eV/Å", "predicted"),
        (str(labels["done"]), "labels done"),
        (f"{status['n_steps']:,}", "steps"),
    ]
    return found + ([] if share is None else [(f"{100 * share:.2g} %", "of steps labelled")])


def _outcome(state: Mapping[str, Any]) -> Section:
    text = state["why"] or f"The run has not ended: it is {state['phase']}, at turn {state['turn']}."
    settings = {k: v for k, v in state["settings"].items() if v not in (None, {}, "")}
    rows = [[name.replace("_", " "), str(value)] for name, value in settings.items()]
    text = text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
    return Section("Outcome", text, table=Table(("setting", ""), rows, words=(0, 1), sums=False))


def _error_bars(events: Sequence[Mapping[str, Any]]) -> str:
    """How far from the errors the standard deviations of labels were."""
    pairs = [(e["rmse"], e["std_rms"]) for e in events if e["kind"] == "labelled" and e["std_rms"] > 0.0 and e["rmse"] > 0.0]
    if not pairs:
        return ""
    ratios = np.array([error / std for error, std in pairs])
    within = [int(np.count_nonzero((ratios <= factor) & (ratios >= 1.0 / factor))) for factor in (2.0, 5.0)]
    return (
        f"Of {len(ratios)} labels, {within[0]} had an error within a factor of two of what the model expected, and {within[1]} "
        f"within five; the median of error over expectation is {np.median(ratios):.2f}. "
    )


def _walks(visits: Sequence[Mapping[str, Any]], target: float) -> list[Section]:
    of_walkers: dict[str, list[Mapping[str, Any]]] = {}
    for info in visits:
        of_walkers.setdefault(str(info["walker"]), []).append(info)
    names = sorted(of_walkers, key=lambda name: (len(name), name))
    left_out = f"The first {_WALKERS} of {len(names)} walkers are drawn." if len(names) > _WALKERS else ""
    return [
        Section(f"Walker {name}", "" if k else left_out, figure=walk_figure(of_walkers[name], target))
        for k, name in enumerate(names[:_WALKERS])
    ]


def _timing(events: Sequence[Mapping[str, Any]], entries: Mapping[str, Entry]) -> list[Section]:
    done = [entry for entry in entries.values() if entry.state == "done" and entry.time]
    if len(done) < 2:
        return []
    work = WorkingTime(events, [entry.time for entry in entries.values()])
    hours = sorted(work.hours(seconds_since_1970(entry.time)) for entry in done)
    figure = labels_figure(hours, [entry.seconds for entry in done])
    rate = f"{len(hours) / hours[-1]:.3g} labels per hour of work." if hours[-1] > 0.0 else ""
    return [Section("Labels in time", rate, figure=figure)]


def _audit(audit: Mapping[str, Any]) -> Section:
    text = (
        f"{audit['n_audited']} states that the run did not label were labelled afterwards. Force error "
        f"{audit['rmse']:.3g} eV/Å (target {audit['target']:.3g}); {audit['n_missed']} of them "
        f"({100 * audit['missed_fraction']:.2g} %) have a component that is wrong by more than five times the target."
    )
    rows = [[line] for line in audit["largest"][:10]] or [["none"]]
    return Section("Audit", text, table=Table(("largest errors missed",), rows, sums=False))


def _committee(directory: Path, events: Sequence[Mapping[str, Any]], entries: Mapping[str, Entry], n_models: int) -> Section:
    """The posterior and a committee, both without the states that verified the run, on these."""
    title = "Posterior and committee"
    labels = directory / "labels"
    done = [entry for entry in entries.values() if entry.state == "done"]
    held_out = [read_label(labels, entry) for entry in done if entry.reason.startswith("verification")]
    if len(held_out) < 2 or not (directory / "model.gap").exists():
        return Section(title, "There is nothing to compare with before the run was verified.")
    train = [read_label(labels, entry) for entry in done if not entry.reason.startswith("verification")]
    template = load(directory / "model.gap").explicit().set_params(verbose=0)
    model = template.fit(train).calibrate("loo")
    ensemble = Committee(template, n_models=n_models, random_state=0).fit(train)
    found = compare_error_bars(
        held_out,
        {
            "posterior": lambda frames: model.evaluate(frames, uncertainty="exact", std=("energy", "forces", "stress")),
            f"committee of {n_models}": ensemble.evaluate,
        },
        fit_seconds={f"committee of {n_models}": ensemble.fit_seconds_},
    )
    header = (
        "error bars",
        "of",
        "RMSE",
        "error / std",
        "rank correlation",
        "AUROC",
        "miscalibration",
        "scaled",
        "fit (s)",
        "s per frame",
    )
    units = {"energy": "energy (meV/atom)", "forces": "force (eV/Å)", "stress": "stress (GPa)"}
    rows = [
        [
            row.name,
            units[row.kind],
            _number(row.rmse),
            _number(row.scale),
            _number(row.rank_correlation),
            _number(row.auroc),
            _number(row.miscalibration),
            _number(row.miscalibration_scaled),
            _number(row.fit_seconds),
            _number(row.evaluate_seconds),
        ]
        for row in found
    ]
    text = (
        f"Both fitted without the {len(held_out)} states that verified the run, and compared on them; the committee is not "
        "calibrated."
    )
    return Section(title, text, table=Table(header, rows, words=(0, 1), sums=False))


def _cost(status: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> list[Section]:
    """What labelling every step would have cost, beside what this run took."""
    seconds, n_steps, done = status["label_seconds"], status["n_steps"], status["labels"]["done"]
    if not seconds or not n_steps or not done:
        return []
    label, fits = LabelCost(seconds / 60.0), sum(e["seconds"] for e in events if e["kind"] == "fit")
    every, bought, learning = n_steps * label.node_hours, done * label.node_hours, fits / 3600.0
    rows = [
        ["every step labelled", f"{n_steps:,}", _hours(every), "-", _hours(every)],
        ["this run", f"{done:,}", _hours(bought), _hours(learning), _hours(bought + learning)],
    ]
    text = (
        f"A label took {seconds:.3g} s on average. Of the labels that labelling every step would take, "
        f"{100 * (1.0 - done / n_steps):.4g} % were not bought. "
    )
    if bought + learning < every:
        text += f"Fits included, that is {every / (bought + learning):,.3g} times less computing."
    else:
        text += "Labels are so cheap here that the fits took longer than all labels would have."
    return [Section("Saved", text, table=Table(("", "labels", "labels take", "fits take", "all"), rows, sums=False))]


def _hours(hours: float) -> str:
    """A time in the unit that reads best."""
    for unit, size in (("h", 1.0), ("min", 1.0 / 60.0)):
        if hours >= size:
            return f"{hours / size:,.3g} {unit}"
    return f"{3600.0 * hours:.3g} s"


def _labels(state: Mapping[str, Any], entries: Mapping[str, Entry]) -> Section:
    before = {e["hash"]: e for e in state["events"] if e["kind"] == "labelled"}
    rows = [
        [
            str(number),
            entry.reason,
            entry.state,
            *(_number(before[entry.hash][name]) if entry.hash in before else "-" for name in ("std_rms", "rmse", "max_error")),
            f"{entry.seconds:.3g}",
        ]
        for number, entry in enumerate(entries.values(), 1)
    ]
    header = ("label", "reason", "state", "expected error (eV/Å)", "error (eV/Å)", "largest error (eV/Å)", "s")
    text = "Errors are those of the model before it learnt from the label."
    return Section("Every label and its reason", text, table=Table(header, rows, words=(1, 2), sums=False))


def _lost(entries: Mapping[str, Entry]) -> list[Section]:
    lost = [
        [entry.hash[:8], entry.state, str(entry.attempt), entry.message]
        for entry in entries.values()
        if entry.state in ("failed", "quarantined")
    ]
    header = ("structure", "state", "attempts", "why")
    return [Section("Lost labels", table=Table(header, lost, words=(0, 1, 3), sums=False))] if lost else []


def _retreats(events: Sequence[Mapping[str, Any]]) -> list[Section]:
    rows = [[str(e["walker"]), str(e["step"]), e["reason"]] for e in events if e["kind"] == "retreat"]
    text = f"{len(rows)} times a walker went back to the last structure that was trusted."
    return [Section("Retreats", text, table=Table(("walker", "step", "why"), rows, words=(0, 2), sums=False))] if rows else []


def _fits(events: Sequence[Mapping[str, Any]]) -> list[Section]:
    fits = [e for e in events if e["kind"] == "fit"]
    if not fits:
        return []
    rows = [
        [
            e["how"],
            str(e["n_labels"]),
            f"{e['n_atoms']:,}",
            f"{e['n_sparse']:,}",
            _number(e["scale"]),
            f"{e['seconds']:.2g}",
            f"{e['memory_mb']:,.0f}",
        ]
        for e in fits
        if e["how"] != "incremental"
    ]
    messages = sorted({message for e in fits for message in e.get("messages", [])})
    incremental = [e["seconds"] for e in fits if e["how"] == "incremental"]
    text = f"{len(fits)} fits in {sum(e['seconds'] for e in fits):.3g} s"
    if incremental:
        text += (
            f"; {len(incremental)} incremental ones, not in the table, took {sum(incremental) / len(incremental):.2g} s each"
        )
    text += "."
    header = ("fit", "labels", "atoms", "sparse points", "force std scaled by", "s", "memory (MB)")
    figure = fits_figure(fits) if len(fits) > 1 else None
    return [Section("Fits", text, figure=figure, table=Table(header, rows, sums=False), pre="\n".join(messages))]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
