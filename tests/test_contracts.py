"""Every registered descriptor and kernel obeys the public contract."""

from __future__ import annotations

import dscribe.descriptors as dscribe
import pytest

from gapkit.descriptors import ACSF, DESCRIPTORS, SOAP, DistanceNb, DScribe, QuipBasis, ThreeBody, TurboBasis, TwoBody
from gapkit.kernels import KERNELS, RBF, Constant, DotProduct, Kernel, Matern, PiecewisePolynomial
from gapkit.kernels.base import _Pair
from gapkit.testing import check_descriptor, check_kernel

DESCRIPTOR_CASES = [
    SOAP(4.5, 4, 3),
    SOAP(4.0, 3, 5, 0.4, cutoff_width=4.0),
    SOAP(3.0, 3, 2, cutoff_width=None),
    SOAP(4.0, 3, 2, normalize=False),
    SOAP(4.2, 4, 3, rbf="polynomial", weighting={"function": "pow", "r0": 2.0, "c": 1.0, "d": 1.0, "m": 4, "w0": 0.5}),
    *(SOAP(4.2, 3, 2, compression={"mode": mode}) for mode in ("crossover", "mu2", "mu1nu1")),
    SOAP(4.2, 3, 2, compression={"mode": "nu", "nu_r": 1, "nu_s": 2, "species_weighting": {"Na": 0.5, "Cl": 1.5}}),
    SOAP(4.2, 3, 2, compression={"mode": "nu", "nu_r": 0, "nu_s": 2}),
    SOAP(4.2, 3, 2, compression={"mode": "mixed", "channels": 9}),
    SOAP(4.2, 3, 2, rbf=QuipBasis(cutoff_dexp=2, covariance_sigma0=0.1)),
    SOAP(4.2, 3, 2, rbf=QuipBasis(Z_mix=True, K=3, central_reference_all_species=True)),
    SOAP(4.2, 3, 2, rbf=TurboBasis("poly3gauss", central_weight=0.5, compress_mode="1_2")),
    SOAP(4.2, 3, 2, 0.4, rbf=TurboBasis(atom_sigma_r=(0.4, 0.6), P_transformation=((1, 2, 0.5), (1, 40, 1.0), (2, 63, 1.0)))),
    ACSF(4.5, g2_params=[(1.0, 2.0)], g3_params=[1.5]),
    ACSF(4.0, g4_params=[(0.02, 4, 1.0), (0.1, 1, -1.0)], g5_params=[(0.1, 2, 0.5)]),
    DScribe(dscribe.SOAP(r_cut=3.0, n_max=3, l_max=2, sigma=0.4, species=["Na", "Cl"])),
    TwoBody(5.0),
    TwoBody(3.0, cutoff_width=3.0),
    TwoBody(4.0, exponents=(-1, 2), tail_exponent=2, tail_range=0.5),
    ThreeBody(3.8),
    DistanceNb(4.5, theta=1.5),
    DistanceNb(4.1, order=4, theta=2.0, cutoff_width=0.6),
]
KERNEL_CASES: list[Kernel] = [
    DotProduct(1),
    DotProduct(2),
    DotProduct(4),
    DotProduct(2.5),
    RBF(0.7),
    Matern(0.7, 1.5),
    Matern(0.7),
    Matern(0.7, 3.5),
    PiecewisePolynomial(1.5, 6),
    0.5 * Matern(1.2, 1.5) * DotProduct(2) + PiecewisePolynomial(2.0, 7),
    Constant(0.3),
    RBF(0.5) + 0.1,
    0.5 * DotProduct(2) * RBF(0.8),
    (DotProduct(1) + RBF()) * DotProduct(3),
]


@pytest.mark.parametrize("descriptor", DESCRIPTOR_CASES, ids=repr)
def test_descriptor(descriptor):
    check_descriptor(descriptor)


@pytest.mark.parametrize("kernel", KERNEL_CASES, ids=repr)
def test_kernel(kernel):
    check_kernel(kernel)


def test_every_registered_class_is_covered():
    assert {type(d).__name__ for d in DESCRIPTOR_CASES} == set(DESCRIPTORS)

    def parts(kernel):
        return {type(kernel).__name__} | (parts(kernel.k1) | parts(kernel.k2) if isinstance(kernel, _Pair) else set())

    assert set().union(*map(parts, KERNEL_CASES)) == set(KERNELS)
