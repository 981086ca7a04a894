"""Settings from distances: shells of crystals, kinds of matter, sets of functions."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from gapkit.datasets import load_silicon
from gapkit.descriptors import auto
from gapkit.exceptions import NumericalWarning


def rattled(atoms: Atoms, n: int = 4, size: float = 0.05) -> list[Atoms]:
    result = []
    for seed in range(n):
        copy = atoms.copy()
        copy.rattle(size, seed=seed)
        result.append(copy)
    return result


@pytest.mark.parametrize(
    ("crystal", "bond", "third_shell"),
    [
        # fcc shells at a/sqrt(2) (1, sqrt 2, sqrt 3, 2), diamond at a sqrt(3)/4 (1, 1.63, 1.91, 2.31)
        (bulk("Cu", cubic=True).repeat(3), 2.55, (4.42, 5.1)),
        (bulk("Si", cubic=True).repeat(2), 2.35, (4.50, 5.43)),
        (bulk("Fe", cubic=True).repeat(3), 2.48, (4.06, 4.76)),
    ],
    ids=["fcc", "diamond", "bcc"],
)
def test_third_shell_of_crystals(crystal, bond, third_shell):
    summary = auto.summarize(rattled(crystal))
    z = summary.species[0]
    assert summary.kind == "condensed"
    assert summary.bonds[z, z] == pytest.approx(bond, abs=0.05)
    assert third_shell[0] < summary.third_shell < third_shell[1]  # between the third shell and the fourth
    assert 5.0 <= summary.r_cut <= 6.0


def test_kinds_of_matter():
    water = molecule("H2O")
    ice = Atoms(
        "OH2OH2",
        [[0, 0, 0], [0.96, 0, 0], [-0.3, 0.9, 0], [2.8, 0, 0], [3.3, 0.8, 0], [3.3, -0.8, 0]],
        cell=[5.6, 5, 5],
        pbc=True,
    )
    assert auto.summarize(rattled(molecule("CH3CH2OH"))).kind == "molecules"
    assert auto.summarize(rattled(water)).r_cut == 5.0
    assert auto.summarize(rattled(ice)).kind == "hydrogen bonds"
    assert 6.0 <= auto.summarize(rattled(ice)).r_cut <= 8.0


def test_a_third_shell_outside_the_usual_range_is_reported():
    wide = bulk("Xe", "fcc", a=6.2, cubic=True).repeat(2)  # third shell at 7.6
    with pytest.warns(NumericalWarning, match="third shell ends at"):
        assert auto.summarize(rattled(wide)).r_cut == 6.0


def test_single_atoms_have_a_summary():
    summary = auto.summarize([Atoms("Cu"), Atoms("Au")])
    assert summary.species == [29, 79]
    assert auto.soap(summary).r_cut == 5.0


def test_resolution_follows_the_distances():
    organic, metal = (auto.soap(auto.summarize(rattled(a))) for a in (molecule("CH3CH2OH"), bulk("Cu", cubic=True).repeat(2)))
    assert (organic.sigma, organic.l_max) == (0.4, 5)
    assert (metal.sigma, metal.l_max) == (0.5, 6)
    many = auto.soap(auto.summarize(rattled(molecule("CH3CONH2"))))
    assert many.compression == {"mode": "mu1nu1"}


def test_universal_lengths_grow_with_their_widths():
    soaps = auto.universal_soaps(auto.summarize(rattled(bulk("Si", cubic=True).repeat(2))))
    assert [s.r_cut for s in soaps] == sorted(s.r_cut for s in soaps)
    assert len(soaps) == 2
    for soap in soaps:
        soap.check_parameters()
        assert soap.sigma == pytest.approx(soap.r_cut / 8, abs=0.01)


def test_symmetry_functions_are_those_that_the_data_tell_apart():
    frames = load_silicon(config_types=["rattled", "md_1000K"])
    summary = auto.summarize(frames)
    chosen = auto.symmetry_functions(summary, frames, n_pairs=6, n_triplets=8)
    assert (len(chosen.g2_params), len(chosen.g4_params)) == (6, 8)
    values = chosen.fit_transform(frames)
    standard = (values - values.mean(axis=0)) / values.std(axis=0)
    singular = np.linalg.svd(standard, compute_uv=False)
    assert singular[-1] > 1e-4 * singular[0]  # none is a combination of the others
    first = np.linalg.svd(_first_functions(summary, frames), compute_uv=False)
    assert singular[-1] / singular[0] > first[-1] / first[0]  # better than the first of the list


def _first_functions(summary, frames):
    from gapkit import ACSF

    everything = auto.symmetry_functions(summary, frames, n_pairs=100, n_triplets=100)
    few = ACSF(everything.r_cut, g2_params=everything.g2_params[:6], g4_params=everything.g4_params[:8])
    values = few.fit_transform(frames)
    return (values - values.mean(axis=0)) / values.std(axis=0)
