"""The journal: crashes, damage, locks, full disks, merging."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.io import read
from numpy.testing import assert_array_equal

from gapkit.exceptions import InvalidStructureError, JournalError, LockedError
from gapkit.labeling import (
    CalculatorLabeler,
    Journal,
    LabelQueue,
    canonical,
    merge_journals,
    read_journal,
    read_label,
    structure_hash,
)
from gapkit.labeling.structures import to_text
from tests.conftest import labelled
from tests.labeling.helpers import structures

REASON = "force std 0.31 > 0.15 eV/Å on atom 17 (O), step 1240"


def filled(path, n=3):
    """A folder with n labels that are done, one failed, one quarantined, one submitted, one proposed."""
    with Journal(path) as journal:
        names = [journal.propose(atoms, REASON) for atoms in structures(n + 4)]
        for name in names[:-1]:
            journal.submitted(name, 1)
        for name in names[:n]:
            journal.done(name, labelled(journal.entries[name].atoms), 1.5)
        journal.failed(names[n], "TimeoutError: no label after 60 s")
        journal.quarantined(names[n + 1], "`forces` must be finite", labelled(journal.entries[names[n + 1]].atoms))
    return names


def test_replay(tmp_path):
    names = filled(tmp_path)
    entries = read_journal(tmp_path)
    assert list(entries) == names
    assert [e.state for e in entries.values()] == ["done"] * 3 + ["failed", "quarantined", "submitted", "proposed"]
    assert [e.attempt for e in entries.values()] == [1] * 6 + [0]
    assert {e.reason for e in entries.values()} == {REASON}
    assert entries[names[3]].message == "TimeoutError: no label after 60 s"
    with Journal(tmp_path) as journal:
        assert journal.entries == entries
    for name, atoms in zip(names, structures(3), strict=False):
        label, expected = read_label(tmp_path, entries[name]), labelled(canonical(atoms))
        assert_array_equal(label.positions, expected.positions)
        assert label.get_potential_energy() == expected.get_potential_energy()
        np.testing.assert_allclose(label.get_forces(), expected.get_forces(), rtol=0, atol=5.1e-9)  # eight digits
        assert label.info["gapkit_hash"] == name == structure_hash(atoms)
        assert label.info["gapkit_reason"] == REASON


def test_other_programs_read_it(tmp_path):
    names = filled(tmp_path)
    text = subprocess.run(
        ["jq", "-r", 'select(.state == "proposed") | .structure', tmp_path / "journal.jsonl"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (tmp_path / "proposed.xyz").write_text(text.replace("\n\n", "\n"))
    for atoms, expected in zip(read(tmp_path / "proposed.xyz", ":"), structures(7), strict=True):
        assert_array_equal(atoms.positions, canonical(expected).positions)
    assert len(read(tmp_path / "labels" / f"{names[0]}.xyz", ":")) == 1
    assert len(read(tmp_path / "quarantine" / f"{names[4]}.1.xyz", ":")) == 1


def test_last_line_cut_anywhere(tmp_path):
    filled(tmp_path)
    path = tmp_path / "journal.jsonl"
    content = path.read_bytes()
    before, last = content[: content.rstrip().rfind(b"\n") + 1], content[content.rstrip().rfind(b"\n") + 1 :]
    path.write_bytes(before)
    shorter, whole = read_journal(tmp_path), None
    path.write_bytes(content)
    whole = read_journal(tmp_path)
    for cut in range(len(last) + 1):
        path.write_bytes(before + last[:cut])
        expected = whole if cut >= len(last) - 1 else shorter  # all but the line break is a record
        assert read_journal(tmp_path) == expected
    for cut in (0, 1, len(last) // 2, len(last) - 1, len(last)):
        path.write_bytes(before + last[:cut])
        with Journal(tmp_path) as journal:
            assert journal.entries == (whole if cut >= len(last) - 1 else shorter)
            journal.note("goes on")
        assert all(json.loads(line) for line in path.read_text().splitlines())
        assert ("cut short" in path.read_text()) == (0 < cut < len(last) - 1)
    path.write_bytes(before + bytes(100))  # what some file systems leave after a power failure
    assert read_journal(tmp_path) == shorter


@pytest.mark.parametrize(
    "damage", ["not json\n", "[1]\n", '{"state": "done", "hash": "ab"}\n', '{"hash": "ab"}\n', "\n", "\0\0\n"]
)
def test_damage_elsewhere_is_an_error(tmp_path, damage):
    filled(tmp_path)
    path = tmp_path / "journal.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:4], damage, *lines[4:]]))
    before = path.read_bytes()
    with pytest.raises(JournalError, match=r"Line 5 of .*journal\.jsonl must be a record"):
        Journal(tmp_path)
    with pytest.raises(JournalError, match=r"Line 5 of .*journal\.jsonl must be a record"):
        read_journal(tmp_path)
    assert path.read_bytes() == before
    path.write_text("".join(lines))
    Journal(tmp_path).close()  # the lock was given back


def test_order_of_states(tmp_path):
    with Journal(tmp_path) as journal:
        name = journal.propose(structures(1)[0], REASON)
        assert journal.propose(structures(1)[0], "another reason") == name
        with pytest.raises(JournalError, match="cannot become 'done': it is 'proposed'"):
            journal.done(name, labelled(structures(1)[0]))
        assert not list((tmp_path / "labels").iterdir())
        journal.submitted(name, 1)
        journal.submitted(name, 1)  # the driver was killed
        journal.failed(name, "no")
        journal.submitted(name, 2)
        journal.done(name, labelled(structures(1)[0]))
        for again in (lambda: journal.submitted(name, 3), lambda: journal.failed(name, "no")):
            with pytest.raises(JournalError, match="it is 'done'"):
                again()
    with pytest.raises(JournalError, match="must be open"):
        journal.note("too late")


def test_label_without_record_is_taken_over(tmp_path):
    """The driver was killed after the label was written and before the journal said so."""
    names = filled(tmp_path)
    path = tmp_path / "journal.jsonl"
    lines = [line for line in path.read_text().splitlines(keepends=True) if f'"done", "hash": "{names[2]}"' not in line]
    path.write_text("".join(lines))
    assert read_journal(tmp_path)[names[2]].state == "submitted"
    (tmp_path / "labels" / ".x.xyz.1.part").write_text("half")
    with Journal(tmp_path) as journal:
        assert journal.entries[names[2]].state == "done"
        assert read_label(tmp_path, journal.entries[names[2]]).info["gapkit_hash"] == names[2]
    assert not list((tmp_path / "labels").glob(".*"))
    assert read_journal(tmp_path)[names[2]].state == "done"


def hold(path):
    code = "import sys, time; from gapkit.labeling import Journal; j = Journal(sys.argv[1]);"
    code += "print('held', flush=True); time.sleep(1000)"
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_one_driver_at_a_time(tmp_path):
    filled(tmp_path)
    with hold(tmp_path) as other:
        before = (tmp_path / "journal.jsonl").read_bytes()
        for opening in (lambda: Journal(tmp_path), lambda: LabelQueue(tmp_path, CalculatorLabeler(EMT))):
            with pytest.raises(LockedError, match=f"is in use by process {other.pid} on .*, since 20"):
                opening()
        assert (tmp_path / "journal.jsonl").read_bytes() == before
        assert len(read_journal(tmp_path)) == 7  # looking is free
        assert json.loads((tmp_path / "lock").read_text())["pid"] == other.pid
        other.send_signal(signal.SIGKILL)
        other.wait()
    with Journal(tmp_path), pytest.raises(LockedError, match=f"process {os.getpid()}"):
        Journal(tmp_path)


def test_forked_children_do_not_keep_the_lock(tmp_path):
    journal = Journal(tmp_path)
    child = os.fork()
    if child == 0:
        time.sleep(1000)
        os._exit(0)
    try:
        journal.close()
        Journal(tmp_path).close()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


FILLER = """
import resource, sys
from ase.calculators.emt import EMT
from gapkit.labeling import CalculatorLabeler, LabelQueue
from tests.labeling.helpers import structures
if sys.argv[2] != "0":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
with LabelQueue(sys.argv[1], CalculatorLabeler(EMT)) as queue:
    for atoms in structures(25):
        queue.submit(atoms, "all of them")
    queue.drain()
