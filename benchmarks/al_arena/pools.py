"""Pools of structures with cheap labels: every class of a pool is made here, by its own seeded code."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ase import Atoms, units
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta

Rng = np.random.Generator


def silicon() -> Callable:
    from matscipy.calculators.manybody import Manybody
    from matscipy.calculators.manybody.explicit_forms import StillingerWeber
    from matscipy.calculators.manybody.explicit_forms.stillinger_weber import Stillinger_Weber_PRB_31_5262_Si as parameters

    return lambda: Manybody(**StillingerWeber(parameters))


def silicon_carbide() -> Callable:
    from matscipy.calculators.manybody import Manybody
    from matscipy.calculators.manybody.explicit_forms import TersoffBrenner
    from matscipy.calculators.manybody.explicit_forms.tersoff_brenner import Tersoff_PRB_39_5566_Si_C as parameters

    return lambda: Manybody(**TersoffBrenner(parameters))


def argon_like():
    """A Lennard-Jones solid whose bonds are as strong as a metal's, smooth at its cutoff."""
    return LennardJones(sigma=2.55, epsilon=0.35, rc=6.0, ro=4.8, smooth=True)


def strained(atoms: Atoms, size: float, rng: Rng) -> Atoms:
    atoms = atoms.copy()
    strain = size * rng.uniform(-1, 1, (3, 3))
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.5 * (strain + strain.T)), scale_atoms=True)
    atoms.positions += rng.normal(0.0, 0.03, atoms.positions.shape)
    return atoms


def without(atoms: Atoms, rng: Rng, number: int | None = None) -> Atoms:
    atoms = atoms.copy()
    del atoms[int(rng.choice([a.index for a in atoms if number in (None, a.number)]))]
    return atoms


def trajectory(start: Atoms, calculator, temperature: float, n: int, rng: Rng, *, every: int, warm: int = 150) -> list[Atoms]:
    """``n`` frames, ``every`` steps apart."""
    atoms = start.copy()
    atoms.calc = calculator()
    thermalize_momenta(atoms, temperature_K=temperature, rng=rng)
    light = atoms.get_masses().min() < 20
    step = (1.0 if light else 2.0) * units.fs
    dynamics = Langevin(atoms, step, temperature_K=temperature, friction=0.02 / units.fs, rng=rng, fixcm=False)
    dynamics.run(warm)
    frames = []
    for _ in range(n):
        dynamics.run(every)
        frames.append(atoms.copy())
    return frames


def liquid(start: Atoms, calculator, hot: float, temperature: float, n: int, rng: Rng, *, every: int) -> list[Atoms]:
    """Melted at ``hot``, then run at ``temperature``."""
    molten = trajectory(start, calculator, hot, 1, rng, every=1, warm=600)[-1]
    return trajectory(molten, calculator, temperature, n, rng, every=every, warm=200)


def _labelled(classes: dict[str, list[Atoms]], calculator) -> list[Atoms]:
    result = []
    for name, frames in classes.items():
        for atoms in frames:
            clean = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
            clean.calc = calculator()
            labels = {"energy": clean.get_potential_energy(), "forces": clean.get_forces()}
            clean.calc = SinglePointCalculator(clean, **labels)
            clean.info["class"] = name  # not config_type: no noise of its own, no hint to the model
            result.append(clean)
    return result


def si(n: Callable[[int], int], rng: Rng) -> list[Atoms]:
    """Diamond at three temperatures, a liquid, a vacancy, strain: as in the pilot study."""
    sw, cell = silicon(), bulk("Si", a=5.431, cubic=True).repeat((2, 2, 1))
    classes = {
        "300 K": trajectory(cell, sw, 300, n(200), rng, every=10),
        "1000 K": trajectory(cell, sw, 1000, n(150), rng, every=10),
        "1600 K": trajectory(cell, sw, 1600, n(70), rng, every=10),
        "liquid": liquid(cell, sw, 5000, 2200, n(50), rng, every=10),
        "vacancy": trajectory(without(cell, rng), sw, 800, n(30), rng, every=20),
        "strain": [strained(cell, 0.06, rng) for _ in range(n(32))],
    }
    return _labelled(classes, sw)


def cu(n: Callable[[int], int], rng: Rng) -> list[Atoms]:
    """Bulk, a (111) slab, a vacancy, a liquid."""
    cell = bulk("Cu", cubic=True).repeat(2)
    slab = fcc111("Cu", (2, 2, 5), vacuum=5.0, periodic=True)
    classes = {
        "bulk 300 K": trajectory(cell, EMT, 300, n(200), rng, every=10),
        "bulk 900 K": trajectory(cell, EMT, 900, n(130), rng, every=10),
        "surface": trajectory(slab, EMT, 500, n(70), rng, every=10),
        "vacancy": trajectory(without(cell, rng), EMT, 700, n(40), rng, every=20),
        "liquid": liquid(strained(cell, 0.0, rng), EMT, 4000, 1700, n(60), rng, every=10),
        "strain": [strained(cell, 0.06, rng) for _ in range(n(30))],
    }
    return _labelled(classes, EMT)


