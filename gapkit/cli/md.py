"""gapkit md."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
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
from ..model import Baseline, load
from ..model.familiar import extrapolated
from ..model.prediction import STD_DEFAULT, wanted_deviations
from ..model.progress import track
from ..validation import step_advice
from .console import console, errors, guarded, warn_of_extrapolation
from .training import Device, as_far_as_possible

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
    device: Device = "cpu",
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
    calculator = GAPCalculator(fitted, device=device)
    fitted.device = as_far_as_possible(device)  # of error bars
    rng = np.random.default_rng(seed)
    if not atoms.has("momenta") or not np.any(atoms.get_momenta()):
        thermalize_momenta(atoms, temperature_K=temperature, rng=rng)
        Stationary(atoms)
    thermostat = {} if ensemble is Ensemble.nve else {"temperature_K": temperature, "friction": friction / units.fs}
    source = _on_gpu if calculator.on_gpu and not atoms.constraints and not isinstance(fitted.baseline_, Baseline) else _by_ase
    frames = source(atoms, calculator, timestep * units.fs, thermostat, rng, steps, every)
    with Trajectory(output, "w") as trajectory, open(output.with_suffix(".csv"), "w", newline="") as file:
        log = csv.writer(file)
        columns = ["step", "time_ps", "potential_eV", "kinetic_eV", "total_eV", "temperature_K"]
        columns += ["energy_std_eV"] * with_total + ["largest_local_energy_std_eV"] * (uncertainty is not None)
        columns += ["largest_force_std_eV_per_A"] * (stop_above is not None)
        log.writerow(columns)
        unknown = False  # whether the model does not know the forces any more
        beyond: list[int] = []  # steps with atoms unlike all of the training set
        farthest = 0.0

        totals: list[float] = []

        def record(step: int, atoms: Atoms) -> None:
            potential, kinetic = atoms.get_potential_energy(), atoms.get_kinetic_energy()
            row = [step, step * timestep / 1000, potential, kinetic, potential + kinetic, atoms.get_temperature()]
            if uncertainty:
                (p,) = fitted.evaluate([atoms], forces=False, stress=False, uncertainty=uncertainty)
                row += [p.energy_std] * with_total + [np.asarray(p.energies_std).max()]
                if with_total:
                    nonlocal farthest
                    numbers, ratio = extrapolated(fitted, [p])
                    beyond.extend(step for _ in numbers)
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
            trajectory.write(atoms)

        for done, atoms in track(frames, "molecular dynamics", -(-steps // every) + 1, show=True):
            if done % every == 0:
                record(done, atoms)
            if unknown:
                break
    last = output.with_name(output.stem + "_last.xyz")
    write(last, atoms, format="extxyz")
    if unknown:
        console.print(f"stopped at step {done}: a force component is less certain than {stop_above:g} eV/Å")
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


def _by_ase(
    atoms: Atoms, calculator: GAPCalculator, timestep: float, thermostat: dict[str, float], rng: Any, steps: int, every: int
) -> Iterator[tuple[int, Atoms]]:
    """Structures every so many steps and at the end, with the numbers of steps."""
    atoms.calc = calculator
    dynamics: Any = (
        Langevin(atoms, timestep, rng=rng, fixcm=False, **thermostat) if thermostat else VelocityVerlet(atoms, timestep)
    )
    for _ in dynamics.irun(steps):
        if dynamics.nsteps % every == 0 or dynamics.nsteps == steps:
            yield dynamics.nsteps, atoms
        if not np.isfinite(atoms.positions).all() or atoms.get_temperature() > 1e5:
            raise ValueError(
                f"The run left physics at step {dynamics.nsteps} ({atoms.get_temperature():.3g} K). "
                "Use a shorter time step, or add training data like the last frames of the trajectory."
            )


def _on_gpu(
    atoms: Atoms, calculator: GAPCalculator, timestep: float, thermostat: dict[str, float], rng: Any, steps: int, every: int
) -> Iterator[tuple[int, Atoms]]:
    """The same of a run that stays on the GPU."""
    from ..dynamics import DeviceDynamics  # imports Numba

    seed = int(rng.integers(2**63))
    dynamics = DeviceDynamics(atoms, calculator.model, timestep, random_state=seed, **thermostat)
    for snapshot in dynamics.irun(steps, every=every):
        yield snapshot.step, snapshot.atoms
    if steps % every:
        yield steps, dynamics.snapshot().atoms
