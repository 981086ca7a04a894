"""One self-contained HTML page: headline numbers, tables, pictures; nothing is loaded from a network."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import jinja2
from matplotlib.figure import Figure

from ..io import replacing
from ..validation import ErrorRow, UncertaintyRow
from .plots import to_data_uri

__all__ = ["ERROR_HEADER", "UNCERTAINTY_HEADER", "Section", "Table", "error_rows", "uncertainty_rows", "write_page"]

ERROR_HEADER = (
    "configuration type",
    "frames",
    "energy MAE (meV/atom)",
    "energy RMSE (meV/atom)",
    "force MAE (eV/Å)",
    "force RMSE (eV/Å)",
    "stress RMSE (GPa)",
)
"""Column titles of an error table."""

UNCERTAINTY_HEADER = (
    "error bars of",
    "group",
    "frames",
    "values",
    "RMSE",
    "mean standard deviation",
    "mean z² (95 % interval)",
    "miscalibration area (chance)",
    "ENCE (perfect)",
    "rank correlation (perfect)",
    "AUROC, largest 5 % (perfect)",
    "nats gained",
    "in 90 % interval",
)
"""Column titles of a table of error bars."""


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes
    ----------
    header : sequence of str
        Column titles.
    rows : sequence of sequences of str
        Cells.  A long table scrolls in a window of its own.
    words : collection of int
        Columns of text; the others are numbers and stand to the right.
    sums : bool
        Whether the last row is over all others, and stands out.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: Collection[int] = (0,)
    sums: bool = True


@dataclass(frozen=True)
class Section:
    """One section of a page.

    Attributes
    ----------
    title : str
        Heading.
    text : str
        One paragraph.
    figure : matplotlib.figure.Figure or None
        Picture.
    table : Table or None
        Table.
    pre : str
        Text in a fixed-width font.
    markup : str
        HTML, as it is: made by gapkit, never from a file.
    """

    title: str
    text: str = ""
    figure: Figure | None = None
    table: Table | None = None
    pre: str = ""
    markup: str = ""
    image: str = field(init=False, default="")

    def __post_init__(self) -> None:
        if self.figure is not None:
            object.__setattr__(self, "image", to_data_uri(self.figure))


def error_rows(rows: Sequence[ErrorRow]) -> list[list[str]]:
    """Format an error table, for pages and terminals.

    Parameters
    ----------
    rows : sequence of ErrorRow
        From `gapkit.validation.error_table`.

    Returns
    -------
    list of list of str
        Cells under `ERROR_HEADER`.
    """
    digits = {"energy_mae": 2, "energy_rmse": 2, "forces_mae": 4, "forces_rmse": 4, "stress_rmse": 3}
    return [
        [row.config_type or "(none)", str(row.frames), *(_number(getattr(row, name), n) for name, n in digits.items())]
        for row in rows
    ]


def uncertainty_rows(rows: Sequence[UncertaintyRow]) -> list[list[str]]:
    """Format a table of error bars, for pages and terminals.

    Parameters
    ----------
    rows : sequence of UncertaintyRow
        From `gapkit.validation.uncertainty_table`.

    Returns
    -------
    list of list of str
        Cells under `UNCERTAINTY_HEADER`; in brackets what a perfect model would show, for the area what chance alone reaches.
    """
    names = {"energy": "energy (meV/atom)", "forces": "force (eV/Å)", "stress": "stress (GPa)"}
    return [
        [
            names[row.kind],
            row.group or "(none)",
            str(row.n_structures),
            str(row.n_values),
            f"{row.rmse:.3g}",
            f"{row.mean_std:.3g}",
            f"{row.zms:.2f}" + (f" ({row.zms_interval[0]:.2f}..{row.zms_interval[1]:.2f})" if row.zms_interval else ""),
            f"{row.miscalibration:.3f} ({row.miscalibration_chance:.3f})",
            _with_reference(row.ence, row.ence_perfect),
            _with_reference(row.rank_correlation, row.rank_correlation_perfect),
            _with_reference(row.auroc, row.auroc_perfect),
            "-" if row.nll_gain is None else f"{row.nll_gain:+.2f}",
            _number(row.coverage, 3),
        ]
        for row in rows
    ]


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _with_reference(value: float | None, perfect: float | None) -> str:
    return "-" if value is None else f"{value:.2f} ({_number(perfect, 2)})"


def write_page(
    path: str | Path,
    title: str,
    headline: Sequence[tuple[str, ...]],
    sections: Sequence[Section],
    footer: str,
    *,
    verdict: tuple[str, str, str] | None = None,
) -> None:
    """Write the page, whole or not at all.

    Parameters
    ----------
    path : str or Path
        HTML file.
    title : str
        Heading of the page.
    headline : sequence of (value, meaning) or (value, meaning, mark)
        The few numbers to see first; a mark of "good", "fair" or "poor" colours one.
    sections : sequence of Section
        The rest.
    footer : str
        Versions and sources.
    verdict : (mark, title, text), optional
        What stands above the numbers.
    """
    source = (resources.files(__package__) / "page.html").read_text(encoding="utf-8")
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(source)
    text = template.render(title=title, headline=headline, sections=sections, footer=footer, verdict=verdict)
    with replacing(path) as file:
        file.write(text.encode())
