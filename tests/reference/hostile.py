"""Training sets and structures that break variances: what `benchmarks/bench_hostile.py` and the tests evaluate."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ase import Atoms
from ase.build import bulk

from gapkit import RBF, SOAP, DotProduct, GAPRegressor, Noise, Term, TwoBody
from tests.conftest import copper_gold, labelled


def rattled(seed: int, size: float) -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.symbols = ["Cu", "Au", "Cu", "Au"]
    atoms.rattle(size, seed=seed)
    return labelled(atoms)


def training_sets() -> dict[str, list[Atoms]]:
    normal = [labelled(copper_gold(k, (True, True, bool(k % 2)))) for k in range(6)]
    lonely = [labelled(Atoms(s, cell=[15.0] * 3, pbc=True)) for s in ("Cu", "Au")]
    crystals = [labelled(bulk(s, a=a, cubic=True)) for s in ("Cu", "Au") for a in (3.6, 3.9)]
    return {
        "duplicated frames": normal[:2] * 10,
        "perfect crystals and isolated atoms": crystals * 3 + lonely,
        "environments 1e-12 to 1e-2 apart": [rattled(k, 10.0**-k) for k in range(1, 13)] + normal[:1],
        "more sparse points than rows": [without_forces(a) for a in normal],
        "noise of 1e-8": normal,
    }


def without_forces(atoms: Atoms) -> Atoms:
    copy = atoms.copy()
    copy.calc = type(atoms.calc)(copy, energy=atoms.get_potential_energy())
    return copy


def models() -> dict[str, GAPRegressor]:
    """Unfitted, by the names of `training_sets`."""
    result = {}
    for k, name in enumerate(training_sets()):
        noise = Noise(1e-8, 1e-8, 1e-8) if name.startswith("noise") else Noise(1e-3, 0.05, 1e-2)
        terms = [Term(SOAP(4.0, 3, 2), DotProduct(4) if k % 2 else RBF(1.0), n_sparse=200)]
        if k % 2:
            terms.append(Term(TwoBody(4.0), RBF(0.5), n_sparse=30))
        result[name] = GAPRegressor(terms, noise=noise, e0=0.0, baseline=None, random_state=0)
    return result


def structures(seed: int) -> Iterator[tuple[str, list[Atoms]]]:
    """Batches by kind: duplicates, crystals, isolated atoms, 1e-12 displacements, single precision, extreme strain, gas."""
    rng = np.random.default_rng(seed)
    one = copper_gold(int(rng.integers(1000)), (True, True, True), n=8)
    yield "duplicates", [one] * 8
    yield "crystals", [bulk(s, a=float(a), cubic=True) for s in ("Cu", "Au") for a in rng.uniform(3.4, 4.2, 8)]
    yield "isolated atoms", [Atoms(s, cell=[20.0] * 3, pbc=p) for s in ("Cu", "Au") for p in (True, False) for _ in range(8)]
    near = [rattled(1, 0.1) for _ in range(16)]
    for atoms in near:
        atoms.positions += rng.normal(0.0, 1e-12, atoms.positions.shape)
    yield "1e-12 from the training set", near
    single = [copper_gold(int(k), (True, True, False)) for k in rng.integers(1000, size=16)]
    yield "single precision", [Atoms(a.symbols, a.positions.astype(np.float32), cell=a.cell, pbc=a.pbc) for a in single]
    strained = []
    for k, factor in zip(rng.integers(1000, size=16), np.geomspace(0.65, 2.0, 16), strict=True):
        atoms = copper_gold(int(k), (True, True, True))
        atoms.set_cell(atoms.cell * factor, scale_atoms=True)
        strained.append(atoms)
    yield "extreme strain", strained
    gas = [Atoms("CuAu2Cu", rng.uniform(0, 6, (4, 3)), cell=[8.0] * 3, pbc=rng.random(3) < 0.5) for _ in range(16)]
    yield "gas", [a for a in gas if a.get_all_distances(mic=True)[~np.eye(4, dtype=bool)].min() > 0.2]
