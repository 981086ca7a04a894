"""QUIP's soap_turbo for `test_turbo_basis`, in a process of its own: ``python turbo_oracle.py JOBS.pickle RESULTS.pickle``.

A second soap_turbo of another basis or sigma in one process gets the radial functions of the first (a bug of QUIP 0.10.3), so
every such set needs its own.  A job is (texts of the descriptors, structures, direction or None); the result of one is the
list of features per text and structure, and with a direction u also the forces of sum over texts and centres of u · x in the
first structure: QUIP's, and by finite differences of its features.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np

_STEPS = ((1e-3, 8 / 12), (-1e-3, -8 / 12), (2e-3, -1 / 12), (-2e-3, 1 / 12))  # error about 1e-12 of the sixth derivative


def result(texts, structures, direction):
    from quippy.descriptors import Descriptor

    descriptors = [Descriptor(text) for text in texts]
    values = [[descriptor.calc(atoms)["data"] for atoms in structures] for descriptor in descriptors]
    if direction is None:
        return {"values": values}
    first = structures[0]
    analytic, numerical = np.zeros((len(first), 3)), np.zeros((len(first), 3))
    for descriptor in descriptors:
        found = descriptor.calc(first, grad=True)
        np.add.at(analytic, found["grad_index_0based"][:, 1], -found["grad_data"] @ direction)
    for k in np.ndindex(numerical.shape):
        for step, weight in _STEPS:
            moved = first.copy()
            moved.positions[k] += step
            numerical[k] -= weight / 1e-3 * sum((d.calc(moved)["data"] @ direction).sum() for d in descriptors)
    return {"values": values, "analytic": analytic, "numerical": numerical}


if __name__ == "__main__":
    jobs = pickle.loads(Path(sys.argv[1]).read_bytes())
    Path(sys.argv[2]).write_bytes(pickle.dumps([result(*job) for job in jobs]))
