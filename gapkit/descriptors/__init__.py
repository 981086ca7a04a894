"""Descriptors: from atoms to feature vectors of environments, with analytic derivatives for every periodicity."""

from .base import DESCRIPTORS, Descriptor, Features
from .soap import SOAP

__all__ = ["DESCRIPTORS", "SOAP", "Descriptor", "Features"]
