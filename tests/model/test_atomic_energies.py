from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from numpy.testing import assert_allclose

from gapkit.exceptions import InvalidLabelError, LabelWarning
from gapkit.gp.observations import labels_of
from gapkit.model.atomic_energies import fit_atomic_energies, isolated_atoms


def frame(formula: str, energy: float | None, **kwargs) -> Atoms:
    atoms = Atoms(formula, positions=2.0 * np.arange(3 * len(Atoms(formula))).reshape(-1, 3), **kwargs)
    atoms.calc = SinglePointCalculator(atoms, **({} if energy is None else {"energy": energy}))
    return atoms


def e0_of(frames, e0="auto"):
    return fit_atomic_energies(frames, [labels_of(a, k) for k, a in enumerate(frames)], e0, 5.0)


def test_isolated_atoms_have_no_image_within_range():
    frames = [
        frame("Si", 0, cell=[4, 20, 20], pbc=True),
        frame("Si", 0, cell=[6, 6, 6], pbc=True),
        frame("Si", 0),
        frame("Si2", 0),
    ]
    assert isolated_atoms(frames, 5.0) == [1, 2]


def test_isolated_first_then_least_squares_on_the_rest():
    frames = [frame("H", -13.6), frame("H2O", -2 * 13.6 - 430.0), frame("OH", -13.6 - 430.0), frame("O2", -860.0)]
    energies, sources = e0_of(frames)
    assert_allclose([energies[1], energies[8]], [-13.6, -430.0], rtol=1e-12)
    assert sources == {1: "isolated atom", 8: "least squares"}


def test_least_squares_of_the_energy_per_atom():
    formulas = ["Cu4", "CuAu3", "Cu2Au2", "Cu3Au", "Au4", "Cu6Au2"]
    frames = [
        frame(f, -3.7 * Atoms(f).numbers.tolist().count(29) - 3.2 * Atoms(f).numbers.tolist().count(79)) for f in formulas
    ]
    energies, _ = e0_of([*frames, frame("Cu8", None)])
    assert_allclose([energies[29], energies[79]], [-3.7, -3.2], rtol=1e-12)


@pytest.mark.parametrize(
    ("formula", "combination"),
    [("H2O", r"e0\(H\) - .* e0\(O\)|- .* e0\(H\) \+ .* e0\(O\)"), ("CuAu", r"1 e0\(Cu\) - 1 e0\(Au\)")],
)
def test_one_composition_leaves_a_combination_undetermined(formula, combination):
    frames = [frame(formula, -100.0) for _ in range(3)]
    with pytest.warns(LabelWarning, match=combination):
        energies, _ = e0_of(frames)
    assert_allclose(sum(energies[int(z)] for z in frames[0].numbers), -100.0, rtol=1e-12)


def test_no_energy_anywhere():
    with pytest.warns(LabelWarning, match="No frame with an energy contains Cu: .* set to 0"):
        energies, sources = e0_of([frame("Cu2", None)])
    assert energies == {29: 0.0}
    assert sources == {29: "zero"}


def test_given():
    frames = [frame("CuAu", -5.0)]
    assert e0_of(frames, {"Cu": -1.0, "Au": -2.0}) == ({29: -1.0, 79: -2.0}, {29: "given", 79: "given"})
    assert e0_of(frames, -0.5)[0] == {29: -0.5, 79: -0.5}
    with pytest.raises(ValueError, match=r"missing \['Au'\], unknown \['Xx'\]"):
        e0_of(frames, {"Cu": -1.0, "Xx": 0.0})


def test_isolated_atoms_that_disagree():
    with pytest.raises(InvalidLabelError, match=r"one energy; got -1.0 and -1.5 eV for Cu \(frame 1\). Keep"):
        e0_of([frame("Cu", -1.0), frame("Cu", -1.5)])
