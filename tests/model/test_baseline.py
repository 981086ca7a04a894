"""A calculator under the Gaussian process: subtracted from the labels, added to predictions, recognised in files."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.calculators.emt import EMT
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold

from gapkit import SOAP, ZBL, Baseline, DotProduct, GAPCalculator, GAPRegressor, Noise, Term, load
from gapkit.exceptions import BaselineError, LabelWarning, ModelFormatError
from gapkit.gp.observations import Labels
from gapkit.io import read_archive, write_archive
from gapkit.model.baseline import without_baseline
from tests.conftest import copper_gold


def model(**kwargs) -> GAPRegressor:
    terms = [("soap", Term(SOAP(4.2, 4, 3), DotProduct(3), n_sparse=30))]
    return GAPRegressor(terms, noise=Noise(1e-3, 0.02, 1e-3), random_state=0, **kwargs)


def lj() -> LennardJones:
    """A weak, smooth pair potential."""
    return LennardJones(sigma=2.3, epsilon=0.05, rc=6.0, smooth=True)


class Total(Calculator):
    """Another calculator with only some of its properties, counted and, for some structures, spoiled."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, inner, properties=("energy", "forces"), spoil=None, when=lambda atoms: False):
        super().__init__()
        self.inner, self.properties, self.spoil, self.when, self.calls = inner, properties, spoil, when, 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=tuple(all_changes)):
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        self.results = {name: self.inner.get_property(name, self.atoms) for name in self.properties}
        if self.when(self.atoms):
            if isinstance(self.spoil, Exception):
                raise self.spoil
            self.results.update(self.spoil)


@pytest.fixture(scope="module")
def fitted(alloy):
    return model(baseline=Baseline(lj(), name="weak LJ")).fit(alloy)


# ---------------------------------------------------------------------------------------------- numbers


def relabelled(frames, calculator):
    """Frames with the labels of a calculator."""
    result = []
    for atoms in frames:
        results = {name: calculator.get_property(name, atoms) for name in ("energy", "forces", "stress")}
        result.append(atoms.copy())
        result[-1].calc = SinglePointCalculator(result[-1], **results)
    return result


