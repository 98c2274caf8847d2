"""Choosing levels and parameters: a selector of levels, a splitter that trains on normals only, scorers."""

from .._detectors._level_selector import LevelSelector
from ._scorers import auroc_score, average_precision_score, neg_fpr_at_tpr_score, partial_auroc_score
from ._split import NormalTrainSplit

__all__ = [
    "LevelSelector",
    "NormalTrainSplit",
    "auroc_score",
    "average_precision_score",
    "neg_fpr_at_tpr_score",
    "partial_auroc_score",
]
