"""The estimator: a Gaussian approximation potential with scikit-learn's manners."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted

from .._validation import describe
from ..descriptors import SOAP
from ..exceptions import InvalidLabelError, NumericalWarning
from ..gp.observations import Labels, Noise, labels_of
from ..kernels import DotProduct
from ..neighbors import NeighborList, check_structures
from .automatic import automatic_noise, automatic_terms
from .baseline import fit_atomic_energies
from .fitting import choose_terms, chunks_of_frames, collect_labels, fold_rows, solve
from .memory import check_memory
from .prediction import STD_DEFAULT, Potential, Prediction, predict, table_errors
from .tables import ERROR_BOUNDS
from .terms import Term, name_terms

__all__ = ["GAPRegressor"]

Array = NDArray[np.float64]

_EVALUATE_ATOMS = 1024  # small structures are evaluated in batches of this size


class GAPRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
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
    random_state : int, optional
        Seed of the choice of sparse points.
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
    table_errors_ : dict of str to float
        Largest error of each tabulated term on the training set, eV an environment.
    e0_ : dict of str to float
        Energies of isolated atoms, eV.
    e0_source_ : dict of str to str
        Where each of them comes from.
    n_sparse_ : int
        Number of sparse points.
    n_labels_ : dict of str to int
        Numbers of energies, force components and stress components used.
    species_ : list of str
        Chemical symbols of the training set.
    factors_ : dict of str to RowFactor
        Triangular factors of the training rows.

    References
    ----------
    A. P. Bartók, M. C. Payne, R. Kondor, G. Csányi, Phys. Rev. Lett. 104, 136403 (2010).
    A. P. Bartók, G. Csányi, Int. J. Quantum Chem. 115, 1051 (2015).

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
        random_state: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.terms = terms
        self.noise = noise
        self.e0 = e0
        self.random_state = random_state
        self.verbose = verbose

    def named_terms(self) -> list[tuple[str, Term]]:
        """Terms with their names; if none were given, those that a fit has chosen, else SOAP() alone."""
        if self.terms is None:
            chosen: list[tuple[str, Term]] | None = getattr(self, "terms_", None)
            return chosen or name_terms([Term(SOAP(), DotProduct())])
        return name_terms(self.terms)

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
            terms, noise = self.terms_, self.noise_
        else:
            frames = check_structures(X, name="X")
            terms, noise = self._decided(frames, collect_labels(frames))
        return GAPRegressor(terms, noise=noise, e0=self.e0, random_state=self.random_state, verbose=self.verbose)

    def _decided(self, frames: Sequence[Atoms], labels: Sequence[Labels]) -> tuple[list[tuple[str, Term]], Noise]:
        """Terms and noise, from the data where they are not given."""
        if self.noise is not None and not isinstance(self.noise, Noise):
            raise TypeError(describe("noise", "a Noise such as Noise(energy=1e-3)", self.noise))
        if self.terms is not None:
            return name_terms(self.terms), Noise() if self.noise is None else self.noise
        return automatic_terms(frames), automatic_noise(labels) if self.noise is None else self.noise

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name; those of the terms as ``<term>__<parameter>`` if ``deep``.

        Parameters
        ----------
        deep : bool, default True
            Whether to descend.

        Returns
        -------
        dict
        """
        params: dict[str, Any] = super().get_params(deep=False)
        if deep:
            if isinstance(self.noise, Noise):
                params.update((f"noise__{key}", value) for key, value in self.noise.get_params(deep=True).items())
            if isinstance(self.terms, (list, tuple)):
                for name, term in self.named_terms():
                    params[name] = term
                    params.update((f"{name}__{key}", value) for key, value in term.get_params(deep=True).items())
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name, those of terms as ``<term>__<parameter>``.

        Parameters
        ----------
        **params : dict
            New values.

        Returns
        -------
        GAPRegressor
            The estimator itself.
        """
        own = super().get_params(deep=False)
        super().set_params(**{key: value for key, value in params.items() if key in own})
        for key, value in params.items():
            if key in own:
                continue
            name, _, rest = key.partition("__")
            if self.terms is None:
                self.terms = self.named_terms()  # the default, now to be changed
            if name == "noise" and self.noise is None:
                self.noise = Noise()
            parts: dict[str, Any] = {**dict(self.named_terms()), "noise": self.noise}
            if name not in parts:
                raise ValueError(describe(key, f"a parameter of {sorted({*parts, *own})}", value))
            if rest:
                parts[name].set_params(**{rest: value})
            else:
                self.terms = [(n, value if n == name else term) for n, term in self.named_terms()]
        return self

    def fit(self, X: Sequence[Atoms], y: Sequence[float] | None = None) -> Self:
        """Fit to the labels of the structures.

        Parameters
        ----------
        X : list of ase.Atoms
            Structures with energies, forces and stresses, as far as they have them.
        y : sequence of float, optional
            Total energies (eV) that replace those of the structures.

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
        MemoryError
            If the fit would need more memory than is available; the message says what would fit.
        """
        frames = check_structures(X, name="X")
        for _, term in name_terms(self.terms) if self.terms is not None else []:
            term.check_parameters()
        labels = collect_labels(frames, y)
        named_terms, noise = self._decided(frames, labels)
        noise.check_parameters()
        check_memory(named_terms, frames, labels, noise)
        show = bool(self.verbose)
        neighbor_range = max(term.descriptor.neighbor_range for _, term in named_terms)
        e0, sources = fit_atomic_energies(frames, labels, self.e0, neighbor_range)
        sparse_terms = choose_terms(named_terms, frames, self.random_state, show=show)
        self.factors_ = fold_rows(sparse_terms, frames, labels, e0, noise, show=show)
        posterior, coefficients = solve(sparse_terms, self.factors_, noise)
        self.potential_ = Potential(sparse_terms, e0, coefficients, posterior)
        self.terms_, self.noise_ = named_terms, noise
        self.table_errors_ = self._table_errors(frames)
        self.e0_source_ = {chemical_symbols[z]: source for z, source in sources.items()}
        self.n_labels_ = {
            "energy": sum(y.energy is not None for y in labels),
            "forces": sum(y.forces.size for y in labels if y.forces is not None),
            "stress": sum(y.stress.size for y in labels if y.stress is not None),
        }
        return self

    def _table_errors(self, frames: Sequence[Atoms]) -> dict[str, float]:
        """Largest error (eV an environment) of each tabulated term on the training set; warn where it is too large."""
        errors: dict[str, float] = {}
        if not any(self.potential_.tables):
            return errors
        names = [name for name, _ in self.terms_]
        for start, chunk in chunks_of_frames(frames, _EVALUATE_ATOMS):
            neighbors = NeighborList.from_atoms(chunk, self.potential_.neighbor_range, first_frame=start)
            for t, error in table_errors(self.potential_, neighbors).items():
                errors[names[t]] = max(errors.get(names[t], 0.0), error)
        for name, term in self.terms_:
            bound = ERROR_BOUNDS.get(term.descriptor.n_features, np.inf) if name in errors else np.inf
            if errors.get(name, 0.0) > bound:
                warnings.warn(
                    f"The table of term {name!r} ({type(term.descriptor).__name__}) is off by up to {errors[name]:.1e} eV an "
                    f"environment of the training set; the aim is {bound:.0e} eV. Set tabulate=False or use a smoother kernel.",
                    NumericalWarning,
                    stacklevel=3,
                )
        return errors

    @property
    def e0_(self) -> dict[str, float]:
        """Energies of isolated atoms by chemical symbol, eV."""
        return {chemical_symbols[z]: energy for z, energy in self.potential_.e0.items()}

    @property
    def species_(self) -> list[str]:
        """Chemical symbols of the training set."""
        return list(self.e0_)

    @property
    def n_sparse_(self) -> int:
        """Number of sparse points."""
        return self.potential_.n_sparse

    def predict(self, X: Sequence[Atoms], return_std: bool = False) -> Any:
        """Total energies: scikit-learn's face of `evaluate`.

        Parameters
        ----------
        X : list of ase.Atoms
            Structures.
        return_std : bool, default False
            Also return the standard deviation of each energy.

        Returns
        -------
        ndarray of shape (n_structures,), eV, and the same for the standard deviation if asked
        """
        predictions = self.evaluate(X, forces=False, stress=False, uncertainty="exact" if return_std else None, std=("energy",))
        energies = np.array([p.energy for p in predictions])
        return (energies, np.array([p.energy_std for p in predictions])) if return_std else energies

    def evaluate(
        self,
        frames: Sequence[Atoms],
        *,
        forces: bool = True,
        stress: bool = True,
        uncertainty: str | None = None,
        std: Collection[str] = STD_DEFAULT,
    ) -> list[Prediction]:
        """Energies, forces, stresses, and uncertainties if asked.

        Parameters
        ----------
        frames : list of ase.Atoms
            Structures; labels are not looked at.
        forces, stress : bool, default True
            Whether to compute them.
        uncertainty : None or "exact", default None
            "exact": standard deviations from the posterior (DTC).
        std : collection of {"energy", "energies", "forces", "stress"}, default the first two
            Which standard deviations; those of forces and stresses cost as much as rows of a fit.

        Returns
        -------
        list of Prediction
            One per structure, in order.

        Raises
        ------
        InvalidStructureError
            If a structure is invalid or contains a species that the model was not trained on.
        """
        check_is_fitted(self, "potential_")
        frames = check_structures(frames)
        result: list[Prediction] = []
        for start, chunk in chunks_of_frames(frames, _EVALUATE_ATOMS):
            neighbors = NeighborList.from_atoms(chunk, self.potential_.neighbor_range, first_frame=start)
            result += predict(self.potential_, neighbors, forces=forces, stress=stress, uncertainty=uncertainty, std=std)
        return result

    def score(self, X: Sequence[Atoms], y: Sequence[float] | None = None) -> float:
        """Coefficient of determination R² of the energy per atom.

        Parameters
        ----------
        X : list of ase.Atoms
            Structures with energies.
        y : sequence of float, optional
            Total energies (eV) that replace those of the structures.

        Returns
        -------
        float
        """
        frames = check_structures(X, name="X")
        if y is None:
            energies = [labels_of(atoms, k).energy for k, atoms in enumerate(frames)]
            y = [energy for energy in energies if energy is not None]
            if len(y) < len(frames):
                raise InvalidLabelError(f"score needs an energy in every frame; {len(frames) - len(y)} have none.")
        sizes = np.array([len(atoms) for atoms in frames])
        return float(r2_score(np.asarray(y) / sizes, self.predict(frames) / sizes))

    def save(self, path: str | Path, *, posterior: bool = True) -> None:
        """Write the fitted model to a file that `gapkit.load` reads.

        Parameters
        ----------
        path : str or Path
            Usually ``*.gap``; replaced only when the new file is complete.
        posterior : bool, default True
            False leaves out what only uncertainties need, for a smaller file.
        """
        from .loading import save

        save(self, path, posterior=posterior)
