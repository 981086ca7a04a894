"""Where a model is evaluated: ``device`` is "cpu", "cuda", or "auto", which takes the CPU where the GPU cannot do it."""

from __future__ import annotations

import logging
from collections.abc import Collection
from functools import lru_cache
from typing import TYPE_CHECKING

from .._cuda.status import require
from .._validation import check_choice
from ..exceptions import GPUNotAvailable, NotOnGPUError

if TYPE_CHECKING:
    from .fitted import FittedModel
    from .on_device import ModelOnDevice

__all__ = ["DEVICES", "check_device", "on_gpu"]

DEVICES = ("cpu", "cuda", "auto")
"""What ``device`` can be."""

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
        if device == "cuda":
            raise
        _say_once(str(error))
        return None


@lru_cache(maxsize=64)
def _say_once(reason: str) -> None:
    _log.warning("gapkit: device='auto' takes the CPU. %s", reason)
