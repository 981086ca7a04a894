"""CuPy without a GPU: NumPy inside, CuPy's names, refusals and transfers outside.

The real CuPy, which imports without a driver, is the oracle: names are looked up there, arguments bound to its signatures.
As with the real one, nothing becomes a NumPy array unasked, and NumPy arrays are no operands.  `counts` has the bytes that
went to the device and came back, and how often the host had to wait.
"""

from __future__ import annotations

import ast
import inspect
import types
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import scipy.linalg
import scipy.special

from tests.cuda.needs import gpucheck

real = gpucheck()
assert callable(real.random.default_rng)
assert callable(real.random.Generator.standard_normal)  # imports more, which the stand-in would spoil

counts = {"in": 0, "out": 0, "waits": 0}
free_memory = 2**33

_FROM_HOST = ("asarray", "array")
_WAITING = ("flatnonzero", "nonzero", "unique", "argwhere")


@contextmanager
def counted():
    before = dict(counts)
    found = {}
    yield found
    found.update({name: counts[name] - before[name] for name in counts})


def wrapped(value):
    if isinstance(value, (np.ndarray, np.generic)):
        return ndarray(np.asarray(value))
    if isinstance(value, (tuple, list)):
        return type(value)(wrapped(v) for v in value)
    return value


def unwrapped(value):
    if isinstance(value, ndarray):
        return value.inside
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")  # what CuPy says
    if isinstance(value, (tuple, list)):
        return type(value)(unwrapped(v) for v in value)
    return value


def bound(function, args, kwargs):
    """Raise TypeError where the real function would."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # ufuncs have none
        unknown = set(kwargs) - {"out", "dtype"}
        if unknown:
            raise TypeError(f"{function} has no keyword {unknown}") from None
        return
    signature.bind(*args, **kwargs)


class ndarray:  # noqa: N801 - CuPy's name
    __array_priority__ = 100

    def __init__(self, inside):
        self.inside = inside

    def __array__(self, *args, **kwargs):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array explicitly."
        )

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        if method != "__call__":
            return NotImplemented
        bound(getattr(real, ufunc.__name__), inputs, kwargs)
        return wrapped(ufunc(*unwrapped(inputs), **{k: unwrapped(v) for k, v in kwargs.items()}))

    def __array_function__(self, function, types_, args, kwargs):
        assert set(types_) <= {ndarray}
        return call(function.__name__, args, kwargs)

    def get(self):
        counts["out"] += self.inside.nbytes
        counts["waits"] += 1
        return self.inside.copy()

    def __getattr__(self, name):
        if name.startswith("__") or not hasattr(real.ndarray, name):
            raise AttributeError(f"cupy.ndarray has no {name}")
        attribute = getattr(self.inside, name)
        if not callable(attribute):
            return wrapped(attribute) if isinstance(attribute, np.ndarray) else attribute

        def method(*args, **kwargs):
            return wrapped(attribute(*unwrapped(args), **{k: unwrapped(v) for k, v in kwargs.items()}))

        return method

    def __getitem__(self, index):
        parts = index if isinstance(index, tuple) else (index,)
        counts["waits"] += any(isinstance(p, ndarray) and p.inside.dtype == bool for p in parts)
        return wrapped(self.inside[unwrapped(index)])

    def __setitem__(self, index, value):
        self.inside[unwrapped(index)] = unwrapped(value)

    def __len__(self):
        return len(self.inside)

    def __iter__(self):
        return (wrapped(v) for v in self.inside)

    def _scalar(self, kind):
        counts["waits"] += 1
        counts["out"] += self.inside.nbytes
        return kind(self.inside)

    def __float__(self):
        return self._scalar(float)

    def __int__(self):
        return self._scalar(int)

    def __bool__(self):
        return self._scalar(bool)

    def __format__(self, spec):
        return format(self._scalar(float), spec) if spec else str(self.inside)


def _operator(name):
    def operator(self, *others):
        if any(isinstance(o, np.ndarray) for o in others):
            raise TypeError(f"Unsupported type {np.ndarray}")
        return wrapped(getattr(self.inside, name)(*unwrapped(others)))

    return operator


def _in_place(name):
    def operator(self, other):
        self.inside = getattr(self.inside, name)(unwrapped(other))
        return self

    return operator


for _name in ("add", "sub", "mul", "truediv", "floordiv", "pow", "matmul", "and", "or"):
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))
    setattr(ndarray, f"__r{_name}__", _operator(f"__r{_name}__"))
    setattr(ndarray, f"__i{_name}__", _in_place(f"__i{_name}__"))
for _name in ("neg", "abs", "invert", "lt", "le", "gt", "ge", "eq", "ne"):
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))


def call(name, args, kwargs):
    bound(getattr(real, name), args, kwargs)
    counts["waits"] += name in _WAITING
    if name in _FROM_HOST:
        if isinstance(args[0], ndarray):
            return args[0]
        copied = np.array(*args, **kwargs, order="C")
        assert copied.dtype != object
        counts["in"] += copied.nbytes
        return ndarray(copied)
    return wrapped(getattr(np, name)(*unwrapped(args), **{k: unwrapped(v) for k, v in kwargs.items()}))


class _CuPy(types.ModuleType):
    ndarray = ndarray
    inf = np.inf

    def __getattr__(self, name):
        if not callable(getattr(real, name)):
            return getattr(real, name)
        return lambda *args, **kwargs: call(name, args, kwargs)

    @staticmethod
    def asnumpy(array):
        return array.get()

    @staticmethod
    def get_default_memory_pool():
        assert callable(real.get_default_memory_pool().free_bytes)
        return types.SimpleNamespace(free_bytes=lambda: 0)


class _Generator:
    """Of `cupy.random.default_rng`, with NumPy's numbers: as ASE draws them."""

    def __init__(self, seed):
        self.inside = np.random.default_rng(seed)

    def standard_normal(self, size):
        return wrapped(self.inside.standard_normal(size))


