"""Errors and warnings: every message names the value, the rule and the remedy."""

__all__ = [
    "BaselineError",
    "ConfigError",
    "DeviceMemoryError",
    "GPUNotAvailable",
    "InvalidLabelError",
    "InvalidStructureError",
    "JournalError",
    "LabelWarning",
    "LeftPhysicsError",
    "LockedError",
    "MissingPackageError",
    "ModelFormatError",
    "NotOnGPUError",
    "NumericalWarning",
    "SelectionWarning",
]


class BaselineError(ValueError):
    """A baseline calculator that failed, gave numbers that are not finite, or is missing or not the one of the fit."""


class DeviceMemoryError(MemoryError):
    """Too little memory on the GPU; the message says how much is needed."""


class GPUNotAvailable(RuntimeError):  # noqa: N818 - the name says what is the matter
    """A GPU was asked for and there is none that can be used; the message says what is missing and how to get it."""


class InvalidStructureError(ValueError):
    """A structure that no model can be evaluated on: overlapping atoms, NaN positions, an unknown species."""


class InvalidLabelError(ValueError):
    """An energy, force or stress label that is missing, not finite, of the wrong shape, or contradicts another."""


class JournalError(ValueError):
    """A journal of labels with a damaged line, or a record that contradicts those before it."""


class LeftPhysicsError(ValueError):
    """Dynamics, or a walker of active learning, that came to where no atoms can be; the message says what happened."""


class LockedError(OSError):
    """A folder that another process is working in."""


class MissingPackageError(ImportError, ValueError):
    """A package of an extra that is not installed; the message has the command that installs it."""


class ModelFormatError(ValueError):
    """A file that is not a gapkit model, is damaged, or was written by a newer gapkit."""


class ConfigError(ValueError):
    """A configuration with an unknown key or a value of the wrong kind."""


class LabelWarning(UserWarning):
    """Labels that were used only in part, e.g. frames without forces or an undetermined atomic energy."""


class NotOnGPUError(ValueError):
    """A part of a model that only the CPU can evaluate; the message names it."""


class NumericalWarning(UserWarning):
    """A numerical event that was counted and handled: a clipped variance, a dropped sparse point."""


class SelectionWarning(UserWarning):
    """Fewer frames were picked than asked for."""
