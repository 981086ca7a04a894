from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.isotonic import isotonic_regression

from gapkit.exceptions import NumericalWarning
from gapkit.gp.calibration import Calibration, ErrorSample


def too_confident(n_structures: int, n_in_each: int, factor, seed: int = 0, classes=None) -> ErrorSample:
    """Gaussian errors whose true standard deviation is ``factor(std)`` or ``factor * std``."""
    rng = np.random.default_rng(seed)
    structure = np.repeat(np.arange(n_structures), n_in_each)
    std = np.exp(rng.normal(-3.0, 0.8, len(structure)))
    true = factor(std) if callable(factor) else factor * std
    return ErrorSample(rng.normal(0.0, true), std, structure, classes)


def dense_quantile(score, structure, level):
    """The defining sentence, tried at every score."""
    members = [score[structure == k] for k in np.unique(structure)]
    for q in np.sort(score):
        if sum(np.mean(m <= q) for m in members) / (len(members) + 1) >= level - 1e-12:
            return q
    return np.inf


@pytest.mark.parametrize("method", ["scale", "isotonic"])
def test_mean_squared_z_is_one_on_the_calibration_errors(method):
    sample = too_confident(40, 50, 3.0)
    calibration = Calibration.fit({"forces": sample}, method=method)
    z = sample.residual / calibration.apply("forces", sample.std)
    assert np.mean(z**2) == pytest.approx(1.0, abs=1e-12)
    a = np.sqrt(np.mean((sample.residual / sample.std) ** 2))
    assert calibration.maps["forces"].scale == pytest.approx(a, rel=1e-14)
    assert a == pytest.approx(3.0, rel=0.05)  # 2000 errors: relative error of a root mean square is 1/sqrt(4000)


def test_scale_is_proportional():
    calibration = Calibration.fit({"energy": too_confident(30, 1, 2.0)})
    a = calibration.maps["energy"].scale
    std = np.array([1e-9, 0.1, 1e3])
    assert_allclose(calibration.apply("energy", std), a * std, rtol=1e-12)
    assert_allclose(calibration.apply("energies", std), a * std, rtol=1e-12)
    assert calibration.apply("energy", 0.0) == 0.0
    assert_allclose(calibration.apply("forces", std), std, rtol=0)  # no map, no change


def test_isotonic_finds_a_curved_map_and_stays_usable_outside():
    def floor(std):  # a model with an error floor that its posterior does not know
        return np.sqrt((2 * std) ** 2 + 0.1**2)

    sample = too_confident(400, 50, floor)
    calibration = Calibration.fit({"forces": sample}, method="isotonic")
    s = np.quantile(sample.std, [0.05, 0.2, 0.5, 0.8, 0.95])
    assert_allclose(calibration.apply("forces", s), floor(s), rtol=0.06)  # bins of 1000 errors: 2 % each, and interpolation
    grid = np.geomspace(1e-8, 1e4, 500)
    calibrated = calibration.apply("forces", grid)
    assert (calibrated > 0.0).all()
    assert (np.diff(calibrated) >= -1e-12 * calibrated[1:]).all()
    found = calibration.maps["forces"]
    for edge, far in ((0, 1e-6), (-1, 1e6)):
        ratio = found.calibrated[edge] / found.raw[edge]
        assert float(calibration.apply("forces", far)) == pytest.approx(ratio * far, rel=1e-12)


def test_isotonic_levels_are_those_of_scikit_learn():
    sample = too_confident(100, 60, 1.0, seed=3)
    found = Calibration.fit({"forces": sample}, method="isotonic").maps["forces"]
    order = np.argsort(sample.std)
    bins = np.array_split(order, 20)  # 6000 errors, 20 bins of 300
    level = np.unique(isotonic_regression([np.mean(sample.residual[b] ** 2) for b in bins]))
    assert found.calibrated[0] == found.calibrated[1]  # the floor below the lowest level
    ratio = np.array(found.calibrated[1:]) / np.sqrt(level)
    assert_allclose(ratio, ratio[0], rtol=1e-12)  # equal up to the last factor that makes mean z² 1
    assert ratio[0] == pytest.approx(1.0, abs=0.02)


