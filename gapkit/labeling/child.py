"""One label with an ASE calculator; as a script, the process of a `ProcessLabeler`.

    python child.py INPUT OUTPUT < REQUEST

REQUEST is a line of JSON (the module search path of the parent) and the calculator as cloudpickle sends it.  The script imports
ASE but not gapkit, which takes longer to import than a cheap label takes.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

__all__ = ["compute", "is_converged", "make_calculator"]


def make_calculator(calculator: Any) -> Any:
    """Return the calculator itself, or what a function or class that makes one makes."""
    return calculator() if isinstance(calculator, type) or not hasattr(calculator, "get_property") else calculator


def compute(calculator: Any, atoms: Atoms) -> Atoms:
    """Copy of a structure with energy, forces, stress where it has one, and what the calculator says of its convergence."""
    asked = atoms.copy()
    asked.calc = make_calculator(calculator)
    results: dict[str, Any] = {"energy": asked.get_potential_energy(), "forces": asked.get_forces(apply_constraint=False)}
    properties = getattr(asked.calc, "implemented_properties", ())
    if asked.cell.rank == 3 and asked.pbc.any() and "stress" in properties:
        results["stress"] = asked.get_stress(apply_constraint=False)
    label: Atoms = asked.copy()
    label.calc = SinglePointCalculator(label, **results)
    converged = is_converged(asked.calc)
    if converged is not None:
        label.info["converged"] = converged
    return label


def is_converged(calculator: Any) -> bool | None:
    """What a calculator says of the convergence of its last calculation; None if it does not say."""
    for value in (getattr(calculator, "results", {}).get("converged"), getattr(calculator, "converged", None)):
        if callable(value):
            value = value()
        if value is not None:
            return bool(value)
    return None


def main() -> None:
    """Read a structure, write it with its label."""
    import cloudpickle

    request = sys.stdin.buffer
    sys.path[:] = json.loads(request.readline())
    calculator = cloudpickle.load(request)
    label = compute(calculator, read(sys.argv[1], format="extxyz"))
    write(sys.argv[2] + ".part", label, format="extxyz")
    os.replace(sys.argv[2] + ".part", sys.argv[2])


if __name__ == "__main__":
    main()
