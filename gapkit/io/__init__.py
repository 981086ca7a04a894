"""The model file: parameters and arrays; it knows no estimator."""

from .archive import FORMAT, read_archive, write_archive

__all__ = ["FORMAT", "read_archive", "write_archive"]
