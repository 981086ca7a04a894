"""Files: the model file (parameters and arrays; it knows no estimator), and writing whole or not at all."""

from .archive import FORMAT, read_archive, write_archive
from .replace import replacing, sync_directory

__all__ = ["FORMAT", "read_archive", "replacing", "sync_directory", "write_archive"]
