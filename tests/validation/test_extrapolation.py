from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gapkit import SOAP, DotProduct, GAPRegressor, Noise, Term
from gapkit.datasets import load_silicon
from gapkit.report import EXTRAPOLATION_HEADER, extrapolation_figure, extrapolation_rows, extrapolation_section
from gapkit.validation import extrapolation

HOT = ("md_1000K", "md_2000K")


@pytest.fixture(scope="module")
def silicon():
    return load_silicon()


@pytest.fixture(scope="module")
def model():
    return GAPRegressor([Term(SOAP(4.5, 5, 3), DotProduct(4), n_sparse=60)], noise=Noise(1e-3, 0.05, 1e-3), random_state=0)


@pytest.fixture(scope="module")
def hot(silicon, model):
    """Trained cold, tested hot."""
    return extrapolation(model, silicon, [HOT])


def test_cold_fit_is_a_fit_without_the_hot_structures(silicon, model, hot):
    """By hand: everything but the hot types and every fifth of the others; isolated atoms in; the same numbers to rounding."""
    seen, train = {}, []
    for atoms in silicon:
        name = atoms.info["config_type"]
        if len(atoms) > 1:
            seen[name] = seen.get(name, -1) + 1
        if len(atoms) == 1 or (name not in HOT and (seen[name] + 1) % 5):
            train.append(atoms)
    assert not any(atoms.info["config_type"] in HOT for atoms in train)
    by_hand = model.explicit(silicon).fit(train).calibrate("loo")
    for row in hot[:2]:
        frames = [atoms for atoms in silicon if atoms.info["config_type"] == row.group]
        predictions = by_hand.evaluate(frames, uncertainty="exact", std=("forces",))
        errors = np.concatenate([(atoms.get_forces() - p.forces).ravel() for atoms, p in zip(frames, predictions, strict=True)])
        std = np.concatenate([p.forces_std.ravel() for p in predictions])
        assert (row.outside, row.n_frames) == (True, len(frames))
        assert row.rmse("forces") == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-8)
        assert row.std("forces") == pytest.approx(np.sqrt(np.mean(std**2)), rel=1e-6)
        assert row.zms("forces") == pytest.approx(np.mean((errors / std) ** 2), rel=1e-6)


def test_errors_and_error_bars_grow_from_cold_to_hot(hot):
    """The physics: amplitudes grow with temperature, and with them both what is wrong and what the model knows to be open."""
    by_group = {row.group: row for row in hot}
    assert [row.group for row in hot[:2]] == list(HOT)
    assert {row.outside for row in hot[2:]} == {False}
    assert "isolated_atom" not in by_group
    cold, warm, hottest = (by_group[name] for name in ("md_300K", *HOT))
    for of in ("rmse", "std"):
        values = [getattr(row, of)("forces") for row in (cold, warm, hottest)]
        assert values == sorted(values), of
        assert values[2] > 2.0 * values[0], of


def test_each_type_is_left_out_in_turn(silicon, model):
    frames = [atoms for atoms in silicon if atoms.info["config_type"] in ("isolated_atom", "eos", "rattled", "vacancy")]
    tests = extrapolation(model, frames, calibrate=False)
    assert [row.left_out for row in tests if row.outside] == [("eos",), ("rattled",), ("vacancy",)]
    assert len(tests) == 9
    for row in tests:  # of a group that was left out all structures, of the others every fifth
        total = sum(atoms.info["config_type"] == row.group for atoms in frames)
        assert row.n_frames == (total if row.outside else total // 5)


def test_groups_may_be_anything(silicon, model):
    frames = silicon[1:]  # without the isolated atom
    groups = ["small" if len(atoms) < 8 else "large" for atoms in frames]
    tests = extrapolation(model, frames, [["small"]], groups=groups, calibrate=False)
    assert [(row.group, row.outside) for row in tests] == [("small", True), ("large", False)]


def test_wrong_groups_are_refused(silicon, model):
    with pytest.raises(ValueError, match=r"`left_out` must be of groups among .*; got 'liquid'"):
        extrapolation(model, silicon, [["liquid"]])
    with pytest.raises(ValueError, match="A fit needs some of them"):
        extrapolation(model, silicon[-10:], [[atoms.info["config_type"] for atoms in silicon[-10:]]])
    with pytest.raises(ValueError, match="`groups` must be one name for each"):
        extrapolation(model, silicon, groups=["a"])


def test_table_picture_and_words(hot):
    cells = extrapolation_rows(hot)
    assert {len(row) for row in cells} == {len(EXTRAPOLATION_HEADER)}
    assert cells[0][0] == "md_1000K, md_2000K"
    left, middle, right = extrapolation_figure(hot).axes
    widths = [row.rmse("forces") or 0.0 for row in hot]  # none for eos, whose forces are 0 by symmetry
    assert_allclose([bar.get_width() for bar in middle.patches], widths)
    assert_allclose(left.lines[0].get_xdata(), [row.std("energy") for row in hot])
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["known types", *HOT]
    section = extrapolation_section(hot)
    assert "md_2000K: force errors" in section.text
    assert "times those on known types), error bars" in section.text
