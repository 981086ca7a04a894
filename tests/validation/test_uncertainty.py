from __future__ import annotations

import numpy as np
import pytest
import uncertainty_toolbox as uct
from ase import units
from numpy.testing import assert_allclose
from scipy.integrate import quad
from scipy.stats import kstest, norm
from sklearn.metrics import roc_auc_score

from gapkit import Prediction
from gapkit.gp.calibration import Calibration
from gapkit.validation import error_samples, uncertainty_table
from gapkit.validation import uncertainty as m


@pytest.fixture(scope="module")
def errors():
    rng = np.random.default_rng(0)
    std = np.exp(rng.normal(0.0, 0.5, 4000))
    return std * rng.standard_t(5, 4000), std


def test_against_uncertainty_toolbox(errors):
    r, s = errors
    zero = np.zeros_like(r)
    assert m.nll(r, s) == pytest.approx(uct.nll_gaussian(zero, s, r), rel=1e-12)
    assert m.crps(r, s) == pytest.approx(uct.crps_gaussian(zero, s, r), rel=1e-12)
    area = uct.miscalibration_area(zero, s, r, num_bins=20001)
    # theirs is on a grid of h = 5e-5, which moves each of n steps of 1/n by about 0.3 h: 0.3 h / sqrt(n) = 2.4e-7 in all
    assert m.miscalibration_area(r, s) == pytest.approx(area, abs=1e-6)
    expected, observed = uct.get_proportion_lists_vectorized(zero, s, r, num_bins=101)
    ours = m.calibration_curve(r, s)
    assert_allclose(ours[0], expected, rtol=0, atol=1e-15)
    assert_allclose(ours[1], observed, rtol=0, atol=1e-15)


def test_closed_forms_of_standard_deviations_off_by_a_factor():
    """Errors are N(0, 1), every std is f: each metric has a closed form.

    The mean of 1e6 squares has a relative standard deviation of sqrt(2e-6); bounds are four of them.
    """
    r = np.random.default_rng(1).standard_normal(1_000_000)
    chance = 4 * np.sqrt(2e-6)
    for f in (0.5, 1.0, 2.0):
        s = np.full(len(r), f)
        assert m.zms(r, s) == pytest.approx(1 / f**2, rel=chance)
        assert m.nll(r, s) == pytest.approx(0.5 * np.log(2 * np.pi * f**2) + 0.5 / f**2, abs=0.5 * chance / f**2)
        assert m.constant_nll(r) == pytest.approx(0.5 * np.log(2 * np.pi) + 0.5, abs=0.5 * chance)
        # CRPS of N(0, f²) for an observation from N(0, 1): E|X - Y| - E|X - X'| / 2
        assert m.crps(r, s) == pytest.approx(np.sqrt(2 / np.pi) * (np.sqrt(1 + f**2) - f / np.sqrt(2)), abs=chance)

        def gap(p, f=f):
            return abs(2 * norm.cdf(f * norm.ppf((1 + p) / 2)) - 1 - p)

        assert m.miscalibration_area(r, s) == pytest.approx(
            quad(gap, 0, 1)[0], abs=2e-3
        )  # a distribution function of 1e6 values: 1e-3 at most
        assert m.ence(r, s, 10) == pytest.approx(abs(f - 1) / f, abs=4 * chance / f)  # bins of 1e5
        assert m.dispersion(s) == 0.0
        assert np.isnan(m.rank_correlation(r, s))


def test_limits_of_the_miscalibration_area():
    one = np.ones(50)
    assert m.miscalibration_area(0 * one, one) == pytest.approx(0.5)  # errors far smaller than their deviations
    assert m.miscalibration_area(1e3 * one, one) == pytest.approx(0.5)
    middle = norm.ppf((1 + (np.arange(50) + 0.5) / 50) / 2)  # the best that 50 errors can do
    assert m.miscalibration_area(middle, one) == pytest.approx(1 / 200)


def test_bins_and_ence_by_hand():
    s = np.array([3.0, 1.0, 2.0, 4.0])
    r = np.array([3.0, 2.0, 0.0, 1.0])
    rms_std, rmse = m.rmse_by_std(r, s, 2)
    assert_allclose(rms_std, np.sqrt([2.5, 12.5]))
    assert_allclose(rmse, np.sqrt([2.0, 5.0]))
    assert m.ence(r, s, 2) == pytest.approx(np.mean(1 - np.sqrt([2.0 / 2.5, 5.0 / 12.5])))


