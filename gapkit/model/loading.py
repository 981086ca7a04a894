"""Models to files and back: estimators become plain parameters and arrays, and nothing in a file names an import."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy
from ase.data import chemical_symbols
from numpy.typing import NDArray
from scipy.linalg import lapack
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from .._version import __version__
from ..descriptors import DESCRIPTORS, Descriptor, DScribe, QuipBasis, TurboBasis, dscribe_from_plain, dscribe_to_plain
from ..exceptions import ModelFormatError
from ..gp.calibration import Calibration
from ..gp.observations import Noise
from ..gp.posterior import RowFactor, SparsePosterior
from ..gp.sparse_term import SparseTerm
from ..interop.quip_xml import read_quip
from ..io import read_archive, write_archive
from ..kernels import KERNELS, Kernel
from .baseline import Baseline
from .glue import Glue
from .potential import Potential
from .probes import decode_probes, encode_probes, recognise
from .quip import from_quip
from .repulsion import ZBL, core_of
from .terms import Term

if TYPE_CHECKING:
    from .regressor import GAPRegressor

__all__ = ["load", "save"]

Array = NDArray[np.float64]


def save(model: GAPRegressor, path: str | Path, *, posterior: bool = True) -> None:
    """Write a fitted model to a file.

    Parameters
    ----------
    model : GAPRegressor
        Fitted.
    path : str or Path
        Usually ``*.gap``; replaced only when the new file is complete.
    posterior : bool, default True
        False leaves out what only uncertainties and refits need, for a smaller file.
    """
    check_is_fitted(model, "potential_")
    potential = model.potential_
    posterior = posterior and potential.posterior is not None
    arrays: dict[str, Array] = {}
    terms = []
    for t, (sparse, (name, _)) in enumerate(zip(potential.terms, model.terms_, strict=True)):
        terms.append({"name": name, "delta": sparse.delta, "species": sparse.descriptor.species_} | _encode_parts(sparse))
        for g, points in enumerate(sparse.points):
            arrays[f"points_{t}_{g}"] = points
            if not sparse.descriptor.one_per_atom:
                arrays[f"weights_{t}_{g}"] = sparse.weights[g]
            if sparse.scales is not None:
                arrays[f"scale_{t}_{g}"] = sparse.scales[g]
            arrays[f"coefficients_{t}_{g}"] = potential.coefficients[t][g]
            if posterior:
                arrays[f"cholesky_{t}_{g}"] = _pack(sparse.cholesky[g].T)
    document = {
        "gapkit": __version__,
        "units": {"energy": "eV", "length": "Å", "forces": "eV/Å", "stress": "eV/Å³"},
        "parameters": _encode(_without_calculator(model), arrays),
        "terms": terms,
        "e0": {chemical_symbols[z]: energy for z, energy in potential.e0.items()},
        "e0_source": model.e0_source_,
        "n_labels": model.n_labels_,
        "table_errors": model.table_errors_,
        "unexplained": model.unexplained_,
        "familiar_std": model.familiar_std_,
        "calibration": None if model.calibration_ is None else model.calibration_.to_plain(),
        "card": model.card_,
        "versions": {"numpy": np.__version__, "scipy": scipy.__version__},
    }
    if isinstance(model.baseline_, Baseline):
        document["baseline"], of_probes = encode_probes(model.baseline_, model.baseline_probes_)
        arrays |= of_probes
    if posterior and potential.posterior is not None:
        arrays["posterior_factor"] = _pack(potential.posterior.factor)
        arrays["posterior_weights"] = potential.posterior.weights
        document["misfit"] = potential.posterior.misfit
        document["widened"] = potential.posterior.is_widened
        document["row_groups"] = {name: factor.n_rows for name, factor in model.factors_.items()}
        document["row_details"] = {
            name: {"log_divisors": factor.log_divisors, "unexplained": _encode(factor.unexplained)}
            for name, factor in model.factors_.items()
        }
        for k, name in enumerate(model.factors_):
            arrays[f"rows_{k}"] = _pack(model.factors_[name].triangle)
    write_archive(path, document, arrays)


def _without_calculator(model: GAPRegressor) -> GAPRegressor:
    """The parameters that a file can hold: where a model is evaluated is no part of it, nor are calculators."""
    explicit = model.explicit().set_params(device="cpu")
    return explicit.set_params(baseline=None) if isinstance(explicit.baseline, Baseline) else explicit


def load(path: str | Path, baseline: Any = None, *, use_central_weight: bool = False) -> GAPRegressor:
    """Read a fitted model: of gapkit, whose predictions are those of the model that was saved, bit for bit; or of QUIP.

    Parameters
    ----------
    path : str or Path
        File of `GAPRegressor.save`, or a GAP in QUIP's XML (whatever its name), which can predict but not be refitted unless
        gapkit wrote it.
    baseline : Baseline or ase calculator, optional
        The calculator that the model was fitted on top of, made again by you; needed if there is one, and verified: it must
        give the energies of a few training structures that are in the file, to 1e-4 eV/atom.  For a file of QUIP whose core
        potential gapkit does not know: a calculator that stands for it, which cannot be verified.
    use_central_weight : bool, default False
        For soap_turbo in a file of QUIP: whether central_weight means what it says.  The released QUIP (0.10.3) takes 1 for it
        unless there are several species and it is a list, and files do not tell with which QUIP they were fitted.

    Returns
    -------
    GAPRegressor

    Raises
    ------
    BaselineError
        If the model has a calculator under it and ``baseline`` is missing or gives other energies.
    ModelFormatError
        If the file is not a model, is damaged, or needs a newer gapkit or a descriptor that is not imported.
    """
    from .regressor import GAPRegressor

    with open(path, "rb") as file:
        if file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
            return from_quip(read_quip(path), Path(path), baseline, use_central_weight=use_central_weight)
    document, arrays = read_archive(path)
    try:
        model = _decode(document["parameters"], arrays)
        if not isinstance(model, GAPRegressor):
            raise ModelFormatError(f"{path} must hold a GAPRegressor; got {type(model).__name__}.")
        terms, coefficients = [], []
        column, with_posterior = 0, "posterior_factor" in arrays
        for t, entry in enumerate(document["terms"]):
            descriptor = _decode(entry["descriptor"])
            descriptor.species_ = [int(z) for z in entry["species"]]
            points, weights, scales, factors, columns, alphas = [], [], [], [], [], []
            for g in range(len(descriptor.group_names_)):
                points.append(arrays[f"points_{t}_{g}"])
                alphas.append(arrays[f"coefficients_{t}_{g}"])
                n = len(points[-1])
                weights.append(arrays.get(f"weights_{t}_{g}", np.ones(n)))
                if f"scale_{t}_{g}" in arrays:
                    scales.append(arrays[f"scale_{t}_{g}"])
                factors.append(_unpack(arrays[f"cholesky_{t}_{g}"], n).T if with_posterior else np.empty((0, 0)))
                columns.append(slice(column, column + n))
                column += n
            kernel, delta = _decode(entry["kernel"]), float(entry["delta"])
            terms.append(
                SparseTerm(descriptor, kernel, delta, points, weights, scales or None, factors, columns, float(model.jitter))
            )
            coefficients.append(alphas)
        posterior, model.factors_ = None, {}
        if with_posterior:
            factor = np.ascontiguousarray(_unpack(arrays["posterior_factor"], column))
            posterior = SparsePosterior(
                factor, arrays["posterior_weights"], float(document["misfit"]), bool(document.get("widened", False))
            )
            for k, (name, n_rows) in enumerate(document["row_groups"].items()):
                details = document.get("row_details", {}).get(name, {})
                model.factors_[name] = RowFactor.from_triangle(
                    _unpack(arrays[f"rows_{k}"], column + 1),
                    int(n_rows),
                    float(details.get("log_divisors", 0.0)),
                    np.asarray(details.get("unexplained", 0.0), float),
                )
        e0 = {chemical_symbols.index(symbol): float(energy) for symbol, energy in document["e0"].items()}
        model.potential_ = Potential(terms, e0, coefficients, posterior, model.approximation, core_of(model.baseline))
        calculator = document.get("baseline")
        model.baseline_probes_ = decode_probes(calculator, arrays) if calculator else []
        model.training_ = model.search_ = None
        calibration = document.get("calibration")
        model.calibration_ = None if calibration is None else Calibration.from_plain(calibration)
        model.terms_, model.noise_ = model.named_terms(), model.noise or Noise()
        model.e0_source_ = dict(document["e0_source"])
        model.n_labels_ = dict(document["n_labels"])
        model.card_ = dict(document.get("card", {}))
        model.unexplained_ = dict(document.get("unexplained", {}))
        model.familiar_std_ = float(document.get("familiar_std", 0.0))
        model.table_errors_ = dict(document.get("table_errors", {}))
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ModelFormatError(
            f"{path} must be a complete gapkit model; {type(error).__name__}: {error}. Fit the model anew."
        ) from error
    known = recognise(baseline, calculator, model.baseline_probes_, path)
    model.baseline = model.baseline_ = known or model.baseline  # a ZBL is among the parameters
    return model


def _classes() -> dict[str, type]:
    """Every class that a file may name."""
    from .regressor import GAPRegressor

    own = (QuipBasis, TurboBasis, Term, Noise, ZBL, Glue, GAPRegressor)
    return {**DESCRIPTORS, **KERNELS, **{cls.__name__: cls for cls in own}}


def _encode_parts(sparse: SparseTerm) -> dict[str, Any]:
    return {"descriptor": _encode(sparse.descriptor), "kernel": _encode(sparse.kernel)}


def _encode(value: Any, arrays: dict[str, Array] | None = None) -> Any:
    """Parameters as JSON: objects become {"class": name, "params": {...}}; matrices are put among ``arrays``, if given."""
    if isinstance(value, DScribe):
        options = {"normalize": value.normalize, "reach": value.reach}
        return {"dscribe": _encode(dscribe_to_plain(value.descriptor)), "params": options}
    if isinstance(value, (BaseEstimator, Descriptor, Kernel)):
        params = {name: _encode(v, arrays) for name, v in value.get_params(deep=False).items()}
        return {"class": type(value).__name__, "params": params}
    if isinstance(value, Mapping):
        return {"dict": [[_encode(k), _encode(v, arrays)] for k, v in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [_encode(v, arrays) for v in value]}
    if isinstance(value, list):
        return [_encode(v, arrays) for v in value]
    if isinstance(value, np.ndarray) and value.ndim == 2 and arrays is not None:
        name = f"parameter_{sum(key.startswith('parameter_') for key in arrays)}"
        arrays[name] = value
        return {"array": name}
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"Parameters must be numbers, text or gapkit objects to be saved; got {type(value).__name__}.")


def _decode(value: Any, arrays: Mapping[str, Array] | None = None) -> Any:
    if isinstance(value, list):
        return [_decode(v, arrays) for v in value]
    if not isinstance(value, dict):
        return value
    if "dict" in value:
        return {_decode(k): _decode(v, arrays) for k, v in value["dict"]}
    if "tuple" in value:
        return tuple(_decode(v, arrays) for v in value["tuple"])
    if "array" in value and arrays is not None:
        return arrays[value["array"]]
    if "dscribe" in value:
        return DScribe(dscribe_from_plain(**_decode(value["dscribe"])), **value["params"])
    known = _classes()
    if value["class"] not in known:
        raise ModelFormatError(
            f"The model needs {value['class']!r}, which is not imported. Import the package that defines it, or upgrade gapkit."
        )
    return known[value["class"]](**{name: _decode(v, arrays) for name, v in value["params"].items()})


def _pack(upper: Array) -> Array:
    """Upper triangle of a square matrix as a vector, column by column."""
    return lapack.dtrttp(upper, uplo="U")[0] if len(upper) else np.empty(0)


def _unpack(packed: Array, n: int) -> Array:
    """Inverse of `_pack`; Fortran order."""
    if n == 0:
        return np.empty((0, 0))
    if len(packed) != n * (n + 1) // 2:
        raise ModelFormatError(f"A triangle of {n} rows must have {n * (n + 1) // 2} elements; got {len(packed)}.")
    return np.triu(lapack.dtpttr(n, packed, uplo="U")[0])
