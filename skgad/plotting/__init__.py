"""Pictures in scikit-learn's Display manner: maps, explanations, histograms, levels, rates. Loads matplotlib late."""

from ._anomaly_map import AnomalyMapDisplay
from ._drift import DriftDisplay
from ._explanation import ExplanationDisplay
from ._fpr_calibration import FPRCalibrationDisplay
from ._fpr_curve import FPRCurveDisplay
from ._level_auroc import LevelAUROCDisplay
from ._region_boxes import RegionsDisplay
from ._score_histogram import ScoreHistogramDisplay
from ._training import TrainingDisplay

__all__ = [
    "AnomalyMapDisplay",
    "DriftDisplay",
    "ExplanationDisplay",
    "FPRCalibrationDisplay",
    "FPRCurveDisplay",
    "LevelAUROCDisplay",
    "RegionsDisplay",
    "ScoreHistogramDisplay",
    "TrainingDisplay",
]
