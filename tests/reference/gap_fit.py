"""gap_fit: commands and structures for it, the linear system that it dumps, and that of an estimator in the same order."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.emt import EMT
from ase.io import write

from gapkit.gp.design import kernel_rows, own_noise
from gapkit.interop.quip_records import QuipModel
from gapkit.neighbors import NeighborList
from tests.conftest import copper_gold
from tests.quip_oracle import GAP_FIT

PAIR = "distance_2b cutoff=4.0 cutoff_transition_width=0.7 covariance_type=ard_se delta=1.2 theta_fac=0.5 n_sparse=6 "
PAIR += "sparse_method=uniform"
TRIPLET = "angle_3b cutoff=3.2 cutoff_transition_width=0.6 covariance_type=ard_se delta=0.3 theta_fac=0.7 n_sparse=5 "
TRIPLET += "sparse_method=uniform"
SOAP = (
    "soap l_max=3 n_max=3 atom_sigma=0.5 cutoff=3.6 cutoff_transition_width=0.9 covariance_type=dot_product zeta=2 delta=0.7 "
)
SOAP += "n_sparse=6 sparse_method=cur_points"
SIGMA = "default_sigma={0.001 0.05 0.04 0.0}"


def structures(n: int = 3, species: tuple[str, ...] = ("Cu", "Au")) -> list[Atoms]:
    """Rattled, sheared cells of a few atoms, Au before Cu in the file."""
    frames = [copper_gold(seed, pbc=True) for seed in range(n)]
    for atoms in frames:
        atoms.symbols = [{"Cu": species[-1], "Au": species[0]}[s] for s in atoms.symbols]
    return frames


def labelled(frames: list[Atoms], energy="energy", force="force", virial="virial") -> list[Atoms]:
    """Labels as plain properties under gap_fit's default keys, or others; None leaves a label out."""
    result = []
    for atoms in frames:
        atoms = atoms.copy()
        new = atoms.copy()
        atoms.calc = EMT()
        if energy:
            new.info[energy] = atoms.get_potential_energy()
        if force and len(atoms) > 1:
            new.arrays[force] = atoms.get_forces()
        if virial and len(atoms) > 1:
            new.info[virial] = (-atoms.get_volume() * atoms.get_stress(voigt=False)).ravel()
        result.append(new)
    return result


def isolated(**keys) -> list[Atoms]:
    frames = [Atoms(symbol, cell=[15.0] * 3, pbc=True, positions=[[7.5] * 3]) for symbol in ("Cu", "Au")]
    for atoms in frames:
        atoms.info["config_type"] = "isolated_atom"
    return labelled(frames, **keys)


def command(*options: str, gap: str = PAIR, sigma: str = SIGMA) -> str:
    return "\n".join([f"gap={{{gap}}}", sigma, "sparse_jitter=1e-8", "rnd_seed=3", "sparse_separate_file=F", *options])


TYPES = "config_type_sigma={bulk:0.002:0.1:0.2:0.0 : Liquid:0.003:0.3:0.3:0}"


def with_types(key: str = "config_type") -> list[Atoms]:
    frames = labelled(structures(4))
    for atoms, name in zip(frames, ("bulk", "Liquid", "other"), strict=False):
        atoms.info[key] = name
    return frames


def aperiodic() -> list[Atoms]:
    frames = labelled(structures())
    frames[1].pbc = [True, True, False]
    return frames


GLUE = """<Glue_params n_types="2">
{of_types}
<per_pair_data type1="1" type2="1"><potential_pair num_points="3" y1="-6.0" yn="0.0">
  <point r="2.0" E="3.0"/><point r="2.4" E="1.2"/><point r="3.2" E="0.0"/></potential_pair></per_pair_data>
<per_pair_data type1="1" type2="2"><potential_pair num_points="4" y1="-5.0" yn="0.0"><point r="2.0" E="3.5"/>
  <point r="2.4" E="1.5"/><point r="2.8" E="0.4"/><point r="3.2" E="0.0"/></potential_pair></per_pair_data>
<per_pair_data type1="2" type2="2"><potential_pair num_points="3" y1="-6.0" yn="0.0">
  <point r="2.0" E="4.0"/><point r="2.8" E="0.5"/><point r="3.3" E="0.0"/></potential_pair></per_pair_data>
</Glue_params>"""
OF_TYPE = """<per_type_data type="{k}" atomic_num="{z}"><density num_points="2" density_y1="0.0" density_yn="0.0">
  <point a="0.5" rho="0.0"/><point a="1.0" rho="0.0"/></density>
  <potential_density num_points="2"><point rho="0.0" E="0.0"/><point rho="1.0" E="{e}"/></potential_density></per_type_data>"""


