"""The estimator: a Gaussian approximation potential with scikit-learn's manners."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from concurrent.futures import Executor
from copy import deepcopy
from dataclasses import replace
from typing import Any, Self

from ase import Atoms
from ase.data import chemical_symbols
from sklearn.utils.validation import check_is_fitted

from .._validation import check_choice, check_integer, check_real
from ..exceptions import NumericalWarning
from ..gp.calibration import Calibration
from ..gp.observations import KINDS, Noise
from ..neighbors import check_structures
from .atomic_energies import AtomicEnergies, fit_atomic_energies
from .automatic import decide_terms
from .baseline import atomic_energies_above, decide_baseline, without_baseline
from .calibration_methods import CalibrationMethods
from .card import data_card, software_card
from .device import check_device
from .familiar import largest_familiar_std
from .fitted import FittedModel
from .fitting import choose_terms, collect_labels, grow_terms
from .folding import fold_rows, solve
from .kernel_search import search_kernels
from .memory import check_memory
from .potential import APPROXIMATIONS, Potential
from .probes import choose_probes
from .repulsion import core_of
from .search import check_search, log_evidence, search_amplitudes
from .table_check import check_tables
from .terms import Term, name_terms
from .training import SparseModel, TrainingSet
from .unexplained import largest_unexplained

__all__ = ["GAPRegressor"]


class GAPRegressor(CalibrationMethods, FittedModel):
    r"""Gaussian approximation potential: a sparse Gaussian process of local energies, conditioned on DFT.

    The energy of a structure is a sum over the environments of every term and a constant per species,

    .. math:: E = \sum_i e_0(Z_i) + \sum_t \sum_{e \in t} \sum_m \alpha_m k_t(x_e, s_m)

    Its coefficients are the posterior mean given total energies, forces and stresses with Gaussian `Noise`; the posterior
    covariance gives error bars.  Lists of `ase.Atoms` stand where scikit-learn has X; labels ride on them as
    `ase.io.read` leaves them (``atoms.calc.results``).  Units are eV, Å, eV/Å, eV/Å³.

    Parameters
    ----------
    terms : list of Term or of (name, Term), optional
        Additive terms.  Unnamed ones get the lower-case class name of their descriptor.  Default: one SOAP with settings from
        the training set (`gapkit.model.automatic_terms`).
    noise : Noise, optional
        Standard deviations of the labels.  Default: Noise(), or from the labels where the terms are automatic too.
    e0 : "auto", float or dict of str to float, default "auto"
        Energies of isolated atoms, eV.  "auto": from frames with one isolated atom, else by least squares.
    baseline : Baseline, ZBL, Glue or ase calculator, optional
        What is taken from the labels before the fit and added to predictions: any ASE calculator (learn the difference to
        it), or a repulsion of nuclei below the distances of the data.  Default: ZBL() where the terms are automatic too.
    approximation : {"dtc", "sor", "fitc", "vfe"}, default "dtc"
        What becomes of the part of the covariance that the sparse points miss.  "dtc": it is left out of the fit and kept in
        the standard deviations.  "sor": left out of both, so that standard deviations vanish far from the sparse points.
        "fitc": it is added to the noise of every label.  "vfe": as "dtc", with a bound in place of the evidence.
        "fitc" and "vfe" compute the prior variance of every label and take several times as long.
    optimize : collection of {"noise", "delta", "length_scale", "scale"}, default ()
        What is chosen by the largest evidence, from the given values on: the standard deviations of `Noise`, the amplitudes of
        the terms, the length scales of stationary kernels, the scale of each feature of terms with few.  A choice that
        makes leave-one-out errors worse is refused.  Not with "fitc" or ``jitter``.
    force_fraction : float, default 1.0
        Of each structure, forces on this fraction of the atoms are fitted, all three components of each; the atoms are chosen
        at random by ``random_state``.  Time and labels fall with it; energies and stresses are all fitted.
    jitter : float, default 0.0
        Added to the diagonal of the covariance of the sparse points (eV², amplitudes and weights included).  Only to reproduce
        gap_fit, whose ``sparse_jitter`` it is: gapkit's own factorisation needs none, and drops points that others determine.
    random_state : int, optional
        Seed of the choice of sparse points, and of atoms for ``force_fraction``.
    device : {"cpu", "cuda", "auto"}, default "cpu"
        Where `predict` and `evaluate` run, and the algebra of fits without an executor.  "cuda": on a GPU, or an error that
        says what is missing.  "auto": there if it can be, else on the CPU, and the reason is logged once.  It is not kept in
        files.
    verbose : int, default 0
        1 shows progress bars.

    Attributes
    ----------
    potential_ : Potential
        The fitted model, for prediction.
    terms_ : list of (str, Term)
        The terms that were fitted, given or automatic.
    noise_ : Noise
        The noise that was assumed, given or automatic.
    baseline_ : Baseline, ZBL, Glue or None
        What lies under the Gaussian process, given or automatic; radii in numbers.
    baseline_probes_ : list of (ase.Atoms, float)
        Structures and their energies (eV) by which `gapkit.load` recognises the calculator of a baseline.
    table_errors_ : dict of str to float
        Largest error of each tabulated term on the training set, eV an environment.
    unexplained_ : dict of str to float
        Of each pair or triplet term, the largest standard deviation of an environment's energy (eV) that its sparse points
        leave open; standard deviations of predictions leave it out.
    e0_ : dict of str to float
        Energies of isolated atoms minus those of the baseline, eV.
    e0_source_ : dict of str to str
        Where each of them comes from.
    n_sparse_ : int
        Number of sparse points.
    n_labels_ : dict of str to int
        Numbers of energies, force components and stress components used.
    species_ : list of str
        Chemical symbols of the training set.
    card_ : dict
        Model card: ``data`` (of each `fit` and `partial_fit`: counts, units, sha256), ``software`` (versions, commit) and
        ``given``, what the maker says of the data (DFT settings, citation); {} for files that have none.
    factors_ : dict of str to RowFactor
        Triangular factors of the training rows.
    training_ : TrainingSet or None
        Structures and labels (without the baseline's part) of the fit; None in a model from a file.
    search_ : SearchReport or None
        What ``optimize`` found.
    calibration_ : Calibration or None
        What `calibrate` found; standard deviations are calibrated with it.
    familiar_std_ : float
        Largest standard deviation of a local energy in the training set, eV, not calibrated; 0 where it is not known.

    References
    ----------
    A. P. Bartók, M. C. Payne, R. Kondor, G. Csányi, Phys. Rev. Lett. 104, 136403 (2010).
    A. P. Bartók, G. Csányi, Int. J. Quantum Chem. 115, 1051 (2015).
    J. Quiñonero-Candela, C. E. Rasmussen, J. Mach. Learn. Res. 6, 1939 (2005); M. Titsias, AISTATS (2009): approximations.

    Examples
    --------
    >>> from gapkit import GAPRegressor, SOAP, DotProduct, Term
    >>> from gapkit.datasets import load_silicon
    >>> frames = load_silicon(config_types=["rattled"])
    >>> model = GAPRegressor([Term(SOAP(r_cut=4.0, n_max=4, l_max=2), DotProduct(2), n_sparse=8)], random_state=0)
    >>> energies = model.fit(frames).predict(frames)
    >>> energies.shape
    (20,)
    """

    def __init__(
        self,
        terms: Sequence[Term | tuple[str, Term]] | None = None,
        *,
        noise: Noise | None = None,
        e0: Any = "auto",
        baseline: Any = None,
        approximation: str = "dtc",
        optimize: Collection[str] = (),
        force_fraction: float = 1.0,
        jitter: float = 0.0,
        random_state: int | None = None,
        device: str = "cpu",
        verbose: int = 0,
    ) -> None:
        self.terms = terms
        self.noise = noise
        self.e0 = e0
        self.baseline = baseline
        self.approximation = approximation
        self.optimize = optimize
        self.force_fraction = force_fraction
        self.jitter = jitter
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def explicit(self, X: Sequence[Atoms] | None = None) -> GAPRegressor:
        """Return an unfitted copy in which nothing is automatic any more.

        Parameters
        ----------
        X : list of ase.Atoms, optional
            Training structures that decide; default: what the last `fit` decided.

        Returns
        -------
        GAPRegressor
        """
        if X is None:
            check_is_fitted(self, "potential_")
            terms, noise, baseline = self.terms_, self.noise_, self.baseline_
            optimize: Collection[str] = ()
        else:
            frames = check_structures(X, name="X")
            baseline = decide_baseline(self.baseline, self.terms is None, frames)
            labels = without_baseline(baseline, frames, collect_labels(frames), show=bool(self.verbose))
            terms, noise = decide_terms(self.terms, self.noise, frames, labels)
            optimize = self.optimize
        names = ("e0", "approximation", "force_fraction", "jitter", "random_state", "device", "verbose")
        kept = {name: getattr(self, name) for name in names}
        return GAPRegressor(terms, noise=noise, baseline=baseline, optimize=optimize, **kept)

    def fit(self, X: Sequence[Atoms], y: Sequence[float] | None = None, *, executor: Executor | None = None) -> Self:
        """Fit to the labels of the structures.

        Parameters
        ----------
        X : list of ase.Atoms
            Structures with energies, forces and stresses, as far as they have them.  Noise of their own (``energy_sigma``,
            ``force_mask``, ...) counts before `Noise`: see `gapkit.gp.observations.labels_of`.
        y : sequence of float, optional
            Total energies (eV) that replace those of the structures.
        executor : concurrent.futures.Executor, optional
            Where rows are computed, e.g. a process pool or Dask's ``Client.get_executor()``; default: here.

        Returns
        -------
        GAPRegressor
            The fitted estimator itself.

        Raises
        ------
        InvalidStructureError
            If a structure is not valid, e.g. atoms closer than 0.1 Å.
        InvalidLabelError
            If a label is not finite, or no frame has any.
        BaselineError
            If the calculator of the baseline fails; the message names the frame.
        MemoryError
            If the fit would need more memory than is available; the message says what would fit.
        GPUNotAvailable, DeviceMemoryError
            With device="cuda", if there is no GPU, or it has too little memory.
        """
        frames = check_structures(X, name="X")
        for _, term in name_terms(self.terms) if self.terms is not None else []:
            term.check_parameters()
        check_choice("approximation", self.approximation, APPROXIMATIONS)
        remedy = "It is the part of the atoms whose forces are fitted."
        check_real("force_fraction", self.force_fraction, above=0.0, at_most=1.0, remedy=remedy)
        check_real("jitter", self.jitter, at_least=0.0, remedy="It is in eV², and 0 unless gap_fit is to be reproduced.")
        check_search(self.optimize, self.approximation, self.jitter)
        check_device(self.device)
        show = bool(self.verbose)
        baseline = decide_baseline(self.baseline, self.terms is None, frames)
        given = collect_labels(frames, y)
        labels = without_baseline(baseline, frames, given, show=show)
        probes = choose_probes(baseline, frames)
        named_terms, noise = decide_terms(self.terms, self.noise, frames, labels)
        noise.check_parameters()
        training = TrainingSet(frames, labels).with_force_fraction(self.force_fraction, self.random_state)
        check_memory(named_terms, frames, training.labels, noise)
        neighbor_range = max(term.descriptor.neighbor_range for _, term in named_terms)
        e0, sources = fit_atomic_energies(frames, labels, self.e0, neighbor_range)
        e0 = atomic_energies_above(baseline, e0, sources)
        sparse = choose_terms(named_terms, frames, self.random_state, show=show, jitter=float(self.jitter))
        model = SparseModel(named_terms, sparse, noise)
        model, of_kernels = search_kernels(model, training, e0, self.optimize, self.approximation, self.random_state, show=show)
        chunks = training.chunks(e0, noise)
        factors = fold_rows(
            model,
            chunks,
            approximation=self.approximation,
            executor=executor,
            device=self.device,
            show=show,
        )
        model, of_amplitudes = search_amplitudes(model, factors, training, e0, self.optimize, self.random_state)
        self.factors_ = factors
        self.search_ = of_kernels + of_amplitudes if self.optimize else None
        self.calibration_: Calibration | None = None
        self.familiar_std_ = 0.0
        self.training_: TrainingSet | None = training
        self.baseline_, self.baseline_probes_ = baseline, probes
        self.e0_source_ = {chemical_symbols[z]: source for z, source in sources.items()}
        self.card_: dict[str, Any] = {"data": [data_card(frames, given)], "software": software_card(), "given": {}}
        self._finish(model, e0, frames)
        return self

    def partial_fit(
        self,
        X: Sequence[Atoms],
        y: Sequence[float] | None = None,
        *,
        add_sparse: int = 0,
        executor: Executor | None = None,
    ) -> Self:
        """Add structures to a fitted model; the time does not depend on how many it has seen.

        Noise, amplitudes, energies of isolated atoms and the calibration stay what they are.

        Parameters
        ----------
        X : list of ase.Atoms
            New structures with labels.
        y : sequence of float, optional
            Total energies (eV) that replace those of the structures.
        add_sparse : int, default 0
            How many environments of the new structures become sparse points: those whose energy the present ones leave
            most uncertain before any data.  This computes the rows of all structures again.
        executor : concurrent.futures.Executor, optional
            Where rows are computed; default: here.

        Returns
        -------
        GAPRegressor
            The estimator itself; as after `fit` if it was not fitted before.

        Raises
        ------
        ValueError
            If sparse points are to be added to a model from a file, which has no structures, or to one without posterior.
        InvalidStructureError
            If a structure has a species that the model does not know.
        """
        if not hasattr(self, "potential_"):
            return self.fit(X, y, executor=executor)
        check_integer("add_sparse", add_sparse, at_least=0)
        if self.potential_.posterior is None:
            raise ValueError("partial_fit needs a model with its posterior. Save it with posterior=True, or fit anew.")
        if add_sparse and self.training_ is None:
            raise ValueError("add_sparse needs the structures of earlier fits, which a model file does not hold. Fit anew.")
        frames = check_structures(X, name="X")
        new = self.training_set(frames, y)
        e0 = self.potential_.e0
        model = SparseModel(self.terms_, self.potential_.terms, self.noise_)
        everything = None if self.training_ is None else self.training_ + new
        if add_sparse:
            model = replace(model, sparse=grow_terms(model.named, model.sparse, frames, add_sparse))
        chunks = (everything if add_sparse and everything else new).chunks(e0, self.noise_)
        factors = fold_rows(
            model,
            chunks,
            approximation=self.approximation,
            executor=executor,
            onto={} if add_sparse else deepcopy(self.factors_),
            device=self.device,
            show=bool(self.verbose),
        )
        if self.potential_.posterior.is_widened and self.calibration_ is not None:
            warnings.warn(
                "The calibration was of a posterior that misspecification had widened, and is gone with it. Calibrate anew.",
                NumericalWarning,
                stacklevel=2,
            )
            self.calibration_ = None
        self.factors_, self.training_ = factors, everything
        self.card_ = {**self.card_, "data": [*self.card_.get("data", []), data_card(frames, collect_labels(frames, y))]}
        self._finish(model, e0, frames)
        return self

    def remember(self, X: Sequence[Atoms], y: Sequence[float] | None = None) -> Self:
        """Give a model from a file its training structures back, which the file does not hold.

        ``partial_fit(..., add_sparse=...)`` and ``calibrate("loo")`` need them.

        Parameters
        ----------
        X, y : list of ase.Atoms, and sequence of float or None
            All structures it was fitted to, in that order, and the energies that replaced theirs, as for `fit`.

        Returns
        -------
        GAPRegressor
            The estimator itself.

        Raises
        ------
        ValueError
            If they have other numbers of labels than the training set had.
        """
        frames = check_structures(X, name="X")
        self.training_ = self.training_set(frames, y).with_counts(self.n_labels_)
        return self

    def training_set(self, frames: list[Atoms], y: Sequence[float] | None = None) -> TrainingSet:
        """What a fitted model would be fitted to of more structures: labels without the baseline, forces by ``force_fraction``.

        Parameters
        ----------
        frames : list of ase.Atoms
            Structures with labels.
        y : sequence of float, optional
            Total energies (eV) that replace those of the structures.

        Returns
        -------
        TrainingSet
        """
        labels = without_baseline(self.baseline_, frames, collect_labels(frames, y), show=bool(self.verbose))
        return TrainingSet(frames, labels).with_force_fraction(self.force_fraction, self.random_state)

    def _finish(self, model: SparseModel, e0: AtomicEnergies, frames: Sequence[Atoms]) -> None:
        """Solve for the weights and note what was fitted; tables are checked on ``frames``."""
        posterior, coefficients = solve(model, self.factors_)
        self.potential_ = Potential(model.sparse, e0, coefficients, posterior, self.approximation, core_of(self.baseline_))
        self.terms_, self.noise_ = model.named, model.noise
        self.unexplained_ = {
            name: largest_unexplained(term, frames)
            for (name, _), term in zip(model.named, model.sparse, strict=True)
            if not term.descriptor.one_per_atom
        }
        self.table_errors_ = check_tables(self.potential_, model.named, frames)
        self.familiar_std_ = max(largest_familiar_std(self.potential_, frames), self.familiar_std_)  # old ones have not grown
        self.n_labels_ = {kind: sum(f.n_rows for name, f in self.factors_.items() if name.startswith(kind)) for kind in KINDS}

    def log_marginal_likelihood(self) -> float:
        """Logarithm of the probability density of the labels given the model (DTC), or its lower bound (VFE).

        Returns
        -------
        float

        Raises
        ------
        ValueError
            For FITC, whose evidence is not available from the factors, and for models without their factors.

        References
        ----------
        J. Quiñonero-Candela, C. E. Rasmussen, J. Mach. Learn. Res. 6, 1939 (2005); M. Titsias, AISTATS (2009).
        """
        check_is_fitted(self, "potential_")
        model = SparseModel(self.terms_, self.potential_.terms, self.noise_)
        return log_evidence(model, self.factors_, self.potential_.approximation)
