"""QUIP's XML: what is read is what was written, and what is wrong with a file is said."""

from __future__ import annotations

import hashlib
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from gapkit import load
from gapkit.exceptions import ModelFormatError
from gapkit.interop.quip_records import GluePair, QuipCoordinate, QuipModel
from gapkit.interop.quip_writer import GAP_VERSION, write_quip
from gapkit.interop.quip_xml import read_quip


def coordinate(n: int = 3, d: int = 1, **changes) -> QuipCoordinate:
    rng = np.random.default_rng(n * d)
    parts = {
        "descriptor": "distance_2b cutoff=4.0 cutoff_transition_width=0.5 Z1=29 Z2=29",
        "kernel": "ard_se",
        "delta": 1.5,
        "f0": 0.25,
        "zeta": None,
        "theta": np.full(d, 0.7),
        "permutations": np.arange(d)[None],
        "points": rng.standard_normal((n, d)),
        "cutoffs": rng.random(n),
        "alpha": rng.standard_normal(n) * 1e3,
    }
    return QuipCoordinate(**{**parts, **changes})


def soap(n: int, d: int) -> QuipCoordinate:
    text = "soap cutoff=4.0 n_max=8 l_max=6 atom_sigma=0.5 Z=29 n_species=1 species_Z={29}"
    return coordinate(n, d, descriptor=text, kernel="dot_product", zeta=4.0, theta=None, f0=0.0)


