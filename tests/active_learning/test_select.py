from __future__ import annotations

import re
import warnings
from copy import copy
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from numpy.testing import assert_allclose

import gapkit
from gapkit import SOAP, DotProduct, GAPRegressor, Noise, Term, TwoBody
from gapkit.active_learning import METHODS, acquisition, pick, pool_variance, wider_basis
from gapkit.active_learning.environments import EnvironmentSpace, Twins
from gapkit.active_learning.pool_variance import PoolVariance
from gapkit.active_learning.wider_basis import enlarged
from gapkit.exceptions import InvalidStructureError, SelectionWarning
from tests.conftest import copper_gold
from tests.reference.selection import i_optimal, posterior_covariance


def fit(frames, *more: Term, n_sparse: int = 12) -> GAPRegressor:
    soap = Term(SOAP(4.0, 3, 2, 0.5), DotProduct(2), delta=0.7, n_sparse=n_sparse)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return GAPRegressor([soap, *more], noise=Noise(0.01, 0.1, 0.05), baseline=None, random_state=0).fit(frames)


@pytest.fixture(scope="module")
def model(alloy):
    return fit(alloy[:4])


@pytest.fixture(scope="module")
def pool():
    return [copper_gold(seed, (True, True, bool(seed % 2)), n=8 if seed % 4 == 0 else 4) for seed in range(40, 52)]


def rows_of(pool, noise):
    sigma = np.concatenate([np.r_[noise.energy, np.full(3 * len(a), noise.forces)] for a in pool])
    return sigma, np.repeat(np.arange(len(pool)), [1 + 3 * len(a) for a in pool])


@pytest.mark.parametrize("with_pairs", [False, True])
def test_batch_is_the_dense_greedy_pick_by_pick(alloy, pool, with_pairs, monkeypatch):
    """With all combinations of forces and all components kept, nothing is left out: the dense formula."""
    monkeypatch.setattr(pool_variance, "_RANK", 10_000)
    model = fit(alloy[:4], *([Term(TwoBody(4.0), gapkit.RBF(0.8), delta=0.3, n_sparse=8)] if with_pairs else []))
    potential = model.potential_
    is_open = [potential.is_open(term) for term in potential.terms]
    terms, _ = enlarged(potential.terms, is_open, pool, np.random.default_rng(0), show=False)
    assert sum(t.n_points for t in terms) > potential.n_sparse
    sigma, structure = rows_of(pool, model.noise_)
    forces = np.concatenate([np.r_[False, np.full(3 * len(a), True)] for a in pool])
    picks, gains = i_optimal(posterior_covariance(potential, terms, pool), sigma, structure, forces, 6)
    found = pick(model, pool, 6)
    assert found.indices.tolist() == picks
    # the dense covariance inverts K_uu, whose condition number is up to 1e8: 1e-16 * 1e8 of its largest elements over noise²
    assert_allclose(found.scores, gains, rtol=1e-6)


def test_the_enlarged_basis_leaves_the_columns_of_the_model_alone(model, pool):
    potential = model.potential_
    terms, order = enlarged(potential.terms, [True], pool, np.random.default_rng(0), show=False)
    assert sorted(order) == list(range(len(order)))
    for term, old in zip(terms, potential.terms, strict=True):
        for group, lower in enumerate(term.cholesky):
            n = len(old.points[group])
            assert_allclose(lower[:n, :n], old.cholesky[group], rtol=0, atol=0)
            # rounding of the kernel matrix times the few hundred operations of a factorisation
            assert_allclose(lower @ lower.T, term.kernel(term.points[group]), atol=1e-12)


def test_force_std_in_the_reason_of_the_first_pick(model, pool):
    """The basis is enlarged: more than the sparse points see, at most what there is."""
    found = pick(model, pool, 1)
    chosen = pool[found.indices[0]]
    (exact,) = model.evaluate([chosen], uncertainty="exact", std=("forces",))
    narrow = copy(model)
    narrow.potential_ = replace(model.potential_, approximation="sor")
    (seen,) = narrow.evaluate([chosen], uncertainty="exact", std=("forces",))
    value, atom, symbol = re.match(r"force std (\S+) eV/Å on atom (\d+) \((\w+)\) given", found.reasons[0]).groups()
    assert 1.01 * seen.forces_std.max() < float(value) < 1.005 * exact.forces_std.max()  # three digits are printed
    assert int(atom) == int(np.argmax(exact.forces_std.max(axis=1)))
    assert symbol == chosen.symbols[int(atom)]


def test_sketches_say_what_all_rows_say(alloy):
    """Sixteen random combinations of 24 force components: gains agree with the exact ones to a third, and in their order."""
    large = [copper_gold(seed, (True, True, True), n=8) for seed in range(60, 80)]
    model = fit(alloy[:4])
    exact = PoolVariance(model.potential_, model.noise_, None, large, 0, show=False).bounds  # few components: all of them
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool_variance, "_FEW", 0)
        sketched = PoolVariance(model.potential_, model.noise_, None, large, 0, show=False).bounds
    assert np.abs(sketched - exact).max() > 1e-3 * exact.max()
    assert np.corrcoef(sketched, exact)[0, 1] > 0.9
    assert_allclose(sketched, exact, rtol=0.35)


