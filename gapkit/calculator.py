"""ASE calculator: a thin shell around a fitted model, with a neighbour list that survives small moves."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, ClassVar

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from sklearn.utils.validation import check_is_fitted

from ._backend import threads_for
from ._validation import check_real
from .exceptions import DeviceMemoryError
from .model import GAPRegressor, Prediction
from .model.device import cpu_instead, on_gpu
from .model.prediction import STD_DEFAULT, predict
from .neighbors import NeighborList

if TYPE_CHECKING:
    from .model.on_device import ModelOnDevice

__all__ = ["GAPCalculator"]


class GAPCalculator(Calculator):  # type: ignore[misc]
    """Energies, forces and stress of a fitted model for ASE's molecular dynamics, optimisers and tools.

    One evaluation fills every property, so that a step of molecular dynamics costs one.  What ASE has no property for,
    the uncertainties, is in ``prediction``.

    Parameters
    ----------
    model : GAPRegressor
        Fitted.
    uncertainty : None, "exact", "fast" or "prior", default None
        Whether each evaluation also gives standard deviations, and how: see `GAPRegressor.evaluate`.
    std : collection of {"energy", "energies", "forces", "stress"}, default the first two
        Which of them; those of forces and stresses cost as much as rows of a fit, and "prior" has those of local energies
        alone.
    skin : float, default 1.0
        Extra range of the neighbour list, Å; it is rebuilt when an atom has moved by half of it.
    device : {"cpu", "cuda", "auto"}, optional
        Where it is evaluated, as for `GAPRegressor`; default: the model's own.
    **kwargs : dict
        For `ase.calculators.calculator.Calculator`.

    Attributes
    ----------
    prediction : Prediction or None
        Everything known of the last structure.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from gapkit import GAPCalculator, GAPRegressor, SOAP, DotProduct, Term
    >>> from gapkit.datasets import load_silicon
    >>> model = GAPRegressor([Term(SOAP(r_cut=4.0, n_max=4, l_max=2), DotProduct(2), n_sparse=8)])
    >>> atoms = bulk("Si")
    >>> atoms.calc = GAPCalculator(model.fit(load_silicon(config_types=["rattled"])), uncertainty="exact")
    >>> atoms.get_forces().shape
    (2, 3)
    >>> atoms.calc.prediction.energy_std > 0
    True
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "energies", "forces", "stress"]

    def __init__(
        self,
        model: GAPRegressor,
        *,
        uncertainty: str | None = None,
        std: Collection[str] = STD_DEFAULT,
        skin: float = 1.0,
        device: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_is_fitted(model, "potential_")
        self.model = model
        self.uncertainty = uncertainty
        self.std = std
        self.skin = check_real("skin", skin, at_least=0.0, remedy="It is in Å.")
        self.device = model.device if device is None else device
        self._there: ModelOnDevice | None = None
        self._place()
        self.prediction: Prediction | None = None
        self._neighbors: NeighborList | None = None

    def _place(self) -> None:
        """Put the model on the GPU, if it is to be there."""
        there = on_gpu(self.device, self.model, self.uncertainty, self.std)
        # with pairs of its own, as other calculators of the model have other structures
        self._there = None if there is None else there.twin(self.skin)

    @property
    def on_gpu(self) -> bool:
        """Whether the model is evaluated on the GPU."""
        return self._there is not None

    def check_state(self, atoms: Atoms, tol: float = 0.0) -> list[str]:
        """What has changed since the last evaluation, of what the model depends on.

        ASE's own comparison, with tolerances, takes a third of a step of 64 atoms.

        Parameters
        ----------
        atoms : ase.Atoms
            The structure.
        tol : float
            ASE's; any change counts.

        Returns
        -------
        list of str
        """
        if self.atoms is None:
            return list(all_changes)
        of_both = {
            "positions": (atoms.positions, self.atoms.positions),
            "numbers": (atoms.numbers, self.atoms.numbers),
            "cell": (atoms.cell.array, self.atoms.cell.array),
            "pbc": (atoms.pbc, self.atoms.pbc),
        }
        return [name for name, (new, old) in of_both.items() if new.shape != old.shape or (new != old).any()]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Collection[str] = ("energy",),
        system_changes: Collection[str] = tuple(all_changes),
    ) -> None:
        """Evaluate the model and fill all results, whatever was asked for.

        Parameters
        ----------
        atoms : ase.Atoms
            The structure.
        properties, system_changes : collections of str
            ASE's; everything is always computed.
        """
        super().calculate(atoms, list(properties), list(system_changes))
        predictions = [self._evaluated()]
        (prediction,) = self.model.complete(predictions, [self.atoms], calibrate=self.uncertainty != "prior")
        self.prediction = prediction
        self.results = {
            "energy": prediction.energy,
            "free_energy": prediction.energy,
            "energies": prediction.energies,
            "forces": prediction.forces,
        }
        if prediction.stress is not None:  # else ASE raises PropertyNotImplementedError
            self.results["stress"] = prediction.stress

    def _evaluated(self) -> Prediction:
        """What the Gaussian process predicts."""
        if self._there is not None and self._there.potential is not self.model.potential_:  # fitted anew
            self._place()
        if self._there is not None:
            try:
                return self._there.predict(self.atoms, uncertainty=self.uncertainty, std=self.std)
            except DeviceMemoryError as error:
                cpu_instead(self.device, error)
                self._there = None
        potential = self.model.potential_
        with threads_for(len(self.atoms)):
            if self._neighbors is None:
                self._neighbors = NeighborList.from_atoms([self.atoms], potential.neighbor_range, skin=self.skin)
            else:
                self._neighbors = self._neighbors.update(self.atoms)
            (prediction,) = predict(potential, self._neighbors, uncertainty=self.uncertainty, std=self.std)
        return prediction
