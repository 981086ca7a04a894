"""Gaussian approximation potentials: DFT energies, forces and stresses in; a fast, smooth, uncertainty-aware potential out.

A descriptor (`SOAP`) turns a structure into environments, a kernel (`DotProduct`, `RBF`) compares them, a `Term` puts the two
together with an amplitude, and `GAPRegressor` is the sparse Gaussian process over all terms, with scikit-learn's
``fit``, ``predict`` and ``score`` on lists of `ase.Atoms`.  `GAPCalculator` runs a fitted model in ASE.  `load` reads what
`GAPRegressor.save` wrote, and QUIP's potentials; `from_gap_fit` takes over a command line of QUIP's gap_fit.

    import gapkit
    from ase.io import read

    model = gapkit.GAPRegressor([gapkit.Term(gapkit.SOAP(r_cut=5.0), gapkit.DotProduct(zeta=4))])
    model.fit(read("train.xyz", ":"))
    model.save("model.gap")
    atoms.calc = gapkit.GAPCalculator(gapkit.load("model.gap"))

Units are eV, Å, eV/Å and eV/Å³ everywhere, with ASE's signs and Voigt order.
"""

from ._version import __version__
from .active_learning import ActiveLearner, select
from .calculator import GAPCalculator
from .descriptors import ACSF, SOAP, DScribe, QuipBasis, ThreeBody, TurboBasis, TwoBody
from .gp import Noise, SparseGPR
from .kernels import RBF, Constant, DotProduct, Matern, PiecewisePolynomial
from .model import ZBL, Baseline, GAPRegressor, Prediction, Term, from_gap_fit, load

__all__ = [
    "ACSF",
    "RBF",
    "SOAP",
    "ZBL",
    "ActiveLearner",
    "Baseline",
    "Constant",
    "DScribe",
    "DotProduct",
    "GAPCalculator",
    "GAPRegressor",
    "Matern",
    "Noise",
    "PiecewisePolynomial",
    "Prediction",
    "QuipBasis",
    "SparseGPR",
    "Term",
    "ThreeBody",
    "TurboBasis",
    "TwoBody",
    "__version__",
    "from_gap_fit",
    "load",
    "select",
]