def glue(embedding: float = 0.0) -> str:
    return GLUE.format(of_types="\n".join(OF_TYPE.format(k=k, z=z, e=embedding) for k, z in ((1, 29), (2, 79))))


_ORDER = (0, 5, 4, 1, 3, 2)  # 11 12 13 22 23 33 among xx yy zz yz xz xy


class System(NamedTuple):
    """Rows: energies, then frame by frame -F and -V; columns: sparse points in the order of the XML."""

    rows: np.ndarray
    variances: np.ndarray
    targets: np.ndarray
    prior: np.ndarray
    kinds: np.ndarray | None = None


def run(folder: Path, frames: list[Atoms], command: str) -> System:
    """Fit with the program itself, all frames as they are; gap.xml and a dump are left in the folder."""
    write(folder / "train.xyz", frames, format="extxyz")
    options = [*split(command), "at_file=train.xyz", "gp_file=gap.xml", "linear_system_dump_file=dump", "do_copy_at_file=F"]
    done = subprocess.run(
        [str(GAP_FIT), *options],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    if done.returncode or not (folder / "gap.xml").exists():
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    return dumped(folder, "dump")


def split(command: str) -> list[str]:
    """Options, one line each."""
    return [line.strip() for line in command.splitlines() if line.strip()]


def dumped(folder: Path, prefix: str) -> System:
    variances, targets = (np.loadtxt(folder / f"{prefix}_{name}.0", ndmin=1) for name in ("lambda", "globalY"))
    rows = np.loadtxt(folder / f"{prefix}_Kmn.0").reshape(len(targets), -1)
    return System(rows, variances, targets, np.loadtxt(folder / f"{prefix}_Kmm").reshape(rows.shape[1], -1))


def system_of(model, quip: QuipModel) -> System:
    """The same of an estimator that was fitted with these sparse points."""
    terms, energies, others = model.potential_.terms, [], []
    amplitudes = np.concatenate([np.full(term.n_points, term.delta**2) for term in terms])
    for atoms, labels in zip(model.training_.frames, model.training_.labels, strict=True):
        neighbors = NeighborList.from_atoms([atoms], max(term.descriptor.neighbor_range for term in terms))
        rows, own = kernel_rows(terms, neighbors, [labels]), own_noise(neighbors, [labels])
        of_class = model.noise_.classes()[model.noise_.class_of(labels.config_type)]
        if labels.energy is not None:
            sigma = np.where(np.isnan(own.energy), of_class.energy, own.energy)[0] * np.sqrt(len(atoms))
            energy = labels.energy - sum(model.potential_.e0[z] for z in atoms.numbers)
            energies.append((np.sqrt(len(atoms)) * rows.energy[0], sigma**2, energy, "energy"))
        if labels.forces is not None:
            sigma = np.where(np.isnan(own.forces), of_class.forces, own.forces)
            given = labels.forces[labels.force_atoms()].ravel()  # atoms that are left out have no rows
            every = zip(-rows.forces, sigma**2, -given, ["forces"] * len(sigma), strict=True)
            others += [row for row in every if np.isfinite(row[1])]
        if labels.stress is not None:
            volume, sigma = atoms.get_volume(), np.where(np.isnan(own.stress), of_class.stress, own.stress)
            others += [(volume * rows.stress[k], (volume * sigma[k]) ** 2, volume * labels.stress[k], "virial") for k in _ORDER]
    columns = _columns(terms, quip)
    rows, variances, targets, kinds = (np.array(part) for part in zip(*energies, *others, strict=True))
    prior = np.zeros((len(columns), len(columns)))
    for term in terms:
        for factor, place in zip(term.cholesky, term.columns, strict=True):
            prior[place, place] = term.delta**2 * factor @ factor.T
    return System((rows * amplitudes)[:, columns], variances, targets, prior[np.ix_(columns, columns)], kinds)


def _columns(terms, quip: QuipModel) -> np.ndarray:
    """Columns of the sparse points in the order of the XML; terms with groups follow one another as its coordinates do."""
    found, used = [], set()
    for coordinate in quip.coordinates:
        for t, term in enumerate(terms):
            for group, points in enumerate(term.points):
                if (t, group) not in used and points.shape == coordinate.points.shape:
                    place = [np.flatnonzero(np.abs(points - x).max(axis=1) < 1e-13) for x in coordinate.points]
                    if all(map(len, place)):
                        found.append(term.columns[group].start + np.concatenate(place))
                        used.add((t, group))
                        break
            else:
                continue
            break
        else:
            raise AssertionError(f"no term has the points of {coordinate.descriptor!r}")
    columns = np.concatenate(found)
    assert sorted(columns) == list(range(sum(term.n_points for term in terms)))
    return columns