def test_isotonic_with_equal_deviations_and_with_exact_labels():
    rng = np.random.default_rng(0)
    structure = np.arange(600) // 10
    sample = ErrorSample(rng.normal(0, 2.0, 600), np.ones(600), structure)
    calibration = Calibration.fit({"forces": sample}, method="isotonic")
    assert float(calibration.apply("forces", 1.0)) == pytest.approx(np.sqrt(np.mean(sample.residual**2)))
    std = np.linspace(0.1, 1.0, 600)
    residual = np.where(std < 0.4, 0.0, rng.normal(0.0, std))
    calibration = Calibration.fit({"forces": ErrorSample(residual, std, structure)}, method="isotonic")
    assert (calibration.apply("forces", std) > 0.0).all()


def test_classes_have_their_own_factor_and_shrink_to_the_common_one():
    rng = np.random.default_rng(1)
    structure = np.repeat(np.arange(60), 40)
    classes = np.where(np.arange(2400) % 2 == 0, "Cu", "Au")
    classes[structure < 3] = "H"  # three structures: too few
    std = rng.uniform(0.05, 0.1, 2400)
    residual = rng.normal(0.0, np.where(classes == "Cu", 1.0, 4.0) * std)
    calibration = Calibration.fit({"forces": ErrorSample(residual, std, structure, classes)}, by="species", method="scale")
    found = calibration.maps["forces"]
    assert sorted(found.factors) == ["Au", "Cu"]
    z = residual / (found.scale * std)
    for name in ("Cu", "Au"):  # 57 structures against the prior of 10
        expected = np.sqrt((57 * np.mean(z[classes == name] ** 2) + 10) / 67)
        assert found.factors[name] == pytest.approx(expected, rel=1e-12)
    mixed = calibration.apply("forces", np.full((4, 3), 0.1), np.array(["Cu", "Au", "H", "Xe"]))
    assert_allclose(mixed[:, 0], 0.1 * found.scale * np.array([found.factors["Cu"], found.factors["Au"], 1, 1]), rtol=1e-12)
    assert_allclose(mixed, mixed[:, :1].repeat(3, axis=1), rtol=0)
    assert float(calibration.apply("forces", 0.1, "Cu")) == pytest.approx(mixed[0, 0])
    assert_allclose(calibration.apply("forces", [0.1]), found.scale * 0.1)
    ignored = Calibration.fit({"forces": ErrorSample(residual, std, structure, classes)}, method="scale")
    assert ignored.maps["forces"].factors == {}


def test_multiplier_is_the_pooled_conformal_quantile():
    rng = np.random.default_rng(5)
    structure = np.repeat(np.arange(12), rng.integers(1, 9, 12))  # structures of different size weigh the same
    std = rng.uniform(1.0, 2.0, len(structure))
    residual = rng.standard_t(4, len(structure)) * std
    calibration = Calibration.fit({"stress": ErrorSample(residual, std, structure)})
    score = np.abs(residual) / calibration.apply("stress", std)
    for level in (0.5, 0.68, 0.9, 0.92):
        expected = dense_quantile(score, structure, level)
        assert calibration.multiplier("stress", level) == pytest.approx(expected, rel=1e-12), level
    assert np.isfinite(calibration.multiplier("stress", 12 / 13 - 0.005))
    assert calibration.multiplier("stress", 0.95) == np.inf  # 12 structures suffice up to 12/13
    assert calibration.multiplier("stress", 0.871) == calibration.multiplier("stress", 0.875)  # between levels: the next


def test_conformal_intervals_cover_new_structures():
    """Errors far from Gaussian, strongly correlated within a structure; 400 repetitions with 30 + 20 structures."""
    rng = np.random.default_rng(2)
    covered = []
    for _ in range(400):
        spread = np.exp(rng.normal(0.0, 0.7, 50))  # each structure is as a whole easier or harder
        residual = (spread[:, None] * rng.laplace(size=(50, 6))).ravel()
        structure, std = np.repeat(np.arange(50), 6), np.full(300, 0.2)
        known = structure < 30
        calibration = Calibration.fit({"energy": ErrorSample(residual[known], std[known], structure[known])})
        half_width = calibration.multiplier("energy", 0.9) * calibration.apply("energy", std[~known])
        covered.append(np.mean(np.abs(residual[~known]) <= half_width))
    error = np.std(covered) / np.sqrt(len(covered))
    assert np.mean(covered) > 0.9 - 3 * error  # the guarantee
    assert np.mean(covered) < 0.9 + 1 / 31 + 3 * error  # and no more than the one structure that is added costs


