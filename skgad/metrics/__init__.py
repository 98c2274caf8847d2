"""How well scores and maps find anomalies: of images, pixels and regions; maps are streamed, in one pass."""

from ._per_image import aupimo_scores
from ._pixels import (
    pixel_average_precision_score,
    pixel_f1_score,
    pixel_roc_auc_score,
    pixel_scores,
    pro_auc_score,
    pro_curve,
)
from ._rates import image_scores

__all__ = [
    "aupimo_scores",
    "image_scores",
    "pixel_average_precision_score",
    "pixel_f1_score",
    "pixel_roc_auc_score",
    "pixel_scores",
    "pro_auc_score",
    "pro_curve",
]
