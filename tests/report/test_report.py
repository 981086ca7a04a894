from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import numpy as np
from matplotlib.figure import Figure

from gapkit.report import ERROR_HEADER, Section, Table, drift_figure, eos_figure, error_rows, parity_figure, write_page
from gapkit.validation import Drift, EOSCurve, ErrorRow, Residuals


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


class Checker(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.images, self.sources = [], 0, []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img", "br"):
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
