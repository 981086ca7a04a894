"""QUIP itself: gap_fit makes models, quippy evaluates them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

GAP_FIT = Path(sys.executable).parent / "gap_fit"

needs_quippy = pytest.mark.skipif(not GAP_FIT.exists(), reason="quippy-ase is only built for Linux on x86-64")


class QuipResult(NamedTuple):
    energy: float
    energies: np.ndarray
    forces: np.ndarray
    virial: np.ndarray


def write_training(path: Path, frames: list[Atoms]) -> None:
    """Frames with labels under the keys that `gap_fit` here is told."""
    written = []
    for atoms in frames:
        new = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        results = atoms.calc.results
        new.info["dft_energy"] = results["energy"]
        new.arrays["dft_force"] = np.array(results["forces"])
        if "stress" in results:
            xx, yy, zz, yz, xz, xy = -atoms.get_volume() * np.array(results["stress"])
            new.info["dft_virial"] = np.array([xx, xy, xz, xy, yy, yz, xz, yz, zz])
        if "config_type" in atoms.info:
            new.info["config_type"] = atoms.info["config_type"]
        written.append(new)
    write(path, written, format="extxyz")


def gap_fit(folder: Path, frames: list[Atoms], descriptors: str, *options: str) -> Path:
    """Fit with QUIP; returns the XML."""
    write_training(folder / "train.xyz", frames)
    command = [
        str(GAP_FIT),
        "at_file=train.xyz",
        f"gap={{{descriptors}}}",
        "default_sigma={0.001 0.05 0.05 0.0}",
        "energy_parameter_name=dft_energy",
        "force_parameter_name=dft_force",
        "virial_parameter_name=dft_virial",
        "sparse_jitter=1e-8",
        "rnd_seed=1",
        "do_copy_at_file=F",
        "gp_file=gap.xml",
        *options,
    ]
    if not any(option.startswith("e0") for option in options):
        command.append("e0={Cu:-0.3:Au:0.2}")
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    if done.returncode or not (folder / "gap.xml").exists():
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    return folder / "gap.xml"


def quippy(path: Path, frames: list[Atoms]) -> list[QuipResult]:
    """What QUIP says of structures; not for soap_turbo, of which it keeps one basis in a process."""
    from quippy.potential import Potential

    potential, results = Potential("", param_filename=str(path)), []
    for atoms in frames:
        bare = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        potential.calculate(bare, properties=["energy", "forces", "virial", "local_energy"])
        extra = potential.extra_results
        found = potential.results
        results.append(QuipResult(found["energy"], extra["atoms"]["local_energy"], found["forces"], extra["config"]["virial"]))
    return results


def quippy_alone(path: Path, frames: list[Atoms]) -> list[QuipResult]:
    """The same in a process of its own, for soap_turbo: QUIP keeps the first basis of a process for all."""
    write(path.parent / "structures.traj", [Atoms(a.numbers, positions=a.positions, cell=a.cell, pbc=a.pbc) for a in frames])
    script = (
        "import sys, numpy as np; from pathlib import Path; from ase.io import read; from tests.quip_oracle import quippy;"
        "found = quippy(Path(sys.argv[1]), read(sys.argv[2], ':'));"
        "np.savez(sys.argv[3], **{f'{k}_{n}': v for k, r in enumerate(found) for n, v in r._asdict().items()})"
    )
    names = [str(path), str(path.parent / "structures.traj"), str(path.parent / "quippy.npz")]
    root = Path(__file__).resolve().parents[1]
    subprocess.run([sys.executable, "-c", script, *names], check=True, capture_output=True, cwd=root)
    found = np.load(path.parent / "quippy.npz")
    return [QuipResult(*(found[f"{k}_{name}"] for name in QuipResult._fields)) for k in range(len(frames))]