"""


def fill(path, limit=0, prefix=()):
    return subprocess.run(
        [*prefix, sys.executable, "-c", FILLER, str(path), str(limit)], capture_output=True, text=True, cwd=os.getcwd()
    )


def finish(path):
    with LabelQueue(path, CalculatorLabeler(EMT)) as queue:
        for atoms in structures(25):
            queue.submit(atoms, "all of them")


def check_after_full_disk(directory, result, number):
    assert result.returncode == 1
    assert f"[Errno {number}]" in result.stderr
    assert "cannot be written" in result.stderr
    assert "All that was stored is safe; make room and resume" in result.stderr
    entries = read_journal(directory)
    done = [e for e in entries.values() if e.state == "done"]
    assert 0 < len(done) < 25
    assert (directory / "journal.jsonl").read_bytes().endswith(b"\n")
    texts = {e.hash: to_text(read_label(directory, e)) for e in done}
    assert not list((directory / "labels").glob(".*"))
    return texts


def test_file_that_cannot_grow(tmp_path):
    """A write that ends in the middle of a record, as on a full disk."""
    texts = check_after_full_disk(tmp_path, fill(tmp_path, 9_001), errno.EFBIG)
    finish(tmp_path)
    entries = read_journal(tmp_path)
    assert [e.state for e in entries.values()] == ["done"] * 25
    assert all(to_text(read_label(tmp_path, entries[name])) == text for name, text in texts.items())


def test_full_disk(tmp_path):
    """A real file system of 80 kB, in a mount namespace of its own."""
    disk, copy = tmp_path / "disk", tmp_path / "copy"
    disk.mkdir()
    mounting = ["unshare", "-rm", "sh", "-c", f'mount -t tmpfs -o size=80k none {disk} && exec "$@"', "sh"]
    if subprocess.run([*mounting, "true"], capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    saving = ["unshare", "-rm", "sh", "-c"]
    script = f'mount -t tmpfs -o size=80k none {disk} && {{ "$@"; code=$?; cp -r {disk}/. {copy}; exit $code; }}'
    result = fill(disk, 0, [*saving, script, "sh"])
    texts = check_after_full_disk(copy, result, errno.ENOSPC)
    finish(copy)
    entries = read_journal(copy)
    assert [e.state for e in entries.values()] == ["done"] * 25
    assert all(to_text(read_label(copy, entries[name])) == text for name, text in texts.items())


def test_merge(tmp_path):
    frames = structures(6)
    for name, part in {"a": frames[:4], "b": frames[2:]}.items():
        with LabelQueue(tmp_path / name, CalculatorLabeler(EMT)) as queue:
            for atoms in part:
                queue.submit(atoms, f"run {name}")
    filled(tmp_path / "c", n=1)  # frames 0 (done), 1 to 4
    before = {name: (tmp_path / name / "journal.jsonl").read_bytes() for name in "abc"}
    counts = merge_journals(tmp_path / "all", [tmp_path / name for name in "abc"])
    assert (counts.added, counts.duplicates, counts.unfinished) == (6, 3, 4)
    again = merge_journals(tmp_path / "all", [tmp_path / name for name in "abc"])
    assert (again.added, again.duplicates, again.unfinished) == (0, 9, 4)
    entries = read_journal(tmp_path / "all")
    assert [e.reason for e in entries.values()] == ["run a"] * 4 + ["run b"] * 2
    with LabelQueue(tmp_path / "all", CalculatorLabeler(EMT)) as queue:
        for label, atoms in zip(queue.training_set(), frames, strict=True):
            assert structure_hash(label) == structure_hash(atoms)
    assert before == {name: (tmp_path / name / "journal.jsonl").read_bytes() for name in "abc"}


def test_merge_refuses_a_wrong_label(tmp_path):
    names = filled(tmp_path / "a")
    labels = tmp_path / "a" / "labels"
    (labels / f"{names[0]}.xyz").write_bytes((labels / f"{names[1]}.xyz").read_bytes())
    with pytest.raises(JournalError, match=f"must be the label {names[0]}"):
        merge_journals(tmp_path / "b", [tmp_path / "a"])


def test_folder_can_be_moved(tmp_path):
    names = filled(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    with Journal(tmp_path / "b") as journal:
        assert read_label(tmp_path / "b", journal.entries[names[0]]).info["gapkit_hash"] == names[0]


def test_hash():
    atoms = structures(1)[0]
    name = structure_hash(atoms)

    def changed(change):
        copy = atoms.copy()
        change(copy)
        return structure_hash(copy)

    for same in (
        lambda a: a.info.update(number=7, step=3),
        lambda a: setattr(a, "calc", EMT()),
        lambda a: a.positions.__iadd__(1e-11),
        lambda a: a.set_initial_magnetic_moments([0.0] * 4),
        lambda a: a.set_momenta(np.ones((4, 3))),
    ):
        assert changed(same) == name
    others = [
        changed(lambda a: a.positions.__setitem__((0, 0), a.positions[0, 0] + 2e-8)),
        changed(lambda a: a.numbers.__setitem__(0, 47)),
        changed(lambda a: a.cell.__setitem__((0, 0), a.cell[0, 0] + 2e-8)),
        changed(lambda a: a.set_pbc(False)),
        changed(lambda a: a.set_initial_magnetic_moments([1.0] * 4)),
        changed(lambda a: a.set_initial_charges([1.0, 0.0, 0.0, 0.0])),
        structure_hash(atoms[[1, 0, 2, 3]]),
        structure_hash(atoms, {"xc": "PBE"}),
        structure_hash(atoms, {"xc": "PBE", "encut": 500}),
    ]
    assert len({name, *others}) == 10
    assert structure_hash(atoms, {"encut": 500, "xc": "PBE"}) == others[-1]
    assert structure_hash(atoms, {}) == name
    assert structure_hash(Atoms("H", [[-0.0, 0.0, 0.0]])) == structure_hash(Atoms("H"))


def test_canonical_survives_files():
    atoms = Atoms(
        "CuH", [[0.1 / 3, -1 / 3, 0.0], [1e3 / 7, 0.0, 2.0]], cell=[[1 / 3, 1e-17, 0], [0, 0, 0], [0, 0, 4]], pbc=(1, 0, 1)
    )
    atoms.set_initial_magnetic_moments([1 / 3, 0])
    atoms.info.update(config_type='two\nlines "and" Å', step=12, energy=3.0, array=np.ones(3), flag=True)
    one = canonical(atoms)
    two = canonical(one)
    assert to_text(one) == to_text(two)
    assert structure_hash(atoms) == structure_hash(one)
    assert one.info == two.info == {"config_type": 'two lines "and" Å', "step": 12, "flag": True}
    assert (one.pbc.tolist(), one.cell.rank) == ([True, False, True], 2)


@pytest.mark.parametrize(
    ("atoms", "error", "message"),
    [
        (Atoms(), InvalidStructureError, "at least one atom"),
        (Atoms("H", [[np.nan, 0, 0]]), InvalidStructureError, "`positions` must be finite; got nan"),
        (Atoms("H", cell=[np.inf, 1, 1]), InvalidStructureError, "`cell` must be finite; got inf"),
        ("H2O", TypeError, "`atoms` must be an ase.Atoms"),
    ],
)
def test_bad_structures(tmp_path, atoms, error, message):
    with Journal(tmp_path) as journal:
        with pytest.raises(error, match=message):
            journal.propose(atoms, REASON)
        assert not journal.entries


def test_bad_arguments(tmp_path):
    with Journal(tmp_path) as journal:
        with pytest.raises(ValueError, match="`reason` must be a sentence"):
            journal.propose(structures(1)[0], " ")
        with pytest.raises(TypeError, match="`settings` must be a mapping of what JSON can hold"):
            journal.propose(structures(1)[0], REASON, {"calculator": EMT()})
    with pytest.raises(FileNotFoundError, match="There is no journal"):
        read_journal(tmp_path / "nowhere")
