"""What a fitted potential can do: predict, score, be saved."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted

from .._backend import in_threads, threads_for
from ..exceptions import DeviceMemoryError, InvalidLabelError
from ..gp.calibration import Calibration
from ..gp.observations import labels_of
from ..gp.posterior import RowFactor
from ..neighbors import NeighborList, check_structures
from .baseline import Baseline, add_baseline
from .calibrating import calibrated
from .device import cpu_instead, on_gpu
from .fitting import chunks_of_frames
from .glue import Glue
from .parameters import TermParameters
from .potential import Potential
from .prediction import STD_DEFAULT, Prediction, predict
from .progress import track
from .repulsion import ZBL
from .terms import Term
from .training import TrainingSet
from .uncertainty import UncertaintyMethods

__all__ = ["FittedModel"]

_EVALUATE_ATOMS = 1024  # small structures are evaluated in batches of this size


class FittedModel(RegressorMixin, UncertaintyMethods, TermParameters):  # type: ignore[misc]
    """The half of `GAPRegressor` that needs no training set."""

    potential_: Potential
    baseline_: Baseline | ZBL | Glue | None
    calibration_: Calibration | None
    factors_: dict[str, RowFactor]
    training_: TrainingSet | None
    table_errors_: dict[str, float]
    terms_: list[tuple[str, Term]]
    device: str
    verbose: int
    card_: dict[str, Any]

    @property
    def e0_(self) -> dict[str, float]:
        """Energies of isolated atoms by chemical symbol, minus those of the baseline, eV."""
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
        uncertainty : None, "exact", "fast" or "prior", default None
            "exact": standard deviations from the posterior.  "fast": for energies an estimate between rigorous bounds, at a
            third of the cost of the energy itself; for forces and stresses the spread of 16 sampled potentials, good to 18 %,
            which does not see what is far from all sparse points (`gapkit.model.fast_spread`).  "prior": QUIP's
            local_gap_variance, its root, for local energies alone: what the sparse points leave open, blind to data and noise,
            never calibrated; needs no posterior (`gapkit.model.prior_spread`).
        std : collection of {"energy", "energies", "forces", "stress"}, default the first two
            Which standard deviations; those of forces and stresses cost as much as rows of a fit.  With "prior" the default is
            "energies" alone.

        Returns
        -------
        list of Prediction
            One per structure, in order.

        Raises
        ------
        InvalidStructureError
            If a structure is invalid or contains a species that the model was not trained on.
        ValueError
            If the uncertainty needs a posterior and the model has none, or "prior" is asked for more than local energies.
        GPUNotAvailable, NotOnGPUError
            With device="cuda", if there is no GPU, or no GPU code for a part of the model or for the uncertainty.
        DeviceMemoryError
            If the GPU has too little memory.
        """
        check_is_fitted(self, "potential_")
        frames = check_structures(frames)
        result: list[Prediction] = []
        there = on_gpu(self.device, self, uncertainty, std)
        if there is not None:
            try:
                show = bool(self.verbose) and len(frames) > 1
                for k, atoms in track(enumerate(frames), "predictions", len(frames), show=show):
                    one = there.predict(atoms, uncertainty=uncertainty, std=std, frame=k)
                    one = replace(one, forces=one.forces if forces else None, stress=one.stress if stress else None)
                    result += self.complete([one], [atoms], k, calibrate=uncertainty != "prior")
                return result
            except DeviceMemoryError as error:
                cpu_instead(self.device, error)
                result = []
        slow = uncertainty is not None and not {"forces", "stress"}.isdisjoint(std)
        chunks = list(chunks_of_frames(frames, _EVALUATE_ATOMS // 4 if slow else _EVALUATE_ATOMS))

        def of_chunk(item: tuple[int, list[Atoms]]) -> list[Prediction]:
            start, chunk = item
            with threads_for(sum(map(len, chunk))):
                neighbors = NeighborList.from_atoms(chunk, self.potential_.neighbor_range, first_frame=start)
                return predict(self.potential_, neighbors, forces=forces, stress=stress, uncertainty=uncertainty, std=std)

        show = bool(self.verbose) and len(chunks) > 1
        parts = track(in_threads(of_chunk, chunks), "predictions", len(chunks), show=show)
        for (start, chunk), part in zip(chunks, parts, strict=True):
            result += self.complete(part, chunk, start, calibrate=uncertainty != "prior")
        return result

    def complete(
        self, predictions: Sequence[Prediction], frames: Sequence[Atoms], first_frame: int = 0, *, calibrate: bool = True
    ) -> list[Prediction]:
        """Add the baseline to what the Gaussian process predicts, and calibrate standard deviations.

        Parameters
        ----------
        predictions : sequence of Prediction
            From `gapkit.model.prediction.predict`.
        frames : sequence of ase.Atoms
            Their structures.
        first_frame : int, default 0
            Number of the first, for messages.
        calibrate : bool, default True
            Whether the standard deviations are of the posterior, which the calibration is about, or of the prior.

        Returns
        -------
        list of Prediction
        """
        result = add_baseline(self.baseline_, predictions, frames, first_frame)
        return result if self.calibration_ is None or not calibrate else calibrated(self.calibration_, frames, result)

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