@pytest.mark.parametrize("method", ["max", "mean"])
def test_force_std_scores(model, pool, method):
    found = pick(model, pool, 5, method=method)
    std = [p.forces_std for p in model.evaluate(pool, uncertainty="exact", std=("forces",))]
    worth = np.array([s.max() if method == "max" else np.mean(s**2) for s in std])
    assert found.indices.tolist() == np.argsort(-worth)[:5].tolist()
    assert_allclose(found.scores, np.sort(worth)[::-1][:5], rtol=1e-12)  # the same numbers
    first = std[found.indices[0]]
    atom = int(np.argmax(first.max(axis=1)))
    assert (
        f"{first.max():.3g} eV/Å on atom {atom} ({pool[found.indices[0]].symbols[atom]})" in found.reasons[0]
        or method == "mean"
    )


def test_calibration_is_in_the_force_std(alloy, pool):
    model = fit(alloy[:8]).calibrate(method="scale")
    found = pick(model, pool, 1, method="max")
    std = [p.forces_std.max() for p in model.evaluate(pool, uncertainty="exact", std=("forces",))]
    assert_allclose(found.scores[0], max(std), rtol=1e-12)


def test_fps_is_the_plain_greedy(model, pool):
    term = model.potential_.terms[0]
    features = [term.descriptor.transform([a]) for a in pool]
    numbers = [a.numbers for a in pool]
    known = {29: [term.points[0]], 79: [term.points[1]]}
    picks = []
    for _ in range(5):
        worth = []
        for x, z in zip(features, numbers, strict=True):
            d2 = np.empty(len(z))
            for number, parts in known.items():
                own = z == number
                k = (x[own] @ np.vstack(parts).T) ** 2  # DotProduct(2) of unit vectors
                d2[own] = np.maximum(2.0 - 2.0 * k, 0.0).min(axis=1, initial=2.0)
            worth.append(np.sqrt(d2).mean())
        worth = [-1.0 if k in picks else w for k, w in enumerate(worth)]
        picks.append(int(np.argmax(worth)))
        for number in known:
            known[number].append(features[picks[-1]][numbers[picks[-1]] == number])
    assert pick(model, pool, 5, method="fps").indices.tolist() == picks


@pytest.mark.parametrize("method", METHODS)
def test_duplicates_are_never_picked_twice(model, pool, method):
    turned = []
    for atoms in pool[:5]:
        other = atoms.copy()
        other.rotate(40.0, (1.0, 2.0, 0.5), rotate_cell=True)
        other.positions += 0.3
        turned.append(other[np.random.default_rng(0).permutation(len(other))])
    everything = pool[:5] + [a.copy() for a in pool[:5]] + turned
    found = pick(model, everything, 15, method=method, random_state=1)
    assert sorted(found.indices % 5) == list(range(5))  # each structure once
    assert len(found.twins) == 10
    assert all(k % 5 == other % 5 for k, other in found.twins.items())
    with pytest.warns(SelectionWarning, match="5 were picked: of the 15 in the pool 0 are unphysical and 10 repeat"):
        gapkit.select(model, everything, 15, method=method, random_state=1)


def test_steps_of_a_trajectory_are_twins_and_other_frames_are_not(model):
    pool = [copper_gold(seed, (True, True, True)) for seed in range(100, 160)]  # enough that one pair in 1000 is not the twins'
    step = pool[2].copy()
    step.positions += np.random.default_rng(0).normal(0.0, 1e-4, step.positions.shape)
    twins = Twins(EnvironmentSpace(model.potential_, [*pool, step]))
    twins.add(2)
    assert twins.twin_of(60) == 2
    assert all(twins.twin_of(k) is None for k in range(60) if k != 2)


@pytest.mark.parametrize("method", METHODS)
def test_unphysical_frames_are_left_out(model, pool, method):
    close, lost = pool[1].copy(), pool[2].copy()
    close.positions[1] = close.positions[0] + (0.9, 0.0, 0.0)
    lost.positions[0, 1] = np.nan
    merged = pool[4].copy()
    merged.positions[1] = merged.positions[0]
    found = pick(model, [pool[0], close, lost, merged, pool[3]], 5, method=method, random_state=0)
    assert sorted(found.indices) == [0, 4]
    assert sorted(found.excluded) == [1, 2, 3]
    assert "atoms 0 (Cu) and 1 (Au) are 0.90 Å apart, below 1.61 Å" in found.excluded[1]  # 0.6 (1.32 + 1.36)
    assert found.excluded[2] == "positions or cell are not finite"


