"""Gaussian approximation potentials: DFT energies, forces and stresses in; a fast, smooth, uncertainty-aware potential out."""

from ._version import __version__

__all__ = ["__version__"]
