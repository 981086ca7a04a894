"""Whether there is a GPU that can be used; if not, what is missing and which command gets it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import NamedTuple

from .._validation import describe
from ..exceptions import GPUNotAvailable

__all__ = ["GPUStatus", "gpu_status", "require"]

_PACKAGES = (("cupy", "CuPy"), ("numba_cuda", "numba-cuda"))
_INSTALL = "pip install 'gapkit[cuda13]' (driver 580 or newer) or 'gapkit[cuda12]' (driver 525 or newer)"


class GPUStatus(NamedTuple):
    """What `gpu_status` found.

    ``usable``; ``reason``: what there is, or what is missing; ``remedy``: what to do about it, empty where it is usable.
    """

    usable: bool
    reason: str
    remedy: str = ""


def gpu_status() -> GPUStatus:
    """Look for CuPy, numba-cuda, a driver, a device and NVIDIA's libraries; never raises."""
    for module, name in _PACKAGES:
        if not _is_installed(module):
            return GPUStatus(False, f"{name} is not installed", _INSTALL)
    try:
        import cupy

        runtime = cupy.cuda.runtime
        driver = int(runtime.driverGetVersion())
    except Exception as error:  # a CuPy for another CUDA fails in many ways
        return GPUStatus(False, f"the CUDA runtime cannot be used ({_first_line(error)})", f"Install again: {_INSTALL}")
    if driver == 0:
        return GPUStatus(
            False, "there is no NVIDIA driver (libcuda.so.1 is not found)", "Install NVIDIA's driver; see nvidia-smi."
        )
    try:
        n_devices = int(runtime.getDeviceCount())
    except Exception as error:
        remedy = f"nvidia-smi shows the driver and the devices; then {_INSTALL}"
        return GPUStatus(False, f"no CUDA device can be used ({_first_line(error)})", remedy)
    if n_devices == 0:
        return GPUStatus(False, "no CUDA device is visible", "Look at nvidia-smi and at CUDA_VISIBLE_DEVICES.")
    try:  # for products, Langevin dynamics, fits
        from cupy_backends.cuda.libs import cublas, curand, cusolver  # noqa: F401
    except ImportError as error:
        remedy = "pip install 'cupy-cuda13x[ctk]' (or cupy-cuda12x[ctk])"
        return GPUStatus(False, f"cuBLAS, cuRAND or cuSOLVER is missing ({_first_line(error)})", remedy)
    try:
        name = runtime.getDeviceProperties(runtime.getDevice())["name"].decode()
    except Exception as error:
        return GPUStatus(False, f"the CUDA device does not answer ({_first_line(error)})", "Look at nvidia-smi.")
    return GPUStatus(True, f"{name}, {n_devices} device(s), driver {driver // 1000}.{driver % 1000 // 10}")


def require() -> None:
    """Do nothing where a GPU can be used.

    Raises
    ------
    GPUNotAvailable
        Else; the message has the reason and the remedy.
    """
    status = gpu_status()
    if not status.usable:
        remedy = f"Here {status.reason}: {status.remedy} device='auto' takes the CPU where there is no GPU."
        raise GPUNotAvailable(describe("device", "'cpu' or 'auto' where no GPU can be used", "cuda", remedy))


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # what an installation in pieces may do
        return False


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
