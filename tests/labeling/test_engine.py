"""The queue: every executor gives the same labels; failures, retries, resumption."""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import re
import textwrap
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
from ase.calculators.emt import EMT
from ase.io import read

from gapkit.labeling import CalculatorLabeler, CommandLabeler, LabelQueue, Limits, ProcessLabeler, end_with_parent, read_journal
from gapkit.labeling.journal import store_label
from gapkit.labeling.structures import to_text
from tests.conftest import labelled
from tests.labeling.helpers import fake_command, logged, structures

REASON = "force std 0.31 > 0.15 eV/Å on atom 17 (O), step 1240"


def label_all(directory, frames, labeler, executor=None, **options):
    with LabelQueue(directory, labeler, executor=executor, **options) as queue:
        for atoms in frames:
            queue.submit(atoms, REASON)
        queue.drain()
        assert not queue.pending
        return [to_text(atoms) for atoms in queue.training_set()]


@pytest.fixture(scope="module")
def frames():
    return structures(8)


@pytest.fixture(scope="module")
def serial(frames, tmp_path_factory):
    texts = label_all(tmp_path_factory.mktemp("serial"), frames, CalculatorLabeler(EMT))
    assert len(texts) == 8
    return texts


class Watched(Executor):
    """Finds out in which processes the work is done."""

    def __init__(self, inner):
        self.inner, self.pids = inner, set()

    def submit(self, fn, /, *args, **kwargs):
        self.pids.add(self.inner.submit(os.getpid).result())
        return self.inner.submit(fn, *args, **kwargs)


def check(executor, frames, serial, directory):
    watched = Watched(executor)
    assert label_all(directory, frames, CalculatorLabeler(EMT), watched) == serial
    assert os.getpid() not in watched.pids


def test_process_pool(frames, serial, tmp_path):
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(2, mp_context=context, initializer=end_with_parent) as executor:
        check(executor, frames, serial, tmp_path)


def needs(package):
    """Skip where the extra is not installed; in CI it must be."""
    missing = importlib.util.find_spec(package) is None and not os.environ.get("CI")
    return pytest.mark.skipif(missing, reason=f"{package} is not installed: pip install gapkit[cluster]")


@needs("distributed")
@pytest.mark.filterwarnings("ignore:.*:UserWarning:distributed")  # size of what is sent, ports in use
def test_dask(frames, serial, tmp_path):
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        check(client.get_executor(), frames, serial, tmp_path / "labels")
        # a worker of Dask is daemonic: the processes of labels must be allowed nevertheless
        command = CommandLabeler(fake_command(tmp_path / "log"), timeout=60)
        assert len(label_all(tmp_path / "more", frames[:2], command, client.get_executor())) == 2


@needs("parsl")
def test_parsl(frames, serial, tmp_path, parsl_executor):
    check(parsl_executor, frames, serial, tmp_path / "labels")


def test_threads_with_one_calculator(frames, serial, tmp_path):
    """Calculators are not made for threads: labels of one object are computed one at a time."""
    with ThreadPoolExecutor(4) as executor:
        assert label_all(tmp_path, frames, CalculatorLabeler(EMT), executor) == serial


def test_threads_with_processes(frames, serial, tmp_path):
    with ThreadPoolExecutor(2) as executor:
        assert label_all(tmp_path, frames[:3], ProcessLabeler(EMT, timeout=120), executor) == serial[:3]


class Held(Executor):
    """Does the work when it is told to."""

    def __init__(self):
        self.tasks = []

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        self.tasks.append((future, fn, args))
        return future

    def finish(self, index):
        future, fn, args = self.tasks.pop(index)
        if future.set_running_or_notify_cancel():
            future.set_result(fn(*args))


def test_order_of_completion_does_not_matter(frames, serial, tmp_path):
    executor = Held()
    with LabelQueue(tmp_path, CalculatorLabeler(EMT), executor=executor) as queue:
        names = [queue.submit(atoms, REASON) for atoms in frames]
        assert queue.poll() == []
        assert queue.wait(0.01) == []
        assert [to_text(a) for a in queue.pending] == [e.structure for e in read_journal(tmp_path).values()]
        executor.finish(7)
        executor.finish(2)
        assert [e.hash for e in queue.poll()] == [names[7], names[2]]
        assert queue.poll() == []
        assert queue.counts == {"done": 2, "failed": 0, "quarantined": 0, "pending": 6}
        assert len(queue.pending) == 6
        threading.Timer(0.1, executor.finish, [-1]).start()
        assert [e.hash for e in queue.wait()] == [names[6]]
        while executor.tasks:
            executor.finish(-1)
        assert len(queue.drain()) == 5
        assert [to_text(a) for a in queue.training_set()] == serial


