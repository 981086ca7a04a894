"""gapkit learn: a run of active learning in a folder."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from ..active_learning import AT_ONCE, IN_ROUNDS, Campaign, LabelCost, audit_run, campaign_costs, run_status
from ..io import replacing
from ..report import write_learning_report
from .console import console, guarded, print_table
from .learn_config import CONFIG_NAME, learner_from_config

__all__ = ["learn"]

learn = typer.Typer(no_args_is_help=True, help="Active learning: explore, label what the model does not know, learn, go on.")

_EXAMPLES = ("silicon-melt", "copper-surface", "ethanol-gfn2", "silicon-dft")

Directory = Annotated[Path, typer.Argument(help="Folder of the run.", metavar="DIR")]


@learn.command()
@guarded
def init(
    directory: Directory,
    example: Annotated[str, typer.Option(help=f"One of {', '.join(_EXAMPLES)}.")] = "silicon-melt",
) -> None:
    """Write a folder that runs as it is: settings with comments, a starting structure, a labeler.

    Example: `gapkit learn init melt --example silicon-melt`
    """
    if example not in _EXAMPLES:
        raise ValueError(f"`example` must be one of {', '.join(_EXAMPLES)}; got {example!r}.")
    if (directory / CONFIG_NAME).exists():
        raise FileExistsError(f"{directory / CONFIG_NAME} exists already. Take another folder.")
    directory.mkdir(parents=True, exist_ok=True)
    source = resources.files(__package__) / "examples" / example
    for file in sorted(source.iterdir(), key=lambda f: f.name):
        if file.is_file():
            with replacing(directory / file.name) as target:
                target.write(file.read_bytes())
            console.print(f"wrote {directory / file.name}")
    console.print(f"next: gapkit learn run {directory}")


@learn.command()
@guarded
def run(directory: Directory) -> None:
    """Start the run that the folder's learn.yaml describes, and write its report.

    Example: `gapkit learn run melt`
    """
    _go(directory, resumed=False)


@learn.command()
@guarded
def resume(directory: Directory) -> None:
    """Go on with a run that was stopped or killed, or whose settings were changed.

    Example: `gapkit learn resume melt`
    """
    _go(directory, resumed=True)


@learn.command()
@guarded
def status(
    directory: Directory,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Where a run stands; it may be running.

    Example: `gapkit learn status melt --json`
    """
    found = run_status(directory)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    print_table(("", ""), [[key.replace("_", " "), _text(value)] for key, value in found.items()], title=str(directory))


@learn.command()
@guarded
def report(
    directory: Directory,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Default: report.html in the folder.")] = None,
    committee: Annotated[
        int, typer.Option(help="Compare the error bars with those of a committee of so many models; takes as many fits.")
    ] = 0,
) -> None:
    """Write the report of a run: one self-contained HTML page.

    Example: `gapkit learn report melt`
    """
    path = directory / "report.html" if output is None else output
    write_learning_report(directory, path, committee=committee)
    console.print(f"wrote {path}")


@learn.command()
@guarded
def audit(
    directory: Directory,
    every: Annotated[int, typer.Option(help="Label one in so many of the structures that were judged.")] = 1,
) -> None:
    """Label every structure that the run did not label, and count the errors that it missed.

    Only with a labeler that is cheap; nothing is learnt from these labels.

    Example: `gapkit learn audit melt --every 5`
    """
    learner, executor = learner_from_config(directory, verbose=1)
    try:
        found = audit_run(directory, learner.labeler, every=every, executor=executor, show=True)
    finally:
        if executor is not None:
            executor.shutdown()
    rows = [
        ["structures audited", f"{found['n_audited']}"],
        ["RMSE of forces", f"{found['rmse']:.4g} eV/Å (target {found['target']:.4g})"],
        ["largest error above 5 x target", f"{found['n_missed']} ({100 * found['missed_fraction']:.2f} %)"],
    ]
    print_table(("", ""), rows, title=f"audit of {directory}")
    console.print(f"wrote {directory / 'audit.json'}; `gapkit learn report {directory}` shows it")


@learn.command()
@guarded
def estimate(
    directory: Annotated[
        Path | None, typer.Argument(help="Folder of a run, whose labels say what one takes.", metavar="DIR")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Of one label; default: what those of DIR took.")] = None,
    nodes: Annotated[float, typer.Option(help="That one label occupies.")] = 1.0,
    workers: Annotated[int, typer.Option(help="Labels at a time.")] = 1,
    at_once: Annotated[int, typer.Option(help="Labels without active learning, all at once.")] = AT_ONCE.n_labels,
    first: Annotated[int, typer.Option(help="First labels with active learning.")] = IN_ROUNDS.batches[0],
    rounds: Annotated[int, typer.Option(help="Of active learning.")] = len(IN_ROUNDS.batches) - 1,
    per_round: Annotated[int, typer.Option(help="Labels of each round.")] = IN_ROUNDS.batches[-1],
    learning_minutes: Annotated[float, typer.Option(help="Of exploration, selection and fit between rounds.")] = 30.0,
    budget: Annotated[float | None, typer.Option(help="Node-hours that there are.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """What labels cost with and without active learning: node-hours and time.

    Example: `gapkit learn estimate --minutes 30 --nodes 2 --workers 10`
    """
    if minutes is None:
        seconds = None if directory is None else run_status(directory)["label_seconds"]
        if seconds is None:
            raise ValueError("`minutes` must be given where no labels of a run tell what one takes. For example --minutes 30.")
        minutes = seconds / 60.0
    campaigns = (Campaign(f"{at_once:,} at once", (at_once,)), Campaign.in_rounds(first, rounds, per_round))
    found = campaign_costs(
        LabelCost(minutes, nodes), campaigns, workers=workers, learning_minutes=learning_minutes, budget=budget
    )
    if as_json:
        print(
            json.dumps([{**asdict(row), "node_hours": row.node_hours, "wall_hours": row.wall_hours} for row in found], indent=1)
        )
        return
    rows = [
        [row.name, f"{row.n_labels:,}", f"{row.node_hours:,.3g}", f"{row.wall_hours:,.3g}", f"{100 * row.saved:.0f} %"]
        + ([] if budget is None else ["yes" if row.within_budget else "no"])
        for row in found
    ]
    header = ["labels", "number", "node-hours", "hours", "saved"] + ([] if budget is None else ["within budget"])
    print_table(header, rows, title=f"{minutes:.3g} min a label on {nodes:g} nodes, {workers} at a time")


def _go(directory: Path, *, resumed: bool) -> None:
    learner, executor = learner_from_config(directory, verbose=1)
    try:
        if resumed:
            learner.resume()
        else:
            learner.run()
    finally:
        if executor is not None:
            executor.shutdown()
        if (directory / "state.json").exists():
            write_learning_report(directory, directory / "report.html")
    state = learner.state_
    if state.phase != "ended":
        console.print(f"stopped; `gapkit learn resume {directory}` goes on")
        raise typer.Exit(143)
    console.print(state.why)
    console.print(f"wrote {directory / 'model.gap'}, {directory / 'report.html'}")


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(v)}" for key, v in value.items())
    return "-" if value is None else str(value)
