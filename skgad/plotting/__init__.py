"""Pictures in scikit-learn's Display manner: anomaly maps, histograms, levels, rates. Loads matplotlib late."""

from ._anomaly_map import AnomalyMapDisplay
from ._fpr_calibration import FPRCalibrationDisplay
from ._fpr_curve import FPRCurveDisplay
from ._level_auroc import LevelAUROCDisplay
from ._score_histogram import ScoreHistogramDisplay

__all__ = [
    "AnomalyMapDisplay",
    "FPRCalibrationDisplay",
    "FPRCurveDisplay",
    "LevelAUROCDisplay",
    "ScoreHistogramDisplay",
]
