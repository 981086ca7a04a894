"""Descriptors: from atoms to feature vectors of environments, with analytic derivatives for every periodicity."""

from .acsf import ACSF
from .base import DESCRIPTORS, Descriptor, Features
from .distance_nb import DistanceNb, contracted_points, distance_permutations, expanded_points
from .dscribe_adapter import DScribe, dscribe_from_plain, dscribe_to_plain
from .quip_basis import QuipBasis
from .soap import SOAP
from .three_body import ThreeBody
from .turbo_basis import TurboBasis
from .two_body import TwoBody

__all__ = [
    "ACSF",
    "DESCRIPTORS",
    "SOAP",
    "DScribe",
    "Descriptor",
    "DistanceNb",
    "Features",
    "QuipBasis",
    "ThreeBody",
    "TurboBasis",
    "TwoBody",
    "contracted_points",
    "distance_permutations",
    "dscribe_from_plain",
    "dscribe_to_plain",
    "expanded_points",
]