def test_labels_are_stored_while_the_driver_is_busy(frames, tmp_path):
    with ThreadPoolExecutor(1) as executor, LabelQueue(tmp_path, CalculatorLabeler(EMT), executor=executor) as queue:
        for atoms in frames[:3]:
            queue.submit(atoms, REASON)
        end = time.monotonic() + 30
        while time.monotonic() < end and [e.state for e in read_journal(tmp_path).values()] != ["done"] * 3:
            time.sleep(0.01)
        assert [e.state for e in read_journal(tmp_path).values()] == ["done"] * 3


def test_labels_that_a_worker_finishes_after_its_driver_are_kept(frames, serial, tmp_path):
    executor = Held()
    queue = LabelQueue(tmp_path, CalculatorLabeler(EMT), executor=executor)
    queue.submit(frames[0], REASON)
    (_, function, arguments) = executor.tasks[0]
    queue.close()
    function(*arguments)
    with LabelQueue(tmp_path, Failing()) as queue:
        assert [to_text(a) for a in queue.training_set()] == serial[:1]


def test_workers_that_do_not_see_the_folder(frames, serial, tmp_path):
    class Elsewhere(Held):
        def submit(self, fn, /, *args, **kwargs):
            future = super().submit(fn, *args[:-1], lambda label: store_label(tmp_path / "elsewhere", "ab", REASON, label))
            self.finish(0)
            return future

    assert label_all(tmp_path / "run", frames, CalculatorLabeler(EMT), Elsewhere()) == serial
    assert not (tmp_path / "elsewhere").exists()


def test_known_structures_are_not_labelled_again(frames, tmp_path):
    log = tmp_path / "log"
    labeler = CommandLabeler(fake_command(log), timeout=60)
    for _ in range(2):
        with LabelQueue(tmp_path / "run", labeler) as queue:
            name = queue.submit(frames[0], REASON)
            assert queue.submit(frames[0].copy(), "for another reason") == name
            assert queue.label(name).info["gapkit_reason"] == REASON
            with pytest.raises(
                ValueError, match="`name` must be the hash of a structure that is done; got 'ab', which is unknown"
            ):
                queue.label("ab")
    assert len(logged(log, "start")) == 1


def test_resumption(frames, serial, tmp_path):
    executor = Held()
    with LabelQueue(tmp_path, CalculatorLabeler(EMT), executor=executor) as queue:
        for atoms in frames[:5]:
            queue.submit(atoms, REASON)
        executor.finish(3)
    executor.finish(0)  # a label that arrives when the queue is closed: cancelled
    assert [e.state for e in read_journal(tmp_path).values()].count("done") == 1
    with LabelQueue(tmp_path, CalculatorLabeler(EMT)) as queue:
        assert len(queue.drain()) == 4
        assert {e.attempt for e in read_journal(tmp_path).values()} == {1}  # what was interrupted has not failed
        assert [to_text(a) for a in queue.training_set()] == serial[:5]


def test_other_settings(frames, tmp_path):
    executor = Held()
    with LabelQueue(tmp_path, CalculatorLabeler(EMT), executor=executor, settings={"xc": "PBE"}) as queue:
        queue.submit(frames[0], REASON)
        queue.submit(frames[1], REASON)
        executor.finish(0)
    with LabelQueue(tmp_path, CalculatorLabeler(EMT), settings={"xc": "r2SCAN"}) as queue:
        assert queue.counts == {"done": 0, "failed": 0, "quarantined": 0, "pending": 0}
        queue.submit(frames[0], REASON)
        assert len(queue.training_set()) == 1
    with LabelQueue(tmp_path, CalculatorLabeler(EMT), settings={"xc": "PBE"}) as queue:
        assert queue.counts["done"] == 2
    opened = [r for r in map(json.loads, (tmp_path / "journal.jsonl").read_text().splitlines()) if r.get("note") == "opened"]
    assert [r["settings"]["xc"] for r in opened] == ["PBE", "r2SCAN", "PBE"]


class Failing:
    def __init__(self, error=None):
        self.error = error or RuntimeError("SCF diverged")

    def label(self, atoms):
        raise self.error


