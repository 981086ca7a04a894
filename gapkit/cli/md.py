"""gapkit md."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from ase import Atoms, units
from ase.io import read, write
from ase.io.trajectory import Trajectory
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import Stationary, thermalize_momenta
from ase.md.verlet import VelocityVerlet

from .._validation import check_integer, check_real
from ..calculator import GAPCalculator
from ..model import load
from ..model.familiar import extrapolated
from ..model.prediction import STD_DEFAULT, wanted_deviations
from ..model.progress import track
from ..validation import step_advice
from .console import console, errors, guarded, warn_of_extrapolation

__all__ = ["md"]

_FEWEST = 10  # energies that show a drift


class Ensemble(StrEnum):
    """What is kept constant."""

    nve = "nve"
    nvt = "nvt"


@guarded
def md(
    model: Annotated[Path, typer.Argument(help="Model file.")],
    start: Annotated[Path, typer.Argument(help="Starting structure (the last frame of the file).")],
    temperature: Annotated[float, typer.Option(help="K.")] = 300.0,
    steps: Annotated[int, typer.Option(help="Number of steps.")] = 1000,
    timestep: Annotated[float, typer.Option(help="fs.")] = 1.0,
    ensemble: Annotated[Ensemble, typer.Option(help="nvt: Langevin thermostat; nve: constant energy.")] = Ensemble.nvt,
    friction: Annotated[float, typer.Option(help="Of the thermostat, 1/fs.")] = 0.01,
    every: Annotated[int, typer.Option(help="Steps between written frames and log lines.")] = 10,
    uncertainty: Annotated[
        str | None,
        typer.Option(
            help="Log standard deviations of the energies as well: exact or fast, from the posterior, or prior, QUIP's of the "
            "local energies, which needs none.",
            metavar="KIND",
        ),
    ] = None,
    stop_above: Annotated[
        float | None,
        typer.Option(help="End the run where a force component has a larger standard deviation than this, eV/Å."),
    ] = None,
    device: Annotated[str, typer.Option(help="Where forces are computed: cpu, cuda (an NVIDIA GPU) or auto.")] = "cpu",
    seed: Annotated[int, typer.Option(help="Of the velocities and the thermostat.")] = 0,
    output: Annotated[Path, typer.Option("-o", "--output", help="Trajectory (.traj); the log is beside it (.csv).")] = Path(
        "md.traj"
    ),
) -> None:
    """Molecular dynamics with a model.

    Example: `gapkit md silicon.gap start.xyz --temperature 600 --steps 5000 -o run.traj`

    With error bars, ended where the model does not know the forces: `gapkit md silicon.gap start.xyz --stop-above 0.3`
    """
    _check_parameters(temperature, steps, every, timestep, friction, stop_above)
    with_total = "energy" in wanted_deviations(uncertainty, STD_DEFAULT)
    fitted = load(model)
    atoms: Atoms = read(start, index=-1)
    atoms.calc = GAPCalculator(fitted, device=device)
    fitted.device = "cpu" if device == "cpu" else "auto"  # of error bars, as far as the GPU has them
    rng = np.random.default_rng(seed)
    if not atoms.has("momenta") or not np.any(atoms.get_momenta()):
        thermalize_momenta(atoms, temperature_K=temperature, rng=rng)
        Stationary(atoms)
    dynamics: Any = (
        VelocityVerlet(atoms, timestep * units.fs)
        if ensemble is Ensemble.nve
        else Langevin(atoms, timestep * units.fs, temperature_K=temperature, friction=friction / units.fs, rng=rng, fixcm=False)
    )
    with Trajectory(output, "w", atoms) as trajectory, open(output.with_suffix(".csv"), "w", newline="") as file:
        log = csv.writer(file)
        columns = ["step", "time_ps", "potential_eV", "kinetic_eV", "total_eV", "temperature_K"]
        columns += ["energy_std_eV"] * with_total + ["largest_local_energy_std_eV"] * (uncertainty is not None)
        columns += ["largest_force_std_eV_per_A"] * (stop_above is not None)
        log.writerow(columns)
        unknown = False  # whether the model does not know the forces any more
        beyond: list[int] = []  # steps with atoms unlike all of the training set
        farthest = 0.0

        totals: list[float] = []

        def record() -> None:
            potential, kinetic = atoms.get_potential_energy(), atoms.get_kinetic_energy()
            row = [dynamics.nsteps, dynamics.get_time() / (1000 * units.fs), potential, kinetic, potential + kinetic]
            row.append(atoms.get_temperature())
            if uncertainty:
                (p,) = fitted.evaluate([atoms], forces=False, stress=False, uncertainty=uncertainty)
                row += [p.energy_std] * with_total + [np.asarray(p.energies_std).max()]
                if with_total:
                    nonlocal farthest
                    numbers, ratio = extrapolated(fitted, [p])
                    beyond.extend(dynamics.nsteps for _ in numbers)
                    farthest = max(farthest, ratio)
            if stop_above is not None:
                (p,) = fitted.evaluate([atoms], stress=False, uncertainty="exact", std=("forces",))
                row.append(np.asarray(p.forces_std).max())
                nonlocal unknown
                unknown = row[-1] > stop_above
            totals.append(potential + kinetic)
            log.writerow([row[0], *(f"{value:.8g}" for value in row[1:])])
            file.flush()
            os.fsync(file.fileno())
            trajectory.write()

        dynamics.attach(record, interval=every)
        for _ in track(dynamics.irun(steps), "molecular dynamics", steps + 1, show=True):
            if not np.isfinite(atoms.positions).all() or atoms.get_temperature() > 1e5:
                raise ValueError(
                    f"The run left physics at step {dynamics.nsteps} ({atoms.get_temperature():.3g} K). "
                    "Use a shorter time step, or add training data like the last frames of the trajectory."
                )
            if unknown:
                break
    last = output.with_name(output.stem + "_last.xyz")
    write(last, atoms, format="extxyz")
    if unknown:
        console.print(f"stopped at step {dynamics.nsteps}: a force component is less certain than {stop_above:g} eV/Å")
    if beyond:
        warn_of_extrapolation(f"{len(beyond)} of {len(totals)} frames (the first: step {beyond[0]}) have", farthest)
    if ensemble is Ensemble.nve:
        _warn_of_drift(totals, every, timestep)
    console.print(f"wrote {output}, {output.with_suffix('.csv')}, {last}")


def _warn_of_drift(totals: Sequence[float], every: int, timestep: float) -> None:
    """Say that a total energy that should be constant is not."""
    if len(totals) < _FEWEST:
        return
    advice = step_advice(float(np.polyfit(np.arange(len(totals)), totals, 1)[0]) / every, timestep)
    if advice:
        errors.print(f"[bold yellow]warning:[/] energy-drift: {advice}", soft_wrap=True)


def _check_parameters(
    temperature: float, steps: int, every: int, timestep: float, friction: float, stop_above: float | None
) -> None:
    check_real("temperature", temperature, above=0.0, remedy="It is in K.")
    check_integer("steps", steps, at_least=1)
    check_integer("every", every, at_least=1)
    check_real("timestep", timestep, above=0.0, at_most=20.0, remedy="It is in fs; 0.5 to 2 is usual.")
    check_real("friction", friction, above=0.0, remedy="It is in 1/fs; 0.01 is usual.")
    if stop_above is not None:
        check_real("stop_above", stop_above, above=0.0, remedy="It is in eV/Å.")
