"""Where a model is evaluated: ``device`` is "cpu", "cuda", or "auto", which takes the CPU where the GPU cannot do it."""

from __future__ import annotations

import logging
from collections.abc import Collection
from functools import lru_cache
from typing import TYPE_CHECKING

from .._backend import cupy
from .._cuda.memory import Memory
from .._cuda.status import require
from .._validation import check_choice
from ..exceptions import DeviceMemoryError, GPUNotAvailable, NotOnGPUError
from ..gp.observations import KINDS

if TYPE_CHECKING:
    from .fitted import FittedModel
    from .on_device import ModelOnDevice
    from .training import SparseModel

__all__ = ["DEVICES", "check_device", "cpu_instead", "fits_on_gpu", "on_gpu"]

DEVICES = ("cpu", "cuda", "auto")
"""What ``device`` can be."""

_FACTORS_AT_WORK = 6.0  # a stack of factor and rows, its QR factorisation, rows of two chunks
_WORK = 2.0**31  # bytes: products of a Jacobian with the sparse points, and what cuBLAS and cuSOLVER take

_log = logging.getLogger("gapkit")


def check_device(device: str) -> None:
    """Raise ValueError if ``device`` is not one of `DEVICES`."""
    check_choice("device", device, DEVICES)


def on_gpu(device: str, model: FittedModel, uncertainty: str | None = None, std: Collection[str] = ()) -> ModelOnDevice | None:
    """The model on the GPU if it is to be evaluated there, None if on the CPU.

    Parameters
    ----------
    device : {"cpu", "cuda", "auto"}
        What was asked for.
    model : FittedModel
        What is to be evaluated; its own ``device`` is not looked at.
    uncertainty, std : as for `gapkit.model.prediction.predict`
        Standard deviations that will be wanted.

    Returns
    -------
    ModelOnDevice or None

    Raises
    ------
    GPUNotAvailable
        With "cuda", if there is no GPU that can be used.
    NotOnGPUError
        With "cuda", if a part of the model or of what is wanted has no GPU code.
    """
    check_device(device)
    if device == "cpu":
        return None
    try:
        require()
        from .on_device import check_uncertainty, model_on_device  # imports Numba

        check_uncertainty(uncertainty, std)
        return model_on_device(model.potential_, [name for name, _ in model.terms_])
    except (GPUNotAvailable, NotOnGPUError) as error:
        cpu_instead(device, error)
        return None


def fits_on_gpu(device: str, model: SparseModel) -> bool:
    """Whether a GPU does the algebra of a fit.

    Parameters
    ----------
    device : {"cpu", "cuda", "auto"}
        What was asked for.
    model : SparseModel
        What is to be fitted.

    Raises
    ------
    GPUNotAvailable
        With "cuda", if there is no GPU that can be used.
    DeviceMemoryError
        With "cuda", if the factors do not fit; the message says how much is needed.
    """
    check_device(device)
    if device == "cpu":
        return False
    try:
        require()
        n_sparse = sum(term.n_points for term in model.sparse)
        n_factors = len(KINDS) * len(model.noise.classes())
        needed = 8.0 * (n_sparse + 1) ** 2 * (n_factors + _FACTORS_AT_WORK) + _WORK
        Memory(cupy()).at_a_time(needed, f"a fit with {n_sparse} sparse points")
    except (GPUNotAvailable, DeviceMemoryError) as error:
        return cpu_instead(device, error)
    return True


def cpu_instead(device: str, error: Exception) -> bool:
    """Say once why the CPU takes over, with "auto"; else raise the error."""
    if device == "cuda":
        raise error
    _say_once(str(error))
    return False


@lru_cache(maxsize=64)
def _say_once(reason: str) -> None:
    _log.warning("gapkit: device='auto' takes the CPU. %s", reason)
