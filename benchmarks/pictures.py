"""Pictures of the tables in ``benchmarks/results``, for the page "Performance" of the documentation."""

from __future__ import annotations

import json
from pathlib import Path

from common import RESULTS

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"


def rows_of(name: str) -> list[list]:
    """The rows of a table, none if it has not been measured."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text())["rows"] if path.exists() else []


def draw() -> list[Path]:
    """Draw what there is; the files."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(9, 6.5), layout="constrained")
    growth, peers, points, species = axes.flat
    atoms = rows_of("predict_atoms")
    for zeta, style in (("zeta 4", "o-"), ("zeta 2", "s--")):
        growth.semilogx(
            [row[1] for row in atoms if row[0] == zeta], [row[2] for row in atoms if row[0] == zeta], style, label=zeta
        )
    growth.set(title="atoms", xlabel="atoms in the cell", ylabel="µs per atom", ylim=(0.0, None))
    growth.xaxis.set_minor_formatter("")
    growth.legend()
    bars = [(row[0], row[2]) for row in rows_of("silicon_evaluate")[1:]] + [
        ("fit of 2720 atoms (gap_fit)", row[4]) for row in rows_of("silicon_fit")[1:]
    ]
    bars += [(f"QUIP's {row[0]}", row[4]) for row in rows_of("quip")]
    peers.barh([name for name, _ in bars][::-1], [times for _, times in bars][::-1])
    peers.tick_params("y", labelsize=7)
    peers.set(title="beside quippy, one thread", xlabel="times faster")
    sparse = rows_of("scaling_sparse")
    points.loglog([row[0] for row in sparse], [row[1] for row in sparse], "o-", label="zeta 4")
    points.loglog([row[0] for row in sparse], [row[2] for row in sparse], "s--", label="zeta 2")
    points.set(title="sparse points", xlabel="sparse points", ylabel="µs per atom")
    points.yaxis.set_minor_formatter("{x:g}")
    points.legend()
    of_species = rows_of("scaling_species")
    species.plot([row[0] for row in of_species], [row[1] for row in of_species], "o-")
    species.set(title="species, 2000 sparse points", xlabel="species", ylabel="µs per atom", ylim=(0.0, None))
    path = IMAGES / "performance.png"
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return [path]
