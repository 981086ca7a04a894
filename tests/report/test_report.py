from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from ase import Atoms
from matplotlib.figure import Figure

from gapkit import RBF, SOAP, DotProduct, GAPRegressor, Term, TwoBody
from gapkit.gp.calibration import ErrorSample
from gapkit.report import (
    ERROR_HEADER,
    UNCERTAINTY_HEADER,
    Section,
    Table,
    View,
    calibration_figure,
    drift_figure,
    eos_figure,
    error_rows,
    group_figure,
    map_figure,
    parity_figure,
    uncertainty_rows,
    viewer,
    write_model_report,
    write_page,
)
from gapkit.report.plots import to_data_uri
from gapkit.validation import Drift, EOSCurve, ErrorRow, Residuals, UncertaintyRow
from gapkit.validation import uncertainty as metrics


def some_residuals(n: int, with_stress: bool = True) -> Residuals:
    rng = np.random.default_rng(n)
    e, f, s = rng.normal(-5, 0.1, n), rng.normal(0, 1, 30 * n), rng.normal(0, 2, 6 * n if with_stress else 0)
    return Residuals(e, e + 1e-3, np.full(n, 1e-3), f, f + 0.1, s, s + 0.1)


def test_parity_has_a_panel_per_kind_of_label():
    figure = parity_figure({"train": some_residuals(20), "test": some_residuals(5)})
    titles = [a.get_title() for a in figure.axes if a.get_title()]
    assert titles == ["energy", "forces", "stress"]
    legend = figure.axes[0].get_legend().get_texts()[1].get_text()
    assert legend == "test, RMSE 1 meV/atom"
    assert len(parity_figure({"test": some_residuals(5, with_stress=False)}).axes) == 4


def test_drift_and_eos_pictures():
    t = np.linspace(0, 1, 11)
    assert "drift +3 µeV/atom/ps" in drift_figure(Drift(t, 3e-6 * t, 300 + t)).axes[0].get_legend().get_texts()[0].get_text()
    curve = EOSCurve(np.linspace(15, 25, 5), np.linspace(0, 1, 5), np.full(5, 0.1))
    figure = eos_figure(curve, (np.array([16.0]), np.array([0.2])), (np.array([20.0]), np.array([0.4])))
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == [
        "gapkit",
        "DFT, in the training set",
        "DFT, not seen",
    ]
    difference = figure.axes[1].get_lines()[1].get_ydata()
    np.testing.assert_allclose(difference, [100.0], atol=1e-9)  # 0.2 eV against 0.1 on the line


def test_calibration_picture_has_a_row_per_kind_and_the_numbers_of_the_metrics():
    rng = np.random.default_rng(0)
    samples = {}
    for kind, n_in_each in (("energy", 1), ("forces", 60), ("stress", 6)):
        structure = np.repeat(np.arange(50), n_in_each)
        std = rng.uniform(0.5, 2.0, len(structure))
        samples[kind] = ErrorSample(2.0 * std * rng.standard_normal(len(std)), std, structure)
    figure = calibration_figure(samples, n_draws=20)
    assert [a.get_title(loc="left") for a in figure.axes[::3]] == [
        "force components: 3000 in 50 structures",
        "energy per atom: 50 in 50 structures",
        "stress components: 300 in 50 structures",
    ]
    for k, kind in enumerate(("forces", "energy", "stress")):
        curve, errors, ratios = figure.axes[3 * k : 3 * k + 3]
        r, s = samples[kind].residual, samples[kind].std
        legend = [text.get_text() for text in curve.get_legend().get_texts()]
        assert f"(area {metrics.miscalibration_area(r, s):.3f})" in legend[1]
        assert f"mean z² {np.mean((r / s) ** 2):.2f}" in ratios.texts[0].get_text()
        assert errors.get_xlim()[0] < s.min() < s.max() < errors.get_xlim()[1]
        assert errors.collections
        assert errors.get_xscale() == errors.get_yscale() == "log"
    table_chance = metrics.simulated(metrics.miscalibration_area, samples["energy"].std, n_draws=20)
    assert f"(area up to {np.quantile(table_chance, 0.95):.3f})" in figure.axes[3].get_legend().get_texts()[0].get_text()


