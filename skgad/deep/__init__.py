"""The only room with torch and timm: backbones and their levels, weights, images, the cache, the extractor, tuning."""

from .._images._interest import MaskedImage
from ._backbone import Backbone
from ._cache import CacheInfo, cache_info, clear_cache, limit_cache
from ._transformer import DeepFeatureTransformer
from .training import AutoencoderDetector, FineTuner

__all__ = [
    "AugmentedImages",
    "AutoencoderDetector",
    "Backbone",
    "CacheInfo",
    "DeepFeatureTransformer",
    "FineTuner",
    "MaskedImage",
    "VariedImages",
    "augment",
    "cache_info",
    "clear_cache",
    "level_table",
    "limit_cache",
]


def __getattr__(name):
    if name == "level_table":  # it needs timm, which takes seconds to import
        from ._level_table import level_table

        return level_table
    if name == "VariedImages":
        from ._variation import VariedImages

        return VariedImages
    if name in ("AugmentedImages", "augment"):  # they need torch
        from . import _augmentation

        return getattr(_augmentation, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