@pytest.mark.parametrize("make", [EMT, lj])
@pytest.mark.parametrize("terms", ["given", "automatic"])
def test_labels_equal_to_the_baseline_leave_nothing_to_learn(alloy, make, terms):
    frames = relabelled(alloy, make())
    estimator = model(baseline=make()) if terms == "given" else GAPRegressor(baseline=make(), random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the automatic terms: ten small frames are few
        estimator.fit(frames)
    tests = [copper_gold(20, (True, True, False)), copper_gold(21, (True, True, True))]
    for atoms, p in zip(tests, estimator.evaluate(tests), strict=True):
        atoms.calc = make()
        assert p.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
        assert_allclose(p.energies, atoms.get_potential_energies(), rtol=0, atol=1e-10)
        assert_allclose(p.forces, atoms.get_forces(), rtol=0, atol=1e-10)
        assert_allclose(p.stress, atoms.get_stress(), rtol=0, atol=1e-10)
    assert_allclose(list(estimator.e0_.values()), 0.0, rtol=0, atol=1e-12)


def test_predictions_are_the_fit_of_the_difference_plus_the_baseline(alloy, fitted):
    rest = []
    for atoms in alloy:
        rest.append(atoms.copy())
        results = {n: v - lj().get_property(n, atoms) for n, v in atoms.calc.results.items()}
        rest[-1].calc = SinglePointCalculator(rest[-1], **results)
    difference = model().fit(rest)
    assert fitted.e0_ == pytest.approx(difference.e0_, abs=1e-12)
    for pbc in ((True, True, True), (True, True, False), (False, False, False)):
        atoms = copper_gold(22, pbc)
        (p,), (q,) = (m.evaluate([atoms], uncertainty="exact") for m in (fitted, difference))
        atoms.calc = lj()
        assert p.energy == pytest.approx(q.energy + atoms.get_potential_energy(), abs=1e-10)
        assert_allclose(p.energies, q.energies + atoms.get_potential_energies(), rtol=0, atol=1e-10)
        assert_allclose(p.forces, q.forces + atoms.get_forces(), rtol=0, atol=1e-10)
        if q.stress is None:
            assert p.stress is None
        else:
            assert_allclose(p.stress, q.stress + atoms.get_stress(), rtol=0, atol=1e-10)
        assert p.energies.sum() == pytest.approx(p.energy, abs=1e-12)
        assert p.energy_std == pytest.approx(q.energy_std, rel=1e-6)
        assert_allclose(fitted.predict([atoms]), [p.energy], rtol=0, atol=1e-12)
    assert fitted.score(alloy) > 0.99


@pytest.mark.parametrize("pbc", [(True, True, True), (False, False, False)])
def test_forces_and_stress_are_derivatives_in_the_calculator(fitted, pbc):
    """Step and tolerances as in test_regressor."""
    atoms = copper_gold(23, pbc)
    atoms.calc = GAPCalculator(fitted)
    (p,) = fitted.evaluate([atoms])
    assert_allclose(atoms.get_forces(), p.forces, rtol=0, atol=1e-10)
    assert_allclose(p.forces, calculate_numerical_forces(atoms, eps=1e-3), rtol=0, atol=1e-5)
    if any(pbc):
        assert_allclose(atoms.get_stress(), calculate_numerical_stress(atoms, eps=1e-4), rtol=0, atol=2e-6)


def test_energies_sum_to_the_energy_where_the_baseline_has_none_of_atoms(alloy):
    atoms = copper_gold(24, (True, True, True))
    shared = model(baseline=Total(lj(), ("energy", "forces", "stress"))).fit(alloy)
    (p,), (q,) = shared.evaluate([atoms]), model(baseline=lj()).fit(alloy).evaluate([atoms])
    assert p.energy == pytest.approx(q.energy, abs=1e-9)
    assert p.energies.sum() == pytest.approx(p.energy, abs=1e-12)
    part = lj().get_property("energies", atoms)
    assert np.ptp(part) > 1e-3
    assert_allclose(p.energies - (q.energies - part), part.mean(), rtol=0, atol=1e-9)


def test_the_energy_is_the_one_that_forces_belong_to():
    calculator = Total(EMT(), ("energy", "forces"), {"free_energy": -7.0}, when=lambda atoms: True)
    calculator.implemented_properties = ("energy", "free_energy", "forces")
    part = Baseline(calculator).evaluate(copper_gold(1), "frame 0", forces=True, stress=False)
    assert part.energy == pytest.approx(-7.0)
    assert part.energies.sum() == pytest.approx(-7.0)


def test_isolated_atoms(alloy):
    """e0_ is of the difference, be it from frames or given as the energies that isolated atoms have in the labels."""
    lonely = [Atoms(s, cell=[20] * 3, pbc=True) for s in ("Cu", "Au")]
    for atoms, energy in zip(lonely, (0.7, -0.4), strict=True):
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=np.zeros((1, 3)))
    of_baseline = {s: Atoms(s, calculator=EMT()).get_potential_energy() for s in ("Cu", "Au")}
    assert of_baseline["Cu"] > 1.0
    expected = {"Cu": 0.7 - of_baseline["Cu"], "Au": -0.4 - of_baseline["Au"]}
    given = model(baseline=EMT(), e0={"Cu": 0.7, "Au": -0.4}).fit(alloy)
    found = model(baseline=EMT()).fit([*alloy, *lonely])
    for estimator in (given, found):
        assert estimator.e0_ == pytest.approx(expected, abs=1e-10)
    assert_allclose(found.predict(lonely), [0.7, -0.4], rtol=0, atol=5e-3)
    alone = Total(EMT(), spoil=RuntimeError("no box"), when=lambda atoms: len(atoms) == 1)
    with pytest.warns(LabelWarning), pytest.raises(BaselineError, match=r'isolated Cu atom, .* no box. Use e0="auto"'):
        model(baseline=alone, e0=0.0).fit(alloy)


