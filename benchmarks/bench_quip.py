"""QUIP's potentials in gapkit and in quippy: energy, forces and stress of the same 500 atoms, one thread, one process.

One model of Si (n_max 8, l_max 6, 1000 sparse points) and one of two species with pairs, triplets and soap, both made here with
gap_fit, and the models of ../shared/data/quip_models.  Every evaluation is a step of molecular dynamics through the public
`GAPCalculator`, from the XML as it is.

    python benchmarks/bench_quip.py
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
from common import SHARED, measured, median_time, one_thread, report, step_of

one_thread()

MODELS = SHARED / "quip_models"
SOAP = "soap l_max=6 n_max=8 atom_sigma=0.5 cutoff={} cutoff_transition_width=1.0 covariance_type=dot_product zeta=4 delta=1.0 "
SOAP += "n_sparse={} sparse_method=random"
PAIR = "distance_2b cutoff=5.0 cutoff_transition_width=1.0 covariance_type=ard_se delta=1.5 theta_uniform=1.0 n_sparse=15 "
PAIR += "sparse_method=uniform"
TRIPLET = "angle_3b cutoff=3.2 cutoff_transition_width=0.6 covariance_type=ard_se delta=0.3 theta_fac=0.5 n_sparse=100 "
TRIPLET += "sparse_method=uniform"


def crystal(symbol: str, n: int, seed: int, spread: float, *, gold: bool = False):
    """Rattled crystal of n³ cubic cells, with gold on half of the sites if asked."""
    from ase.build import bulk

    rng = np.random.default_rng(seed)
    atoms = bulk(symbol, cubic=True).repeat(n)
    if gold:
        atoms.set_cell(atoms.cell.array * 1.06, scale_atoms=True)
        atoms.numbers[rng.random(len(atoms)) < 0.5] = 79
    atoms.positions += rng.normal(0.0, spread, atoms.positions.shape)
    return atoms


def gap_fit(folder: Path, frames, calculator, descriptors: str, e0: str) -> Path:
    from ase.io import write

    folder.mkdir()
    for atoms in frames:
        atoms.calc = calculator()
        atoms.info["dft_energy"], atoms.arrays["dft_force"] = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = None
    write(folder / "train.xyz", frames, format="extxyz")
    command = [str(Path(sys.executable).parent / "gap_fit"), "at_file=train.xyz", f"gap={{{descriptors}}}", e0]
    command += ["default_sigma={0.001 0.05 0.05 0.0}", "energy_parameter_name=dft_energy", "force_parameter_name=dft_force"]
    command += ["sparse_jitter=1e-8", "do_copy_at_file=F", "gp_file=gap.xml", "rnd_seed=1"]
    measured(command, cwd=folder)
    return folder / "gap.xml"


def stillinger_weber():
    from matscipy.calculators.manybody import Manybody
    from matscipy.calculators.manybody.explicit_forms import StillingerWeber
    from matscipy.calculators.manybody.explicit_forms.stillinger_weber import Stillinger_Weber_PRB_31_5262_Si as parameters

    return Manybody(**StillingerWeber(parameters))


def compare(name: str, path: Path, atoms, asked: float) -> list[object]:
    from quippy.potential import Potential

    import gapkit

    calculators = {"quippy": Potential(param_filename=str(path)), "gapkit": gapkit.GAPCalculator(gapkit.load(path))}
    forces = {which: calculator.get_forces(atoms) for which, calculator in calculators.items()}
    runs = {which: step_of(calculator, atoms) for which, calculator in calculators.items()}
    times = median_time(runs)
    per_atom = {which: 1e6 * t / len(atoms) for which, t in times.items()}
    difference = np.abs(forces["gapkit"] - forces["quippy"]).max()
    return [
        name,
        len(atoms),
        per_atom["quippy"],
        per_atom["gapkit"],
        times["quippy"] / times["gapkit"],
        asked,
        float(difference),
    ]


def main() -> None:
    from ase.calculators.emt import EMT

    warnings.simplefilter("ignore")
    silicon, alloy = crystal("Si", 4, 1, 0.05), crystal("Cu", 5, 1, 0.08, gold=True)
    with tempfile.TemporaryDirectory() as name:
        of_si = [crystal("Si", 2, seed, 0.1) for seed in range(20)]
        of_alloy = [crystal("Cu", 2, seed, 0.1, gold=True) for seed in range(20)]
        bodies = f"{PAIR} : {TRIPLET} : {SOAP.format(4.5, 300)}"
        made = gap_fit(Path(name) / "si", of_si, stillinger_weber, SOAP.format(5.0, 1000), "e0=0.0")
        rows = [compare("Si, soap 8/6, 1000 points", made, silicon, 20)]
        made = gap_fit(Path(name) / "cuau", of_alloy, EMT, bodies, "e0={Cu:0.0:Au:0.0}")
        rows.append(compare("CuAu, 2b + 3b + soap 8/6", made, alloy, 10))
    if MODELS.is_dir():
        rows.append(compare("LAMMPS example Si, soap 4/4", MODELS / "lammps_example_Si" / "gap_example.xml", silicon, 20))
        rows.append(compare("gap_fit_si, 2b + 3b + soap 6/4", MODELS / "gap_fit_si" / "gap_si.xml", silicon, 10))
        rows.append(compare("gap_fit_cuau, 2b + 3b + soap 4/3", MODELS / "gap_fit_cuau" / "gap_cuau.xml", alloy, 10))
        for element in ("Cu", "Al"):
            path = MODELS / f"nanocluster_{element}" / f"{element}_gap.xml"
            rows.append(compare(f"nanocluster {element}, soap 8/8", path, crystal(element, 5, 1, 0.05), 20))
    report("quip", ("model", "atoms", "quippy µs/atom", "gapkit", "ratio", "asked", "largest force difference"), rows)


if __name__ == "__main__":
    main()
