"""Descriptors beside dscribe and featomic, one thread, in one run: rattled Si 216 and MgO 64, periodic.

gapkit's times contain its neighbour list; "forces" is the adjoint: values, dE/dr of every atom and the virial for given dE/dx.
The others give derivatives of every feature, which a force needs too.  dscribe has no analytical derivative for periodic
cells, and its cutoff is hard, so that 70 neighbours of a Si atom count where 28 lie within r_cut; both ranges are given.

    pip install featomic
    python benchmarks/bench_descriptors.py          # about 5 minutes
"""

from __future__ import annotations

import time
import tracemalloc
import warnings

import numpy as np
from common import median_time, one_thread, report

one_thread()
warnings.simplefilter("ignore")

import dscribe.descriptors
from ase import Atoms
from ase.build import bulk

from gapkit import ACSF, SOAP
from gapkit.gp.observations import forces_and_stresses
from gapkit.neighbors import NeighborList

R_CUT, N_MAX, L_MAX, SIGMA = 5.0, 8, 6, 0.5
G2 = [(1.0 / (2 * r**2), 0.0) for r in np.linspace(1.0, 6.0, 7)] + [(4.0, r) for r in np.linspace(1.5, 5.5, 6)]
G4 = [(eta, zeta, sign) for eta in (0.001, 0.01, 0.03, 0.08, 0.15, 0.3) for zeta in (1, 4, 16) for sign in (-1.0, 1.0)]


def systems() -> dict[str, Atoms]:
    result = {"Si 216": bulk("Si", cubic=True).repeat(3), "MgO 64": bulk("MgO", "rocksalt", a=4.21, cubic=True).repeat(2)}
    for atoms in result.values():
        atoms.rattle(0.05, seed=1)
        atoms.wrap()
    return result


def forces(descriptor, atoms: Atoms, gradient: np.ndarray) -> np.ndarray:
    """What a step of molecular dynamics needs of a descriptor."""
    neighbors = NeighborList.from_atoms([atoms], descriptor.neighbor_range)
    features = descriptor.compute(neighbors)
    return forces_and_stresses(neighbors, descriptor.pullback(features, gradient))[0]


def featomic_calculator(radius: float):
    from featomic import SoapPowerSpectrum

    return SoapPowerSpectrum(
        cutoff={"radius": radius, "smoothing": {"type": "ShiftedCosine", "width": 1.0}},
        density={"type": "Gaussian", "width": SIGMA},
        basis={"type": "TensorProduct", "max_angular": L_MAX, "radial": {"type": "Gto", "max_radial": N_MAX - 1}},
    )


def seconds(function, repeats: int = 1) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


def soap_rows(name: str, atoms: Atoms) -> list[list[object]]:
    species = sorted(set(atoms.symbols))
    theirs = dscribe.descriptors.SOAP(r_cut=R_CUT, n_max=N_MAX, l_max=L_MAX, sigma=SIGMA, species=species, periodic=True)
    ours = {
        "hard, r_cut + 1.86": SOAP(R_CUT, N_MAX, L_MAX, SIGMA, cutoff_width=None, normalize=False).fit([atoms]),
        "smooth, r_cut": SOAP(R_CUT, N_MAX, L_MAX, SIGMA).fit([atoms]),
    }
    gradients = {k: np.random.default_rng(0).standard_normal((len(atoms), d.n_features)) for k, d in ours.items()}
    values = {"dscribe": lambda: theirs.create(atoms)}
    adjoint = {}
    for key, descriptor in ours.items():
        values[f"gapkit {key}"] = lambda d=descriptor: d.transform([atoms])
        adjoint[f"gapkit {key}"] = lambda d=descriptor, g=gradients[key]: forces(d, atoms, g)
    for radius in (R_CUT, R_CUT + 1.858):
        calculator = featomic_calculator(radius)
        values[f"featomic {radius:g} Å"] = lambda c=calculator: c.compute(atoms)
        adjoint[f"featomic {radius:g} Å"] = lambda c=calculator: c.compute(atoms, gradients=["positions", "strain"])
    of_values, of_forces = median_time(values), median_time(adjoint)
    difference = np.abs(values["gapkit hard, r_cut + 1.86"]() - values["dscribe"]()).max() / np.abs(values["dscribe"]()).max()
    of_forces["dscribe"] = seconds(lambda: theirs.derivatives(atoms, attach=True, method="numerical"))
    counts = {
        f"gapkit {k}": len(NeighborList.from_atoms([atoms], d.neighbor_range).centers) / len(atoms) for k, d in ours.items()
    }
    counts |= {"dscribe": counts["gapkit hard, r_cut + 1.86"]}
    counts |= {f"featomic {R_CUT:g} Å": counts["gapkit smooth, r_cut"]}
    counts |= {f"featomic {R_CUT + 1.858:g} Å": counts["gapkit hard, r_cut + 1.86"]}
    print(f"{name}: values equal dscribe's to {difference:.1e} of the largest", flush=True)
    return [
        [name, who, counts[who], 1e3 * of_values[who], of_values["dscribe"] / of_values[who], 1e3 * of_forces[who],
         of_forces["dscribe"] / of_forces[who]]
        for who in ("dscribe", *[k for k in of_values if k != "dscribe"])
    ]  # fmt: skip


