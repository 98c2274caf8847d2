"""After the fit: whether a line still sees what it was calibrated on, and what moved if it does not."""

from ._drift import FeatureDrift
from ._martingale import ConformalTestMartingale
from ._monitor import LineMonitor

__all__ = ["ConformalTestMartingale", "FeatureDrift", "LineMonitor"]
