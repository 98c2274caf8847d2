"""The errors and warnings that skgad raises on its own account.

A leaf: it imports nothing, so that every room may use it. Each error is also the built-in one that a caller expects.
"""

__all__ = [
    "BackboneError",
    "CacheError",
    "CacheWarning",
    "DependencyError",
    "DeviceMemoryError",
    "DeviceWarning",
    "ExportError",
    "ImageError",
    "ImageWarning",
    "LabelConventionWarning",
    "LineFileError",
    "SkgadError",
    "TrainingWarning",
    "VersionWarning",
    "WeightsError",
    "WeightsWarning",
    "WorkingPointWarning",
]


class SkgadError(Exception):
    """Base class of skgad's own errors."""


class BackboneError(SkgadError, ValueError):
    """A network is unknown, is not there, or has no levels that can be taken."""


class CacheError(SkgadError, OSError):
    """What lies in the place of the store of features is not one, or it cannot be read or written as was asked."""


class DependencyError(SkgadError, ImportError):
    """A package that is needed, to run a network or to draw, is not installed."""


class ExportError(SkgadError, RuntimeError):
    """A line cannot be exported, or what was exported does not do what the line does."""


class ImageError(SkgadError, ValueError):
    """An image cannot be used: missing, truncated, not an image, or of an unknown form.

    The message names the path, where there is one, and the position in ``X``.
    """


class LineFileError(SkgadError, ValueError):
    """A file is no line, or a damaged one, or names what is not to be trusted; or a line cannot be written to one."""


class WeightsError(SkgadError, RuntimeError):
    """A network's weights cannot be had, do not fit it, or are not the ones that were fitted with."""


class DeviceMemoryError(SkgadError, MemoryError):
    """The memory of a device does not suffice for a single image."""


class CacheWarning(UserWarning):
    """Entries of the store of features were damaged, or could not be kept: the features were computed all the same."""


class DeviceWarning(UserWarning):
    """The device that an estimator was fitted on is not there; another one is used."""


class ImageWarning(UserWarning):
    """Images could not be used, and their rows are NaN; or files of a folder are left out."""


class LabelConventionWarning(UserWarning):
    """``y`` looks like labels of another convention than scikit-learn's +1 (normal) and -1 (anomalous)."""


class TrainingWarning(UserWarning):
    """A training ended before its time: it was interrupted, or a loss was not finite."""


class VersionWarning(UserWarning):
    """An estimator was saved by another version of skgad."""


class WeightsWarning(UserWarning):
    """A network has random weights."""


class WorkingPointWarning(UserWarning):
    """A threshold will not hold the false-positive rate that was asked for."""
