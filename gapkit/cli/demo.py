"""gapkit demo."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from ase import Atoms
from ase.build import bulk
from ase.io import write

from .. import __version__
from ..calculator import GAPCalculator
from ..checks import label_ledger
from ..datasets import LabelKeys, load_silicon
from ..descriptors import SOAP
from ..gp import Noise
from ..kernels import DotProduct
from ..model import GAPRegressor, Term
from ..model.prediction import STD_CHOICES
from ..report import (
    ERROR_HEADER,
    Section,
    Table,
    drift_figure,
    eos_figure,
    error_bar_section,
    error_rows,
    parity_figure,
    write_page,
)
from ..validation import (
    eos_parameters,
    equation_of_state,
    error_table,
    nve_drift,
    residuals,
    uncertainty_table,
)
from .config import config_of, dump_config
from .console import console, guarded, print_ledger, print_table
from .evaluate import predicted_frames

__all__ = ["demo", "demo_model"]


def demo_model(verbose: int = 0) -> GAPRegressor:
    """The estimator of the demo: one SOAP term for silicon."""
    return GAPRegressor(
        [Term(SOAP(r_cut=5.0, n_max=8, l_max=6, sigma=0.5), DotProduct(zeta=4), delta=1.0, n_sparse=400)],
        noise=Noise(energy=1e-3, forces=0.05, stress=1e-3),
        random_state=0,
        verbose=verbose,
    )


@guarded
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for model, data and page.")] = Path("gapkit-demo"),
) -> None:
    """The whole story on the data that ships with gapkit, in a minute or two: fit, errors, dynamics, equation of state.

    Example: `gapkit demo -o demo`; then open demo/index.html in a browser.
    """
    start = time.perf_counter()
    output.mkdir(parents=True, exist_ok=True)
    train, test = load_silicon("train"), load_silicon("test")
    keys = LabelKeys()
    keys.found = {kind: {kind: getattr(label_ledger(train)[-1], attribute)} for kind, attribute in _COUNTS.items()}
    print_ledger(train, keys, "the shipped silicon set (training part)")
    model = demo_model(verbose=1)
    model.fit(train)
    fit_seconds = time.perf_counter() - start
    model.calibrate("loo")
    model.save(output / "silicon.gap")
    predictions = model.evaluate(test, uncertainty="exact", std=STD_CHOICES)
    rows, bars = error_table(test, predictions), uncertainty_table(test, predictions, calibration=model.calibration_)
    print_table(ERROR_HEADER, error_rows(rows), title="errors on test structures")
    crystals = [atoms for atoms in train if len(atoms) > 1]  # the isolated atom would stretch the energy axis
    parity = parity_figure({"train": residuals(crystals, model.evaluate(crystals)), "test": residuals(test, predictions)})
    write(output / "predicted.xyz", predicted_frames(test, predictions), format="extxyz")

    console.print("1000 steps of molecular dynamics at constant energy ...")
    crystal = bulk("Si", a=5.47, cubic=True).repeat(2)
    crystal.calc = GAPCalculator(model)
    drift = nve_drift(crystal, temperature=300.0, steps=1000, timestep=1.0)
    console.print(f"drift {drift.slope:+.1e} eV/atom/ps at {drift.temperature[len(drift.temperature) // 2 :].mean():.0f} K")

    dft_train, dft_test = (_volumes_and_energies(frames) for frames in (train, test))
    volumes = np.linspace(min(dft_train[0].min(), dft_test[0].min()), max(dft_train[0].max(), dft_test[0].max()), 61)
    curve = equation_of_state(model, bulk("Si", a=5.47), volumes)
    near = np.abs(volumes / 20.4 - 1) < 0.12
    constant, modulus = _lattice(volumes[near], curve.energy[near])
    both = tuple(np.concatenate(pair) for pair in zip(dft_train, dft_test, strict=True))
    close = np.abs(both[0] / 20.4 - 1) < 0.12
    dft_constant, dft_modulus = _lattice(both[0][close], both[1][close])
    seconds = time.perf_counter() - start
    every = rows[-1]
    headline = [
        (f"{every.energy_rmse:.2g} meV/atom", "energy RMSE on test structures"),
        (f"{every.forces_rmse:.2g} eV/Å", "force RMSE on test structures"),
        (f"{constant:.3f} Å", f"lattice constant (DFT {dft_constant:.3f})"),
        (f"{modulus:.0f} GPa", f"bulk modulus (DFT {dft_modulus:.0f})"),
        (f"{drift.slope:+.0e}", "energy drift, eV/atom/ps"),
        (f"{fit_seconds:.0f} s", "for the fit, compilation included"),
    ]
    sections = [
        Section(
            "Errors by configuration type",
            "Structures that the fit has not seen: every fifth of each type.",
            table=Table(ERROR_HEADER, error_rows(rows)),
        ),
        Section(
            "Predicted against DFT",
            "Bars on the energy errors of the test structures are one calibrated standard deviation of the posterior.",
            figure=parity,
        ),
        error_bar_section(model, test, predictions, bars),
        Section(
            "Molecular dynamics",
            f"{len(crystal)} atoms, 1000 steps of 1 fs at constant energy, "
            f"{drift.temperature[len(drift.temperature) // 2 :].mean():.0f} K.",
            figure=drift_figure(drift),
        ),
        Section(
            "Equation of state",
            "Diamond silicon, scaled; lattice constant and bulk modulus are from Birch-Murnaghan fits within 12 % of 20.4 Å³.",
            figure=eos_figure(curve, dft_train, dft_test),
        ),
        Section("Configuration", "The same fit from the command line needs this file.", pre=dump_config(config_of(model))),
        Section("Next", "The model of this page is silicon.gap beside it.", pre=_NEXT),
    ]
    footer = f"gapkit {__version__}; {len(train)} training and {len(test)} test structures (PBE, GPAW); {seconds:.0f} s in all."
    write_page(output / "index.html", "gapkit: silicon, from DFT to dynamics", headline, sections, footer)
    console.print(
        f"lattice constant {constant:.3f} Å (DFT {dft_constant:.3f}), bulk modulus {modulus:.0f} GPa (DFT {dft_modulus:.0f})"
    )
    console.print(f"wrote {output}/index.html, silicon.gap and predicted.xyz in {seconds:.0f} s: open the page in a browser.")


_COUNTS = {"energy": "energies", "forces": "forces", "stress": "stresses"}

_NEXT = """\
gapkit show silicon.gap
gapkit md silicon.gap predicted.xyz --temperature 600 --steps 2000
gapkit fit your_data.xyz -o your.gap"""


def _volumes_and_energies(frames: list[Atoms]) -> tuple[np.ndarray, np.ndarray]:
    curve = [atoms for atoms in frames if atoms.info["config_type"] == "eos"]
    return (
        np.array([atoms.get_volume() / len(atoms) for atoms in curve]),
        np.array([atoms.get_potential_energy() / len(atoms) for atoms in curve]),
    )


def _lattice(volume: np.ndarray, energy: np.ndarray) -> tuple[float, float]:
    """Lattice constant of diamond (8 atoms per cubic cell, Å) and bulk modulus (GPa)."""
    equilibrium, modulus = eos_parameters(volume, energy)
    return (8 * equilibrium) ** (1 / 3), modulus