def test_plain_form_is_json_and_comes_back():
    sample = too_confident(12, 40, 2.0, classes=np.repeat(["a", "b"], 240))
    calibration = Calibration.fit(
        {"forces": sample, "energy": too_confident(6, 1, 2.0)}, method="isotonic", by="config_type", source="loo"
    )
    text = json.dumps(calibration.to_plain(), allow_nan=False)
    back = Calibration.from_plain(json.loads(text))
    assert back == calibration
    assert back.multiplier("energy", 0.99) == np.inf
    assert_allclose(back.apply("forces", sample.std, sample.classes), calibration.apply("forces", sample.std, sample.classes))


def test_zero_deviations_are_left_out_and_counted():
    sample = too_confident(20, 30, 2.0)
    std = np.append(sample.std, [0.0, 0.0, 1e-12])  # a perfect crystal: 0, and 0 up to rounding
    residual, structure = np.append(sample.residual, [0.0, 0.0, 1e-7]), np.append(sample.structure, [90, 90, 91])
    with_crystal = Calibration.fit({"forces": ErrorSample(residual, std, structure)}).maps["forces"]
    without = Calibration.fit({"forces": sample}).maps["forces"]
    assert (with_crystal.n_zero, with_crystal.n_values, with_crystal.n_structures) == (3, 600, 20)
    assert with_crystal.multipliers == without.multipliers
    assert with_crystal.scale == without.scale
    assert not ErrorSample(np.zeros(3), np.zeros(3), np.zeros(3, int)).nonzero().any()
    assert ErrorSample(np.empty(0), np.empty(0), np.empty(0, int)).nonzero().shape == (0,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"residual": np.full(40, np.nan)}, "must be finite with std >= 0; got residual nan, .* 1.0 in structure 7"),
        ({"std": np.full(40, np.inf)}, "standard deviation inf"),
        ({"std": np.full(40, -1.0)}, "standard deviation -1.0"),
        ({"std": np.zeros(40)}, "at least 5 structures with a standard deviation above 0; got 0"),
        ({"structure": np.arange(40) // 10}, "got 4. Calibrate with more labelled structures"),
        ({"residual": np.zeros(40)}, "must not be all 0"),
    ],
)  # fmt: skip
def test_bad_errors_are_named(change, message):
    good = {"residual": np.ones(40), "std": np.ones(40), "structure": 7 + np.arange(40)}
    with pytest.raises(ValueError, match=message) as info:
        Calibration.fit({"forces": ErrorSample(**{**good, **change})})
    assert "samples['forces']" in str(info.value)


def test_bad_options_are_named():
    sample = too_confident(10, 3, 1.0)
    with pytest.raises(ValueError, match="`method` must be one of"):
        Calibration.fit({"forces": sample}, method="quantile")
    with pytest.raises(ValueError, match="`by` must be one of"):
        Calibration.fit({"forces": sample}, by="charge")
    with pytest.raises(ValueError, match="`samples` must be one of 'energy'"):
        Calibration.fit({"energies": sample})
    with pytest.raises(ValueError, match="at least one kind"):
        Calibration.fit({})
    calibration = Calibration.fit({"forces": sample})
    with pytest.raises(ValueError, match=r"`kind` must be one of 'forces'; got 'energy'"):
        calibration.multiplier("energy")
    with pytest.raises(ValueError, match=r"`confidence` must be a number at least 0\.5 and at most 0\.999"):
        calibration.multiplier("forces", 1.0)


def test_zeros_are_judged_by_their_like_and_not_by_the_largest():
    """One structure with a large deviation does not make zeros of the others; where all are rounding there is no map."""
    many = too_confident(190, 1, 5.0)
    sample = ErrorSample(np.append(1e-3 * many.residual, np.ones(10)), np.append(1e-3 * many.std, np.ones(10)), np.arange(200))
    assert Calibration.fit({"energy": sample}).maps["energy"].n_zero == 0
    crystals = ErrorSample(np.full(400, 1e-12), np.full(400, 1e-10), np.arange(400) // 20)
    with pytest.warns(NumericalWarning, match="at least 5 structures with a standard deviation above 0; got 0.*They stay raw"):
        found = Calibration.fit({"forces": crystals, "energy": sample})
    assert list(found.maps) == ["energy"]
    assert found.apply("forces", 0.3) == 0.3