def test_ence_of_a_perfect_model_grows_as_the_square_root_of_the_bins():
    s = np.random.default_rng(2).uniform(1.0, 1.5, 4000)
    few, many = (m.simulated(lambda r, s, n=n: m.ence(r, s, n), s).mean() for n in (10, 40))
    assert many / few == pytest.approx(2.0, rel=0.1)
    assert few == pytest.approx(np.sqrt(2 / np.pi) / np.sqrt(2 * 400), rel=0.1)  # mean deviation of an RMS of 400 errors


def test_auroc_of_the_largest_errors(errors):
    r, s = errors
    large = np.abs(r) >= np.sort(np.abs(r))[-200]
    assert m.large_error_auroc(r, s) == pytest.approx(roc_auc_score(large, s), abs=1e-14)
    pairs = (s[large][:, None] > s[~large]).mean()  # what the number means
    assert m.large_error_auroc(r, s) == pytest.approx(pairs, abs=1e-12)
    assert m.large_error_auroc(np.array([1.0, 2, 3]), np.array([1.0, 2, 3])) == 1.0


def test_rank_correlation_has_a_ceiling(errors):
    _, s = errors
    assert m.rank_correlation(s, s) == pytest.approx(1.0)
    ceiling = m.simulated(m.rank_correlation, s)
    assert 0.3 < ceiling.mean() < 0.6


def test_coverage_weighs_structures_equally():
    residual, structure = np.array([0.5, 0.5, 0.5, 5.0]), np.array([7, 7, 7, 3])
    assert m.coverage(residual, np.ones(4), structure, 1.0) == 0.5


def test_perfect_errors_are_gaussian_with_the_dependence_that_is_asked_for():
    structure = np.repeat(np.arange(400), 25)
    s = np.exp(np.random.default_rng(3).normal(size=len(structure)))
    for correlation in (0.0, 0.3, 0.7):
        z = m.perfect_errors(s, np.random.default_rng(4), structure=structure, correlation=correlation) / s
        # 10,000 values that are not independent: the bound is that of 400 independent ones
        assert kstest(z, "norm").statistic < 1.63 / np.sqrt(400 if correlation else len(z))
        assert m.error_correlation(z * s, s, structure) == pytest.approx(correlation, abs=0.05)
        assert abs(np.corrcoef(z[0::25], z[1::25])[0, 1]) < 0.15  # signs are independent
    assert m.error_correlation(s, s, np.arange(len(s))) == 0.0
    assert m.error_correlation(s, s, np.zeros(len(s), int)) == 0.0


def test_dependence_within_structures_makes_the_area_of_a_perfect_model_larger():
    s, structure = np.ones(2000), np.repeat(np.arange(20), 100)
    alone = np.quantile(m.simulated(m.miscalibration_area, s), 0.95)
    together = np.quantile(m.simulated(m.miscalibration_area, s, structure=structure, correlation=0.5), 0.95)
    assert together > 3 * alone
    again = m.simulated(m.miscalibration_area, s, structure=structure, correlation=0.5, n_draws=5)
    assert_allclose(again, m.simulated(m.miscalibration_area, s, structure=structure, correlation=0.5, n_draws=5), rtol=0)


def test_bootstrap_interval_covers_and_respects_structures():
    """ZMS of Gaussian errors: 95 % intervals from 60 structures, 200 repetitions; too narrow if values were resampled."""
    rng = np.random.default_rng(6)
    structure = np.repeat(np.arange(60), 10)
    hits = 0
    for _ in range(200):
        r = m.perfect_errors(np.ones(600), rng, structure=structure, correlation=0.6)
        low, high = m.bootstrap_interval(m.zms, r, np.ones(600), structure, n_draws=100, random_state=None)
        hits += low <= 1.0 <= high
    assert 0.86 < hits / 200 < 0.99  # percentile intervals of few structures are somewhat narrow
    low, high = m.bootstrap_interval(m.zms, r, np.ones(600), structure)
    scattered = m.bootstrap_interval(m.zms, r, np.ones(600), rng.permutation(structure))  # forgets what belongs together
    assert high - low > 1.5 * (scattered[1] - scattered[0])


