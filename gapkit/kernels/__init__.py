"""Covariance kernels between feature vectors; they know vectors, not atoms."""

from .base import KERNELS, Constant, Kernel, Product, Sum
from .dot_product import DotProduct
from .stationary import RBF, Matern, PiecewisePolynomial

__all__ = ["KERNELS", "RBF", "Constant", "DotProduct", "Kernel", "Matern", "PiecewisePolynomial", "Product", "Sum"]
