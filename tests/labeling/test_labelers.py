"""Labelers: numbers, faults of every kind, time-outs, and nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from numpy.testing import assert_allclose

from gapkit.exceptions import InvalidLabelError
from gapkit.labeling import CalculatorLabeler, CommandLabeler, Limits, ProcessLabeler, canonical, checked_label
from gapkit.labeling.engine import label_task
from tests.conftest import copper_gold, labelled
from tests.labeling.helpers import fake_command, gone, logged, running


def parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def structure(**info):
    atoms = canonical(copper_gold(1))
    atoms.info.update(number=0, **info)
    return atoms


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


class Unconverged(EMT):
    converged = False


@pytest.mark.parametrize("calculator", [EMT(), EMT, lambda: EMT()], ids=["object", "class", "function"])
def test_calculator(calculator):
    atoms = canonical(copper_gold(3, (True, True, True)))
    label = CalculatorLabeler(calculator).label(atoms)
    expected = labelled(atoms)
    for name in ("energy", "forces", "stress"):  # the same code in the same process
        assert_allclose(label.calc.results[name], expected.calc.results[name], rtol=1e-12, atol=1e-12)
    assert atoms.calc is None
    assert "stress" not in CalculatorLabeler(EMT).label(Atoms("Cu2", [[0, 0, 0], [0, 0, 2.3]])).calc.results


def test_calculator_that_says_it_is_not_converged():
    outcome = label_task(CalculatorLabeler(Unconverged), structure(), Limits())
    assert (outcome.state, outcome.message[:30]) == ("quarantined", "`converged` must be true; got ")


def test_process():
    atoms = canonical(copper_gold(3, (True, True, True)))
    label = ProcessLabeler(lambda: EMT(), timeout=60).label(atoms)
    expected = labelled(atoms)
    for name in ("energy", "forces", "stress"):  # forces travel with eight digits
        assert_allclose(label.calc.results[name], expected.calc.results[name], rtol=0, atol=5.1e-9)


class Crashing(EMT):
    def calculate(self, *args, **kwargs):
        os.kill(os.getpid(), signal.SIGSEGV)


def test_process_that_crashes():
    outcome = label_task(ProcessLabeler(Crashing, timeout=60), structure(), Limits())
    assert outcome.state == "failed"
    assert f"exit status {128 + signal.SIGSEGV}" in outcome.message


def test_calculator_that_cannot_be_sent():
    labeler = ProcessLabeler(bulk("Cu").get_potential_energy)
    labeler.calculator = sys._getframe()
    with pytest.raises(TypeError, match="Give a function that makes it"):
        labeler.label(structure())


def test_command(log):
    atoms = structure()
    label = checked_label(atoms, CommandLabeler(fake_command(log)).label(atoms), Limits())
    assert_allclose(label.get_forces(), -2.0 * atoms.positions, rtol=0, atol=1e-12)
    assert_allclose(label.get_potential_energy(), np.sum(atoms.positions**2), rtol=1e-12)
    assert label.info["number"] == 0


@pytest.mark.parametrize(
    ("fault", "state", "message"),
    [
        ("raise", "failed", "RuntimeError: exit status 1 after .* s: ZBRENT: fatal error in bracketing"),
        ("hang", "failed", "TimeoutError: no label after 1 s"),
        ("nan", "quarantined", "`forces` must be finite; got nan"),
        ("permuted", "quarantined", "got atom 2 .Cu. in the place of atom 0, and 2 in all"),
        ("moved", "quarantined", "got atom 1 0.1 Å from"),
        ("huge", "quarantined", "`forces` must be at most 1000 eV/Å; got -100000 on atom 1"),
        ("unconverged", "quarantined", "`converged` must be true"),
        ("empty", "quarantined", "The output must"),
    ],
)
def test_faults(log, fault, state, message, tmp_path):
    labeler = CommandLabeler(fake_command(log), timeout=1.0 if fault == "hang" else 60.0, scratch=tmp_path)
    outcome = label_task(labeler, structure(fault=fault), Limits())
    assert outcome.state == state, outcome
    assert re.search(message, outcome.message), outcome.message
    assert not list(tmp_path.glob("gapkit-label-*"))


def test_timeout_kills_all_processes(log):
    start = time.monotonic()
    outcome = label_task(CommandLabeler(fake_command(log), timeout=2.0), structure(fault="child"), Limits())
    assert "TimeoutError" in outcome.message
    pids = [pid for pid, _ in logged(log, "start")]
    assert len(pids) == 2  # the second one left the process group and ignores SIGTERM
    assert not running(pids)
    assert time.monotonic() - start > 2.0 + 4.9  # five seconds to clean up


def test_what_a_command_leaves_behind_is_ended(log, tmp_path):
    script = tmp_path / "run.sh"
    script.write_text(f"sleep 1000 &\necho start $! 0 >> {log}\nexit 3\n")
    outcome = label_task(CommandLabeler(f"sh {script} {{input}} {{output}}", timeout=60), structure(), Limits())
    assert "exit status 3" in outcome.message
    pids = [pid for pid, _ in logged(log, "start")]
    assert len(pids) == 1
    assert not running(pids)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_orphans(log, tmp_path, number):
    code = (
        "import sys; from gapkit.labeling import CommandLabeler; from ase import Atoms;"
        "a = Atoms('CuAu', [[0, 0, 0], [0, 0, 2]]); a.info['fault'] = 'hang';"
        "CommandLabeler(sys.argv[1], scratch=sys.argv[2]).label(a)"
    )
    driver = subprocess.Popen([sys.executable, "-c", code, fake_command(log), str(tmp_path)])
    end = time.monotonic() + 60
    while not logged(log, "start") and time.monotonic() < end:
        time.sleep(0.02)
    pids = [pid for pid, _ in logged(log, "start")]
    assert running(pids) == pids
    guard = parent(pids[0])
    driver.send_signal(number)
    driver.wait()
    assert gone([*pids, guard], 10.0)
    assert not list(tmp_path.glob("gapkit-label-*"))


def test_guard_that_is_killed_takes_the_command_along(log, tmp_path):
    code = (
        "import sys; from gapkit.labeling import CommandLabeler; from ase import Atoms;"
        "a = Atoms('CuAu', [[0, 0, 0], [0, 0, 2]]); a.info['fault'] = 'hang';"
        "CommandLabeler(sys.argv[1]).label(a)"
    )
    driver = subprocess.Popen([sys.executable, "-c", code, fake_command(log)], stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while not logged(log, "start") and time.monotonic() < end:
        time.sleep(0.02)
    pids = [pid for pid, _ in logged(log, "start")]
    guard = parent(pids[0])
    os.kill(guard, signal.SIGKILL)
    assert "RuntimeError: exit status -9" in driver.communicate()[1]
    assert gone(pids, 10.0)


def answer(change):
    asked = canonical(copper_gold(1, (True, True, True)))
    label = labelled(asked)
    results = {k: np.array(v, copy=True) for k, v in label.calc.results.items() if k in ("energy", "forces", "stress")}
    label = change(label, results) or label
    label.calc = SinglePointCalculator(label, **results)
    return asked, label


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, r: r.pop("forces"), "`forces` must be there"),
        (lambda a, r: r.pop("energy"), "`energy` must be there"),
        (lambda a, r: r.update(energy=np.inf), "`energy` must be finite; got inf"),
        (lambda a, r: r["stress"].fill(np.nan), "`stress` must be finite"),
        (lambda a, r: r.update(forces=np.zeros((3, 3))), "`forces` must have shape"),
        (lambda a, r: a.cell.__setitem__((0, 0), a.cell[0, 0] + 0.01), "`cell` must be the one"),
        (lambda a, r: a.set_pbc(False), "`pbc` must be"),
        (lambda a, r: a.numbers.__setitem__(0, 47), "Atom 0 must be .*; got Ag"),
        (lambda a, r: a.positions.__setitem__((0, 0), np.nan), "`positions` must be finite"),
        (lambda a, r: r["forces"].__setitem__((2, 1), 1001.0), "got 1001 on atom 2"),
        (lambda a, r: r.update(energy=r["energy"] + 50.0), "`energy` must be within 10 eV/atom"),
    ],
)
def test_bad_labels(change, message):
    def changed(atoms, results):
        change(atoms, results)

    asked, label = answer(changed)
    good = [labelled(copper_gold(1, (True, True, True))) for _ in range(5)]
    with pytest.raises(InvalidLabelError, match=message):
        checked_label(asked, label, Limits.from_frames(good))


def test_atoms_may_come_back_in_another_cell():
    def wrapped(atoms, results):
        atoms.positions[1] += atoms.cell[0] - atoms.cell[2]
        atoms.positions[2] += 5e-5  # digits of a code's output

    asked, label = answer(wrapped)
    checked = checked_label(asked, label, Limits())
    assert_allclose(checked.positions, asked.positions, rtol=0, atol=0)
    assert_allclose(checked.get_stress(), label.get_stress(), rtol=0, atol=0)


def test_words_that_are_files_are_made_absolute(tmp_path, monkeypatch, log):
    (tmp_path / "run.sh").write_text(f"{fake_command(log).replace('{input}', '$1').replace('{output}', '$2')}\n")
    monkeypatch.chdir(tmp_path)
    labeler = CommandLabeler("sh run.sh {input} {output}")
    monkeypatch.chdir("/")
    assert label_task(labeler, structure(), Limits()).state == "done"


@pytest.mark.parametrize("command", ["vasp", "run {input}", 3])
def test_commands_without_files(command):
    with pytest.raises(ValueError, match=r"`command` must be a command with \{input\} and \{output\} in it"):
        CommandLabeler(command)


def test_command_that_does_not_exist():
    outcome = label_task(CommandLabeler("no-such-code {input} {output}"), structure(), Limits())
    assert (outcome.state, "no-such-code: No such file" in outcome.message) == ("failed", True)


@pytest.mark.parametrize(("timeout", "error"), [(0, ValueError), ("1h", TypeError), (float("nan"), ValueError)])
def test_timeouts(timeout, error):
    with pytest.raises(error, match="`timeout` must be a number above 0"):
        CommandLabeler("a {input} {output}", timeout=timeout)
    with pytest.raises(error, match="`timeout` must be a number above 0"):
        ProcessLabeler(EMT, timeout=timeout)