def model(*coordinates: QuipCoordinate, **changes) -> QuipModel:
    return QuipModel(
        **{"label": "GAP_1", "gap_version": GAP_VERSION, "e0": {29: -0.5}, "coordinates": list(coordinates), **changes}
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with a short and a sliced descriptor."""
    write_quip(model(coordinate(), soap(2, 120)), tmp_path / "gap.xml")
    return tmp_path / "gap.xml"


def test_what_is_written_is_read(tmp_path):
    pair = GluePair(np.array([1.0, 2.0, 3.0]), np.array([5.0, 0.5, 0.0]), (-3.0, 1e30))
    written = model(
        coordinate(), soap(2, 253), core="IP Glue", glue={(29, 29): pair}, energy_scale=0.5, gapkit=bytes(range(256)) * 500
    )
    write_quip(written, tmp_path / "gap.xml")
    found = read_quip(tmp_path / "gap.xml")
    assert (found.label, found.gap_version, found.e0, found.core) == ("GAP_1", GAP_VERSION, {29: -0.5}, "IP Glue")
    assert (found.energy_scale, found.gapkit) == (0.5, written.gapkit)
    assert found.embedding == ()
    assert_array_equal(found.glue[29, 29].energy, pair.energy)
    assert found.glue[29, 29].slopes == (-3.0, 1e30)
    for one, other in zip(found.coordinates, written.coordinates, strict=True):
        for name in ("descriptor", "kernel", "delta", "f0", "zeta"):
            assert getattr(one, name) == getattr(other, name)
        for name in ("points", "cutoffs", "alpha", "permutations", "theta"):
            assert_array_equal(getattr(one, name), getattr(other, name))
    assert list(tmp_path.iterdir()) == [tmp_path / "gap.xml"]  # nothing half-written is left


def separate(path: Path, content: str, md5: str | None = None) -> Path:
    """Move the points of the first descriptor into a file of their own."""
    file = path.with_name("gap.xml.sparseX.GAP_11")
    file.write_text(content)
    named = f' sparseX_filename="{file.name}"' + (f' sparseX_md5sum="{md5}"' if md5 else "")
    head, tail = path.read_text().split("</gpCoordinates>", 1)
    head = re.sub(r'(n_sparseX="3")', rf"\1{named}", head)
    head = re.sub(r"(<sparseX i[^>]*)>[^<]*</sparseX>", r"\1/>", head)
    path.write_text(head + "</gpCoordinates>" + tail)
    return file


def test_points_in_a_file_of_their_own(path):
    content = "\n".join(f"{x:.20e}" for x in coordinate().points.ravel()) + "\n"
    separate(path, content, hashlib.md5(content.encode()).hexdigest())
    assert_array_equal(read_quip(path).coordinates[0].points, coordinate().points)


@pytest.mark.parametrize(
    ("content", "md5", "message"),
    [
        ("1.0\n2.0\n3.0\n", "0" * 32, "must have the md5 sum of the XML, 0{32}; got [0-9a-f]{32}. Copy both again."),
        ("1.0\n2.0\n", None, "must have 3 x 1 = 3 numbers; got 2"),
        ("1.0\n2.0\nnan\n", None, "points of descriptor 1 must be finite"),
        ("1.0\n2.0\nthree\n", None, "could not convert"),
    ],
    ids=["md5", "length", "nan", "text"],
)
def test_a_wrong_file_of_points(path, content, md5, message):
    separate(path, content, md5)
    with pytest.raises(ModelFormatError, match=message):
        read_quip(path)


def test_a_missing_file_of_points(path):
    separate(path, "").unlink()
    with pytest.raises(FileNotFoundError, match=r"sparse points of the model are in .*sparseX.GAP_11, which does not exist"):
        load(path)


BOMB = "<!DOCTYPE b [<!ENTITY a 'xxxxxxxxxx'>" + "".join(
    f"<!ENTITY {name} '{f'&{before};' * 10}'>" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t[: len(t) // 2], "must be complete XML"),
        (lambda t: "", "gapkit model"),
        (lambda t: "<html></html>", "has no <GAP_params>"),
        (lambda t: BOMB + "]>" + t, "must not have a document type declaration"),
        (lambda t: '<!DOCTYPE x SYSTEM "file:///etc/passwd">' + t, "must not have a document type declaration"),
        (lambda t: re.sub(r'alpha="[^"]*"', 'alpha="NaN"', t, count=1), "alpha of descriptor 1 must be finite"),
        (lambda t: re.sub(r'alpha="[^"]*"', 'alpha="x"', t, count=1), "line 12: could not convert string to float"),
        (lambda t: t.replace('n_sparseX="3"', 'n_sparseX="4"'), "descriptor 1 must have 4 sparse points; got 3 points"),
        (lambda t: t.replace('dimensions="120"', 'dimensions="121"'), "points of descriptor 2 must have 121 numbers; got 120"),
        (lambda t: t.replace('dimensions="1"', ""), "attribute 'dimensions' is missing"),
        (lambda t: t.replace('covariance_type="1"', 'covariance_type="3"'), "covariance_type of descriptor 1 must be one of"),
        (lambda t: t.replace('n_coordinate="2"', 'n_coordinate="3"'), "must have 3 descriptors; got 2"),
        (lambda t: t.replace('fitted="T"', 'fitted="F"'), "must hold a fitted GAP"),
        (lambda t: t.replace("<theta>", "<theta>1.0 "), "<theta> of descriptor 1 must have 1 numbers"),
        (lambda t: t.replace("distance_2b", "distance_3b"), "got 'distance_3b'"),
        (lambda t: t.replace("cutoff=4.0", "cutoff=x", 1), "`cutoff` must be 1 number|`cutoff` must be numbers"),
        (lambda t: t.replace("cutoff=4.0", "cutoff=-4.0", 1), "It comes from 'distance_2b"),
        (lambda t: t.replace("Z2=29", "Z2={29", 1), "must close every brace"),
        (lambda t: t.replace("n_max=8", "n_max=7"), "descriptor 2 must have 197 dimensions; got 120"),
        (lambda t: t.replace("</GAP_params>", "</GAP_params><GAP_params/>"), "must hold one GAP"),
    ],
)
def test_damaged_files(path, change, message):
    path.write_text(change(path.read_text()))
    with pytest.raises(ModelFormatError, match=message):
        load(path)


def test_hundred_megabytes_need_the_memory_of_their_numbers(tmp_path):
    """Structures that gap_fit embeds are skipped; points take 8 bytes each where their text takes 20."""
    n, d = 1000, 500
    write_quip(model(soap(n, d)), tmp_path / "gap.xml")
    text = (tmp_path / "gap.xml").read_text()
    line = "<![CDATA[" + "Si 1.0000000 2.0000000 3.0000000 " * 20 + "]]>\n"
    with open(tmp_path / "big.xml", "w") as file:
        head, tail = text.split("</GAP_params>")
        file.write(head + "<XYZ_data>")
        for _ in range(100_000_000 // len(line)):
            file.write(line)
        file.write("</XYZ_data></GAP_params>" + tail)
    assert (tmp_path / "big.xml").stat().st_size > 100e6
    tracemalloc.start()
    found = read_quip(tmp_path / "big.xml")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.coordinates[0].points.shape == (n, d)
    assert peak < 3 * 8 * n * d + 8e6  # the numbers one by one, then as one array, and a few chunks of 1 MB