def sic(n: Callable[[int], int], rng: Rng) -> list[Atoms]:
    """Polytypes 3C and 2H, vacancies, strain; no liquid, whose bonds cross Tersoff's sharp cutoff all the time."""
    tersoff = silicon_carbide()
    cubic = bulk("SiC", "zincblende", a=4.32, cubic=True).repeat((2, 2, 1))
    hexagonal = bulk("SiC", "wurtzite", a=3.05, c=5.0).repeat((3, 3, 1))
    classes = {
        "3C 300 K": trajectory(cubic, tersoff, 300, n(180), rng, every=15),
        "3C 2000 K": trajectory(cubic, tersoff, 2000, n(110), rng, every=15),
        "2H 1000 K": trajectory(hexagonal, tersoff, 1000, n(90), rng, every=15),
        "C vacancy": trajectory(without(cubic, rng, 6), tersoff, 1500, n(50), rng, every=25),
        "Si vacancy": trajectory(without(cubic, rng, 14), tersoff, 1500, n(50), rng, every=25),
        "strain": [strained(cubic, 0.06, rng) for _ in range(n(40))],
    }
    return _labelled(classes, tersoff)


def gfn2(n: Callable[[int], int], rng: Rng) -> list[Atoms]:
    """Ethanol, water clusters, both together; GFN2-xTB."""
    from ase.build import molecule
    from tblite.ase import TBLite

    def xtb():
        return TBLite(method="GFN2-xTB", verbosity=0)

    def cluster(parts: list[str]) -> Atoms:
        result, positions = Atoms(), [(0, 0, 0), (3.2, 0, 0), (0, 3.2, 0), (3.2, 3.2, 0)]
        for name, place in zip(parts, positions, strict=False):
            one = molecule(name)
            one.rotate(float(rng.uniform(0, 360)), rng.normal(size=3), center="COM")
            one.translate(np.array(place) - one.get_center_of_mass())
            result += one
        return result

    ethanol, waters, mixed = "CH3CH2OH", cluster(["H2O"] * 4), cluster(["CH3CH2OH", "H2O", "H2O"])
    classes = {
        "ethanol 300 K": trajectory(molecule(ethanol), xtb, 300, n(220), rng, every=15),
        "ethanol 1000 K": trajectory(molecule(ethanol), xtb, 1000, n(100), rng, every=15),
        "water": trajectory(waters, xtb, 250, n(100), rng, every=15),
        "mixed": trajectory(mixed, xtb, 250, n(80), rng, every=15),
        "water 600 K": trajectory(cluster(["H2O"] * 2), xtb, 600, n(30), rng, every=15),
    }
    return _labelled(classes, xtb)


def cuau(n: Callable[[int], int], rng: Rng) -> list[Atoms]:
    """Copper, gold, ordered CuAu, random alloys, a liquid."""
    copper, gold = bulk("Cu", cubic=True).repeat((2, 2, 2)), bulk("Au", cubic=True).repeat((2, 2, 2))

    def alloy(part: float) -> Atoms:
        atoms = bulk("Cu", a=3.61 + 0.46 * part, cubic=True).repeat((2, 2, 2))
        atoms.numbers[rng.permutation(len(atoms))[: round(part * len(atoms))]] = 79
        return atoms

    ordered = bulk("Cu", a=3.87, cubic=True)
    ordered.symbols = ["Cu", "Au", "Au", "Cu"]
    classes = {
        "ordered": trajectory(ordered.repeat((2, 2, 2)), EMT, 500, n(150), rng, every=10),  # first: has both species
        "Cu": trajectory(copper, EMT, 500, n(100), rng, every=10),
        "Au": trajectory(gold, EMT, 500, n(110), rng, every=10),
        "random": [
            trajectory(alloy(float(rng.uniform(0.1, 0.9))), EMT, 700, 1, rng, every=1, warm=80)[0] for _ in range(n(80))
        ],
        "liquid": liquid(strained(alloy(0.5), 0.0, rng), EMT, 4000, 1700, n(60), rng, every=10),
        "strain": [strained(alloy(0.5), 0.05, rng) for _ in range(n(30))],
    }
    return _labelled(classes, EMT)


def lj(n: Callable[[int], int], rng: Rng) -> list[Atoms]:
    """A Lennard-Jones solid (argon's symbol, a metal's strength): fcc, hcp, a slab, a vacancy, a liquid."""
    fcc = bulk("Ar", "fcc", a=3.95, cubic=True).repeat(2)
    hcp = bulk("Ar", "hcp", a=2.79, c=4.56).repeat((3, 3, 2))
    slab = fcc.copy()
    slab.center(vacuum=5.0, axis=2)
    classes = {
        "fcc 300 K": trajectory(fcc, argon_like, 300, n(180), rng, every=15),
        "fcc 1000 K": trajectory(fcc, argon_like, 1000, n(100), rng, every=15),
        "hcp": trajectory(hcp, argon_like, 500, n(80), rng, every=15),
        "slab": trajectory(slab, argon_like, 400, n(60), rng, every=15),
        "vacancy": trajectory(without(fcc, rng), argon_like, 800, n(50), rng, every=20),
        "liquid": liquid(fcc, argon_like, 7000, 3000, n(60), rng, every=15),
    }
    return _labelled(classes, argon_like)


def homogeneous(n: Callable[[int], int], rng: Rng) -> list[Atoms]:
    """Silicon at 1000 K and nothing else: where there is little to gain and something to lose."""
    sw, cell = silicon(), bulk("Si", a=5.431, cubic=True).repeat((2, 2, 1))
    return _labelled({"1000 K": trajectory(cell, sw, 1000, n(530), rng, every=10)}, sw)


POOLS = {"si": si, "cu": cu, "sic": sic, "gfn2": gfn2, "cuau": cuau, "lj": lj, "homogeneous": homogeneous}
"""Name -> function of (how many frames of a class, generator)."""

NEEDS = {"gfn2": "tblite"}
"""Packages of the `xtb` extra; without them a pool is left out, and the table says so."""