def test_calibration_picture_of_hardly_anything():
    assert calibration_figure({}).axes == []
    one = np.array([0.1])
    figure = calibration_figure({"energy": ErrorSample(one, one, np.array([0]))}, n_draws=5)
    assert len(figure.axes) == 3
    to_data_uri(figure)  # draws without a warning
    exact = ErrorSample(np.zeros(40), np.ones(40), np.arange(40))
    to_data_uri(calibration_figure({"forces": exact}, n_draws=5))
    crystal = ErrorSample(np.zeros(40), np.zeros(40), np.arange(40))
    assert calibration_figure({"forces": crystal}, n_draws=5).axes == []


def test_rows_of_error_bars():
    row = UncertaintyRow(
        kind="energy", group="", n_structures=3, n_values=3, n_zero=0, rmse=1.2345, mean_std=0.5, crps=0.1, dispersion=0.2,
        zms=4.0, zms_interval=(3.0, 5.5), miscalibration=0.1, miscalibration_chance=0.2, ence=None, ence_perfect=None,
        rank_correlation=0.5, rank_correlation_perfect=0.6, auroc=None, auroc_perfect=None, nll_gain=-0.5, coverage=0.91,
    )  # fmt: skip
    assert uncertainty_rows([row]) == [
        [
            "energy (meV/atom)", "(none)", "3", "3", "1.23", "0.5", "4.00 (3.00..5.50)", "0.100 (0.200)", "-", "0.50 (0.60)",
            "-", "-0.50", "0.910",
        ]
    ]  # fmt: skip
    assert len(uncertainty_rows([row])[0]) == len(UNCERTAINTY_HEADER)


