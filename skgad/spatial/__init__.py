"""Where in an image the defect is: Gaussians over feature maps, and nearest neighbours of patches for comparison."""

from ._mahalanobis import SpatialMahalanobisDetector
from ._neighbors import PatchNeighborsDetector

__all__ = ["PatchNeighborsDetector", "SpatialMahalanobisDetector"]