def test_d_min(model, pool):
    shortest = [a.get_all_distances(mic=True)[np.triu_indices(len(a), 1)].min() for a in pool]
    limit = float(np.median(shortest))
    found = pick(model, pool, 12, method="random", d_min=limit, random_state=0)
    assert sorted(found.excluded) == [k for k, d in enumerate(shortest) if d < limit]
    with pytest.raises(ValueError, match=r"`d_min` must be a number at least 0\.1; got 0"):
        gapkit.select(model, pool, 1, d_min=0.0)


@pytest.mark.parametrize("method", METHODS)
def test_more_than_there_are(model, pool, method):
    with pytest.warns(SelectionWarning, match="Of 99 frames 12 were picked"):
        assert sorted(gapkit.select(model, pool, 99, method=method, random_state=0)) == list(range(12))


def test_nothing_to_choose_from(model, pool):
    with pytest.raises(ValueError, match="`pool` must hold at least one structure"):
        gapkit.select(model, [], 3)
    lost = pool[0].copy()
    lost.positions[:] = np.inf
    found = pick(model, [lost], 3)
    assert len(found.indices) == 0
    assert list(found.excluded) == [0]


@pytest.mark.parametrize("method", METHODS)
def test_one_atom_frames(model, pool, method):
    single = [Atoms("Cu", pbc=False), Atoms("Cu", cell=[2.5, 2.5, 2.5], pbc=True), Atoms("Au", positions=[[1, 1, 1]])]
    found = pick(model, single + pool[:2], 5, method=method, random_state=0)
    assert sorted(found.indices) == [0, 1, 2, 3, 4]
    assert all(np.isfinite(found.scores))


@pytest.mark.parametrize("method", METHODS)
def test_unknown_species(model, pool, method):
    other = pool[2].copy()
    other.symbols[0] = "Ag"
    broken = pool[0].copy()
    broken.positions[0] = np.nan
    with pytest.raises(InvalidStructureError, match=r"\(Cu, Au\); got Ag in frame 2 of the pool"):
        gapkit.select(model, [broken, pool[1], other], 1, method=method)


def test_random_state(model, pool):
    def of(seed):
        return pick(model, pool, 6, method="random", random_state=seed).indices.tolist()

    assert of(1) == of(1)
    assert len({tuple(of(seed)) for seed in range(6)}) > 1


@pytest.mark.parametrize("method", METHODS)
def test_any_chunk_size_gives_the_same(model, pool, method, monkeypatch):
    first = pick(model, pool, 8, method=method, random_state=3)
    for module in (acquisition, pool_variance):
        monkeypatch.setattr(module, "CHUNK_ATOMS", 5)
    monkeypatch.setattr(wider_basis, "_CANDIDATES", 5000)
    second = pick(model, pool, 8, method=method, random_state=3)
    assert first.indices.tolist() == second.indices.tolist()
    assert_allclose(first.scores, second.scores, rtol=1e-10)  # rows agree to 1e-12


def test_ties_go_to_the_earlier_frame(model, pool):
    """Mirror images have equal gains."""
    mirrored = []
    for atoms in pool[:3]:
        other = atoms.copy()
        other.set_cell(other.cell.array * [1, 1, -1], scale_atoms=False)
        other.positions[:, 2] *= -1
        mirrored.append(other)
    for frames in (pool[:3] + mirrored, mirrored + pool[:3]):
        assert sorted(pick(model, frames, 3).indices) == [0, 1, 2]


def test_a_model_without_posterior(model, pool):
    bare = GAPRegressor(model.terms, noise=model.noise, baseline=None, random_state=0)
    bare.__dict__.update(model.__dict__)
    bare.potential_ = replace(model.potential_, posterior=None)
    for method in ("batch", "max", "mean"):
        with pytest.raises(ValueError, match="`method` must be 'fps' or 'random' for a model without posterior; got"):
            gapkit.select(bare, pool, 2, method=method)
    assert gapkit.select(bare, pool, 2, method="fps").tolist() == gapkit.select(model, pool, 2, method="fps").tolist()
    assert len(gapkit.select(bare, pool, 2, method="random", random_state=0)) == 2


def test_a_model_of_pairs_alone(alloy, pool):
    term = Term(TwoBody(4.0), gapkit.RBF(0.8), n_sparse=8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = GAPRegressor([term], noise=Noise(0.01, 0.1, 0.05), baseline=None, random_state=0).fit(alloy[:4])
    for method in METHODS:
        found = pick(model, [*pool, pool[0].copy()], 13, method=method, random_state=0)
        assert sorted(found.indices % 12) == list(range(12))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "`n` must be an integer of at least 1; got 0"),
        ({"n": 2.5}, "`n` must be an integer"),
        ({"method": "best"}, "`method` must be one of 'batch', 'max'"),
        ({"random_state": -1}, "`random_state` must be an integer of at least 0"),
    ],
)
def test_bad_arguments(model, pool, arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        gapkit.select(model, pool, **({"n": 1} | arguments))
    with pytest.raises(TypeError, match="one Atoms object"):
        gapkit.select(model, pool[0], 1)