# ------------------------------------------------------------------------------------- labels in part


def test_labels_that_are_not_there_stay_away(alloy):
    labels = [Labels(1.0, None, None, "x"), Labels(None, alloy[1].get_forces(), None, ""), Labels(None, None, None, "")]
    calculator = Total(lj(), ("energy", "forces", "stress"))
    rest = without_baseline(Baseline(calculator), alloy[:3], labels)
    assert rest[0].energy == pytest.approx(1.0 - lj().get_property("energy", alloy[0]), abs=1e-12)
    assert (rest[0].forces, rest[0].stress, rest[0].config_type) == (None, None, "x")
    assert_allclose(rest[1].forces, alloy[1].get_forces() - lj().get_property("forces", alloy[1]), rtol=0, atol=1e-12)
    assert rest[1].energy is rest[1].stress is rest[2].energy is rest[2].forces is None
    assert calculator.calls == 2  # nothing is computed for a frame without labels


def test_frames_with_energies_alone_beside_others(alloy):
    mixed = [a.copy() for a in alloy]
    for k, (atoms, source) in enumerate(zip(mixed, alloy, strict=True)):
        names = ("energy",) if k < 4 else ("energy", "forces", "stress")
        atoms.calc = SinglePointCalculator(atoms, **{name: source.calc.results[name] for name in names})
    with pytest.warns(LabelWarning, match="4 no forces"):
        estimator = model(baseline=lj()).fit(mixed)
    n_forces = sum(3 * len(a) for a in alloy[4:])
    assert estimator.n_labels_ == {"energy": 10, "forces": n_forces, "stress": 36}
    assert estimator.score(alloy) > 0.99


def test_a_baseline_without_stress(alloy):
    with pytest.warns(LabelWarning, match=r"stress labels of 10 frames are left out: the baseline D3 \(Total\) gives"):
        estimator = model(baseline=Baseline(Total(lj()), "D3")).fit(alloy)
    assert estimator.n_labels_["stress"] == 0
    atoms = copper_gold(25, (True, True, True))
    (p,) = estimator.evaluate([atoms])
    assert p.stress is None
    assert p.forces.shape == (4, 3)
    atoms.calc = GAPCalculator(estimator)
    assert np.isfinite(atoms.get_forces()).all()
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()


# ---------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            RuntimeError("SCF did not converge"),
            r"baseline Total failed in frame 7 \(AuCu3\): RuntimeError: SCF did not",
        ),
        ({"energy": np.nan}, r"must give finite energy of shape \(\); got nan in frame 7"),
        ({"forces": np.full((4, 3), np.inf)}, r"must give finite forces of shape \(4, 3\); got inf in frame 7"),
        ({"forces": np.zeros((3, 3))}, r"must give finite forces of shape \(4, 3\); got shape \(3, 3\) in frame 7"),
    ],
)
def test_a_baseline_that_fails_names_the_frame(alloy, spoil, message):
    bad = np.abs(alloy[7].positions[0])

    def when(atoms):
        return len(atoms) == 4 and np.allclose(np.abs(atoms.positions[0]), bad)

    calculator = Total(lj(), spoil=spoil, when=when)
    with pytest.raises(BaselineError, match=message):
        model(baseline=calculator).fit(alloy)
    good = model(baseline=Total(lj())).fit
    with pytest.warns(LabelWarning):
        estimator = good(alloy)
    estimator.baseline_.calculator.spoil, estimator.baseline_.calculator.when = spoil, when
    with pytest.raises(BaselineError, match=message):
        estimator.evaluate(alloy)


