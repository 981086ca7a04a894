"""The report of a learning run, in every phase that a run can be in."""

from __future__ import annotations

import re
from html import unescape

import numpy as np
import pytest

from gapkit.active_learning import run_status
from gapkit.active_learning.checkpoint import read_visits, visit_infos
from gapkit.active_learning.status import read_state
from gapkit.report import write_learning_report
from gapkit.report.learning_plots import error_bar_figure, fits_figure, learning_curve_figure, walk_figure
from tests.report.learning_run import N_SEED, TARGET, write_run
from tests.report.test_report import Checker


def page(folder) -> str:
    write_learning_report(folder, folder / "report.html")
    text = (folder / "report.html").read_text()
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert all(source.startswith("data:image/png;base64,") for source in checker.sources)
    return unescape(re.sub(r"base64,[^\"]+", "", text))


def titles(text: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", text)


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ended")
    return write_run(folder, n_labels=24, n_turns=120, bad={9: "failed", 14: "quarantined"}, audit=True)


def test_ended_run_has_everything(ended):
    text = page(ended)
    assert titles(text) == [
        "Outcome", "Learning curve", "Error bars against true errors", "Walker 0", "Walker 1", "Labels in time", "Audit",
        "Saved", "Every label and its reason", "Lost labels", "Retreats", "Fits",
    ]  # fmt: skip
    status = run_status(ended)
    for value in ("<b>ended</b>", "<b>0.05 eV/Å</b>", "<b>0.047 eV/Å</b>", "<b>22</b>", "<b>4,800</b>", "<b>0.46 %</b>"):
        assert value in text
    assert text.count("force std ") >= 20  # a reason for each
    assert text.count("seed structure") == N_SEED
    assert "SCF did not start: no memory" in text
    assert "2 sparse points were dropped" in text
    assert f"{100 * (1 - 22 / 4800):.4g} % were not bought" in text
    assert f"{4800 * status['label_seconds'] / 3600:,.3g} h" in text  # what labelling every step would take


def test_pictures_show_the_numbers(ended):
    events = read_state(ended)["events"]
    labelled = [e for e in events if e["kind"] == "labelled"]
    axes = learning_curve_figure(events, TARGET).axes[0]
    lines = {line.get_label(): line for line in axes.get_lines()}
    np.testing.assert_array_equal(lines["error of a label before it was learnt"].get_ydata(), [e["rmse"] for e in labelled])
    predicted = [e["predicted_rmse"] for e in events if e["kind"] == "threshold"]
    np.testing.assert_array_equal(lines["predicted over states visited"].get_ydata()[:-1], predicted)
    assert lines["predicted over states visited"].get_xdata()[-1] == len(labelled)
    points = error_bar_figure(events, TARGET, None).axes[1].collections[0].get_offsets()
    np.testing.assert_array_equal(points, [[e["std_max"], e["max_error"]] for e in labelled])
    fits = [e for e in events if e["kind"] == "fit"]
    np.testing.assert_array_equal(fits_figure(fits).axes[0].get_lines()[0].get_ydata(), [e["n_sparse"] for e in fits])
    infos = visit_infos(ended, 10**9)
    walk = walk_figure([info for info in infos if str(info["walker"]) == "0"], TARGET)
    bought = next(line for line in walk.axes[1].get_lines() if line.get_label().endswith("labels"))
    steps = [info["step"] for info in infos if str(info["walker"]) == "0" and info["action"] == "label"]
    np.testing.assert_array_equal(bought.get_xdata(), steps)


def test_headers_say_what_the_frames_say(ended):
    for turn in (50, 10**9):
        frames, infos = read_visits(ended, turn), visit_infos(ended, turn)
        assert len(frames) == len(infos) > 90
        assert all(atoms.info.items() <= info.items() for atoms, info in zip(frames, infos, strict=True))


def test_before_anything_happened(tmp_path):
    (tmp_path / "learn.yaml").write_text("")
    text = page(tmp_path)
    assert titles(text) == ["Outcome", "Every label and its reason"]
    assert "The run has not ended: it is initial" in text


@pytest.mark.parametrize("n_labels", [1, 2])
def test_hardly_any_label(tmp_path, n_labels):
    text = page(write_run(tmp_path, n_labels=n_labels, n_turns=0, n_walkers=1, phase="initial"))
    assert "Learning curve" in titles(text)
    assert "Walker 0" not in titles(text)
    assert text.count("seed structure") == n_labels


def test_killed_half_way(tmp_path):
    folder = write_run(tmp_path, n_labels=14, n_turns=60, phase="exploring", pending=2)
    with open(folder / "labels" / "journal.jsonl", "a") as file:
        file.write('{"time": "2026-11-22T13:0')
    (folder / "visits" / ".000000070.xyz.4711.part").write_text("2\nLatt")
    text = page(folder)
    assert "The run has not ended: it is exploring" in text
    assert text.count(">submitted<") + text.count(">proposed<") == 2
    assert "<b>12</b><span>labels done" in text


def test_many_walkers_and_visits_without_temperature(tmp_path):
    folder = write_run(tmp_path, n_labels=10, n_turns=400, n_walkers=8, temperature=False, phase="closing")
    text = page(folder)
    assert [title for title in titles(text) if title.startswith("Walker")] == [f"Walker {k}" for k in range(6)]
    assert "The first 6 of 8 walkers are drawn." in text
    infos = [{"step": k, "std_max": 0.1 + (k == 7777), "threshold": 0.2, "action": "go on"} for k in range(20_000)]
    figure = walk_figure(infos, TARGET)
    assert len(figure.axes) == 1
    line = figure.axes[0].get_lines()[0]
    assert len(line.get_xdata()) <= 4000
    assert line.get_ydata().max() == 1.1  # the peak is not thinned away
