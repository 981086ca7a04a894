"""What is said of a run, from its folder: numbers counted by hand, any phase, nothing written."""

from __future__ import annotations

import json

import pytest

from gapkit.active_learning import run_status
from gapkit.active_learning.status import WorkingTime
from gapkit.exceptions import JournalError
from tests.report.learning_run import N_SEED, TARGET, write_run


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_counts(tmp_path):
    folder = write_run(tmp_path, n_labels=12, n_turns=30, phase="exploring", bad={5: "failed", 7: "quarantined"}, pending=2)
    before = files(folder)
    found = run_status(folder)
    assert files(folder) == before
    assert found["labels"] == {"done": 8, "failed": 1, "quarantined": 1, "pending": 2, "learnt": 8}
    assert (found["phase"], found["n_steps"], found["n_checks"], found["target"]) == ("exploring", 1200, 60, TARGET)
    assert found["share_labelled"] == pytest.approx(8 / 1200)
    assert found["verified_rmse"] is None
    assert found["labels_per_hour"] > 0
    json.dumps(found, allow_nan=False)


def test_after_the_end_and_before_the_beginning(tmp_path):
    ended = run_status(write_run(tmp_path / "ended", n_labels=N_SEED + 3, n_turns=20))
    assert (ended["phase"], ended["why"], ended["verified_rmse"]) == (
        "ended",
        "predicted error below the target and verified",
        0.047,
    )
    (tmp_path / "new").mkdir()
    with pytest.raises(FileNotFoundError, match="There is no learning run in"):
        run_status(tmp_path / "new")
    (tmp_path / "new" / "learn.yaml").write_text("")
    new = run_status(tmp_path / "new")
    assert new["labels"] == {"done": 0, "failed": 0, "quarantined": 0, "pending": 0, "learnt": 0}
    assert new["share_labelled"] is new["labels_per_hour"] is new["label_seconds"] is None
    (tmp_path / "new" / "state.json").write_text('{"phase": ')
    with pytest.raises(JournalError, match=r"state.json must be the checkpoint"):
        run_status(tmp_path / "new")


def test_the_clock_stands_still_between_a_kill_and_the_next_start():
    kinds = (("started", 0.0), ("fit", 3600.0), ("resumed", 90_000.0), ("fit", 90_000.0 + 1800.0))
    clock = WorkingTime([{"kind": kind, "time": time} for kind, time in kinds], ["1970-01-01T02:00:00+00:00", ""])
    assert clock.total == pytest.approx(2.0 + 0.5)  # until the journal's record at two o'clock, and half an hour
    assert clock.hours(50_000.0) == pytest.approx(2.0)
    assert clock.hours(90_900.0) == pytest.approx(2.25)
