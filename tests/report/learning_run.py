"""A made-up folder of a learning run: a real journal of real (EMT) labels, invented numbers in its state and visits."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from gapkit.labeling import CalculatorLabeler, LabelQueue, read_journal
from tests.conftest import copper_gold

START = 1.8e9  # s since 1970
LABEL_SECONDS, FIT_SECONDS = 60.0, 3.0
CHECK_EVERY = 20
TARGET = 0.05
N_SEED = 4  # labels before the first step


class Flaky:
    """EMT that fails on some structures and is not converged on others."""

    def __init__(self, bad: dict[int, str]) -> None:
        self.bad, self.emt = bad, CalculatorLabeler(EMT)

    def label(self, atoms):
        how = self.bad.get(atoms.info["number"])
        if how == "failed":
            raise RuntimeError("SCF did not start: no memory")
        answer = self.emt.label(atoms)
        answer.info["converged"] = how != "quarantined"
        return answer


def write_run(
    directory: Path, *, n_labels=40, n_turns=300, n_walkers=2, phase="ended", bad=None, pending=0, temperature=True, audit=False
) -> Path:
    """Write the folder; ``bad`` maps numbers of labels to "failed" or "quarantined", ``pending`` labels are not finished."""
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    events, clock = [], [START]

    def happen(kind, after=0.0, **fields):
        clock[0] += after
        events.append({"kind": kind, "time": clock[0], "turn": turn, **fields})

    settings = {"target_force_error": TARGET, "check_every": CHECK_EVERY, "max_pending": 2, "explorer": {"ramp": [300, 1000]}}
    turn, step, frames, times, visits = 0, 0, [], [], []
    happen("started", settings=settings)
    used = 0
    label_at = {int(k) for k in np.linspace(1, n_turns - 1, max(0, n_labels - N_SEED))}

    def std_now(n):
        return 0.5 * (1 + n) ** -0.45

    def buy(walker, step, std_max, threshold):
        nonlocal used
        atoms = copper_gold(len(frames))
        atoms.info["number"] = len(frames)
        reason = (
            "seed structure"
            if walker is None
            else (
                f"force std {std_max:.2f} > {threshold:.2f} eV/Å on atom {len(frames) % 4} (Cu), walker {walker}, step {step}"
            )
        )
        frames.append((atoms, reason))
        state = (bad or {}).get(len(frames) - 1, "done")
        name = f"#{len(frames) - 1}"
        proposal = {
            "walker": walker,
            "step": step,
            "std_max": std_max,
            "std_rms": None if std_max is None else std_max / 3,
            "threshold": threshold,
        }
        happen("proposed", hash=name, reason=reason, **proposal)
        times.append(clock[0])
        if len(frames) > n_labels - pending:
            return
        clock[0] += LABEL_SECONDS * rng.lognormal(0, 0.4)
        if state != "done":
            happen("lost", hash=name, state=state, message="gave no label")
            if walker is not None:
                happen("retreat", walker=walker, step=step, reason=f"its label {state}")
            return
        used += 1
        scale = std_now(used) if std_max is None else std_max / 3
        rmse = scale * rng.lognormal(-0.1, 0.35)
        happen(
            "labelled", hash=name, n_labels=used, rmse=rmse, max_error=3 * rmse * rng.lognormal(0, 0.2),
            std_rms=scale, std_max=3 * scale, energy_error=0.01 * rng.normal(),
        )  # fmt: skip
        how = "full" if used in (N_SEED, 16, 64) else "grown" if used % 8 == 0 else "incremental"
        if used >= N_SEED:
            happen(
                "fit", after=FIT_SECONDS * (4 if how == "full" else 1), n_labels=used, n_atoms=4 * used, n_sparse=40 + 6 * used,
                how=how, seconds=FIT_SECONDS * (4 if how == "full" else 1), scale=2.5,
                messages=["2 sparse points were dropped"], memory_mb=180 + 2 * used,
            )  # fmt: skip
            happen("threshold", threshold=2.0 * max(TARGET, 0.6 * std_now(used)), predicted_rmse=0.9 * std_now(used) / 2)

    while len(frames) < min(N_SEED, n_labels):
        buy(None, None, None, None)
    for turn in range(1, n_turns + 1):
        step += CHECK_EVERY
        clock[0] += 2.0
        if turn == n_turns // 2:
            clock[0] += 40_000.0
            happen("resumed", settings={}, pid=4711)
        for walker in range(n_walkers):
            threshold = 2.0 * max(TARGET, 0.6 * std_now(used))
            std = 0.45 * threshold * rng.lognormal(0, 0.3)
            action = "go on"
            if turn in label_at and walker == turn % n_walkers:
                std, action = threshold * rng.uniform(1.02, 1.8), "label"
            atoms = copper_gold(0)[[0, 1]]
            atoms.set_momenta(np.zeros((2, 3)))
            atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((2, 3)))
            heat = {"temperature": (300 + 700 * turn / n_turns) * rng.normal(1, 0.06)} if temperature else {}
            atoms.info = {
                "turn": turn, "walker": str(walker), "step": step, "std_max": std, "std_rms": std / 3, "threshold": threshold,
                "action": action, **heat,
            }  # fmt: skip
            visits.append(atoms)
            if action == "label":
                buy(str(walker), step, std, threshold)
    if phase == "ended" and n_labels:
        happen("verified", after=300.0, n=20, rmse=0.047, low=0.043, high=0.052, predicted_rmse=0.045, target=TARGET)
        happen("ended", why="predicted error below the target and verified")
    (directory / "visits").mkdir(exist_ok=True)
    for first in range(0, len(visits), 200):
        write(directory / "visits" / f"{visits[first].info['turn']:09d}.xyz", visits[first : first + 200], format="extxyz")
    names = _journal(directory, frames, times, bad or {}, pending, rng)
    for event in events:
        if "hash" in event:
            event["hash"] = names[int(event["hash"][1:])]
    last = [event for event in events if event["kind"] == "threshold"][-1:] or [{"threshold": None, "predicted_rmse": None}]
    state = {
        "format": 1, "number": 1, "phase": phase, "why": events[-1].get("why", ""), "settings": settings, "turn": turn + 1,
        "n_steps": step * n_walkers, "n_checks": len(visits), "threshold": last[0]["threshold"],
        "predicted_rmse": last[0]["predicted_rmse"], "model": f"model-{turn:06d}.gap", "walkers": f"walkers-{turn:06d}.npz",
        "n_used": used, "events": events,
    }  # fmt: skip
    (directory / "state.json").write_text(json.dumps(state))
    if audit:
        (directory / "audit.json").write_text(json.dumps(_audit(rng)))
    return directory


def _audit(rng):
    std = 0.06 * rng.lognormal(0, 0.4, 900)
    error = std * rng.lognormal(0.0, 0.45, 900)
    missed = error > 5 * TARGET
    worst = np.argsort(error)[-3:][::-1].tolist()
    return {
        "n_audited": 900, "n_labelled": 12, "rmse": 0.048, "target": TARGET, "n_missed": int(missed.sum()),
        "missed_fraction": float(missed.mean()), "max_error": error.tolist(), "std_max": std.tolist(),
        "n_failed": 0,
        "largest": [f"{error[k]:.3g} eV/Å at step {20 * k} of walker 0, where the largest std was {std[k]:.3g}" for k in worst],
    }  # fmt: skip


def _journal(directory, frames, times, bad, pending, rng):
    """Label the structures with EMT, then put invented times into the journal."""
    folder = directory / "labels"
    names = []
    if not frames:
        return names
    finished = frames[: len(frames) - pending]
    with LabelQueue(folder, Flaky(bad), attempts=1) as queue:
        names += [queue.submit(atoms, reason) for atoms, reason in finished]
        names += [queue._journal.propose(atoms, reason) for atoms, reason in frames[len(finished) :]]
    began = dict(zip(names, times, strict=True))
    lines = []
    for line in (folder / "journal.jsonl").read_text().splitlines():
        record = json.loads(line)
        stamp = START
        if record["state"] != "note":
            stamp = began[record["hash"]]
        if record["state"] in ("done", "failed", "quarantined"):
            record["seconds"] = round(LABEL_SECONDS * rng.lognormal(0, 0.4), 3)
            stamp += record["seconds"]
        record["time"] = datetime.fromtimestamp(stamp, UTC).isoformat(timespec="milliseconds")
        lines.append(json.dumps(record, ensure_ascii=False))
    (folder / "journal.jsonl").write_text("\n".join(lines) + "\n")
    assert len(read_journal(folder)) == len(frames)
    return names