def test_a_baseline_must_be_one(alloy):
    with pytest.raises(TypeError, match="`baseline` must be a Baseline, a ZBL, a Glue, an ASE calculator or None; got 'EMT'"):
        model(baseline="EMT").fit(alloy)
    with pytest.raises(TypeError, match=r"`baseline` must be a Baseline, .*; got <class 'ase.calculators.emt.EMT'>"):
        model(baseline=EMT).fit(alloy)
    with pytest.raises(TypeError, match=r"`calculator` must be an ASE calculator such as EMT\(\); got 3"):
        model(baseline=Baseline(3)).fit(alloy)
    with pytest.raises(BaselineError, match="`baseline` must be a calculator with forces; got 'Total'"):
        model(baseline=Total(lj(), ("energy",))).fit(alloy)


# ------------------------------------------------------------------------------------------- scikit-learn


def test_copies_are_the_same_object(alloy):
    baseline = Baseline(lj())
    assert clone(baseline) is copy.copy(baseline) is copy.deepcopy(baseline) is baseline
    estimator = model(baseline=baseline)
    assert clone(estimator).baseline is baseline
    assert copy.deepcopy(estimator).baseline is baseline
    bare = lj()
    assert clone(model(baseline=bare)).baseline.calculator is bare
    assert model(baseline=bare).get_params()["baseline__calculator"] is bare
    assert estimator.set_params(baseline__name="LJ").baseline.describe() == "LJ (LennardJones)"


def test_grid_search_shares_the_calculator(alloy):
    calculator = lj()
    folds = KFold(2, shuffle=True, random_state=0)
    estimator = model(baseline=calculator).set_params(soap__n_sparse=12)
    search = GridSearchCV(estimator, {"soap__kernel__zeta": [2, 3]}, cv=folds).fit(alloy)
    assert search.best_estimator_.baseline_.calculator is calculator
    assert search.best_score_ > 0.9


def test_partial_fit_takes_the_baseline_off_too(alloy):
    """As the same fits of the differences, plus the baseline."""
    e0 = {"Cu": 0.0, "Au": 0.0}
    grown = model(baseline=lj(), e0=e0).fit(alloy[:6]).partial_fit(alloy[6:])
    bare = []
    for atoms in alloy:
        bare.append(atoms.copy())
        results = {n: v - lj().get_property(n, atoms) for n, v in atoms.calc.results.items()}
        bare[-1].calc = SinglePointCalculator(bare[-1], **results)
    reference = model(e0=e0).fit(bare[:6]).partial_fit(bare[6:])
    atoms = copper_gold(26, (True, True, True))
    difference = grown.predict([atoms])[0] - reference.predict([atoms])[0]
    assert difference == pytest.approx(lj().get_property("energy", atoms), abs=1e-8)


def test_frames_and_estimator_stay_as_they_were(alloy):
    positions = [a.positions.copy() for a in alloy]
    calculator = lj()
    estimator = model(baseline=calculator).fit(alloy)
    assert estimator.baseline is calculator
    for atoms, old in zip(alloy, positions, strict=True):
        assert_array_equal(atoms.positions, old)
        assert isinstance(atoms.calc, SinglePointCalculator)


def test_explicit_copies_and_pickles_keep_it(alloy, fitted):
    assert fitted.explicit().baseline is fitted.baseline_
    explicit = GAPRegressor(baseline=fitted.baseline_).explicit(alloy)
    assert explicit.baseline is fitted.baseline_
    assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(alloy), fitted.predict(alloy))


def test_progress_is_shown(alloy, capsys):
    model(baseline=lj(), verbose=1).fit(alloy)
    assert "baseline" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------- files


