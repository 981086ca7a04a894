from __future__ import annotations

import io
import lzma

import numpy as np
import pytest
from ase import units
from ase.calculators.singlepoint import SinglePointCalculator

from gapkit.checks import label_ledger, stress_sign
from gapkit.datasets import load_silicon
from tests.conftest import SHARED


def test_counts(alloy):
    frames = [*alloy[:3], alloy[3].copy()]
    rows = {row.config_type: row for row in label_ledger(frames)}
    assert list(rows) == ["slab", "bulk", "all"]
    assert (rows["all"].frames, rows["all"].atoms) == (4, sum(map(len, frames)))
    assert (rows["bulk"].energies, rows["bulk"].forces, rows["bulk"].stresses) == (1, 1, 1)
    assert (rows["slab"].energies, rows["all"].energies) == (2, 3)
    energies = [a.get_potential_energy() / len(a) for a in alloy[:3]]
    assert rows["all"].energy_per_atom == pytest.approx((min(energies), max(energies)))
    forces = np.concatenate([a.get_forces() for a in alloy[:3]])
    assert rows["all"].force_rms == pytest.approx(np.sqrt(np.mean(forces**2)))
    pressure = [-a.get_stress()[:3].mean() / units.GPa for a in alloy[:3]]
    assert rows["all"].pressure == pytest.approx((min(pressure), max(pressure)), rel=1e-5)


def test_no_labels(alloy):
    row = label_ledger([alloy[0].copy()])[-1]
    assert (row.energies, row.forces, row.stresses) == (0, 0, 0)
    assert row.energy_per_atom is row.force_rms is row.pressure is None


def with_stress(frames, factor):
    result = []
    for atoms in frames:
        copy = atoms.copy()
        copy.calc = SinglePointCalculator(copy, energy=0.0, stress=factor * atoms.get_stress())
        result.append(copy)
    return result


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "as ASE's"), (-1.0, "OPPOSITE to ASE's")])
def test_stress_sign(factor, verdict):
    assert stress_sign(with_stress(load_silicon(config_types=["eos"]), factor)) == verdict


def test_sign_of_one_volume_is_not_testable():
    assert stress_sign(load_silicon(config_types=["md_300K"])) == "not testable"
    assert stress_sign([]) == "not testable"


@pytest.mark.reference
@pytest.mark.parametrize("name", ["mlearn_Si", "mlearn_Cu", "mlearn_Ni", "snap_Ta", "snap_InP"])
def test_published_sets_have_the_sign_of_ase(shared_data, name):
    from ase.io import read

    (path,) = sorted((SHARED / name).glob("train.xyz*"))
    # by name, ASE seeks in a compressed file, and takes minutes
    text = lzma.decompress(path.read_bytes()).decode() if path.suffix == ".xz" else path.read_text()
    assert stress_sign(read(io.StringIO(text), ":", format="extxyz")) == "as ASE's"
