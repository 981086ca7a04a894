"""Counts are those of the fit; memory is that of the fit within the stated factor; what cannot fit is refused."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from gapkit import SOAP, DotProduct, GAPRegressor, Noise, Term, ThreeBody, TwoBody
from gapkit.datasets import load_silicon
from gapkit.gp.observations import labels_of
from gapkit.kernels import RBF
from gapkit.model import estimate_fit, memory
from gapkit.model.memory import available_memory, fit_memory, largest_fraction, peak_memory
from gapkit.model.sizes import evenly, fit_sizes
from gapkit.neighbors import NeighborList

FACTOR = 1.5  # the aim of the estimate


def bodies() -> list[tuple[str, Term]]:
    return [
        ("pair", Term(TwoBody(5.0), RBF(1.0), n_sparse=12)),
        ("triplet", Term(ThreeBody(3.0), RBF(1.0), delta=0.1, n_sparse=30, scale="std")),
        ("soap", Term(SOAP(4.0, 4, 2), DotProduct(2), n_sparse={"Au": 10, "Cu": 14})),
    ]


def partly(frames):
    """The frames, every third without forces and every fourth without energy."""
    result = []
    for k, atoms in enumerate(frames):
        kept = {
            key: value
            for key, value in atoms.calc.results.items()
            if not (key == "forces" and k % 3 == 0) and not (key == "energy" and k % 4 == 0)
        }
        copy = atoms.copy()
        copy.calc = SinglePointCalculator(copy, **kept)
        result.append(copy)
    return result


@pytest.mark.filterwarnings("ignore::gapkit.exceptions.LabelWarning")
def test_counts_are_those_of_the_fit(alloy):
    frames = partly(alloy)
    model = GAPRegressor(bodies(), noise=Noise(per_config_type={"slab": Noise(2e-3)}), random_state=0)
    found = estimate_fit(model, frames, timing=False)
    fitted = model.fit(frames)
    assert found.rows == {name: factor.n_rows for name, factor in fitted.factors_.items()}
    terms = zip(found.sparse_points, fitted.potential_.terms, strict=True)
    assert found.sparse_points == {name: term.n_points for name, (_, term) in zip(found.sparse_points, terms, strict=True)}
    every = NeighborList.from_atoms(frames, 5.0)
    assert (found.frames, found.atoms, found.pairs) == (10, every.n_atoms, len(every.centers))
    for name, term in bodies():
        assert found.environments[name] == len(term.descriptor.fit(frames).transform(frames))
    assert found.features == {"pair": 1, "triplet": 3, "soap": fitted.potential_.terms[2].descriptor.n_features}
    assert found.seconds == {}


def test_file_size(alloy, tmp_path):
    model = GAPRegressor(bodies(), random_state=0)
    model.fit(alloy).save(tmp_path / "m.gap")
    size = (tmp_path / "m.gap").stat().st_size
    # beside its arrays, 242 kB, a file of so many groups has some 20 kB of names, checksums and headers
    assert size - 30_000 < estimate_fit(model, alloy, timing=False).file_size < size


def test_a_sample_of_frames_stands_for_all(alloy):
    assert evenly(alloy, 10_000) == alloy
    few = evenly(alloy * 50, 200)
    assert 0.7 * 200 < sum(map(len, few)) < 1.4 * 200
    frames = alloy * 20
    labels = [labels_of(atoms, k) for k, atoms in enumerate(frames)]
    every, sampled = (fit_sizes(bodies(), frames, labels, Noise(), sample_atoms=n) for n in (10**6, 300))
    for term, exact in zip(sampled.terms, every.terms, strict=True):
        assert term.environments.sum() == pytest.approx(exact.environments.sum(), rel=0.2)  # 50 of 200 frames


def traced_peak(function) -> int:
    """Largest size of the arrays and objects that a call makes, bytes."""
    tracemalloc.start()
    function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


CASES = {
    "rows": lambda: [Term(SOAP(5.0, 8, 6), DotProduct(4), n_sparse=300)],
    "bodies": lambda: [
        Term(TwoBody(5.0), RBF(1.0), n_sparse=20),
        Term(ThreeBody(4.0), RBF(1.0), n_sparse=200, scale="std"),
    ],
    "triangles": lambda: [Term(SOAP(4.0, 8, 6), RBF(0.2), n_sparse=500)],
}


@pytest.mark.filterwarnings("ignore::gapkit.exceptions.NumericalWarning")  # too many sparse points for the first two frames
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("threads", "too_much"), [(1, FACTOR), (2, 2.0)])  # temporaries of two chunks seldom meet
def test_memory_is_that_of_the_fit(case, threads, too_much, on_threads):
    """Live arrays, not the size of the process: what the formula counts, the same on every machine."""
    frames = load_silicon(config_types=["rattled", "md_1000K", "md_2000K", "vacancy"])
    types = {name: Noise() for name in ("rattled", "md_1000K", "vacancy")} if case == "triangles" else None
    model = GAPRegressor(CASES[case](), noise=Noise(per_config_type=types), random_state=0)
    model.fit(frames[:2])  # tables and compiled loops are there
    peak = on_threads(threads, lambda: traced_peak(lambda: model.fit(frames)))
    memory = on_threads(threads, lambda: estimate_fit(model, frames, timing=False).memory)
    assert 1 / FACTOR < peak_memory(memory) / peak < too_much


def test_seconds_of_every_part(alloy):
    found = estimate_fit(bodies(), alloy)
    assert set(found.seconds) == {"selection", "descriptors", "kernels", "whitening", "folding", "solve"}
    assert all(np.isfinite(t) and t >= 0.0 for t in found.seconds.values())
    assert found.total_seconds == pytest.approx(sum(found.seconds.values()))
    assert found.seconds["descriptors"] > 0.0
    assert found.peak_memory > found.before > 1e7  # a Python process with its libraries


def test_energies_alone_and_automatic_terms(alloy):
    frames = []
    for atoms in alloy:
        copy = atoms.copy()
        copy.calc = SinglePointCalculator(copy, energy=atoms.get_potential_energy())
        frames.append(copy)
    with pytest.warns(match="10 no forces"):
        found = estimate_fit(GAPRegressor(random_state=0), frames)
    assert found.rows == {"energy:": 10}
    assert found.sparse_points["soap"] > 0
    assert found.seconds["descriptors"] > 0.0


def test_a_fit_that_is_too_large_is_refused(monkeypatch):
    frames = load_silicon(config_types=["rattled", "md_1000K", "md_2000K"])
    noise = Noise(per_config_type={"rattled": Noise(2e-3)})
    terms = [Term(SOAP(3.0, 4, 2), DotProduct(4), n_sparse=400), Term(TwoBody(3.0), RBF(1.0), n_sparse=20)]
    model = GAPRegressor(terms, noise=noise, random_state=0)
    labels = [labels_of(atoms, k) for k, atoms in enumerate(frames)]
    sizes = fit_sizes(model.named_terms(), frames, labels, noise)
    needed = peak_memory(fit_memory(sizes))
    monkeypatch.setattr(memory, "available_memory", lambda: 0.8 * needed)
    with pytest.raises(MemoryError, match=r"needs .* GiB .* and .* GiB are available. Set n_sparse to at most soap: ") as error:
        model.fit(frames)
    assert "smaller n_max or l_max and fewer than 1 configuration types" in str(error.value)
    fraction = largest_fraction(sizes, 0.8 * needed)
    assert 0.0 < fraction < 1.0
    assert peak_memory(fit_memory(sizes.with_points(fraction))) <= 0.8 * needed
    assert peak_memory(fit_memory(sizes.with_points(1.05 * fraction))) > 0.8 * needed
    monkeypatch.setattr(memory, "available_memory", lambda: 1000.0)
    with pytest.raises(MemoryError, match=r"No n_sparse is small enough. Use smaller n_max or l_max"):
        model.fit(frames)
    monkeypatch.setattr(memory, "available_memory", lambda: None)
    small = GAPRegressor([Term(SOAP(3.0, 4, 2), DotProduct(2), n_sparse=20)], random_state=0)
    small.fit(frames[:10])  # nothing is refused where nothing is known


def test_unknown_group(alloy):
    with pytest.raises(ValueError, match="`n_sparse` of term 'soap' must name groups"):
        estimate_fit([Term(SOAP(4.0), DotProduct(), n_sparse={"Ag": 3})], alloy)


def put(root, path, text):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_available_memory_of_the_machine(tmp_path):
    put(tmp_path, "proc/meminfo", "MemTotal: 4000 kB\nMemAvailable:    2000 kB\n")
    assert available_memory(tmp_path) == 2000 * 1024
    assert available_memory() > 1e6  # of this machine


def test_available_memory_of_a_container(tmp_path):
    """Every control group above the process counts; cached files make room."""
    put(tmp_path, "proc/meminfo", "MemAvailable: 4000000 kB\n")
    put(tmp_path, "proc/self/cgroup", "0::/jobs/one\n")
    put(tmp_path, "sys/fs/cgroup/jobs/one/memory.max", "max\n")
    put(tmp_path, "sys/fs/cgroup/jobs/memory.max", "3000000\n")
    put(tmp_path, "sys/fs/cgroup/jobs/memory.current", "1200000\n")
    put(tmp_path, "sys/fs/cgroup/jobs/memory.stat", "anon 900000\ninactive_file 200000\n")
    assert available_memory(tmp_path) == 2_000_000


def test_available_memory_of_a_container_of_version_1(tmp_path):
    put(tmp_path, "proc/meminfo", "MemAvailable: 4000000 kB\n")
    put(tmp_path, "proc/self/cgroup", "4:memory:/docker/abc\n3:cpuset:/\n")
    put(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", "1000000\n")  # where a container sees its own group
    put(tmp_path, "sys/fs/cgroup/memory/memory.usage_in_bytes", "400000\n")
    put(tmp_path, "sys/fs/cgroup/memory/memory.stat", "total_inactive_file 100000\n")
    assert available_memory(tmp_path) == 700_000
