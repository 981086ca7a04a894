"""Make the silicon data set that ships with gapkit: structures, convergence tests, labels.

Needs GPAW 26.7 (``pip install gpaw==26.7.0 gpaw-data matscipy`` with libxc-dev, libopenblas-dev and libfftw3-dev);
gapkit itself does not.  Run in this order; every finished calculation is kept in ``WORK``, so that a killed run goes on
where it stopped:

    python make_silicon.py converge WORK
    python make_silicon.py structures WORK
    python make_silicon.py label WORK 0 2 &  python make_silicon.py label WORK 1 2
    python make_silicon.py collect WORK silicon.xyz
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.io import read, write

A_SW = 5.431  # Å, lattice constant of the Stillinger-Weber potential that drives the sampling
A_PBE = 5.47  # Å, close to the PBE lattice constant: all sampled cells are scaled by A_PBE / A_SW
CUTOFF = 300.0  # eV, plane waves
SMEARING = 0.1  # eV, Fermi-Dirac; the label is the electronic free energy, which is what the forces derive from
TEST_EVERY = 5  # every fifth frame of a configuration type is the test set


def k_points(atoms: Atoms) -> tuple[int, int, int]:
    """Monkhorst-Pack mesh without Γ; the hot and the defective cells have no gap and need the denser one."""
    k = {2: 8, 8: 6, 15: 6, 16: 4 if atoms.info["config_type"] == "md_300K" else 6}[len(atoms)]
    return (k, k, k)


def stillinger_weber():
    from matscipy.calculators.manybody import Manybody
    from matscipy.calculators.manybody.explicit_forms import StillingerWeber
    from matscipy.calculators.manybody.explicit_forms.stillinger_weber import (
        Stillinger_Weber_PRB_31_5262_Si as parameters,
    )

    return Manybody(**StillingerWeber(parameters))


def molecular_dynamics(atoms: Atoms, temperature: float, n_frames: int, seed: int) -> list[Atoms]:
    """Snapshots 400 fs apart of Langevin dynamics with the Stillinger-Weber potential."""
    from ase.md.langevin import Langevin
    from ase.md.velocitydistribution import thermalize_momenta

    atoms, rng = atoms.copy(), np.random.default_rng(seed)
    atoms.calc = stillinger_weber()
    thermalize_momenta(atoms, temperature_K=2 * temperature, rng=rng)
    dynamics = Langevin(atoms, 2 * units.fs, temperature_K=temperature, friction=0.01 / units.fs, rng=rng, fixcm=False)
    dynamics.run(1000)
    frames = []
    for _ in range(n_frames):
        dynamics.run(200)
        frame = Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell, pbc=True)
        frame.set_cell(frame.cell * (A_PBE / A_SW), scale_atoms=True)
        frames.append(frame)
    return frames


def strained(atoms: Atoms, amplitude: float, rattle: float, rng: np.random.Generator) -> Atoms:
    """Symmetric random strain of the given amplitude, then Gaussian displacements (Å)."""
    strain = rng.uniform(-amplitude, amplitude, (3, 3))
    atoms = atoms.copy()
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
    atoms.positions += rng.normal(0.0, rattle, atoms.positions.shape)
    return atoms


def structures() -> list[Atoms]:
    rng = np.random.default_rng(2026)
    primitive, cubic = bulk("Si", a=A_PBE), bulk("Si", cubic=True, a=A_PBE)
    si16 = bulk("Si", a=A_SW).repeat(2)
    vacancy = si16.copy()
    del vacancy[0]
    sets = {
        "isolated_atom": [Atoms("Si", positions=[(6.0, 5.5, 5.75)], cell=[12.0, 11.0, 11.5], pbc=True)],
        "eos": [bulk("Si", a=a) for a in np.linspace(5.10, 5.90, 13)],
        "strained": [strained(primitive, 0.05, 0.03, rng) for _ in range(20)],
        "rattled": [strained(cubic, 0.02, r, rng) for r in (0.02, 0.04, 0.06, 0.08) for _ in range(5)],
        "md_300K": molecular_dynamics(si16, 300, 8, seed=1),
        "md_1000K": molecular_dynamics(si16, 1000, 12, seed=2),
        "md_2000K": molecular_dynamics(si16, 2000, 10, seed=3),
        "vacancy": molecular_dynamics(vacancy, 600, 10, seed=4),
    }
    frames = []
    for config_type, members in sets.items():
        for k, atoms in enumerate(members):
            split = "test" if k % TEST_EVERY == TEST_EVERY // 2 else "train"
            atoms.info.update(config_type=config_type, split=split)
            frames.append(atoms)
    return frames


def calculator(atoms: Atoms, cutoff: float = CUTOFF, kpts=None, gamma: bool = False, log=None):
    from gpaw import GPAW, PW, FermiDirac

    if len(atoms) == 1:  # spin-polarised triplet, Hund's rule
        return GPAW(mode=PW(cutoff), xc="PBE", hund=True, txt=log)
    return GPAW(
        mode=PW(cutoff),
        xc="PBE",
        kpts={"size": kpts or k_points(atoms), "gamma": gamma},
        occupations=FermiDirac(SMEARING),
        convergence={"density": 1e-5},
        symmetry={} if len(atoms) == 2 else {"point_group": False},  # time reversal stays
        txt=log,
    )


def label(atoms: Atoms, **settings) -> dict:
    atoms = atoms.copy()
    atoms.calc = calculator(atoms, **settings)
    result = {"free_energy": float(atoms.get_potential_energy(force_consistent=True))}
    result["forces"] = atoms.get_forces().tolist()
    if len(atoms) > 1:
        result["stress"] = atoms.get_stress().tolist()
    return result


def write_json(path: Path, content: dict) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content))
    os.replace(part, path)


def converge(work: Path) -> None:
    """Cutoff and k-point tests on one cell of each kind; prints the table of README.md.

    Each row is compared with the finest row of its block (same cell, same varied setting).
    """
    cases = {atoms.info["config_type"]: atoms for atoms in structures()}
    meshes = {"rattled": (4, 6, 8), "md_300K": (2, 4, 6), "md_2000K": (4, 6, 8), "vacancy": (4, 6, 8)}
    blocks = [("rattled", [(cutoff, 4) for cutoff in (200, 250, 300, 400, 600)])]
    blocks += [(name, [(200, k) for k in ks]) for name, ks in meshes.items()]
    for name, settings in blocks:
        results = []
        for cutoff, k in settings:
            path = work / f"converge_{name}_{cutoff}_{k}.json"
            if not path.exists():
                write_json(path, label(cases[name], cutoff=cutoff, kpts=(k, k, k)))
            results.append(json.loads(path.read_text()))
        finest = results[-1]
        for (cutoff, k), result in zip(settings, results, strict=True):
            energy = 1e3 * (result["free_energy"] - finest["free_energy"]) / len(cases[name])
            force = 1e3 * (np.array(result["forces"]) - finest["forces"])
            stress = 160.2177 * np.abs(np.array(result["stress"]) - finest["stress"]).max()
            print(
                f"| {name} | {cutoff} | {k}x{k}x{k} | {energy:.2f} | {np.sqrt(np.mean(force**2)):.1f} "
                f"| {np.abs(force).max():.1f} | {stress:.3f} |",
                flush=True,
            )


def label_part(work: Path, part: int, parts: int) -> None:
    frames = read(work / "structures.xyz", ":")
    for k, atoms in enumerate(frames):
        path = work / f"label_{k:03d}.json"
        if k % parts == part and not path.exists():
            write_json(path, label(atoms, log=str(work / f"label_{k:03d}.log")))
            print(k, atoms.info["config_type"], flush=True)


def collect(work: Path, out: Path) -> None:
    from ase.calculators.singlepoint import SinglePointCalculator

    frames = []
    for k, atoms in enumerate(read(work / "structures.xyz", ":")):
        result = json.loads((work / f"label_{k:03d}.json").read_text())
        labels = {"energy": result["free_energy"], "forces": np.array(result["forces"])}
        if "stress" in result:
            labels["stress"] = np.array(result["stress"])
        atoms.calc = SinglePointCalculator(atoms, **labels)
        frames.append(atoms)
    write(out, frames, format="extxyz")
    print(len(frames), "frames; sha256", hashlib.sha256(out.read_bytes()).hexdigest())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["converge", "structures", "label", "collect"])
    parser.add_argument("work", type=Path)
    parser.add_argument("rest", nargs="*")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if arguments.action == "converge":
        converge(arguments.work)
    elif arguments.action == "structures":
        write(arguments.work / "structures.xyz", structures(), format="extxyz")
    elif arguments.action == "label":
        label_part(arguments.work, int(arguments.rest[0]), int(arguments.rest[1]))
    else:
        collect(arguments.work, Path(arguments.rest[0]))
