"""The metrics of error bars per kind of label, configuration type and species."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from ..gp.calibration import Calibration, ErrorSample
from ..model import Prediction
from ..model.labelled_errors import labelled_errors
from . import uncertainty as metrics

__all__ = ["UncertaintyRow", "error_samples", "uncertainty_table"]

Array = NDArray[np.float64]

_ENOUGH = 20  # values below which bins, ranks and tails say nothing
_IN_BIN = 10
_MOST_BINS = 15
_REFERENCE_DRAWS = 20  # of perfect sets, for means


@dataclass(frozen=True)
class UncertaintyRow:
    """Quality of the standard deviations of one group; None where there are too few values.

    Values named ..._perfect are means over simulated models that are perfectly calibrated, with the same standard deviations.

    Attributes
    ----------
    kind : {"energy", "forces", "stress"}
        Energies are per atom.
    group : str
        Configuration type, chemical symbol (forces), or "all".
    n_structures, n_values, n_zero : int
        Size; values whose standard deviation is 0 by symmetry are left out and counted in ``n_zero``.
    rmse, mean_std, crps : float
        meV/atom, eV/Å or GPa.
    dispersion : float
        Coefficient of variation of the standard deviations.
    zms : float
        Mean of (error / standard deviation)²; 1 is right.
    zms_interval : (float, float) or None
        95 % confidence interval of it, structures resampled.
    miscalibration : float
        Area between the calibration curve and the diagonal, 0 to 0.5.
    miscalibration_chance : float
        95 % quantile of it for perfect models with as many structures, whose errors depend on each other as these do.
    ence, ence_perfect : float or None
        Expected normalised calibration error, in up to 15 bins of at least 10 values.
    rank_correlation, rank_correlation_perfect : float or None
        Spearman's, between the size of the error and the standard deviation.
    auroc, auroc_perfect : float or None
        Of the 5 % largest errors.
    nll_gain : float or None
        Nats per value by which the log likelihood is better than with one constant standard deviation.
    coverage : float or None
        Fraction within the conformal 90 % interval, for a calibrated model.
    """

    kind: str
    group: str
    n_structures: int
    n_values: int
    n_zero: int
    rmse: float
    mean_std: float
    crps: float
    dispersion: float
    zms: float
    zms_interval: tuple[float, float] | None
    miscalibration: float
    miscalibration_chance: float
    ence: float | None
    ence_perfect: float | None
    rank_correlation: float | None
    rank_correlation_perfect: float | None
    auroc: float | None
    auroc_perfect: float | None
    nll_gain: float | None
    coverage: float | None


def error_samples(
    frames: Sequence[Atoms], predictions: Sequence[Prediction], *, by: str | None = None
) -> dict[str, ErrorSample]:
    """Errors and standard deviations in the units of reports: energies in meV/atom, forces in eV/Å, stresses in GPa.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Structures with labels.
    predictions : sequence of Prediction
        One per structure, with standard deviations.
    by : None, "species" or "config_type"
        What the classes of the samples are.

    Returns
    -------
    dict of str to ErrorSample
        For "energy", "forces", "stress", as far as there are labels with standard deviations; without the values whose
        standard deviation is 0 by symmetry.
    """
    return {kind: sample.part(sample.nonzero()) for kind, sample in _in_report_units(frames, predictions, by).items()}


def _in_report_units(
    frames: Sequence[Atoms], predictions: Sequence[Prediction], by: str | None = None
) -> dict[str, ErrorSample]:
    sizes = np.array([len(atoms) for atoms in frames])
    result = {}
    for kind, sample in labelled_errors(frames, predictions, by=by).items():
        scale: Array | float = 1.0
        if kind == "energy":
            scale = 1e3 / sizes[sample.structure]
        elif kind == "stress":
            scale = 1.0 / units.GPa
        result[kind] = sample._replace(residual=scale * sample.residual, std=scale * sample.std)
    return result


def uncertainty_table(
    frames: Sequence[Atoms],
    predictions: Sequence[Prediction],
    *,
    calibration: Calibration | None = None,
    n_draws: int = 200,
    random_state: int | None = 0,
) -> list[UncertaintyRow]:
    """Metrics of error bars; per kind of label: configuration types, species (forces), and last all together.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Structures with labels, not those of the fit.
    predictions : sequence of Prediction
        One per structure, with standard deviations; kinds without are left out.
    calibration : Calibration, optional
        That the standard deviations went through, for the coverage of its conformal intervals.
    n_draws : int, default 200
        Simulated and resampled sets.
    random_state : int, optional
        Seed of them.

    Returns
    -------
    list of UncertaintyRow
    """
    by_type, by_species = (_in_report_units(frames, predictions, by) for by in ("config_type", "species"))
    rows = []
    for kind, sample in by_type.items():
        multiplier = calibration.multiplier(kind, 0.9) if calibration and kind in calibration.maps else None
        use = sample.nonzero()  # judged on all values: a type may consist of perfect crystals
        groups: list[tuple[str, NDArray[np.bool_]]] = []
        for classes in (sample.classes, by_species[kind].classes):
            names = [] if classes is None else list(dict.fromkeys(classes.tolist()))
            if classes is not None and len(names) > 1:
                groups += [(name, classes == name) for name in names]
        for name, member in [*groups, ("all", np.ones(len(use), bool))]:
            if (use & member).any():
                n_zero = int(np.count_nonzero(member & ~use))
                rows.append(_row(kind, name, sample.part(use & member), n_zero, multiplier, n_draws, random_state))
    return rows


def _row(
    kind: str, group: str, sample: ErrorSample, n_zero: int, multiplier: float | None, n_draws: int, seed: int | None
) -> UncertaintyRow:
    r, s, structure = sample.residual, sample.std, sample.structure
    n_structures, n = len(np.unique(structure)), len(r)
    correlation = metrics.error_correlation(r, s, structure)
    areas = metrics.simulated(
        metrics.miscalibration_area, s, structure=structure, correlation=correlation, n_draws=n_draws, random_state=seed
    )
    interval = None
    if n_structures > 1:
        interval = metrics.bootstrap_interval(metrics.zms, r, s, structure, n_draws=n_draws, random_state=seed)

    def with_reference(metric: metrics.Metric) -> tuple[float | None, float | None]:
        if n < _ENOUGH or np.ptp(s) == 0.0 or not r.any():
            return None, None
        perfect = metrics.simulated(metric, s, n_draws=min(n_draws, _REFERENCE_DRAWS), random_state=seed)
        return metric(r, s), float(np.mean(perfect))

    n_bins = min(_MOST_BINS, n // _IN_BIN)
    ence, ence_perfect = with_reference(lambda r, s: metrics.ence(r, s, n_bins))
    rank, rank_perfect = with_reference(metrics.rank_correlation)
    auroc, auroc_perfect = with_reference(metrics.large_error_auroc)
    return UncertaintyRow(
        kind=kind,
        group=group,
        n_structures=n_structures,
        n_values=n,
        n_zero=n_zero,
        rmse=float(np.sqrt(np.mean(r**2))),
        mean_std=float(np.mean(s)),
        crps=metrics.crps(r, s),
        dispersion=metrics.dispersion(s),
        zms=metrics.zms(r, s),
        zms_interval=interval,
        miscalibration=metrics.miscalibration_area(r, s),
        miscalibration_chance=float(np.quantile(areas, 0.95)),
        ence=ence,
        ence_perfect=ence_perfect,
        rank_correlation=rank,
        rank_correlation_perfect=rank_perfect,
        auroc=auroc,
        auroc_perfect=auroc_perfect,
        nll_gain=metrics.constant_nll(r) - metrics.nll(r, s) if r.any() else None,
        coverage=None if multiplier is None else metrics.coverage(r, s, structure, multiplier),
    )