class Checker(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.images, self.sources = [], 0, []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img", "br"):  # void elements
            self.open.append(tag)
        if tag == "img":
            self.images += 1
        self.sources += [value for key, value in attrs if key in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page_is_well_formed_and_needs_no_network(tmp_path):
    figure = Figure()
    figure.subplots().plot([0, 1])
    rows = error_rows([ErrorRow("a<b", 3, 1.234, 2.0, None, 0.05, 0.1)])
    sections = [
        Section("One & two", "text <script>", figure=figure),
        Section("Table", table=Table(ERROR_HEADER, rows)),
        Section("Fixed", pre="x: {y: 1}"),
    ]
    path = tmp_path / "page.html"
    write_page(path, "Title", [("1.2 meV", "error")], sections, "foot")
    text = path.read_text()
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert checker.images == 1
    assert all(source.startswith("data:image/png;base64,") for source in checker.sources)
    assert base64.b64decode(checker.sources[0].split(",")[1]).startswith(b"\x89PNG")
    assert "<script>" not in text
    assert "a&lt;b" in text
    assert re.search(r"<td>1.23</td>\s*<td>2.00</td>\s*<td>-</td>", text.replace("</td><td>", "</td>\n<td>"))
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_page_has_a_verdict_and_marks(tmp_path):
    path = tmp_path / "page.html"
    write_page(path, "T", [("1", "a", "good"), ("2", "b")], [], "f", verdict=("poor", "No <good>", "why"))
    text = path.read_text()
    assert '<div class="verdict poor"><b>No &lt;good&gt;</b><p>why</p></div>' in text
    assert '<div class="good"><b>1</b>' in text
    assert "<div><b>2</b>" in text


def test_viewer_draws_what_is_there():
    """A square of H2 with the cell around it: bonds within 1.2 times the radii, edges, colours from 0 to the largest error."""
    atoms = Atoms("HHOH", [[0, 0, 0], [0.74, 0, 0], [0, 3, 0], [2, 3, 0]], cell=[4, 4, 4], pbc=True)
    text = viewer([View(atoms, np.array([0.0, 1.0, 2.0, 4.0]), "a </script> & b")], "eV/Å")
    assert "a &lt;/script&gt; &amp; b" in text
    assert "4 eV/Å" in text
    assert "http" not in text
    data = json.loads(re.search(r'id="frames">(.*?)</script>', text).group(1))[0]
    assert data["bonds"] == [[0, 1]]
    assert len(data["edges"]) == 12
    assert data["positions"][1][0] - data["positions"][0][0] == pytest.approx(0.74)
    assert len(set(data["errors"])) == 4
    assert len(set(data["colors"])) == 2
    many = Atoms("H2000", np.arange(6000).reshape(-1, 3))
    text = viewer([View(many, np.eye(1, 2000)[0], "")], "eV/Å")
    assert len(json.loads(re.search(r'id="frames">(.*?)</script>', text).group(1))[0]["positions"]) == 1000


def test_group_picture_and_map(alloy):
    rows = [ErrorRow("a", 1, None, None, None, 0.01, None), ErrorRow("b", 1, None, None, None, 0.02, None)]
    axes = group_figure(rows).axes
    assert [bar.get_width() for bar in axes[0].patches] == pytest.approx([10.0, 20.0])  # meV/Å
    assert group_figure([ErrorRow("a", 1, None, None, None, None, None)]) is None
    model = GAPRegressor([Term(SOAP(3.5, 3, 2), DotProduct(2), n_sparse=20)], random_state=0).fit(alloy)
    predictions = model.evaluate(alloy, uncertainty="exact")
    figure = map_figure(model, alloy, predictions)
    titles = [a.get_title() for a in figure.axes if a.get_title()]
    assert titles == ["by species", "Cu", "Au"]
    of_cu = figure.axes[1].collections  # circles, then dots coloured by what was predicted
    assert len(of_cu[0].get_offsets()) == len(model.potential_.terms[0].points[0])
    std = np.concatenate([p.energies_std[atoms.symbols == "Cu"] for atoms, p in zip(alloy, predictions, strict=True)])
    np.testing.assert_allclose(of_cu[1].get_array(), np.sort(1e3 * std), rtol=1e-12)
    pair = GAPRegressor([Term(TwoBody(4.0), RBF(1.0), n_sparse=10)], random_state=0).fit(alloy)
    assert map_figure(pair, alloy, pair.evaluate(alloy)) is None


def test_report_of_a_model_stands_alone(alloy, tmp_path):
    model = GAPRegressor([Term(SOAP(3.5, 3, 2), DotProduct(2), n_sparse=20)], random_state=3).fit(alloy)
    model.card_["given"] = {"dft": {"code": "EMT", "functional": "none"}, "citation": "nobody <2026>"}
    path = tmp_path / "model.html"
    predictions = model.evaluate(alloy, uncertainty="exact")
    write_model_report(path, model, alloy, predictions, title="m", configuration="soap: {}")
    text = path.read_text()
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert all(source.startswith("data:image/png;base64,") for source in checker.sources)
    assert not re.search(r"https?://", text)
    worst = max(
        range(len(alloy)), key=lambda k: np.sqrt(np.mean((predictions[k].forces - alloy[k].get_forces()) ** 2))
    )  # the first of those that are drawn
    assert re.search(r"<figcaption>frame (\d+)", text).group(1) == str(worst)
    for part in (
        "verdict", "Targets", "Errors by configuration type", "Force errors by species", "Predicted against DFT",
        "Where the model knows", "Worst structures", "code EMT, functional none", "nobody &lt;2026&gt;",
        model.card_["data"][0]["sha256"], "<td class=\"word\">3</td>", "soap: {}",
    ):  # fmt: skip
        assert part in text, part
    assert len(text) < 2e6