@pytest.mark.parametrize("error", [RuntimeError("SCF diverged"), SystemExit(3), MemoryError("full"), KeyError("energy")])
def test_labelers_that_raise(frames, tmp_path, error):
    with LabelQueue(tmp_path, Failing(error), attempts=3) as queue:
        queue.submit(frames[0], REASON)
        (entry,) = queue.drain()
        assert (entry.state, entry.attempt) == ("failed", 3)
        assert entry.message == f"{type(error).__name__}: {error}"
        queue.submit(frames[0], REASON)
        assert queue.drain() == []
    states = [json.loads(line)["state"] for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert states == ["note", "proposed"] + ["submitted", "failed"] * 3


def test_ladder(frames, serial, tmp_path):
    with LabelQueue(tmp_path, [Failing(), Failing(), CalculatorLabeler(EMT)], attempts=2) as queue:
        queue.submit(frames[0], REASON)
        assert [e.state for e in queue.drain()] == ["failed"]
    with LabelQueue(tmp_path, [Failing(), Failing(), CalculatorLabeler(EMT)], attempts=4) as queue:  # one more is allowed now
        assert [(e.state, e.attempt) for e in queue.drain()] == [("done", 3)]
        assert [to_text(a) for a in queue.training_set()] == serial[:1]


class Shifted(CalculatorLabeler):
    """Forgets the units."""

    def label(self, atoms):
        label = super().label(atoms)
        label.calc.results["energy"] *= 27.2
        label.calc.results["energy"] += 1000.0
        return label


def test_outliers(frames, tmp_path):
    known = [labelled(atoms) for atoms in structures(1) * 5]
    with LabelQueue(tmp_path, Shifted(EMT), limits=Limits.from_frames(known)) as queue:
        queue.submit(frames[0], REASON)
        (entry,) = queue.drain()
        assert entry.state == "quarantined"
        assert "eV/atom" in entry.message
        assert queue.training_set() == []
    assert (tmp_path / entry.file).exists()


def die():
    os._exit(1)


def test_worker_that_dies(frames, serial, tmp_path):
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        assert label_all(tmp_path, frames[:2], CalculatorLabeler(EMT), executor) == serial[:2]
        executor.submit(die)
        with pytest.raises(RuntimeError, match="A worker of the executor died"):
            label_all(tmp_path, frames, CalculatorLabeler(EMT), executor)
    assert label_all(tmp_path, frames, CalculatorLabeler(EMT)) == serial


def test_closing_leaves_a_broken_pool_alone(frames, tmp_path):
    """Python 3.11 hangs if a future is cancelled while a broken pool ends all of them."""
    executor = Held()
    with LabelQueue(tmp_path, CalculatorLabeler(EMT), executor=executor) as queue:
        for atoms in frames[:3]:
            queue.submit(atoms, REASON)
        executor.tasks[0][0].set_exception(BrokenProcessPool("killed"))
        with pytest.raises(RuntimeError, match="A worker of the executor died"):
            queue.poll()
    assert not any(future.cancelled() for future, *_ in executor.tasks)
    executor.tasks[1][0].set_exception(BrokenProcessPool("killed"))
    assert [e.state for e in read_journal(tmp_path).values()] == ["submitted"] * 3


def test_executor_that_loses_a_task(frames, serial, tmp_path):
    class Lossy(Held):
        def submit(self, fn, /, *args, **kwargs):
            future = super().submit(fn, *args, **kwargs)
            if len(self.tasks) == 1:
                future.set_exception(OSError("KilledWorker"))
            else:
                self.finish(1)
            return future

    with LabelQueue(tmp_path, CalculatorLabeler(EMT), executor=Lossy()) as queue:
        queue.submit(frames[0], REASON)
        assert [(e.state, e.attempt) for e in queue.drain()] == [("done", 2)]
        assert [to_text(a) for a in queue.training_set()] == serial[:1]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"labeler": EMT()}, TypeError, r"`labeler` must be an object with a method label\(atoms\)"),
        ({"labeler": []}, ValueError, "`labeler` must be a labeler or a list of them"),
        ({"attempts": 0}, ValueError, "`attempts` must be an integer of at least 1"),
        ({"settings": {"calc": EMT()}}, TypeError, "`settings` must be a mapping of what JSON can hold"),
    ],
)
def test_bad_arguments(tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        LabelQueue(**{"directory": tmp_path / "run", "labeler": CalculatorLabeler(EMT), **options})
    assert not (tmp_path / "run").exists()


def test_example_of_the_page(frames, tmp_path, monkeypatch):
    text = (Path(__file__).resolve().parents[2] / "docs/labeling.rst").read_text()
    code = re.search(r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)", text).group(1)
    monkeypatch.chdir(tmp_path)
    exec(compile(textwrap.dedent(code), "labeling.rst", "exec"), {"frames": frames[:2]})
    assert len(read(tmp_path / "train.xyz", ":")) == 2