def predictions_with_std(frames, seed=0, **std):
    rng = np.random.default_rng(seed)
    result = []
    for atoms in frames:
        s = rng.uniform(0.5, 2.0, 7 + 3 * len(atoms))
        draw = np.split(s * rng.standard_normal(len(s)), [1, 7])
        e, t, f = np.split(s, [1, 7])
        result.append(
            Prediction(
                energy=atoms.get_potential_energy() + 1e-3 * len(atoms) * draw[0][0],
                energies=np.zeros(len(atoms)),
                forces=atoms.get_forces() + 0.1 * draw[2].reshape(-1, 3),
                stress=atoms.get_stress() + 0.01 * draw[1],
                energy_std=1e-3 * len(atoms) * e[0],
                forces_std=0.1 * f.reshape(-1, 3),
                stress_std=0.01 * t,
            )
        )
    return result


def test_table_of_a_perfect_model(alloy):
    frames = alloy * 8
    predictions = predictions_with_std(frames)
    samples = error_samples(frames, predictions, by="config_type")
    rows = {(row.kind, row.group): row for row in uncertainty_table(frames, predictions)}
    assert list(rows) == [
        ("energy", "slab"), ("energy", "bulk"), ("energy", "all"),
        ("forces", "slab"), ("forces", "bulk"), ("forces", "Cu"), ("forces", "Au"), ("forces", "all"),
        ("stress", "slab"), ("stress", "bulk"), ("stress", "all"),
    ]  # fmt: skip
    for (kind, _), row in rows.items():
        assert row.zms_interval[0] < row.zms < row.zms_interval[1]
        assert row.zms == pytest.approx(1.0, abs=6 / np.sqrt(row.n_values))
        assert row.miscalibration < 1.5 * row.miscalibration_chance
        assert row.coverage is None
        assert row.mean_std == pytest.approx({"energy": 1.25, "forces": 0.125, "stress": 0.0125 / units.GPa}[kind], rel=0.15)
    every = rows["forces", "all"]
    assert every.n_structures == 80
    assert every.n_values == rows["forces", "Cu"].n_values + rows["forces", "Au"].n_values == 3 * sum(map(len, frames))
    r, s = samples["forces"][:2]
    assert every.crps == m.crps(r, s)
    assert every.ence == m.ence(r, s)
    assert every.auroc == pytest.approx(every.auroc_perfect, abs=0.08)
    assert every.rank_correlation == pytest.approx(every.rank_correlation_perfect, abs=0.08)
    assert 0 < every.nll_gain < 0.2


def test_table_has_coverage_of_a_calibrated_model_and_leaves_out_what_is_not_there(alloy):
    frames = alloy * 8
    predictions = predictions_with_std(frames)
    calibration = Calibration.fit({"forces": error_samples(frames, predictions)["forces"]})
    rows = uncertainty_table(frames, predictions, calibration=calibration, n_draws=5)
    assert {row.kind for row in rows if row.coverage is not None} == {"forces"}
    assert rows[7].coverage == pytest.approx(0.9, abs=0.03)
    bare = [Prediction(p.energy, p.energies, p.forces, p.stress) for p in predictions]
    assert uncertainty_table(frames, bare) == []
    few = uncertainty_table(frames[:1], predictions[:1])
    assert [(row.kind, row.zms_interval) for row in few if row.group == "all"] == [
        (k, None) for k in ("energy", "forces", "stress")
    ]
    assert few[0].ence is few[0].auroc is few[0].rank_correlation is None


def test_zero_standard_deviations_are_counted_and_left_out(alloy):
    predictions = predictions_with_std(alloy)
    crystal = alloy[0].copy()
    crystal.calc, crystal.info["config_type"] = alloy[0].calc, "perfect"
    n = len(crystal)
    tiny = 1e-9 * np.arange(3 * n).reshape(n, 3)  # 0 up to rounding, with errors a hundred times larger
    exact = Prediction(
        energy=crystal.get_potential_energy(), energies=np.zeros(n), forces=crystal.get_forces() + 100 * tiny,
        energy_std=1e-3, forces_std=tiny,
    )  # fmt: skip
    frames, everything = [crystal, *alloy[1:]], [exact, *predictions[1:]]
    rows = {(row.kind, row.group): row for row in uncertainty_table(frames, everything, n_draws=5)}
    assert rows["forces", "all"].n_zero == 3 * n
    assert rows["forces", "all"].zms < 2.0
    assert ("forces", "perfect") not in rows
    assert ("energy", "perfect") in rows
    assert 0 not in error_samples(frames, everything)["forces"].structure