def test_files_want_the_calculator_and_recognise_it(alloy, fitted, tmp_path):
    path = tmp_path / "m.gap"
    fitted.save(path)
    read = load(path, baseline=lj())
    assert read.baseline_.describe() == "weak LJ (LennardJones)"
    for p, q in zip(fitted.evaluate(alloy, uncertainty="exact"), read.evaluate(alloy, uncertainty="exact"), strict=True):
        assert p.energy == q.energy
        assert_array_equal(p.forces, q.forces)
        assert p.energy_std == q.energy_std
    read.save(tmp_path / "again.gap")  # it can be saved again
    assert (tmp_path / "again.gap").read_bytes() == path.read_bytes()
    assert_array_equal(read.fit(alloy).predict(alloy), fitted.predict(alloy))
    with pytest.raises(BaselineError, match=r"on top of the ASE calculator weak LJ \(LennardJones\), which a file cannot hold"):
        load(path)
    other = LennardJones(sigma=2.3, epsilon=0.06, rc=6.0, smooth=True)
    with pytest.raises(BaselineError, match=r"LennardJones is off by .* eV/atom .* same parameters and version"):
        load(path, baseline=other)
    with pytest.raises(BaselineError, match="LennardJones is off by"):
        load(path, baseline=Baseline(LennardJones()))
    with pytest.raises(TypeError, match="`baseline` must be a Baseline or an ASE calculator; got ZBL"):
        load(path, baseline=ZBL())
    with pytest.raises(BaselineError, match="failed in a probe of"):
        load(path, baseline=Total(lj(), spoil=RuntimeError("no"), when=lambda atoms: True))


def test_probes_are_small_frames_with_every_species(alloy, fitted):
    atoms = [a for a, _ in fitted.baseline_probes_]
    assert len(atoms) == 3
    assert {len(a) for a in atoms} == {4}
    assert {z for a in atoms for z in a.numbers} == {29, 79}
    lonely = Atoms("Ag", cell=[20] * 3, pbc=True)
    lonely.calc = SinglePointCalculator(lonely, energy=0.0, forces=np.zeros((1, 3)))
    probes = model(baseline=EMT()).fit([lonely, *alloy]).baseline_probes_
    assert [str(a.symbols) for a, _ in probes].count("Ag") == 1
    assert len(probes) == 3


def test_a_small_difference_of_the_calculator_is_tolerated(fitted, tmp_path):
    """Single precision is no other model: 1e-4 eV/atom is the bound."""
    fitted.save(tmp_path / "m.gap")
    for epsilon, good in ((0.05 * (1 + 1e-5), True), (0.05 * 1.01, False)):
        calculator = LennardJones(sigma=2.3, epsilon=epsilon, rc=6.0, smooth=True)
        if good:
            assert load(tmp_path / "m.gap", baseline=calculator).baseline_.calculator is calculator
        else:
            with pytest.raises(BaselineError, match="is off by"):
                load(tmp_path / "m.gap", baseline=calculator)


def test_models_without_a_calculator_want_none(alloy, tmp_path):
    model().fit(alloy).save(tmp_path / "m.gap")
    assert load(tmp_path / "m.gap").baseline_ is None
    with pytest.raises(BaselineError, match=r"must be None for .*m.gap, which has no calculator under it; got Baseline"):
        load(tmp_path / "m.gap", baseline=EMT())


def test_nothing_in_a_file_names_an_import(fitted, tmp_path):
    fitted.save(tmp_path / "m.gap")
    document, arrays = read_archive(tmp_path / "m.gap")
    assert document["baseline"].keys() == {"calculator", "name", "probe_energies"}
    assert document["baseline"]["calculator"] == "LennardJones"
    assert "ase" not in str(document["baseline"])
    assert document["parameters"]["params"]["baseline"] is None
    for key in ("kind", "format", "oldest_reader", "sha256"):
        document.pop(key)
    del arrays["probe_1_cell"]
    write_archive(tmp_path / "bad.gap", document, arrays)
    with pytest.raises(ModelFormatError, match="KeyError: 'probe_1_cell'"):
        load(tmp_path / "bad.gap", baseline=lj())
