"""Standard deviations without a posterior: against plain loops, against QUIP, and what they refuse."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from numpy.testing import assert_allclose

from gapkit import (
    RBF,
    SOAP,
    Constant,
    DotProduct,
    GAPCalculator,
    GAPRegressor,
    PiecewisePolynomial,
    QuipBasis,
    Term,
    ThreeBody,
    TwoBody,
    load,
)
from gapkit.exceptions import NumericalWarning
from gapkit.gp.environment_variance import REGULARISATION
from gapkit.gp.sparse_term import SparseTerm
from gapkit.kernels import Kernel
from gapkit.model.potential import Potential
from gapkit.model.prediction import predict
from gapkit.model.prior_spread import prior_variance_gradient
from gapkit.neighbors import NeighborList
from tests.conftest import copper_gold, labelled
from tests.reference import bodies
from tests.reference.quip_variance import local_variances
from tests.reference.quip_xml import quip_xml


def silicon(seed: int, pbc=(True, True, False)) -> Atoms:
    atoms = copper_gold(seed, pbc=pbc, n=8)
    atoms.symbols = ["Si"] * len(atoms)
    return atoms


def quip_terms(of_pairs: Kernel) -> list[tuple[str, Term]]:
    """Terms whose features are not scaled, so that theta is one number."""
    return [
        ("pairs", Term(TwoBody(4.0, cutoff_width=0.8), of_pairs, delta=2.0, n_sparse=10)),
        ("triplets", Term(ThreeBody(3.4, cutoff_width=0.6), RBF(0.7), delta=0.3, n_sparse=60)),
        ("soap", Term(SOAP(4.2, 4, 3, 0.45, rbf=QuipBasis(), cutoff_width=0.7), DotProduct(2), delta=0.5, n_sparse=20)),
    ]


@pytest.fixture(scope="module")
def models():
    """By species; numbers are of a potential that nobody should use: only its sparse points matter here."""
    one = [labelled_silicon(seed) for seed in range(5)]
    two = [labelled(copper_gold(seed, pbc=(True, True, bool(seed % 2)), n=4 + 4 * (seed % 3 == 0))) for seed in range(6)]
    return {
        "one": GAPRegressor(quip_terms(PiecewisePolynomial(1.5, dimension=1)), random_state=0).fit(one),
        "two": GAPRegressor(quip_terms(RBF(0.4)), random_state=0).fit(two),
    }


def labelled_silicon(seed: int) -> Atoms:
    """With the labels of copper at the same places."""
    atoms = labelled(Atoms("Cu8", **{k: getattr(silicon(seed), k) for k in ("positions", "cell", "pbc")}))
    atoms.symbols = ["Si"] * 8
    return atoms


CELLS = [(True, True, False), (True, True, True), (False, True, False)]


def structure(species: str, seed: int, pbc) -> Atoms:
    return silicon(seed, pbc) if species == "one" else copper_gold(seed, pbc, n=8)


def gaussian(a: np.ndarray, b: np.ndarray, delta: float, length: float) -> float:
    return delta**2 * np.exp(-np.sum((a - b) ** 2) / (2 * length**2))


def dot_product(a: np.ndarray, b: np.ndarray, delta: float) -> float:
    return delta**2 * (a @ b) ** 2


@pytest.mark.parametrize("pbc", CELLS)
def test_equals_the_formula_instance_by_instance(models, pbc):
    """1e-11 eV² of 0.1: rounding of K, whose condition is 1e7."""
    model, atoms = models["two"], copper_gold(31, pbc, n=8)
    expected = np.zeros(len(atoms))
    loops = {
        "pairs": (bodies.pairs, partial(gaussian, delta=2.0, length=0.4)),
        "triplets": (bodies.triplets, partial(gaussian, delta=0.3, length=0.7)),
    }
    for (name, of_term), sparse in zip(model.terms_, model.potential_.terms, strict=True):
        for group, group_name in enumerate(sparse.descriptor.group_names_):
            if name == "soap":
                x, kernel = sparse.descriptor.transform([atoms]), partial(dot_product, delta=0.5)
                instances = [(x[i], 1.0, (i,)) for i in np.flatnonzero(atoms.symbols == group_name)]
            else:
                found, kernel = loops[name]
                widths = of_term.descriptor.r_cut, of_term.descriptor.cutoff_width
                instances = [e[1:] for e in found(atoms, *widths) if e[0] == group_name] * 2  # both orders
            points, cutoffs = sparse.points[group], sparse.weights[group]
            expected += local_variances(len(atoms), instances, kernel, points, cutoffs)
    (p,) = model.evaluate([atoms], uncertainty="prior")
    assert expected.min() > 1e-4
    assert_allclose(p.energies_std**2, expected, rtol=0, atol=1e-11)
    assert (p.energy_std, p.forces_std, p.stress_std) == (None, None, None)


def of_quip(potential, atoms: Atoms) -> tuple[float, np.ndarray, np.ndarray]:
    """Energy, local variances and the gradient of their sum."""
    copy = atoms.copy()
    copy.calc = potential
    energy = copy.get_potential_energy()
    extra = potential.extra_results["atoms"]
    return energy, extra["local_gap_variance"], np.asarray(extra["gap_variance_gradient"])


ARGUMENTS = "local_gap_variance=local_gap_variance gap_variance_gradient=T gap_variance_regularisation=0.001"


@pytest.mark.parametrize("species", ["one", "two"])
def test_equals_quip(models, species, tmp_path):
    """1e-11 eV² of 0.01 to 1, 1e-10 eV²/Å of 1: rounding of K; energies to 1e-10, so that it is the same potential."""
    quippy = pytest.importorskip("quippy.potential", reason="quippy-ase is only built for Linux on x86-64")
    model = models[species]
    potential = quippy.Potential(param_filename=str(quip_xml(model, tmp_path / "m.xml")), calc_args=ARGUMENTS)
    for seed, pbc in enumerate(CELLS, 40):
        atoms = structure(species, seed, pbc)
        energy, variances, gradient = of_quip(potential, atoms)
        (p,) = model.evaluate([atoms], uncertainty="prior")
        assert_allclose(p.energy, energy, rtol=0, atol=1e-10)
        assert variances.min() > 1e-4
        assert_allclose(p.energies_std**2, variances, rtol=0, atol=1e-11)
        assert np.abs(gradient).max() > 0.02
        assert_allclose(prior_variance_gradient(model, atoms), gradient, rtol=0, atol=1e-10)


def test_environments_without_sparse_points_count_as_little_as_in_quip(models, tmp_path):
    quippy = pytest.importorskip("quippy.potential", reason="quippy-ase is only built for Linux on x86-64")
    path = quip_xml(models["two"], tmp_path / "m.xml", leave_out="Cu-Au")
    potential, model = quippy.Potential(param_filename=str(path), calc_args=ARGUMENTS), load(path)
    atoms = copper_gold(44, n=8)
    _, variances, gradient = of_quip(potential, atoms)
    (p,) = model.evaluate([atoms], uncertainty="prior")
    assert_allclose(p.energies_std**2, variances, rtol=0, atol=1e-11)
    assert_allclose(prior_variance_gradient(model, atoms), gradient, rtol=0, atol=1e-10)


@pytest.mark.reference
@pytest.mark.parametrize(("folder", "name"), [("gap_fit_si", "si"), ("gap_fit_cuau", "cuau")])
def test_equals_what_quip_stored_of_models_of_gap_fit(shared_data, folder, name):
    """1e-12 eV² and 1e-11 eV²/Å as above; measured 8e-14 and 7e-13."""
    model = load(shared_data / "quip_models" / folder / f"gap_{name}.xml")
    with np.load(shared_data / "quip_models" / folder / f"predictions_{name}.npz") as stored:
        for k in range(int(stored["n_frames"])):
            numbers, positions, cell, pbc = (stored[f"{k}_{key}"] for key in ("numbers", "positions", "cell", "pbc"))
            atoms = Atoms(numbers, positions, cell=cell, pbc=pbc)
            (p,) = model.evaluate([atoms], uncertainty="prior")
            assert_allclose(p.energies_std**2, stored[f"{k}_local_gap_variance"], rtol=0, atol=1e-12)
            theirs = stored[f"{k}_gap_variance_gradient"].reshape(len(atoms), 3)
            assert_allclose(prior_variance_gradient(model, atoms), theirs, rtol=0, atol=1e-11)


@pytest.fixture(scope="module")
def odd(alloy):
    """What QUIP has no right number for or no kernel: offsets, scaled features, features that are not of unit norm, a sum."""
    terms = [
        Term(TwoBody(4.0), RBF(0.5) + Constant(0.25), delta=0.5, n_sparse=10),
        Term(ThreeBody(3.0), RBF(1.5), delta=0.1, n_sparse=30, scale="std"),
        Term(SOAP(4.2, 3, 2, normalize=False), DotProduct(2), delta=1e-4, n_sparse=20),
        Term(SOAP(3.2, 3, 2, 0.4), RBF(0.8), delta=0.3, n_sparse=20, selection="fps"),
    ]
    return GAPRegressor(terms, random_state=0).fit(alloy)


def differences(model: GAPRegressor, atoms: Atoms) -> np.ndarray:
    """Of the sum of the variances, of fourth order, step 1e-3 Å."""

    def moved(i: int, c: int, step: float) -> float:
        copy = atoms.copy()
        copy.positions[i, c] += step
        return np.sum(model.evaluate([copy], uncertainty="prior")[0].energies_std ** 2)

    result = np.zeros((len(atoms), 3))
    for i, c in np.ndindex(result.shape):
        near, far = (moved(i, c, step) - moved(i, c, -step) for step in (1e-3, 2e-3))
        result[i, c] = (8 * near - far) / 12e-3
    return result


@pytest.mark.parametrize("pbc", CELLS)
def test_the_gradient_equals_differences(odd, pbc):
    """1e-7 of the largest component is the noise of the differences."""
    atoms = copper_gold(50, pbc)
    expected = differences(odd, atoms)
    assert np.abs(expected).max() > 1e-3
    gradient = prior_variance_gradient(odd, atoms)
    assert_allclose(gradient, expected, rtol=0, atol=1e-7 * np.abs(expected).max())
    assert_allclose(gradient.sum(axis=0), 0.0, rtol=0, atol=1e-12 * np.abs(expected).max())


def test_it_is_never_below_the_regularisation_and_known_at_the_sparse_points(alloy):
    model = GAPRegressor([Term(SOAP(4.0, 4, 3), DotProduct(2), delta=2.0, n_sparse=1000)], random_state=0)
    with pytest.warns(NumericalWarning, match="distinct environments"):
        model.fit(alloy)
    known = np.concatenate([p.energies_std for p in model.evaluate(alloy, uncertainty="prior")])
    assert known.min() >= REGULARISATION * (1 - 1e-9)
    # a sparse point is known up to the regularisation, and so is its environment: √2 of it
    assert known.max() <= np.sqrt(2) * REGULARISATION * (1 + 1e-6)
    (strange,) = model.evaluate([bulk("Cu", a=3.0)], uncertainty="prior")
    assert strange.energies_std.min() > 10 * REGULARISATION


def test_it_needs_no_posterior_and_is_the_same_from_a_file(models, tmp_path):
    model, atoms = models["two"], copper_gold(60, n=8)
    model.save(tmp_path / "small.gap", posterior=False)
    small = load(tmp_path / "small.gap")
    (p,), (q,) = (m.evaluate([atoms], uncertainty="prior") for m in (model, small))
    assert_allclose(p.energies_std, q.energies_std, rtol=1e-12)
    atoms.calc = GAPCalculator(small, uncertainty="prior")
    atoms.get_forces()
    assert_allclose(atoms.calc.prediction.energies_std, p.energies_std, rtol=1e-12)
    with pytest.raises(ValueError, match="`uncertainty` must be None or 'prior' for a model without posterior; got 'exact'"):
        small.evaluate([atoms], uncertainty="exact")


@pytest.mark.parametrize(
    "std", [("energy",), ("forces",), ("stress",), ("energies", "forces"), ("energy", "energies", "forces")]
)
def test_it_has_no_covariance_between_environments(models, std):
    with pytest.raises(ValueError, match=r"`std` must be \('energies',\) for uncertainty='prior'.*Take uncertainty='exact'"):
        models["one"].evaluate([silicon(0)], uncertainty="prior", std=std)


def test_batches_blocks_and_tables_change_nothing(models, alloy, monkeypatch):
    model = models["two"]
    frames = [copper_gold(70, n=8), copper_gold(71)]
    together = model.evaluate(frames, uncertainty="prior", std=("energies",))
    assert model.evaluate(frames, uncertainty="prior", std=())[0].energies_std is None
    gradient = prior_variance_gradient(model, frames[0])
    monkeypatch.setattr("gapkit.model.prediction._BLOCK", 3)
    monkeypatch.setattr("gapkit.model.std_gradient._BLOCK", 3)
    for p, atoms in zip(together, frames, strict=True):
        (q,) = model.evaluate([atoms], uncertainty="prior")
        assert_allclose(q.energies_std, p.energies_std, rtol=1e-12)
    assert_allclose(prior_variance_gradient(model, frames[0]), gradient, rtol=0, atol=1e-13)
    exact, tabulated = (
        GAPRegressor([Term(TwoBody(4.0, tabulate=t), RBF(1.0), delta=0.1, n_sparse=6)], random_state=0).fit(alloy)
        for t in (False, True)
    )
    (p,), (q,) = (m.evaluate(frames[:1], uncertainty="prior") for m in (exact, tabulated))
    assert_allclose(p.energies_std, q.energies_std, rtol=1e-12)


def test_a_calibration_leaves_it_alone(alloy):
    model = GAPRegressor([Term(SOAP(4.0, 3, 2), DotProduct(2), n_sparse=20)], random_state=0).fit(alloy)
    (p,), (exact,) = (model.evaluate(alloy[:1], uncertainty=u) for u in ("prior", "exact"))
    model.calibrate("loo", method="scale")
    (q,), (calibrated,) = (model.evaluate(alloy[:1], uncertainty=u) for u in ("prior", "exact"))
    assert_allclose(q.energies_std, p.energies_std, rtol=0, atol=0)
    assert not np.allclose(calibrated.energies_std, exact.energies_std, rtol=1e-3)
    atoms = alloy[0].copy()
    atoms.calc = GAPCalculator(model, uncertainty="prior")
    atoms.get_potential_energy()
    assert_allclose(atoms.calc.prediction.energies_std, p.energies_std, rtol=1e-12)


def test_points_that_rounding_makes_dependent_are_left_out_aloud():
    """Every point twice, as a file of QUIP may have it: δ = 1e6 eV makes the regularisation less than the rounding of K."""
    frames = [labelled_silicon(seed) for seed in range(3)]
    model = GAPRegressor([Term(SOAP(4.0, 3, 2), DotProduct(2), delta=1e6, n_sparse=20)], random_state=0).fit(frames)
    (term,) = model.potential_.terms
    points, weights = ([np.repeat(a, 2, axis=0) for a in of_groups] for of_groups in (term.points, term.weights))
    twice = replace(
        model.potential_,
        terms=[replace(term, points=points, weights=weights)],
        coefficients=[[np.repeat(a, 2) / 2 for a in model.potential_.coefficients[0]]],
    )
    n = len(term.points[0])
    with pytest.warns(NumericalWarning, match=f"{n} of {2 * n} sparse points of Si do not count for the prior variance"):
        (p,) = predict(twice, NeighborList.from_atoms(frames[:1], 4.0), uncertainty="prior")
    (q,) = model.evaluate(frames[:1], uncertainty="prior")
    assert_allclose(p.energies_std, q.energies_std, rtol=0, atol=1e-1)  # of 1e6: rounding of the variances, 1e-4 eV²


@pytest.mark.parametrize("order", [3, 4])
def test_kernels_that_are_sums_over_permutations(order):
    """QUIP's distance_Nb: one sparse point for all its images; 1e-12 eV² of 1e-4 to 1e-3, differences as above."""
    clusters = pytest.importorskip("gapkit.descriptors.distance_nb", reason="needs DistanceNb")
    descriptor = clusters.DistanceNb(3.0, order=order, cutoff_width=0.8, theta=0.6)
    atoms = silicon(80, (True, True, True))[:5]
    found = list(bodies.clusters(atoms, 3.0, 0.8, order))
    chosen = np.random.default_rng(0).permutation(len(found))[:6]
    distances = np.array([found[k][1] + 0.05 for k in chosen])
    cutoffs = np.linspace(0.3, 1.0, len(chosen))
    points, weights = clusters.expanded_points(distances, cutoffs, 0.6, clusters.distance_permutations(order))
    term = SparseTerm(descriptor.fit([atoms]), RBF(1.0), 0.3, [points], [weights], None, [], [])
    model = GAPRegressor([Term(TwoBody(3.0), RBF(1.0))])
    model.potential_ = Potential([term], {14: 0.0}, [[np.zeros(len(points))]], None)
    model.baseline_ = model.calibration_ = None

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return 0.09 * bodies.cluster_kernel(a, b, order, 0.6)

    expected = local_variances(len(atoms), [e[1:] for e in found], kernel, distances, cutoffs)
    (p,) = model.evaluate([atoms], uncertainty="prior")
    assert expected.min() > 1e-4
    assert_allclose(p.energies_std**2, expected, rtol=0, atol=1e-12)
    gradient = differences(model, atoms)
    assert_allclose(prior_variance_gradient(model, atoms), gradient, rtol=0, atol=1e-7 * np.abs(gradient).max())
