"""What a fitted model says of its own training set: labels that it doubts, and weights that neglect one kind of label."""

from __future__ import annotations

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from numpy.testing import assert_allclose

from gapkit import SOAP, DotProduct, GAPRegressor, Noise, Term, load
from gapkit.checks import check_doubts, check_weights
from gapkit.checks.left_out import left_out_residuals
from gapkit.datasets import load_silicon

BAD = {40: "energy", 48: "energy", 51: "forces", 58: "forces", 80: "stress"}  # rattled, 300 K and 2000 K


def soap(n_sparse=150):
    return [("soap", Term(SOAP(5.0, 6, 4, 0.5), DotProduct(4), n_sparse=n_sparse))]


def fitted(frames, n_sparse=150, **noise):
    return GAPRegressor(soap(n_sparse), noise=Noise(**noise), random_state=0).fit(frames)


@pytest.fixture(scope="module")
def silicon():
    return load_silicon()


@pytest.fixture(scope="module")
def wrong(silicon):
    """50 meV/atom on two energies, 0.6 eV/Å on one atom of two frames, 8 GPa on one stress."""
    result = []
    for k, atoms in enumerate(silicon):
        y = {name: np.array(value) for name, value in atoms.calc.results.items()}
        if BAD.get(k) == "energy":
            y["energy"] = float(y["energy"]) + 0.05 * len(atoms)
        elif BAD.get(k) == "forces":
            y["forces"][1] += [0.6, -0.3, 0.2]
        elif BAD.get(k) == "stress":
            y["stress"] += [0.05, 0.05, 0.05, 0.0, 0.0, 0.0]
        copy = atoms.copy()
        copy.calc = SinglePointCalculator(copy, **y)
        result.append(copy)
    return result


@pytest.mark.filterwarnings("ignore:.*sparse points of term")
def test_doubted_labels(wrong, tmp_path):
    model = GAPRegressor(random_state=0).fit(wrong)
    findings = check_doubts(model)
    assert {f.id for f in findings} == {"doubted-label"}
    energies, forces, *_ = findings
    assert set(energies.frames) == {40, 48}
    assert set(forces.frames) == {51, 58}
    assert all(word in energies.message for word in ("40 (off by +0.0", "eV/atom, z = ", "usual"))
    assert "without them" in energies.message
    off = float(forces.message.split("off by ")[1].split()[0])
    assert off == pytest.approx(0.6, abs=0.1)  # the model itself is off by some 0.05 eV/Å there
    model.save(tmp_path / "a.gap")
    assert check_doubts(load(tmp_path / "a.gap").remember(wrong)) == findings


@pytest.mark.filterwarnings("ignore:.*sparse points of term")
def test_no_doubt_in_a_clean_set(silicon):
    model = GAPRegressor(random_state=0).fit(silicon)
    assert check_doubts(model) == []
    assert check_weights(model) == []


def test_residuals_are_those_of_a_fit_without_the_frame(silicon):
    frames = [atoms for atoms in silicon if atoms.info["config_type"] in ("isolated_atom", "rattled")]
    model = GAPRegressor(soap(40), noise=Noise(), e0={"Si": 0.0}, random_state=0).fit(frames)
    (one,) = [r for r in left_out_residuals(model) if r.frame == 7]
    term = model.potential_.terms[0]
    points = {"Si": np.column_stack([term.points[0], np.ones(len(term.points[0]))])}  # the last column is the weight
    others = GAPRegressor(
        [("soap", Term(SOAP(5.0, 6, 4, 0.5), DotProduct(4), selection=points))], noise=Noise(), e0={"Si": 0.0}, random_state=0
    ).fit(frames[:7] + frames[8:])
    (p,) = others.evaluate([frames[7]])
    energy = (frames[7].get_potential_energy() - p.energy) / len(frames[7])
    of_kind = one.kind == "energy"
    assert_allclose((one.residual / one.divisor)[of_kind], energy, rtol=1e-4, atol=1e-7)
    assert_allclose(one.residual[one.kind == "forces"], (frames[7].get_forces() - p.forces).ravel(), atol=1e-5)


@pytest.mark.parametrize(
    ("noise", "who", "key"),
    [
        ({"energy": 10.0, "forces": 0.05}, "energies weigh too little against forces", "noise.energy"),
        ({"energy": 1e-3, "forces": 1.0}, "forces weigh too little against energies", "noise.forces"),
        ({"energy": 1e-3, "forces": 0.05}, "", ""),
        ({"energy": 1e-3, "forces": 0.1}, "", ""),
    ],
)
def test_weights(silicon, noise, who, key):
    frames = [a for a in silicon if a.info["config_type"] in ("isolated_atom", "rattled", "md_300K", "md_1000K")]
    findings = check_weights(fitted(frames, **noise))
    if not who:
        assert findings == []
        return
    (finding,) = findings
    assert finding.id == "unbalanced-weights"
    assert who in finding.message
    # what it advises is better, in a fit
    value = float(finding.remedy.split(f"{key}=")[1].rstrip(",").split(",")[0])
    advised = fitted(frames, **{**noise, key.removeprefix("noise."): value})
    assert check_weights(advised) == []
    said = [float(word) for word in finding.message.replace("eV/Å", "").split() if word.replace(".", "").isdigit()]
    assert min(said) > 0.0


@pytest.mark.filterwarnings("ignore:Of 40 frames")
def test_what_cannot_be_asked(silicon, tmp_path):
    frames = silicon[:40]
    model = fitted(frames, n_sparse=30)
    model.save(tmp_path / "a.gap")
    for check in (check_doubts, check_weights):
        with pytest.raises(ValueError, match="must have its posterior and its training set"):
            check(load(tmp_path / "a.gap"))
    energies = []
    for atoms in frames:
        copy = atoms.copy()
        copy.calc = SinglePointCalculator(copy, energy=atoms.get_potential_energy())
        energies.append(copy)
    assert check_weights(fitted(energies, n_sparse=30)) == []  # nothing to be weighed against
