"""Choosing levels and parameters: a selector of levels, a splitter that trains on normals only, scorers."""

from .._detectors._level_selector import LevelSelector
from ._scorers import auroc_scorer, average_precision_scorer, neg_fpr_at_tpr_scorer, partial_auroc_scorer
from ._split import NormalTrainSplit

__all__ = [
    "LevelSelector",
    "NormalTrainSplit",
    "auroc_scorer",
    "average_precision_scorer",
    "neg_fpr_at_tpr_scorer",
    "partial_auroc_scorer",
]
