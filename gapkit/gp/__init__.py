"""The sparse Gaussian process: labels, rows, sparse points, posterior."""

from .observations import Noise

__all__ = ["Noise"]
