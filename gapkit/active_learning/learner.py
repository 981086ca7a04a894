"""Learning on the fly: explore with the model, buy a label where its force error bar says so, learn, go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Self

from ase import Atoms
from ase.data import chemical_symbols
from ase.io import read
from sklearn.base import BaseEstimator

from .._validation import check_integer, check_real, describe
from ..exceptions import InvalidStructureError
from ..io import replacing
from ..labeling import Labeler
from ..labeling.structures import to_text
from ..model import GAPRegressor
from ..neighbors import SHORTEST_DISTANCE, check_structures
from .checkpoint import RunState
from .explorers import Explorer
from .initial import initial_structures
from .run import Run

__all__ = ["ActiveLearner"]

_INITIAL = "initial.xyz"
_COPIES = 9  # of the starting structures, where no initial structures are given


class ActiveLearner(BaseEstimator):  # type: ignore[misc]
    """Explores structures with a model that buys labels where it needs them.

    One setting says how good is good enough: the error of forces.  A label is bought where the calibrated standard deviation of
    a force component says that the error over the states visited would otherwise be larger, and only if it would move the
    model.  When exploration has ended, the error over the states visited is predicted, lowered with further labels where need
    be, and verified with labels of ten states drawn at random.

    Everything is in ``workdir``: settings, labels and why each was bought, the model, the structures visited.  A run that is
    killed at any instant goes on with `resume`, without buying a label twice, to the same training set.

    Parameters
    ----------
    model : GAPRegressor
        What is fitted; it need not be fitted yet, and is not changed.
    labeler : Labeler or sequence of Labeler
        Where labels come from (`gapkit.labeling`); of several, the k-th is for the k-th attempt.
    explorer : Explorer
        What makes structures (`gapkit.active_learning.explorers`).
    target_force_error : float
        Root mean square error of a force component over the states visited that is good enough, eV/Å.
    workdir : str or Path
        Folder of the run.
    initial : list of ase.Atoms, optional
        What the first model is fitted to; those without energies and forces are labelled first.  Default: the structures that
        the explorer starts from and nine copies of them, rattled and strained.
    executor : concurrent.futures.Executor, optional
        Where labels are computed; default: here, one after the other.
    max_labels : int, default 500
        How many labels may be bought after the initial ones.
    max_pending : int, default 0
        How many labels may be pending while exploration goes on, with the model that counts these structures as known; 0: it
        waits.  As many as the executor has workers keep them busy.
    attempts : int, default 2
        How often a label that fails or is bad is tried.
    label_settings : mapping, optional
        What distinguishes labels of one structure, e.g. functional and cutoff.
    d_min : float, optional
        Structures with atoms closer than this (Å) are unphysical and are not labelled; default 0.6 times the sum of their
        covalent radii.
    random_state : int, default 0
        Seed of everything that is random.
    verbose : int, default 0
        1 shows the progress.

    Attributes
    ----------
    model_ : GAPRegressor
        The model at the end of a run, calibrated; also in the file ``model.gap`` of the folder.
    state_ : RunState
        What the run is at; ``state_.why`` says why it ended.

    Examples
    --------
    >>> import tempfile
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> from gapkit import ActiveLearner, GAPRegressor, SOAP, DotProduct, Noise, Term
    >>> from gapkit.active_learning import MolecularDynamics
    >>> from gapkit.labeling import CalculatorLabeler
    >>> soap = Term(SOAP(r_cut=4.0, n_max=4, l_max=3), DotProduct(3), delta=0.5, n_sparse=100)
    >>> model = GAPRegressor([soap], noise=Noise(0.001, 0.02, 0.01), random_state=0)
    >>> explorer = MolecularDynamics(bulk("Cu", cubic=True), time=0.1, temperature=600)
    >>> folder = tempfile.mkdtemp()
    >>> learner = ActiveLearner(model, CalculatorLabeler(EMT), explorer=explorer, target_force_error=0.1, workdir=folder)
    >>> learner.run().state_.phase
    'ended'
    """

    def __init__(
        self,
        model: GAPRegressor,
        labeler: Labeler | Sequence[Labeler],
        *,
        explorer: Explorer,
        target_force_error: float,
        workdir: str | Path,
        initial: Sequence[Atoms] | None = None,
        executor: Executor | None = None,
        max_labels: int = 500,
        max_pending: int = 0,
        attempts: int = 2,
        label_settings: Mapping[str, Any] | None = None,
        d_min: float | None = None,
        random_state: int = 0,
        verbose: int = 0,
    ) -> None:
        self.model = model
        self.labeler = labeler
        self.explorer = explorer
        self.target_force_error = target_force_error
        self.workdir = workdir
        self.initial = initial
        self.executor = executor
        self.max_labels = max_labels
        self.max_pending = max_pending
        self.attempts = attempts
        self.label_settings = label_settings
        self.d_min = d_min
        self.random_state = random_state
        self.verbose = verbose

    def run(self) -> Self:
        """Start a run and see it through.

        SIGTERM and Ctrl-C end it at the next turn, to be resumed.

        Returns
        -------
        ActiveLearner
            The learner itself.

        Raises
        ------
        FileExistsError
            If there is a run in the folder.
        LockedError
            If another process works in the folder.
        RuntimeError
            If none of the initial structures could be labelled, or the executor broke.
        OSError
            If a file cannot be written, e.g. because the disk is full; make room and `resume`.
        """
        self._check()
        directory = Path(self.workdir)
        if (directory / "state.json").exists():
            raise FileExistsError(f"There is a run in {directory}. Resume it, or take another folder.")
        directory.mkdir(parents=True, exist_ok=True)
        initial = self._initial()
        state = RunState(settings=self.settings())
        state.record("started", settings=state.settings)
        return self._go(state, initial)

    def resume(self) -> Self:
        """Go on with the run in the folder, after a crash, a stop, or with other settings.

        Returns
        -------
        ActiveLearner
            The learner itself.

        Raises
        ------
        FileNotFoundError
            If there is no run in the folder.
        JournalError
            If its state or journal is damaged.
        ValueError
            If the explorer has other walkers than it had.
        LockedError, RuntimeError, OSError
            As for `run`.
        """
        self._check()
        directory = Path(self.workdir)
        state = RunState.read(directory)
        now = self.settings()
        state.record("resumed", settings={name: value for name, value in now.items() if state.settings.get(name) != value})
        state.settings = now
        return self._go(state, read(directory / _INITIAL, ":", format="extxyz"))

    def settings(self) -> dict[str, Any]:
        """The settings as a file can hold them; parts are described in words."""
        named = ("target_force_error", "max_labels", "max_pending", "attempts", "d_min", "random_state")
        labelers = self.labeler if isinstance(self.labeler, Sequence) else [self.labeler]
        return {
            **{name: getattr(self, name) for name in named},
            "label_settings": dict(self.label_settings or {}),
            "explorer": type(self.explorer).__name__,
            "labeler": ", ".join(type(one).__name__ for one in labelers),
        }

    def _go(self, state: RunState, initial: list[Atoms]) -> Self:
        run = Run(self, state, initial)
        try:
            run.go()
        finally:
            self.state_ = run.state
        if run.following.regressor is not None:
            self.model_ = run.following.regressor
        return self

    def _initial(self) -> list[Atoms]:
        """The initial structures, which are stored: a run that is resumed need not be given them."""
        if self.initial is not None:
            frames = check_structures(list(self.initial), name="initial")
        else:
            start = getattr(self.explorer, "start", None)
            if start is None:
                rule = "given for an explorer without starting structures"
                raise ValueError(describe("initial", rule, None, "Give some structures like those to be explored."))
            starts = [start] if isinstance(start, Atoms) else list(start)
            frames = initial_structures(check_structures(starts, name="start"), _COPIES, self.random_state)
        self._check_species(frames)
        path = Path(self.workdir) / _INITIAL
        with replacing(path) as file:
            file.write("".join(to_text(atoms) for atoms in frames).encode())
        return list(read(path, ":", format="extxyz"))

    def _check_species(self, initial: Sequence[Atoms]) -> None:
        """Raise InvalidStructureError if exploration starts from species that the initial structures do not have."""
        start = getattr(self.explorer, "start", None) or []
        known = {z for atoms in initial for z in atoms.numbers.tolist()}
        for k, atoms in enumerate([start] if isinstance(start, Atoms) else start):
            new = sorted(set(atoms.numbers.tolist()) - known)
            if new:
                missing = ", ".join(chemical_symbols[z] for z in new)
                raise InvalidStructureError(
                    f"`initial` must have all species of the explorer; got none with {missing}, which structure {k} of its "
                    "start has. Add some, or leave `initial` out."
                )

    def _check(self) -> None:
        if not isinstance(self.model, GAPRegressor):
            raise TypeError(describe("model", "a GAPRegressor", self.model))
        if not callable(getattr(self.explorer, "walkers", None)):
            raise TypeError(describe("explorer", "an explorer such as MolecularDynamics", self.explorer))
        check_real("target_force_error", self.target_force_error, above=0.0, remedy="It is in eV/Å.")
        check_integer("max_labels", self.max_labels, at_least=0)
        check_integer("max_pending", self.max_pending, at_least=0)
        check_integer("attempts", self.attempts, at_least=1)
        check_integer("random_state", self.random_state, at_least=0)
        if self.d_min is not None:
            check_real("d_min", self.d_min, at_least=SHORTEST_DISTANCE, remedy="It is in Å.")
