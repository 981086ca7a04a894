"""L4: a fit whose algebra a GPU that is not there does is the fit on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gapkit import ACSF, RBF, SOAP, ZBL, DotProduct, GAPRegressor, Noise, Term, ThreeBody, TwoBody
from gapkit._cuda.memory import Memory
from gapkit.exceptions import DeviceMemoryError, GPUNotAvailable
from tests.conftest import assert_equal_models
from tests.cuda import fake_cupy
from tests.cuda.needs import gpucheck

gpucheck()


def model(kind, **parameters):
    soap = Term(SOAP(4.0, n_max=4, l_max=3), DotProduct(4), n_sparse=20, delta=0.3)
    pairs = Term(TwoBody(3.5), RBF(1.0), n_sparse={"Cu-Cu": 5, "Cu-Au": 6, "Au-Au": 5})
    acsf = ACSF(4.0, g2_params=[[1.0, 2.0]], g4_params=[[0.01, 4, 1.0]])
    others = [Term(acsf, RBF(1.5), n_sparse=9, scale="range"), Term(ThreeBody(3.0), RBF(1.5), n_sparse=4, scale="std")]
    noise = Noise(energy=1e-3, forces=0.05, per_config_type={"slab": Noise(energy=2e-3, forces=0.1)})
    terms = {"soap": [soap], "soap and pairs": [soap, pairs], "acsf and triplets": others}[kind]
    return GAPRegressor(terms, noise=noise, baseline=ZBL(r_outer=2.6), random_state=0, **parameters)


@pytest.mark.parametrize("kind", ["soap", "soap and pairs", "acsf and triplets"])
def test_fit(gpu, alloy, kind):
    """Two kinds of noise; frames with other labels than others; half the forces left out."""
    frames = [atoms.copy() for atoms in alloy]
    for copy, atoms in zip(frames, alloy, strict=True):
        copy.calc = atoms.calc
    frames[3].arrays["force_mask"] = np.arange(len(frames[3])) % 2 == 0
    frames[4].info["energy_sigma"] = 0.01
    cpu, there = model(kind).fit(frames), model(kind, device="cuda").fit(frames)
    # rows are whitened by L^-T, which takes their rounding times its condition number (1e6 for pairs)
    condition = max(np.linalg.cond(factor) for term in cpu.potential_.terms for factor in term.cholesky)
    for name, factor in cpu.factors_.items():
        found = there.factors_[name]
        assert found.n_rows == factor.n_rows
        assert isinstance(found.triangle, np.ndarray)
        one, other = (f.triangle.T @ f.triangle for f in (factor, found))  # those of the rows, however small they are
        assert_allclose(other, one, rtol=0, atol=1e-15 * condition * np.abs(one).max())
    assert_equal_models(there.set_params(device="cpu"), cpu)


@pytest.mark.parametrize("kind", ["soap", "acsf and triplets"])
def test_partial_fit_and_fitc(gpu, alloy, kind):
    """Prior variances are the CPU's, also of features that are scaled and centred."""
    whole = model(kind, approximation="fitc").fit(alloy[:6]).partial_fit(alloy[6:])
    there = model(kind, approximation="fitc", device="cuda").fit(alloy[:6]).partial_fit(alloy[6:])
    assert_equal_models(there.set_params(device="cpu"), whole)


def test_what_goes_there(gpu, alloy):
    """Derivatives of features, and nothing of the size of the rows comes back but the factors."""
    given = model("soap", device="cuda")
    with fake_cupy.counted() as counts:
        given.fit(alloy)
    n_factors, size = len(given.factors_), given.n_sparse_ + 1
    assert counts["out"] == 8 * n_factors * size**2
    assert counts["waits"] == n_factors


def test_too_little_memory(gpu, alloy, monkeypatch, caplog):
    monkeypatch.setattr(Memory, "available", lambda self: 1e6)
    with pytest.raises(DeviceMemoryError, match=r"2 GiB free for a fit with 2\d sparse points; got 0\.000931 GiB"):
        model("soap", device="cuda").fit(alloy)
    monkeypatch.setattr("gapkit.model.device._say_once", caplog.messages.append)
    automatic = model("soap", device="auto").fit(alloy)
    assert_equal_models(automatic.set_params(device="cpu"), model("soap").fit(alloy))


def test_without_a_gpu(alloy):
    with pytest.raises(GPUNotAvailable):
        model("soap", device="cuda").fit(alloy)
