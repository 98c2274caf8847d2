"""skgad: learn from photographs of normal things, find the anomalous ones. A scikit-learn package."""

from ._calibration._combined import CombinedDetector
from ._calibration._full_conformal import FullConformalThreshold
from ._calibration._threshold import FPRThreshold
from ._calibration._threshold_cv import FPRThresholdCV
from ._conventions._labels import as_labels
from ._detectors._cellwise import CellwiseDetector
from ._detectors._levelwise import LevelwiseDetector, LevelwiseTransformer
from ._detectors._mahalanobis import MahalanobisDetector
from ._detectors._normal_rows_only import NormalRowsOnly
from ._detectors._npca import NPCA
from ._gaussian._laws import sigma_to_fpr
from ._line import make_line
from ._version import __version__
from .deep import DeepFeatureTransformer

__all__ = [
    "NPCA",
    "CellwiseDetector",
    "CombinedDetector",
    "DeepFeatureTransformer",
    "FPRThreshold",
    "FPRThresholdCV",
    "FullConformalThreshold",
    "LevelwiseDetector",
    "LevelwiseTransformer",
    "MahalanobisDetector",
    "NormalRowsOnly",
    "__version__",
    "as_labels",
    "make_line",
    "sigma_to_fpr",
]
