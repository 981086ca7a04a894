"""The sparse Gaussian process: labels, rows, sparse points, posterior."""

from .observations import Noise
from .sparse_gpr import SparseGPR

__all__ = ["Noise", "SparseGPR"]