def module():
    fake = _CuPy("cupy")
    fake.random = types.SimpleNamespace(default_rng=_Generator)
    assert hasattr(real.cuda.runtime, "memGetInfo")
    assert callable(real.cuda.Stream.synchronize)
    fake.linalg = types.SimpleNamespace(qr=_qr)
    fake.cuda = types.SimpleNamespace(
        memory=real.cuda.memory,
        runtime=types.SimpleNamespace(memGetInfo=lambda: (free_memory, 2 * free_memory)),
        get_current_stream=lambda: types.SimpleNamespace(ptr=0, synchronize=lambda: None),
    )
    return fake


def _qr(a, mode):
    bound(real.linalg.qr, (a,), {"mode": mode})
    return wrapped(np.linalg.qr(unwrapped(a), mode))


def _solve_triangular(*args, **kwargs):
    return wrapped(scipy.linalg.solve_triangular(*unwrapped(args), **kwargs))


def cupyx_linalg():
    """``cupyx.scipy.linalg``, which cannot be imported without cuBLAS: its source has the signature."""
    source = Path(real.__file__).parent.parent / "cupyx/scipy/linalg/_solve_triangular.py"
    (definition,) = [n for n in ast.parse(source.read_text()).body if getattr(n, "name", "") == "solve_triangular"]
    names = [a.arg for a in definition.args.args + definition.args.kwonlyargs]

    def solve_triangular(a, b, **kwargs):
        assert set(kwargs) <= set(names)
        return _solve_triangular(a, b, **kwargs)

    result = types.ModuleType("cupyx.scipy.linalg")
    result.solve_triangular = solve_triangular
    return result


def modules():
    """What stands in ``sys.modules``."""
    cupyx, of_scipy, linalg = types.ModuleType("cupyx"), types.ModuleType("cupyx.scipy"), cupyx_linalg()
    special = types.ModuleType("cupyx.scipy.special")
    assert (Path(real.__file__).parent.parent / "cupyx/scipy/special/_erf.py").read_text().count("erf =")
    special.erf = lambda x: wrapped(scipy.special.erf(unwrapped(x)))
    cupyx.scipy, of_scipy.linalg, of_scipy.special = of_scipy, linalg, special
    return {
        "cupy": module(),
        "cupyx": cupyx,
        "cupyx.scipy": of_scipy,
        "cupyx.scipy.linalg": linalg,
        "cupyx.scipy.special": special,
    }
