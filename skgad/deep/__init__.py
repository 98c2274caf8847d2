"""The only room with torch and timm: backbones and their levels, weights, images, the extractor."""

from ._transformer import DeepFeatureTransformer

__all__ = ["DeepFeatureTransformer"]
