"""Where in an image the defect is: Gaussians over feature maps, and PatchCore for comparison."""

from ._neighbors import PatchNeighborsDetector
from ._regions_out import regions_to_coco
from ._spatial_mahalanobis import SpatialMahalanobisDetector
from ._spatial_subspace import SpatialSubspaceDetector

__all__ = ["PatchNeighborsDetector", "SpatialMahalanobisDetector", "SpatialSubspaceDetector", "regions_to_coco"]
