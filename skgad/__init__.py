"""skgad: learn from photographs of normal things, find the anomalous ones. A scikit-learn package."""

from ._combined import CombinedDetector
from ._gaussian import sigma_to_fpr
from ._labels import as_labels
from ._levelwise import LevelwiseDetector, LevelwiseTransformer
from ._mahalanobis import MahalanobisDetector
from ._npca import NPCA
from ._threshold import FPRThreshold
from ._threshold_cv import FPRThresholdCV
from ._version import __version__
from .deep import DeepFeatureTransformer

__all__ = [
    "NPCA",
    "CombinedDetector",
    "DeepFeatureTransformer",
    "FPRThreshold",
    "FPRThresholdCV",
    "LevelwiseDetector",
    "LevelwiseTransformer",
    "MahalanobisDetector",
    "__version__",
    "as_labels",
    "sigma_to_fpr",
]
