"""Properties of diamond silicon from DFT, with the settings of the silicon set: what `gapkit props --reference` compares with.

Needs GPAW as `make_silicon.py` does, and phonopy.  Every finished calculation is kept in ``WORK``:

    python make_silicon_properties.py WORK silicon_properties.json

Lattice constant and bulk modulus: Birch-Murnaghan through the volumes of the set within 12 % of 20.4 Å³, as `gapkit demo` does.
Elastic constants: stresses at strains of ±0.005; under shear the sublattices move to where their force vanishes, by one linear
step.  Phonons: one displacement of 0.01 Å in 2 x 2 x 2 primitive cells, which is exact at Γ, X and L.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.eos import EquationOfState
from ase.io import read
from make_silicon import label, write_json

STRAIN = 0.005
SHIFT = 0.01  # Å, of one sublattice against the other
POINTS = {"Γ": (0, 0, 0), "X": (0.5, 0, 0.5), "L": (0.5, 0.5, 0.5)}


def kept(work: Path, name: str, atoms: Atoms, **settings) -> dict:
    path = work / f"{name}.json"
    if not path.exists():
        atoms.info["config_type"] = "properties"
        write_json(path, label(atoms, log=str(work / f"{name}.log"), **settings))
    print(name, flush=True)
    return json.loads(path.read_text())


def strained(a: float, tensor: np.ndarray, shift: float = 0.0) -> Atoms:
    atoms = bulk("Si", a=a)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + tensor), scale_atoms=True)
    atoms.positions[1, 0] += shift
    return atoms


def elastic(work: Path, a: float) -> dict[str, float]:
    pull = np.diag([STRAIN, 0.0, 0.0])
    plus, minus = (np.array(kept(work, f"pull{s:+d}", strained(a, s * pull))["stress"]) for s in (1, -1))
    slope = (plus - minus) / (2 * STRAIN) / units.GPa
    shear = np.zeros((3, 3))
    shear[1, 2] = shear[2, 1] = STRAIN / 2
    here, there = (kept(work, f"shear{n}", strained(a, shear, n * SHIFT)) for n in (0, 1))
    back = kept(work, "shear_back", strained(a, -shear))  # the mesh need not have the symmetry that makes this the opposite
    f0, f1, f2 = (result["forces"][1][0] - result["forces"][0][0] for result in (here, there, back))
    force, stress = (f0 - f2) / 2, (here["stress"][3] - back["stress"][3]) / 2
    share = force / (f0 - f1)  # of SHIFT, at which the force vanishes
    stress += share * (there["stress"][3] - here["stress"][3])
    return {"C11": slope[0], "C12": (slope[1] + slope[2]) / 2, "C44": stress / STRAIN / units.GPa}


def phonons(work: Path, a: float) -> dict[str, float]:
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    cell = bulk("Si", a=a)
    primitive = PhonopyAtoms(symbols=["Si"] * 2, cell=cell.cell.array, scaled_positions=cell.get_scaled_positions())
    phonon = Phonopy(primitive, supercell_matrix=2 * np.eye(3, dtype=int), primitive_matrix="P")
    phonon.generate_displacements(distance=0.01)
    perfect = phonon.supercell
    rest = Atoms(perfect.symbols, cell=perfect.cell, scaled_positions=perfect.scaled_positions, pbc=True)
    offset = np.array(kept(work, "phonon_rest", rest, kpts=(4, 4, 4))["forces"])  # 2 meV/Å, since the mesh is not symmetric
    forces = []
    for k, frame in enumerate(phonon.supercells_with_displacements):
        atoms = Atoms(frame.symbols, cell=frame.cell, scaled_positions=frame.scaled_positions, pbc=True)
        forces.append(np.array(kept(work, f"phonon{k}", atoms, kpts=(4, 4, 4))["forces"]) - offset)
    phonon.forces = forces
    phonon.produce_force_constants()
    phonon.symmetrize_force_constants()
    return {
        f"phonon_{name}_{k + 1}": float(f)
        for name, q in POINTS.items()
        for k, f in enumerate(phonon.run_qpoints([q]).frequencies[0])
        if name != "Γ" or k > 2  # the others are 0 by translation
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    curve = [x for x in read(Path(__file__).parent / "silicon.xyz", ":") if x.info["config_type"] == "eos"]
    volume = np.array([x.get_volume() / 2 for x in curve])
    energy = np.array([x.get_potential_energy() / 2 for x in curve])
    near = np.abs(volume / 20.4 - 1) < 0.12
    v0, _, modulus = EquationOfState(volume[near], energy[near], eos="birchmurnaghan").fit()
    a0 = float((8 * v0) ** (1 / 3))
    result = {"a": a0, "bulk_modulus": float(modulus / units.GPa)}
    result.update(elastic(arguments.work, a0))
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    result.update(phonons(arguments.work, a0))
    arguments.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
