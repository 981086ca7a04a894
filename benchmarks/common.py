"""What the benchmarks share: timing, subprocess measurements, output."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}


def one_thread() -> None:
    """Restart this script with one thread and without the settings that pin OpenBLAS to old kernels."""
    environment = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")} | ONE_THREAD
    if any(os.environ.get(k) != v for k, v in ONE_THREAD.items()) or "OPENBLAS_CORETYPE" in os.environ:
        os.execve(sys.executable, [sys.executable, *sys.argv], environment)


def median_time(functions: dict[str, Callable[[], object]], repeats: int = 5) -> dict[str, float]:
    """Median seconds of each function; they take turns, so that a busy machine slows all alike."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return {name: sorted(t)[len(t) // 2] for name, t in times.items()}


def step_of(calculator: object, atoms):
    """What a step of molecular dynamics does: a small move, then energy, forces and stress; it has been called once."""
    import numpy as np

    atoms = atoms.copy()
    atoms.calc = calculator
    start, moves = atoms.positions.copy(), np.random.default_rng(0).normal(0.0, 1e-3, (2, len(atoms), 3))
    count = [0]

    def step():
        count[0] += 1
        atoms.positions = start + moves[count[0] % 2]
        return atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()

    step()
    return step


def measured(command: Sequence[str], cwd: Path | None = None, **environment: str) -> dict[str, object]:
    """Run a command: wall and CPU seconds, peak memory (GB), output."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **environment}
    )
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(command)} failed:\n{output[-3000:]}")
    cpu = usage.ru_utime + usage.ru_stime
    return {"wall": time.perf_counter() - start, "cpu": cpu, "peak_gb": usage.ru_maxrss / 1e6, "output": output}


def peak_gb() -> float:
    """Peak memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def machine() -> dict[str, object]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()[0]}


def report(name: str, header: Sequence[str], rows: Sequence[Sequence[object]], **more: object) -> None:
    """Print a table and write JSON beside it."""
    cells = [[str(c) if not isinstance(c, float) else f"{c:.4g}" for c in row] for row in [header, *rows]]
    widths = [max(len(row[k]) for row in cells) for k in range(len(header))]
    for row in cells:
        print("  ".join(c.ljust(w) if k == 0 else c.rjust(w) for k, (c, w) in enumerate(zip(row, widths, strict=True))))
    RESULTS.mkdir(exist_ok=True)
    content = {"machine": machine(), "header": list(header), "rows": [list(r) for r in rows], **more}
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1))
