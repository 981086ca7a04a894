"""What a prediction and a fit cost, in instructions: a guard against slow code that does not depend on how busy a machine is.

Callgrind counts the instructions of code compiled for one kind of processor (Haswell: Valgrind knows no AVX-512), from one call
to the next; the counts repeat to 0.1 %.  The limits are 15 % above what was counted on 26 November 2026, with NumPy 2.4 and
SciPy 1.17: another release of OpenBLAS may move them by some per cent.  Whoever makes something faster lowers its limit.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HEADER = Path("/usr/include/valgrind/callgrind.h")
MISSING = [name for name in ("valgrind", "gcc") if shutil.which(name) is None] + ([] if HEADER.exists() else [str(HEADER)])
SHIM = """
#include <valgrind/callgrind.h>
void start(void) { CALLGRIND_START_INSTRUMENTATION; CALLGRIND_ZERO_STATS; }
void stop(const char *name) { CALLGRIND_DUMP_STATS_AT(name); CALLGRIND_STOP_INSTRUMENTATION; }
"""
SCRIPT = """
import ctypes, sys
import numpy as np
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from gapkit import SOAP, DotProduct, GAPCalculator, GAPRegressor, Noise, Term

counter = ctypes.CDLL(sys.argv[1])

def counted(name, call):
    call()
    counter.start()
    call()
    counter.stop(name.encode())

rng = np.random.default_rng(0)
frames = []
for k in range(3):
    atoms = bulk("Si", cubic=True) * (2, 1, 1)
    atoms.rattle(0.1, seed=k)
    atoms.calc = SinglePointCalculator(atoms, energy=-80.0 + rng.normal(), forces=rng.normal(size=(len(atoms), 3)))
    frames.append(atoms)
crystal = bulk("Si", cubic=True) * (3, 3, 3)
crystal.rattle(0.05, seed=1)
term = Term(SOAP(r_cut=5.0, n_max=8, l_max=6), DotProduct(4), n_sparse=48, selection="random")
model = GAPRegressor([term], noise=Noise(), random_state=0, e0={"Si": -5.0})
counted("fit", lambda: model.fit(frames))
calculator = GAPCalculator(model)
counted("prediction", lambda: calculator.calculate(crystal, ["energy"], ["positions"]))
"""
LIMITS = {"fit": 3.1e6, "prediction": 2.03e5}  # instructions per atom; 28 neighbours, 48 sparse points
N_ATOMS = {"fit": 48, "prediction": 216}


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not installed")
def test_instructions(tmp_path):
    (tmp_path / "shim.c").write_text(SHIM)
    shim = tmp_path / "shim.so"
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", shim, tmp_path / "shim.c"], check=True)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    features = "+avx2,+fma,+avx,+sse4.2,+sse4.1,+ssse3,+sse3,+popcnt,+bmi,+bmi2,+f16c"
    processor = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": features, "OPENBLAS_CORETYPE": "Haswell"}
    environment = os.environ | threads | processor | {"NUMBA_CACHE_DIR": str(tmp_path)}
    script = [sys.executable, "-c", SCRIPT, str(shim)]
    subprocess.run(script, env=environment, check=True, capture_output=True)  # compiles
    callgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={tmp_path / 'out'}"]
    subprocess.run([*callgrind, *script], env=environment, check=True, capture_output=True)
    counts = {}
    for path in tmp_path.glob("out.*"):
        lines = dict(line.split(": ", 1) for line in path.read_text().splitlines() if ": " in line)
        counts[lines["desc"].removeprefix("Trigger: Client Request: ")] = int(lines["summary"])
    found = {name: counts[name] / n for name, n in N_ATOMS.items()}
    print({name: f"{count:.0f}" for name, count in found.items()})
    assert set(LIMITS) <= set(found)
    for name, limit in LIMITS.items():
        assert found[name] < limit, f"{name}: {found[name]:.0f} instructions per atom"
