"""What is said where no GPU can be used: each thing that can be missing, and the command that gets it."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest

from gapkit._cuda import status
from gapkit.exceptions import GPUNotAvailable


class Runtime(SimpleNamespace):
    """CuPy's runtime with one device; a test takes parts away."""

    def __init__(self, **others):
        working = {
            "driverGetVersion": lambda: 13000,
            "getDeviceCount": lambda: 1,
            "getDevice": lambda: 0,
            "getDeviceProperties": lambda k: {"name": b"NVIDIA H100"},
        }
        super().__init__(**working | others)


def fails(*_):
    raise RuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected\nmore")


@pytest.fixture
def machine(monkeypatch):
    def install(runtime, *, missing=""):
        cupy, libs = ModuleType("cupy"), ModuleType("cupy_backends.cuda.libs")
        cupy.cuda = SimpleNamespace(runtime=runtime)
        for library in ("cublas", "cusolver", "curand"):
            monkeypatch.delitem(sys.modules, f"cupy_backends.cuda.libs.{library}", raising=False)
            if library != missing:
                setattr(libs, library, ModuleType(library))
        monkeypatch.setattr(status, "_is_installed", lambda module: True)
        monkeypatch.setitem(sys.modules, "cupy", cupy)
        monkeypatch.setitem(sys.modules, "cupy_backends.cuda.libs", libs)
        return status.gpu_status()

    return install


def test_a_working_gpu(machine):
    assert machine(Runtime()) == (True, "NVIDIA H100, 1 device(s), driver 13.0", "")
    status.require()


@pytest.mark.parametrize(
    ("runtime", "missing", "reason", "remedy"),
    [
        (Runtime(driverGetVersion=lambda: 0), "", "no NVIDIA driver", "Install NVIDIA's driver"),
        (Runtime(driverGetVersion=fails), "", "runtime cannot be used", "gapkit[cuda13]"),
        (Runtime(getDeviceCount=fails), "", "no CUDA device can be used (RuntimeError: cudaErrorNoDevice", "nvidia-smi"),
        (Runtime(getDeviceCount=lambda: 0), "", "no CUDA device is visible", "CUDA_VISIBLE_DEVICES"),
        (Runtime(), "cublas", "cannot import name 'cublas'", "pip install 'cupy-cuda13x[ctk]'"),
        (Runtime(), "curand", "cannot import name 'curand'", "pip install 'cupy-cuda13x[ctk]'"),
        (Runtime(getDeviceProperties=fails), "", "does not answer", "nvidia-smi"),
    ],
)
def test_what_is_missing(machine, runtime, missing, reason, remedy):
    found = machine(runtime, missing=missing)
    assert not found.usable
    assert reason in found.reason
    assert "\n" not in found.reason
    assert remedy in found.remedy
    with pytest.raises(GPUNotAvailable) as error:
        status.require()
    for part in ("`device` must be", "got 'cuda'", reason, remedy, "device='auto'"):
        assert part in str(error.value)


@pytest.mark.parametrize(("package", "name"), [("cupy", "CuPy"), ("numba_cuda", "numba-cuda")])
def test_missing_packages(monkeypatch, package, name):
    monkeypatch.setattr(status, "_is_installed", lambda module: module != package)
    assert status.gpu_status() == (False, f"{name} is not installed", status._INSTALL)


def test_this_machine():
    """Whatever it has: no exception, and a reason."""
    found = status.gpu_status()
    assert found.reason
    assert found.usable == (not found.remedy)


def test_the_cpu_needs_none_of_it(model_file):
    """Where the packages are not installed, models are imported, loaded and evaluated as ever."""
    code = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("cupy", "cupyx", "cupy_backends", "numba_cuda"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
import gapkit
from ase.build import bulk
model = gapkit.load(sys.argv[1])
assert not {"numba", "cupy"} & set(sys.modules)
print(model.predict([bulk("Cu")]), model.set_params(device="auto").predict([bulk("Cu")]))
assert not {"cupy", "numba_cuda"} & set(sys.modules)
"""
    found = subprocess.run([sys.executable, "-c", code, str(model_file)], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert "device='auto' takes the CPU" in found.stderr


def test_numba_cuda_that_does_not_go_with_numpy(monkeypatch):
    """Seen with numba-cuda 0.30.4 and NumPy 2.5: it imports, and fails where it first compiles."""
    from gapkit._cuda import launch

    def jit(signature):
        raise AttributeError("module 'numpy' has no attribute 'row_stack'")

    monkeypatch.setattr("numba.cuda.jit", jit)
    monkeypatch.setattr(launch, "_compiled", launch._compiled.__wrapped__)
    with pytest.raises(GPUNotAvailable, match=r"numba-cuda \d.*with NumPy \d.*row_stack.*pip install -U"):
        launch._compiled("move")
