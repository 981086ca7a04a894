"""Real kills: of the driver, of workers, of both, at random instants; and a code with every fault, through a real command.

``GAPKIT_KILLS=200 pytest tests/labeling/test_kill.py`` kills each driver that often.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from ase.calculators.emt import EMT

from gapkit.labeling import CalculatorLabeler, CommandLabeler, LabelQueue, end_with_parent, read_journal, read_label
from gapkit.labeling.structures import to_text
from tests.labeling.helpers import fake_command, gone, logged, running, structures, write_start

N_KILLS = int(os.environ.get("GAPKIT_KILLS", "5"))
N_WORKERS = 2


class SlowEMT(EMT):
    """Writes down that it has begun, and takes its time."""

    log = ""

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        write_start(self.log, atoms.info["number"])
        time.sleep(0.05)
        super().calculate(atoms, properties, system_changes)


def drive(kind, directory, log, n):
    """Label n structures; the main function of a driver."""
    if kind == "processes":
        SlowEMT.log = str(log)
        labeler = CalculatorLabeler(SlowEMT)
        # fork: quick, and the worst case for locks and pipes that children inherit
        pool = ProcessPoolExecutor(N_WORKERS, multiprocessing.get_context("fork"), initializer=end_with_parent)
    else:
        labeler, pool = CommandLabeler(fake_command(log, 0.05), timeout=60), ThreadPoolExecutor(N_WORKERS)
    # a label whose worker is killed has not failed for its own reasons: any number of attempts
    with pool, LabelQueue(directory, labeler, executor=pool, attempts=1000) as queue:
        for atoms in structures(n):
            queue.submit(atoms, f"structure {atoms.info['number']}")
        queue.drain()
    os._exit(0)  # the fork server is of no interest here


@pytest.fixture(scope="module")
def context():
    return multiprocessing.get_context("forkserver")


def finished(directory):
    """Text of every label that is done."""
    if not (directory / "journal.jsonl").exists():
        return {}
    entries = read_journal(directory)
    return {name: to_text(read_label(directory, entry)) for name, entry in entries.items() if entry.state == "done"}


@pytest.mark.parametrize("kind", ["command", "processes"])
def test_kill(kind, context, tmp_path):
    rng = np.random.default_rng(0)
    n = 4 * N_KILLS + 20

    def start(directory, log):
        process = context.Process(target=drive, args=(kind, directory, log, n))
        process.start()
        return process

    whole, log = tmp_path / "whole", tmp_path / "whole.log"
    begin = time.monotonic()
    driver = start(whole, log)
    driver.join(300)
    assert driver.exitcode == 0
    span = (time.monotonic() - begin) / (N_KILLS + 1)  # so that about all of the kills hit
    expected = finished(whole)
    assert len(expected) == n

    directory, log = tmp_path / "run", tmp_path / "run.log"
    done, kills, in_flight = {}, 0, 0
    while True:
        before = len(logged(log, "start"))
        driver = start(directory, log)
        if kills == N_KILLS:
            driver.join(300)
            assert driver.exitcode == 0
            break
        end = time.monotonic() + 60
        while len(logged(log, "start")) == before and driver.is_alive() and time.monotonic() < end:
            time.sleep(0.002)
        time.sleep(rng.uniform(0.0, 1.5) * span)
        if not driver.is_alive():
            break
        workers = running([pid for pid, _ in logged(log, "start")[before:]])
        victim = rng.choice(["driver", "driver, politely", "worker", "both"])
        if victim in ("worker", "both"):
            for pid in workers[:1]:
                with suppress(ProcessLookupError):  # it has ended meanwhile
                    os.kill(pid, signal.SIGKILL)
        if victim != "worker":
            os.kill(driver.pid, signal.SIGTERM if victim == "driver, politely" else signal.SIGKILL)
            driver.join(30)
        elif kind == "processes":
            driver.join(60)  # a broken pool ends the driver
            assert not driver.is_alive(), "the driver hangs"
        else:
            time.sleep(0.1)
            os.kill(driver.pid, signal.SIGKILL)
            driver.join(30)
        kills += 1
        in_flight += N_WORKERS + (kind == "command" and victim == "worker")  # there, both are killed, one after the other
        assert gone([pid for pid, _ in logged(log, "start")[before:]], 60), "orphans"
        now = finished(directory)
        assert done.items() <= now.items()  # nothing that was done is lost or changed
        done = now
    assert kills > N_KILLS / 2
    assert gone([pid for pid, _ in logged(log, "start")[before:]], 60)
    numbers = [number for _, number in logged(log, "start")]
    assert set(numbers) == set(range(n))
    repeated = len(numbers) - n
    print(f"{kind}: {kills} kills, {repeated} of {n} labels repeated")
    assert repeated <= in_flight
    assert list(finished(directory).items()) == list(expected.items())


def test_faults(tmp_path):
    """Of 100 structures 10 % raise, 5 % hang, 2 % give NaN, 2 % another order, 2 % do not converge; half of them once only."""
    frames, log = structures(100), tmp_path / "log"
    faults = ["raise"] * 10 + ["hang"] * 5 + ["nan"] * 2 + ["permuted"] * 2 + ["unconverged"] * 2
    for k, fault in enumerate(faults):
        frames[k].info.update(fault=fault, once=bool(k % 2))
    labeler = CommandLabeler(fake_command(log), timeout=5.0)
    with ThreadPoolExecutor(8) as executor, LabelQueue(tmp_path / "run", labeler, executor=executor, attempts=2) as queue:
        names = [queue.submit(atoms, "all of them") for atoms in frames]
        entries = {entry.hash: entry for entry in queue.drain()}
        labels = queue.training_set()
    assert list(entries) != names  # asynchronous
    for k, name in enumerate(names):
        bad = k < len(faults) and not k % 2
        wanted = ("failed" if faults[k] in ("raise", "hang") else "quarantined") if bad else "done"
        assert (entries[name].state, entries[name].attempt) == (wanted, 2 if k < len(faults) else 1), (k, entries[name])
    assert len(labels) == 100 - 11
    for label in labels:
        np.testing.assert_allclose(label.get_forces(), -2.0 * label.positions, rtol=0, atol=5.1e-9)  # eight digits
        np.testing.assert_allclose(label.get_potential_energy(), np.sum(label.positions**2), rtol=1e-9)
    assert gone([pid for pid, _ in logged(log, "start")], 10)
