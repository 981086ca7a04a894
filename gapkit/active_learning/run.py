"""One run of a learner, from its checkpoint to its end.

A run is a function of its settings and of the labels.  Everything happens in turns, in which every walker goes on by a stretch
and the structures it came through are judged; labels enter the model in the order in which they were asked for, between turns,
as soon as more than ``max_pending`` are pending.  So the training set does not depend on how long a label takes, on the number
of workers, or on how often the run was killed.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from .._backend import threads_for
from ..gp.calibration import Calibration
from ..gp.observations import labels_of
from ..labeling import Entry, LabelQueue, Limits, read_journal, read_label, structure_hash
from .checkpoint import RunState, read_visits, write_visits
from .closing import sample_of, verification_of, why_unverified
from .explorers import LeftPhysicsError, Walker
from .following import FollowingModel
from .progress import Progress
from .records import interval, is_labelled, plain, squared_ratio, visited
from .select import pick, too_close
from .stopping import stop_politely
from .target import LARGE, Judgement, judge, predicted_rmse, threshold_of, trust_of

if TYPE_CHECKING:
    from .learner import ActiveLearner

__all__ = ["Run"]

_RECENT = 100  # states judged that the threshold follows from
_LABELS = 10  # errors of labels that correct the calibration
_CONTROLS = (10, 50)  # states judged without a label, before one is bought as a control: the first time, and later
_CHECKPOINT = 30.0  # s between checkpoints while nothing is learnt
_BATCH = 10  # labels at most at a time when exploration has ended
_VERIFIED = 10  # states whose labels verify the error
_ROUNDS = 3  # verifications at most
_MISSED = 1.2  # times the target: an error that is verified to be above is not good enough


class _StoppedError(Exception):
    """The run was asked to stop."""


class Run:
    """A run in progress.

    Parameters
    ----------
    learner : ActiveLearner
        Its settings.
    state : RunState
        Where it goes on.
    initial : list of ase.Atoms
        The initial structures, some with labels.
    """

    def __init__(self, learner: ActiveLearner, state: RunState, initial: Sequence[Atoms]) -> None:
        self.learner, self.state, self.initial = learner, state, initial
        self.directory = Path(learner.workdir)
        self.target = float(learner.target_force_error)
        self.following = FollowingModel(learner.model)
        self.walkers: list[Walker] = learner.explorer.walkers(learner.random_state)
        self.visits: list[Atoms] = []
        self._visits_from = state.turn
        self._written = time.monotonic()
        self._stop = threading.Event()

    def go(self) -> None:
        """Go on until the run ends, or is asked to stop."""
        phases = {"exploring": self._explore, "closing": self._close, "verifying": self._verify}
        with stop_politely(self._stop), Progress(self.learner.verbose > 0) as self.progress:
            try:
                if self.state.phase == "initial":
                    with self._queue(Limits()) as self.queue:
                        self._begin()
                with self._queue(Limits.from_frames(self._initial_labels())) as self.queue:
                    self._restore()
                    while self.state.phase != "ended":
                        phases[self.state.phase]()
            except _StoppedError:
                return

    # --- the phases

    def _begin(self) -> None:
        """Label the initial structures, and fit to them."""
        for atoms in self.initial:
            if not is_labelled(atoms):
                self.queue.submit(atoms, "initial structure")
        self.progress.show("initial labels", 0, len(self.initial))
        while self.queue.counts["pending"]:
            self.queue.wait(1.0)
            self.progress.show("initial labels", len(self.initial) - self.queue.counts["pending"], len(self.initial))
            self._stop_if_asked()
        frames = self._initial_labels()
        if not frames:
            lost = next(entry.message for entry in self._journal().values() if entry.message)
            some = f"at least one of the {len(self.initial)} initial structures"
            raise RuntimeError(f"A label is needed of {some}; none came: {lost} Correct the labeler and resume.")
        self.state.record("fit", **self.following.start(frames))
        self.state.phase = "exploring"
        self._checkpoint(learnt=True)

    def _explore(self) -> None:
        """Let the walkers go, and buy labels where they come through what the model does not know."""
        self._believe()
        while any(not walker.finished for walker in self.walkers) and not self._exhausted:
            with self._threads():
                for walker in self.walkers:
                    if not walker.finished:
                        self._stretch(walker)
            self.state.turn += 1
            self.state.n_steps = sum(walker.n_steps for walker in self.walkers)
            learnt = self._take(0 if all(walker.finished for walker in self.walkers) else self.learner.max_pending)
            self._follow_threshold()
            if learnt or time.monotonic() - self._written > _CHECKPOINT:
                self._checkpoint(learnt=learnt)
            self._show()
            self._stop_if_asked(checkpoint=True)
        learnt = self._take(0)
        self.state.phase = "closing"
        self._checkpoint(learnt=learnt)

    def _close(self) -> None:
        """Predict the error over the states visited, and buy labels until it is the target."""
        state, learnt = self.state, False
        visits = read_visits(self.directory, state.turn)
        while visits:
            sample = sample_of(visits, self.learner.random_state)
            judgements = judge(self.following.fitted, sample, self._trust)
            state.predicted_rmse = predicted_rmse([j.rms for j in judgements])
            state.record("predicted", predicted_rmse=state.predicted_rmse, n_states=len(sample))
            self._checkpoint(learnt=learnt)
            self.progress.show(f"predicted {state.predicted_rmse:.3g} eV/Å", len(state.proposed), self.learner.max_labels)
            if state.predicted_rmse <= self.target or self._exhausted:
                break
            known = self._known()
            worth = [a for a, j in zip(sample, judgements, strict=True) if j.moves(self.target) and self._hash(a) not in known]
            n = min(_BATCH, math.ceil(0.1 * len(self.following.frames)), self.learner.max_labels - len(state.proposed))
            if not worth:
                break
            found = pick(self.following.fitted, worth, n, d_min=self.learner.d_min, random_state=self.learner.random_state)
            if not len(found.indices):
                break
            for k, why in zip(found.indices.tolist(), found.reasons, strict=True):
                reason = f"predicted error {state.predicted_rmse:.3g} > {self.target:.3g} eV/Å over the states visited; {why}"
                self._propose(worth[k], reason, None)
            learnt = self._take(0)
        state.phase = "verifying"
        self._checkpoint(learnt=learnt)

    def _verify(self) -> None:
        """Compare the predicted error with that of labels of states drawn at random."""
        state = self.state
        if not state.verification:
            visits = read_visits(self.directory, state.turn)
            known = self._known()
            n = min(_VERIFIED, self.learner.max_labels - len(state.proposed))
            drawn = verification_of(
                visits, n, self.learner.random_state, state.rounds, lambda atoms: self._hash(atoms) in known
            )
            reason = f"verification {state.rounds + 1}: a state visited, drawn at random"
            state.verification = [self.queue.submit(plain(atoms), reason) for atoms in drawn]
            if not state.verification:
                return self._end(f"not verified: {why_unverified(visits, n)}")
            self._checkpoint(learnt=False)
        entries = [self._wait_for(name) for name in state.verification]
        labels = [read_label(self.directory / "labels", entry) for entry in entries if entry.state == "done"]
        if not labels:
            return self._end(f"not verified: none of {len(entries)} labels could be computed")
        judgements = judge(self.following.fitted, labels, self._trust)
        errors = [np.asarray(labels_of(a, 0).forces) - j.forces for a, j in zip(labels, judgements, strict=True)]
        squares = np.array([np.mean(e**2) for e in errors])
        rmse, (low, high) = float(np.sqrt(squares.mean())), interval(squares, self.learner.random_state)
        state.record(
            "verified",
            n=len(labels),
            rmse=rmse,
            low=low,
            high=high,
            predicted_rmse=predicted_rmse([j.rms for j in judgements]),
            target=self.target,
        )
        calibration = self.following.calibration_by(labels)
        trust = self._trust
        state.squared = (state.squared + [squared_ratio(e, j) * trust**2 for e, j in zip(errors, judgements, strict=True)])[
            -_LABELS:
        ]
        state.proposed += state.verification
        state.verification, state.rounds = [], state.rounds + 1
        self._take(0, judged=False)
        measured = (
            f"verified {rmse:.3g} eV/Å ({low:.3g} to {high:.3g}) over {len(labels)} states visited; target {self.target:.3g}"
        )
        if rmse > _MISSED * self.target and state.rounds < _ROUNDS and not self._exhausted:
            state.phase = "closing"
            return self._checkpoint(learnt=True)
        why = "converged" if rmse <= _MISSED * self.target else "not converged: " + self._why_not()
        return self._end(f"{why}; {measured}", calibration)

    def _why_not(self) -> str:
        if self._exhausted:
            return f"all {self.learner.max_labels} labels are bought"
        return "more labels of the states visited would not move the model; give it more sparse points or a finer descriptor"

    def _end(self, why: str, calibration: Calibration | None = None) -> None:
        self._adopt()
        if calibration is not None:
            self.following.fitted.calibration_ = calibration
        self.state.phase, self.state.why = "ended", why
        self.state.record("ended", why=why)
        self._checkpoint(learnt=True)
        self.following.fitted.save(self.directory / "model.gap")

    # --- a turn

    def _stretch(self, walker: Walker) -> None:
        """Let a walker go on, and judge what it came through."""
        try:
            found = walker.advance(self.model)
        except LeftPhysicsError as error:
            return self._retreat(walker, str(error))
        for atoms in found:
            touching = too_close(atoms, self.learner.d_min)
            if touching:
                return self._retreat(walker, touching)
        actions = [
            self._act(walker, atoms, judgement)
            for atoms, judgement in zip(found, judge(self.model, found, self._trust), strict=True)
        ]
        if "label" not in actions:
            walker.accept()
        return None

    def _act(self, walker: Walker, atoms: Atoms, found: Judgement) -> str:
        """Buy a label, or not; what was done."""
        state, threshold = self.state, self._threshold
        step = atoms.info.get("step", walker.n_steps)
        action, reason = "go on", ""
        state.n_checks += 1
        if self._exhausted:
            pass
        elif found.largest > threshold:
            action = "label" if found.moves(self.target) else "no gain"
            where = f"on atom {found.atom} ({atoms.symbols[found.atom]})"
            reason = f"force std {found.largest:.3g} > {threshold:.3g} eV/Å {where}, step {step} of walker {walker.name}"
        elif state.n_checks - state.last_label >= _CONTROLS[state.last_label > 0]:
            action = "label"
            reason = f"control: no label for {state.n_checks - state.last_label} states; step {step} of walker {walker.name}"
        if action == "label" and self._hash(atoms) in state.proposed:
            action = "no gain"
        state.recent = [*state.recent, [found.rms, found.largest]][-_RECENT:]
        self.visits.append(visited(atoms, state.turn, walker, found, threshold, action))
        if action == "label":
            state.last_label = state.n_checks
            self._propose(atoms, reason, walker.name, step=step, std_max=found.largest, std_rms=found.rms, threshold=threshold)
            self._believe()
        return action

    def _retreat(self, walker: Walker, reason: str) -> None:
        self.state.record("retreat", walker=walker.name, step=walker.n_steps, reason=reason)
        walker.retreat()

    def _propose(self, atoms: Atoms, reason: str, walker: str | None, **details: Any) -> None:
        name = self.queue.submit(plain(atoms), reason)
        self.state.proposed.append(name)
        self.state.record("proposed", hash=name, reason=reason, walker=walker, **details)

    # --- labels

    def _take(self, most: int, *, judged: bool = True) -> bool:
        """Learn from labels, the oldest first, until at most ``most`` are pending; whether anything was learnt."""
        state, learnt = self.state, False
        complaints: dict[str, list[str]] = {}  # of each walker whose structures were labelled: what speaks against them
        while len(state.proposed) - state.n_used > most:
            name = state.proposed[state.n_used]
            entry = self._wait_for(name)
            complaint = []
            if entry.state == "done":
                error = self._learn(read_label(self.directory / "labels", entry), entry, judged=judged)
                learnt = True
                if error > LARGE * self.target:  # wrong forces brought the walker there
                    complaint = [f"a force component was wrong by {error:.3g} eV/Å"]
            else:
                state.record("lost", hash=name, state=entry.state, message=entry.message)
                complaint = [f"its structure has no label: {entry.message}"]
            proposal = self._proposal(name)
            if complaint or proposal.get("turn") == state.turn - 1:  # it has not gone on since
                complaints.setdefault(str(proposal.get("walker")), []).extend(complaint)
            state.n_used += 1
        for walker in self.walkers:
            if learnt:
                walker.reconsider()
            if complaints.get(walker.name):
                self._retreat(walker, "; ".join(complaints[walker.name]))
            elif walker.name in complaints:
                walker.accept()
        return learnt

    def _learn(self, label: Atoms, entry: Entry, *, judged: bool) -> float:
        """Compare a label with what the model said of it, then learn from it; the largest error of a force component."""
        state, trust, largest = self.state, self._trust, 0.0
        if judged:
            (found,) = judge(self.following.fitted, [label], trust)
            known = labels_of(label, 0)
            error = np.asarray(known.forces) - found.forces
            largest = float(np.abs(error).max())
            state.squared = [*state.squared, squared_ratio(error, found) * trust**2][-_LABELS:]
            if found.largest > 0.0:
                state.ratios = [*state.ratios, largest / found.largest * trust][-_LABELS:]
            state.record(
                "labelled",
                hash=entry.hash,
                n_labels=len(self.following.frames) + 1,
                rmse=float(np.sqrt(np.mean(error**2))),
                max_error=largest,
                std_rms=found.rms,
                std_max=found.largest,
                energy_error=(float(known.energy or 0.0) - found.energy) / len(label),
            )
        state.record("fit", **self.following.learn(label, self._threshold, trust))
        return largest

    def _known(self) -> set[str]:
        """What this run has asked labels for; not what it had asked for after its last checkpoint when it was killed."""
        return {*self.state.proposed, *(self._hash(atoms) for atoms in self.initial)}

    def _adopt(self) -> None:
        """Labels that a killed run bought and this one did not come to ask for are learnt all the same."""
        own = self._known()
        self.state.proposed += [name for name, entry in self._journal().items() if name not in own and entry.state == "done"]
        self._take(0)

    def _wait_for(self, name: str) -> Entry:
        while (entry := self.queue.finished(name)) is None:
            self.queue.wait(1.0)
            self._stop_if_asked()
        return entry

    def _believe(self) -> None:
        """The model that explores: it counts what is pending as known."""
        pending = self.state.proposed[self.state.n_used :]
        entries = self._journal()
        self.model = self.following.believing([entries[name].atoms for name in pending])

    # --- small things

    @property
    def _exhausted(self) -> bool:
        return len(self.state.proposed) >= self.learner.max_labels

    @property
    def _trust(self) -> float:
        return trust_of(self.state.squared)

    @property
    def _threshold(self) -> float:
        return self.target if self.state.threshold is None else self.state.threshold

    def _follow_threshold(self) -> None:
        state = self.state
        ratios = [ratio / self._trust for ratio in state.ratios]
        rms, largest = ([pair[k] for pair in state.recent] for k in (0, 1))
        state.threshold, state.predicted_rmse = threshold_of(self.target, rms, largest, ratios), predicted_rmse(rms)
        last = next((e["threshold"] for e in reversed(state.events) if e["kind"] == "threshold"), 0.0)
        if abs(state.threshold - last) > 0.05 * state.threshold:
            state.record("threshold", threshold=state.threshold, predicted_rmse=state.predicted_rmse)

    def _threads(self) -> AbstractContextManager[None]:
        """One thread for small structures, where several only wait for each other."""
        return threads_for(max(len(atoms) for atoms in self.initial))

    def _hash(self, atoms: Atoms) -> str:
        return structure_hash(plain(atoms), self.learner.label_settings)

    def _proposal(self, name: str) -> dict[str, Any]:
        """The record of the proposal of a structure, empty if there is none."""
        return next((e for e in self.state.events if e["kind"] == "proposed" and e["hash"] == name), {})

    def _journal(self) -> dict[str, Entry]:
        return read_journal(self.directory / "labels")

    def _initial_labels(self) -> list[Atoms]:
        """Initial structures with labels, given or bought."""
        entries = self._journal() if (self.directory / "labels").exists() else {}
        result = []
        for atoms in self.initial:
            if is_labelled(atoms):
                result.append(atoms)
            elif (entry := entries.get(structure_hash(atoms, self.learner.label_settings))) and entry.state == "done":
                result.append(read_label(self.directory / "labels", entry))
        return result

    def _queue(self, limits: Limits) -> LabelQueue:
        learner = self.learner
        return LabelQueue(
            self.directory / "labels",
            learner.labeler,
            executor=learner.executor,
            attempts=learner.attempts,
            settings=learner.label_settings,
            limits=limits,
        )

    def _restore(self) -> None:
        """Model, training set and walkers of the checkpoint: what a run goes on with is always what is on disk."""
        entries = self._journal()
        used = [entries[name] for name in self.state.proposed[: self.state.n_used]]
        frames = self._initial_labels() + [read_label(self.directory / "labels", e) for e in used if e.state == "done"]
        self.following.restore(self.directory / self.state.model, frames, self.state.following)
        states = self.state.read_walkers(self.directory)
        if len(states) != len(self.walkers):
            raise ValueError(
                f"`explorer` must have the {len(states)} walkers of this run; got {len(self.walkers)}. Start another run."
            )
        for walker, state in zip(self.walkers, states, strict=True):
            walker.restore(state)

    def _checkpoint(self, *, learnt: bool) -> None:
        if self.visits:
            write_visits(self.directory, self._visits_from, self.visits)
        self.state.following = self.following.state()
        self.state.write(self.directory, self.following.fitted if learnt else None, [w.state() for w in self.walkers])
        if learnt:  # so that a run that is killed and one that is not have the same model, bit for bit
            self.following.restore(self.directory / self.state.model, self.following.frames, self.state.following)
            self._believe()
        self.visits, self._visits_from, self._written = [], self.state.turn, time.monotonic()

    def _show(self) -> None:
        state, total = self.state, sum(walker.n_total for walker in self.walkers)
        text = f"{len(state.proposed)} labels, error {state.predicted_rmse:.3g} eV/Å"
        self.progress.show(text, state.n_steps, total)

    def _stop_if_asked(self, *, checkpoint: bool = False) -> None:
        if self._stop.is_set():
            if checkpoint:
                self._checkpoint(learnt=False)
            raise _StoppedError
