from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from gapkit.datasets import load_silicon

ROOT = Path(__file__).resolve().parents[2]


def test_contents():
    frames = load_silicon()
    assert 80 <= len(frames) <= 150
    assert {a.info["config_type"] for a in frames} == {
        "isolated_atom", "eos", "strained", "rattled", "md_300K", "md_1000K", "md_2000K", "vacancy",
    }  # fmt: skip
    for atoms in frames:
        assert set(atoms.symbols) == {"Si"}
        assert 1 <= len(atoms) <= 16
        assert np.isfinite(atoms.get_potential_energy())
        assert np.abs(atoms.get_forces().sum(axis=0)).max() < 2e-3  # DFT's own net force, eV/Å
        if len(atoms) > 1:
            assert atoms.get_stress().shape == (6,)


def test_splits_share_every_type_and_no_frame():
    train, test = load_silicon("train"), load_silicon("test")
    assert len(train) + len(test) == len(load_silicon())
    types = {a.info["config_type"] for a in train}
    assert {a.info["config_type"] for a in test} == types - {"isolated_atom"}
    assert {a.info["config_type"] for a in load_silicon(config_types=["eos", "vacancy"])} == {"eos", "vacancy"}


def test_stress_is_the_strain_derivative_of_the_energy():
    """Along the equation of state: d(energy)/d(volume) of a cubic polynomial fit against trace(stress)/3."""
    frames = sorted(load_silicon(config_types=["eos"]), key=lambda a: a.get_volume())
    volume = np.array([a.get_volume() for a in frames])
    energy = np.array([a.get_potential_energy() for a in frames])
    slope = np.polynomial.Polynomial.fit(volume, energy, 6).deriv()(volume)
    stress = np.array([a.get_stress()[:3].mean() for a in frames])
    middle = slice(2, -2)
    np.testing.assert_allclose(slope[middle], stress[middle], rtol=0, atol=2e-3)  # eV/Å³; the largest is 0.1


def test_checksum_is_the_documented_one():
    content = (ROOT / "gapkit/datasets/silicon.xyz").read_bytes()
    documented = re.search(r"sha256\W+([0-9a-f]{64})", (ROOT / "data/README.md").read_text())
    assert hashlib.sha256(content).hexdigest() == documented.group(1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "valid"}, "`split` must be one of None, 'train', 'test'"),
        ({"config_types": ["liquid"]}, "`config_types` must be one of"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_silicon(**arguments)
