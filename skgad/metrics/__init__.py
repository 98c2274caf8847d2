"""How well maps find the anomalous pixels: ROC, average precision, per-region overlap; streamed, in one pass."""

from ._pixels import (
    pixel_average_precision_score,
    pixel_roc_auc_score,
    pixel_scores,
    pro_auc_score,
    pro_curve,
)

__all__ = [
    "pixel_average_precision_score",
    "pixel_roc_auc_score",
    "pixel_scores",
    "pro_auc_score",
    "pro_curve",
]
