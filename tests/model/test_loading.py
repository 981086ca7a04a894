from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import gapkit
from gapkit import RBF, SOAP, DotProduct, GAPRegressor, Noise, Term, load
from gapkit.exceptions import ModelFormatError
from gapkit.io import FORMAT, read_archive, write_archive

MODELS = Path(__file__).parent / "models"


@pytest.fixture(scope="module")
def fitted(alloy):
    terms = [
        ("long", Term(SOAP(4.2, 4, 3), 0.5 * DotProduct(3) + RBF(1.0), n_sparse={"Cu": 12, "Au": 10})),
        ("short", Term(SOAP(3.2, 3, 2), DotProduct(2), delta=0.3, n_sparse=20, selection="fps")),
    ]
    noise = Noise(1e-3, 0.02, 1e-3, per_config_type={"slab": Noise(2e-3)})
    return GAPRegressor(terms, noise=noise, random_state=0).fit(alloy)


@pytest.fixture
def saved(fitted, tmp_path):
    fitted.save(tmp_path / "model.gap")
    return tmp_path / "model.gap"


def test_round_trip_is_exact(fitted, saved, alloy):
    loaded = load(saved)
    assert repr(loaded) == repr(fitted)
    for p, q in zip(fitted.evaluate(alloy, uncertainty="exact"), loaded.evaluate(alloy, uncertainty="exact"), strict=True):
        assert p.energy == q.energy
        assert_array_equal(p.forces, q.forces)
        assert_array_equal(p.energies_std, q.energies_std)
        assert p.energy_std == q.energy_std
    assert (loaded.e0_, loaded.e0_source_, loaded.n_labels_) == (fitted.e0_, fitted.e0_source_, fitted.n_labels_)
    for name, factor in fitted.factors_.items():
        assert_array_equal(np.triu(loaded.factors_[name].triangle), np.triu(factor.triangle))
        assert loaded.factors_[name].n_rows == factor.n_rows
    loaded.fit(alloy)  # parameters came back too
    assert_array_equal(loaded.predict(alloy), fitted.predict(alloy))


def test_same_model_same_bytes(fitted, tmp_path):
    fitted.save(tmp_path / "a.gap")
    fitted.save(tmp_path / "b.gap")
    assert (tmp_path / "a.gap").read_bytes() == (tmp_path / "b.gap").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.gap", "b.gap"]  # nothing half-written is left


def test_without_posterior(fitted, saved, alloy, tmp_path):
    fitted.save(tmp_path / "small.gap", posterior=False)
    assert (tmp_path / "small.gap").stat().st_size < 0.7 * saved.stat().st_size
    small = load(tmp_path / "small.gap")
    assert_array_equal(small.predict(alloy), fitted.predict(alloy))
    with pytest.raises(ValueError, match=r"model without posterior.*posterior=True"):
        small.predict(alloy, return_std=True)


def test_pickle_works_as_scikit_learn_expects(fitted, alloy):
    assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(alloy), fitted.predict(alloy))


@pytest.mark.parametrize("path", sorted(MODELS.glob("format*.gap")), ids=lambda p: p.name)
def test_files_of_every_format_load(path):
    """One model of every format version, with the energies that it gave when it was written."""
    expected = json.loads(path.with_suffix(".json").read_text())
    from ase.io import read

    frames = read(path.with_suffix(".xyz"), ":")
    np.testing.assert_allclose(load(path).predict(frames), expected["energies"], rtol=0, atol=1e-9)


def test_there_is_a_file_of_the_current_format():
    assert (MODELS / f"format{FORMAT}.gap").exists()


def damaged(path: Path, tmp_path: Path, how: str) -> Path:
    target = tmp_path / f"{how}.gap"
    content = path.read_bytes()
    if how == "truncated":
        target.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        target.write_bytes(b"")
    elif how == "text":
        target.write_text("not a model")
    elif how == "foreign zip":
        with zipfile.ZipFile(target, "w") as archive:
            archive.writestr("something.txt", "else")
    elif how == "flipped":
        middle = content.index(b"\x93NUMPY") + 200
        target.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    else:
        document, arrays = read_archive(path)
        for key in ("kind", "format", "oldest_reader", "sha256"):
            document.pop(key)
        if how == "newer":
            document["oldest_reader"] = FORMAT + 3
            document["format"] = FORMAT + 4
        elif how == "other kind":
            document["kind"] = "cake"
        elif how == "unknown class":
            document["terms"][0]["descriptor"]["class"] = "os.system"
        elif how == "missing key":
            del document["e0"]
        elif how == "missing array":
            del arrays["points_0_1"]
        elif how == "short triangle":
            arrays["posterior_factor"] = arrays["posterior_factor"][:-1]
        write_archive(target, document, arrays)
    return target


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("truncated", "truncated or foreign"),
        ("empty", "truncated or foreign"),
        ("text", "truncated or foreign"),
        ("foreign zip", "truncated or foreign"),
        ("flipped", "damaged|truncated or foreign"),
        ("newer", rf"format {FORMAT + 4} and needs a reader of format {FORMAT + 3}; this gapkit reads up to {FORMAT}. Upgrade"),
        ("other kind", "zip file of something else"),
        ("unknown class", "needs 'os.system', which is not imported"),
        ("missing key", "complete gapkit model; KeyError: 'e0'"),
        ("missing array", "complete gapkit model; KeyError: 'points_0_1'"),
        ("short triangle", r"A triangle of \d+ rows must have \d+ elements; got \d+"),
    ],
)
def test_bad_files(saved, tmp_path, how, message):
    with pytest.raises(ModelFormatError, match=message):
        load(damaged(saved, tmp_path, how))


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.gap")


def test_arrays_of_objects_are_neither_written_nor_read(saved, tmp_path):
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        write_archive(tmp_path / "x.gap", {}, {"a": np.array([object()])})
    assert not list(tmp_path.glob("*x.gap*"))


def test_what_is_no_parameter_cannot_be_saved(fitted, tmp_path):
    model = GAPRegressor(fitted.terms, random_state=np.random.RandomState(0))
    model.__dict__.update({k: v for k, v in fitted.__dict__.items() if k.endswith("_")})
    with pytest.raises(TypeError, match="to be saved; got RandomState"):
        model.save(tmp_path / "x.gap")


def test_a_failed_write_leaves_the_old_file(fitted, saved, monkeypatch):
    before = saved.read_bytes()
    monkeypatch.setattr("os.fsync", lambda fd: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        fitted.save(saved)
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_load_is_public():
    assert gapkit.load is load
