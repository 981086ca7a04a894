"""Memory of a fit, from its sizes alone, and the refusal of a fit that the machine cannot hold."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from .._backend import n_threads
from ..gp.design import _BLOCK_BYTES, _PRODUCT_BYTES
from ..gp.observations import Labels, Noise
from .fitting import _POOL
from .sizes import ChunkSizes, FitSizes, TermSizes, fit_sizes
from .terms import Term

__all__ = ["available_memory", "check_memory", "fit_memory", "largest_fraction", "peak_memory"]

_CHECK_ATOMS = 500  # whose neighbours are counted before every fit
_GIB = 2**30

Stages = dict[str, dict[str, float]]


def fit_memory(sizes: FitSizes) -> Stages:
    """Memory that a fit takes over what is there before it, stage by stage.

    Parameters
    ----------
    sizes : FitSizes
        From `fit_sizes`.

    Returns
    -------
    dict of str to dict of str to float
        Bytes of each part at the peak of each stage: "selection", "rows", "solve".
    """
    points = [n for term in sizes.terms for n in term.points.tolist()]
    m = sizes.n_points
    triangle = 8.0 * (m + 1) ** 2
    factors, kernel = triangle * len(sizes.rows), 8.0 * sum(n**2 for n in points)
    candidates = max(_candidates(term) for term in sizes.terms)
    largest = 8.0 * max(points) ** 2
    return {
        "selection": {
            "kernels of sparse points": kernel,
            "candidates": candidates,
            "factorisation": 3.0 * largest,  # kernel matrix, its pivoted factor and copies beside the result
        },
        "rows": {
            "kernels of sparse points": kernel,
            "factors of labels": factors,
            # one on each thread
            "chunk": min(n_threads(), len(sizes.chunks)) * max(_chunk(sizes, chunk) for chunk in sizes.chunks),
        },
        "solve": {
            "kernels of sparse points": kernel,
            "factors of labels": factors,
            "posterior": 4.0 * triangle,  # the stack, a scaled factor and its copy, the result
        },
    }


def peak_memory(stages: Stages) -> float:
    """Bytes of the stage that needs most."""
    return max(sum(parts.values()) for parts in stages.values())


def _candidates(term: TermSizes) -> float:
    """Environments of which the sparse points are chosen, and what choosing takes."""
    d, capacity = term.descriptor.n_features, _POOL * term.requested
    collected = np.minimum(term.environments, 2 * capacity)
    kept = np.minimum(term.environments, capacity)
    collecting = 8.0 * (d + 1) * (collected.sum() + collected.max())  # a sample is cut from one group after another
    scaled = 1.0 if term.term.scale is None else 2.0
    choosing = 8.0 * (d + 1) * (2.0 * kept.sum() + 0.5 * scaled * kept.max())  # all, the distinct ones, their projections
    return float(max(collecting, choosing)) + 32.0 * d**2  # leverage: Gram matrix, eigenvectors, work space


def _chunk(sizes: FitSizes, chunk: ChunkSizes) -> float:
    """Rows of a chunk with the temporaries of a block of environments, or with copies while they are folded."""
    m = sizes.n_points
    rows = 8.0 * m * sum(chunk.rows.values())
    copies = 24.0 * m * max(chunk.rows.values())
    pairs = 100.0 * sizes.pairs * chunk.atoms / sizes.atoms
    return pairs + rows + max(copies, *(_block(term, chunk, sizes.atoms) for term in sizes.terms))


def _block(term: TermSizes, chunk: ChunkSizes, n_atoms: int) -> float:
    """Temporaries of the environments that are computed together; see `gapkit.gp.design.RowAssembly`."""
    d, m = term.descriptor.n_features, int(term.points.max())
    bytes_per_feature = 24 if chunk.derivatives else 1
    entries_of_chunk = term.entries * chunk.atoms / n_atoms
    entries = min(entries_of_chunk, max(_BLOCK_BYTES / (bytes_per_feature * d), term.most_entries))
    entries_of_part = min(entries, max(_PRODUCT_BYTES / (24 * max(d, m)), term.most_entries))  # multiplied together
    environments_each = float(term.environments.sum()) / max(term.entries, 1.0)
    size = 8.0 * environments_each * (3.0 * d * entries + 6.0 * m * entries_of_part)
    if chunk.derivatives:
        if term.descriptor.moved_features() is not None:  # points are there twice more, by what neighbours move
            size += 16.0 * d * float(term.points.sum())
        copied = d if len(term.environments) > 1 else 0  # the Jacobian of one group is cut out of that of all
        size += 32.0 * d * entries + entries_of_part * (24.0 * (copied + m) + 72.0 * environments_each * (d + m))
    return size


def largest_fraction(sizes: FitSizes, available: float) -> float | None:
    """Largest fraction of the sparse points with which a fit takes no more than ``available`` bytes; None if there is none."""
    low, high = 0.0, 1.0
    if peak_memory(fit_memory(sizes.with_points(low))) > available:
        return None
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if peak_memory(fit_memory(sizes.with_points(middle))) > available else (middle, high)
    return low


def check_memory(
    named_terms: Sequence[tuple[str, Term]], frames: Sequence[Atoms], labels: Sequence[Labels], noise: Noise
) -> None:
    """Refuse a fit that needs more memory than is available; where that is unknown, refuse nothing.

    Parameters
    ----------
    named_terms : sequence of (str, Term)
        The model.
    frames, labels : sequences
        Training structures and their labels.
    noise : Noise
        Standard deviations of the labels.

    Raises
    ------
    MemoryError
        With the need, what is available, and what would fit.
    """
    available = available_memory()
    if available is None:
        return
    sizes = fit_sizes(named_terms, frames, labels, noise, sample_atoms=_CHECK_ATOMS)
    stages = fit_memory(sizes)
    needed = peak_memory(stages)
    if needed > available:
        raise MemoryError(_advice(sizes, stages, needed, available, noise))


def _advice(sizes: FitSizes, stages: Stages, needed: float, available: float, noise: Noise) -> str:
    parts = max(stages.values(), key=lambda stage: sum(stage.values()))
    largest = max(parts, key=lambda name: parts[name])
    text = (
        f"A fit must fit in memory; this one needs {needed / _GIB:.3g} GiB ({parts[largest] / _GIB:.3g} for {largest}) and "
        f"{available / _GIB:.3g} GiB are available. "
    )
    fraction = largest_fraction(sizes, available)
    if fraction is None:
        text += "No n_sparse is small enough. "
    else:
        fitting = ", ".join(f"{term.name}: {_two_digits(term.requested * fraction)}" for term in sizes.terms)
        text += f"Set n_sparse to at most {fitting} ({', '.join(str(term.requested) for term in sizes.terms)} now)"
    others = ["smaller n_max or l_max"] if any("n_max" in t.descriptor.get_params(deep=False) for t in sizes.terms) else []
    if noise.per_config_type:
        others.append(f"fewer than {len(noise.per_config_type)} configuration types with noise of their own")
    if not others:
        return text.strip().removesuffix(".") + "."
    return f"{text.strip()}{' Use' if fraction is None else ', or use'} {' and '.join(others)}."


def _two_digits(number: float) -> int:
    """Round down to two digits."""
    unit: int = 10 ** max(0, len(str(int(number))) - 2)
    return max(1, int(number) // unit * unit)


def available_memory(root: Path = Path("/")) -> float | None:
    """Bytes that this process may still take: of the machine, and of its control groups; None if unknown.

    Parameters
    ----------
    root : Path, optional
        Where ``proc`` and ``sys`` are.
    """
    known = [room for room in (_machine_room(root), *_group_rooms(root)) if room is not None]
    return min(known, default=None)


def _machine_room(root: Path) -> float | None:
    """MemAvailable of Linux, else all memory that there is."""
    try:
        for line in (root / "proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024.0 * float(line.split()[1])
    except (OSError, ValueError, IndexError):
        pass
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return None


def _group_rooms(root: Path) -> list[float]:
    """What the control groups (containers, batch systems) of this process leave, of version 2 and 1."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    rooms = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        names = ("memory.max", "memory.current", "inactive_file")
        top = root / "sys/fs/cgroup"
        if controllers:
            top /= "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder == top.parent:
                break
            room = _group_room(folder, *names)
            if room is not None:
                rooms.append(room)
    return rooms


def _group_room(folder: Path, limit: str, usage: str, cache: str) -> float | None:
    """Limit of one group less what it uses; files that are only cached would make room."""
    try:
        used = float((folder / usage).read_text())
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return max(0.0, float((folder / limit).read_text()) - used + float(statistics.get(cache, 0)))
    except (OSError, ValueError):  # no such file, or no limit ("max")
        return None