def acsf_rows(name: str, atoms: Atoms) -> list[list[object]]:
    species = sorted(set(atoms.symbols))
    theirs = dscribe.descriptors.ACSF(r_cut=6.0, g2_params=G2, g4_params=G4, species=species, periodic=True)
    ours = ACSF(6.0, g2_params=G2, g4_params=G4).fit([atoms])
    gradient = np.random.default_rng(0).standard_normal((len(atoms), ours.n_features))
    times = median_time({"dscribe": lambda: theirs.create(atoms), "gapkit": lambda: ours.transform([atoms])}, repeats=3)
    adjoint = seconds(lambda: forces(ours, atoms, gradient), repeats=3)
    one = seconds(lambda: theirs.derivatives(atoms, attach=True, method="numerical", include=[0]))
    difference = np.abs(ours.transform([atoms]) - theirs.create(atoms)).max()
    print(f"{name}: {ours.n_features} symmetry functions equal dscribe's to {difference:.1e}", flush=True)
    return [
        [name, "dscribe, one displaced atom x N", 1e3 * times["dscribe"], 1.0, 1e3 * one * len(atoms), 1.0],
        [name, "gapkit", 1e3 * times["gapkit"], times["dscribe"] / times["gapkit"], 1e3 * adjoint, one * len(atoms) / adjoint],
    ]


def species_rows() -> list[list[object]]:
    """Time of the adjoint of the pair part alone, for the same atoms called one to five species."""
    rows = []
    for n_species in (1, 2, 5):
        atoms = systems()["Si 216"]
        atoms.numbers = np.random.default_rng(0).permutation(np.arange(216) % n_species) + 12
        descriptor = SOAP(R_CUT, N_MAX, L_MAX, SIGMA).fit([atoms])
        neighbors = NeighborList.from_atoms([atoms], R_CUT)
        features = descriptor.compute(neighbors)
        gradient = np.random.default_rng(0).standard_normal(features.values.shape)
        mixed = SOAP(R_CUT, N_MAX, L_MAX, SIGMA, compression={"mode": "mixed", "channels": 64}).fit([atoms])
        few = mixed.compute(neighbors)
        full = seconds(lambda d=descriptor, f=features, g=gradient: d.pullback(f, g), 5)
        compressed = seconds(lambda d=mixed, f=few: d.pullback(f, f.values), 5)
        rows.append([n_species, descriptor.n_features, 1e6 * full / 216, few.values.shape[1], 1e6 * compressed / 216])
    return rows


def memory_rows() -> list[list[object]]:
    """Peak of new arrays during values and adjoint."""
    rows = []
    for n in (3, 6, 9):
        atoms = bulk("Si", cubic=True).repeat(n)
        descriptor = SOAP(R_CUT, N_MAX, L_MAX, SIGMA).fit([atoms])
        gradient = np.ones((len(atoms), descriptor.n_features))
        tracemalloc.start()
        forces(descriptor, atoms, gradient)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        rows.append([len(atoms), peak / 2**20, peak / len(atoms) / 1024])
    return rows


def main() -> None:
    for atoms in systems().values():  # compile first
        for descriptor in (SOAP(R_CUT, N_MAX, L_MAX, SIGMA).fit([atoms]), ACSF(6.0, g2_params=G2, g4_params=G4).fit([atoms])):
            forces(descriptor, atoms, np.ones((len(atoms), descriptor.n_features)))
    soap, acsf = [], []
    for name, atoms in systems().items():
        soap += soap_rows(name, atoms)
        acsf += acsf_rows(name, atoms)
    headers = {
        "soap": ("system", "SOAP", "neighbours", "values ms", "x dscribe", "+ forces, virial ms", "x dscribe"),
        "acsf": ("system", "50 functions per species", "values ms", "x dscribe", "+ forces, virial ms", "x dscribe"),
        "species": ("species", "features", "pullback us/atom", "features, mixed", "pullback us/atom"),
        "memory": ("atoms", "peak MiB", "KiB/atom"),
    }
    tables = {"soap": soap, "acsf": acsf, "species": species_rows(), "memory": memory_rows()}
    for key, header in headers.items():
        print()
        report(f"descriptors_{key}", header, tables[key])


if __name__ == "__main__":
    main()
