"""Speed and memory beside gap_fit and quippy (quippy-ase), one thread: fit 2720 Si atoms, evaluate 512 of them.

Both fit the same frames (Stillinger-Weber labels) with 1000 sparse SOAP points, n_max 8, l_max 6, r_cut 5.

    python benchmarks/bench_silicon.py
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from common import measured, median_time, one_thread, peak_gb, report, step_of

one_thread()

N_SPARSE, R_CUT, N_MAX, L_MAX = 1000, 5.0, 8, 6


def frames():
    """40 frames of 64 and 20 of 8 rattled and strained Si atoms: 2720 atoms with energies, forces and stresses."""
    from ase.build import bulk
    from ase.calculators.singlepoint import SinglePointCalculator
    from matscipy.calculators.manybody import Manybody
    from matscipy.calculators.manybody.explicit_forms import StillingerWeber
    from matscipy.calculators.manybody.explicit_forms.stillinger_weber import Stillinger_Weber_PRB_31_5262_Si as parameters

    rng, result = np.random.default_rng(0), []
    for k in range(60):
        atoms = bulk("Si", a=5.431, cubic=True)
        atoms = atoms.repeat(2) if k < 40 else atoms
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.03 * rng.uniform(-1, 1, (3, 3))), scale_atoms=True)
        atoms.rattle(0.05 + 0.15 * rng.random(), rng=rng)
        atoms.calc = Manybody(**StillingerWeber(parameters))
        labels = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces(), "stress": atoms.get_stress()}
        atoms.calc = SinglePointCalculator(atoms, **labels)
        result.append(atoms)
    return result


def write_for_gap_fit(path: Path) -> None:
    """gap_fit reads a virial only as nine plain numbers."""
    from ase.io import write
    from ase.stress import voigt_6_to_full_3x3_stress

    plain = []
    for atoms in frames():
        copy = atoms.copy()
        copy.info["dft_energy"] = atoms.get_potential_energy()
        copy.info["dft_virial"] = (-atoms.get_volume() * voigt_6_to_full_3x3_stress(atoms.get_stress())).ravel()
        copy.arrays["dft_force"] = atoms.get_forces()
        plain.append(copy)
    write(path, plain, format="extxyz")


def model():
    from gapkit import SOAP, DotProduct, GAPRegressor, Noise, Term

    term = Term(SOAP(R_CUT, N_MAX, L_MAX, 0.5), DotProduct(4), n_sparse=N_SPARSE)
    return GAPRegressor([term], noise=Noise(1e-3, 0.05, 5e-3), random_state=0)


def fit_gapkit(output: str) -> None:
    """Run in a process of its own: prints its times and memory."""
    import gapkit  # noqa: F401

    data = frames()
    warnings.simplefilter("ignore")
    model().fit(data[-2:])  # compiled code and tables are ready
    before, cpu, wall = peak_gb(), time.process_time(), time.perf_counter()
    fitted = model().fit(data)
    result = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall, "gb": peak_gb(), "gb_before": before}
    fitted.save(output)
    print(json.dumps({**result, "labels": fitted.n_labels_, "n_sparse": fitted.n_sparse_}))


def evaluate(gap_xml: Path, gap_model: Path) -> list[list[object]]:
    from ase.build import bulk
    from quippy.potential import Potential

    import gapkit

    atoms = bulk("Si", a=5.431, cubic=True).repeat(4)
    atoms.rattle(0.05, seed=1)
    loaded = gapkit.load(gap_model)
    calculators = {"quippy": Potential(param_filename=str(gap_xml)), "gapkit": gapkit.GAPCalculator(loaded)}
    runs = {name: step_of(calculator, atoms) for name, calculator in calculators.items()}
    exact = lambda: loaded.evaluate([atoms], uncertainty="exact", std=("energies",))  # noqa: E731
    exact()
    runs["gapkit + std of local energies"] = exact
    times = median_time(runs, repeats=7)
    return [[name, 1e6 * t / len(atoms), times["quippy"] / t] for name, t in times.items()]


def main() -> None:
    python = sys.executable
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cache = {"NUMBA_CACHE_DIR": str(folder / "cache")}
        first = (
            "from ase.build import bulk; import gapkit, time; t = time.perf_counter();"
            "s = gapkit.SOAP(); a = bulk('Si'); m = gapkit.GAPRegressor([gapkit.Term(s, gapkit.DotProduct(), n_sparse=2)]);"
            "from ase.calculators.singlepoint import SinglePointCalculator as C; a.rattle(.1);"
            "a.calc = C(a, energy=0., forces=a.positions * 0, stress=[0.] * 6); m.fit([a]); m.evaluate([a]);"
            "print(time.perf_counter() - t)"
        )
        compile_cold = float(measured([python, "-W", "ignore", "-c", first], **cache)["output"].split()[-1])
        compile_warm = float(measured([python, "-W", "ignore", "-c", first], **cache)["output"].split()[-1])
        imports = {
            name: (lambda code=code: measured([python, "-c", code]))
            for name, code in {
                "import gapkit": "import gapkit",
                "ASE and scikit-learn alone": "import ase, sklearn.base",
            }.items()
        }
        imported = median_time(imports)
        write_for_gap_fit(folder / "train.xyz")
        gap = (
            f"{{soap cutoff={R_CUT} cutoff_transition_width=1.0 n_max={N_MAX} l_max={L_MAX} atom_sigma=0.5 zeta=4 delta=1.0 "
            f"covariance_type=dot_product n_sparse={N_SPARSE} sparse_method=cur_points}}"
        )
        peer = measured(
            [
                str(Path(python).parent / "gap_fit"), "at_file=train.xyz", f"gap={gap}", "default_sigma={0.001 0.05 0.05 0.0}",
                "energy_parameter_name=dft_energy", "force_parameter_name=dft_force", "virial_parameter_name=dft_virial",
                "e0=0.0", "gp_file=gap.xml", "do_copy_at_file=F", "sparse_separate_file=F", "rnd_seed=1",
            ],
            cwd=folder,
        )  # fmt: skip
        ours = json.loads(measured([python, __file__, "fit", str(folder / "model.gap")])["output"].splitlines()[-1])
        load = "import gapkit, time; t = time.perf_counter(); gapkit.load('model.gap'); print(time.perf_counter() - t)"
        seconds = sorted(float(measured([python, "-c", load], cwd=folder)["output"]) for _ in range(5))[2]
        rows = evaluate(folder / "gap.xml", folder / "model.gap")
        size = (folder / "model.gap").stat().st_size / 1e6
    counted = [line.strip() for line in peer["output"].splitlines() if "Number of" in line and "found" in line.lower()]
    print("gap_fit read:", "; ".join(counted) or "(its log says nothing)")
    print("gapkit labels:", ours["labels"], "sparse points:", ours["n_sparse"])
    report(
        "silicon_fit",
        ("fit of 2720 Si atoms, E + F + stress", "CPU s", "peak GB", "GB over imports and data", "times faster"),
        [
            ["gap_fit", peer["cpu"], peer["peak_gb"], "", 1.0],
            ["gapkit", ours["cpu"], ours["gb"], ours["gb"] - ours["gb_before"], peer["cpu"] / ours["cpu"]],
        ],
    )
    print()
    report("silicon_evaluate", ("energy + forces + stress of 512 Si atoms", "µs/atom", "times faster"), rows)
    print()
    report(
        "silicon_start",
        ("start", "s"),
        [
            *([name, seconds] for name, seconds in imported.items()),
            [f"load of the model ({size:.0f} MB, with posterior)", seconds],
            ["first fit and evaluation, compilation included", compile_cold],
            ["the same in a later process", compile_warm],
        ],
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["fit"]:
        fit_gapkit(sys.argv[2])
    else:
        main()
