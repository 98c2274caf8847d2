"""Residuals outside of a principal subspace of feature maps: for tokens of vision transformers, and a few images."""

from contextlib import closing

import numpy as np
from scipy.stats import norm

from .._conventions._parameters import check_int, check_share, read_fpr
from .._gaussian._subspaces import find_residual
from .._images._sequence import check_images
from ..deep import DeepFeatureTransformer
from ._map_gaussians import NOTHING_LEFT, MapGaussians, MapSums, check_room
from ._of_sums import SumsDetector
from ._passes import add_all, iter_maps

# The paper has layers 22 to 28 of the 40 of DINOv2-G; these are as deep.
_BACKBONE, _LEVELS, _IMAGE_SIZE = "vit_large_patch14_dinov2.lvd142m", (14, 15, 16, 17, 18), 672


class SpatialSubspaceDetector(SumsDetector):
    """The distance of each location's features to the principal subspace of normal ones.

    The subspace explains a share of the variance of all locations of all normal images, level by level; what lies
    outside of it is measured as it is, not whitened. It is the complement of `NPCA` on maps, made for the tokens of
    vision transformers, which need neither a place nor many images.

    Parameters
    ----------
    features : DeepFeatureTransformer, default=None
        Network, levels, image size, device. None for the tokens of five blocks in the middle of DINOv2-L at 672 pixels,
        ``DeepFeatureTransformer("vit_large_patch14_dinov2.lvd142m", levels=[14, 15, 16, 17, 18], image_size=672)``,
        whose weights (Apache-2.0, 1.2 GB) timm downloads at first use.
    explained : float in (0, 1), default=0.99
        The share of the variance that the subspace explains.
    rotations : int, default=0
        For a few images: learn each turned by so many angles as well, all around.
    aggregate : {"max", "mean", "top"}, default="top"
        What the distances of a level count in the image score: the largest, their mean, or the mean of the largest
        `top_share`.
    top_share : float in (0, 1], default=0.01
        For "top": the share of a level's locations; one at least.
    smoothing : float, default=4.0
        Standard deviation, in pixels, of a Gaussian filter over the anomaly maps; image scores do not see it.
    fpr : float in (0, 1), default=0.01
        For ``offset_``, see there.
    pixel_fpr : float in (0, 1), default=0.01
        The share of the pixels of normal images that may be called anomalous, for ``pixel_threshold_``.

    Attributes
    ----------
    features_ : DeepFeatureTransformer
        The extractor; it refuses other weights or settings than those of the fit.
    levels_ : list of int
        The numbers of the levels.
    n_components_ : list of int
        The dimensions of each level's subspace.
    n_samples_seen_ : int
        The number of normal images that were learnt, turned ones not counted.
    offset_ : float
        ``decision_function = score_samples - offset_``. A guess, from the mean and the deviation that the residual of a
        Gaussian has; `FPRThresholdCV` sets a threshold that holds.
    pixel_threshold_, map_peaks_ : float, ndarray of shape (n_images,)
        As of `SpatialMahalanobisDetector`.

    See Also
    --------
    SpatialMahalanobisDetector : Whitened distances, location by location: for convolutional networks, the better one.

    Notes
    -----
    Tiles of photographs share one subspace. With `rotations`, those of an image are left out together with it.

    References
    ----------
    "SubspaceAD: Training-Free Few-Shot Anomaly Detection via Subspace Modeling", 2026, which takes the mean of a
    DINOv2-G's layers 22 to 28 at 672 pixels, and 30 rotations; here levels are measured apart and averaged.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad import DeepFeatureTransformer
    >>> from skgad.spatial import SpatialSubspaceDetector
    >>> images = np.random.default_rng(0).integers(100, 130, size=(4, 64, 64, 3), dtype=np.uint8)
    >>> scratched = images[:1].copy()
    >>> scratched[:, 40:48, 8:30] = 250
    >>> features = DeepFeatureTransformer("tf_efficientnet_lite0", levels=[3, 4], image_size=64)
    >>> detector = SpatialSubspaceDetector(features, rotations=3).fit(images)
    >>> bool(detector.score_samples(scratched)[0] < detector.score_samples(images).min())
    True
    """

    def __init__(
        self,
        features=None,
        *,
        explained=0.99,
        rotations=0,
        aggregate="top",
        top_share=0.01,
        smoothing=4.0,
        fpr=0.01,
        pixel_fpr=0.01,
    ):
        self.features = features
        self.explained = explained
        self.rotations = rotations
        self.aggregate = aggregate
        self.top_share = top_share
        self.smoothing = smoothing
        self.fpr = fpr
        self.pixel_fpr = pixel_fpr

    @property
    def n_components_(self):
        return [len(residual.axes) for residual in self._find_measure().gaussians]

    @property
    def offset_(self):
        fpr = float(read_fpr(self._fitted_params["fpr"]))
        rests = [residual.rest for residual in self._find_measure().gaussians]
        squares = [rest.sum() + norm.isf(fpr) * np.sqrt(2 * np.square(rest).sum()) for rest in rests]
        return -float(np.mean(np.sqrt(squares)))

    def _make_default_features(self):
        return DeepFeatureTransformer(_BACKBONE, levels=list(_LEVELS), image_size=_IMAGE_SIZE)

    def _iter_maps(self, features, X, rows=None):
        return iter_maps(features, X, rows)

    def _read_to_learn(self, X, rows=None):
        """Yield rows and maps of images, and of the same turned."""
        from ..deep._rotation import RotatedImages  # it needs torch

        n_angles = self._fitted_params["rotations"]
        images = check_images(X, items=False)
        angles = (360 * number / (n_angles + 1) for number in range(1, n_angles + 1))
        yield from self._read(X, rows)
        for angle in angles:
            with closing(self._read(RotatedImages(images, angle), rows)) as batches:
                yield from batches

    def _learn_again(self, X, rows, parts, memory):
        if not self._fitted_params["rotations"]:
            return super()._learn_again(X, rows, parts, memory)
        with closing(self._read_to_learn(X, rows)) as batches:
            return add_all(memory, batches)

    def _count_maps(self, n_images):
        return super()._count_maps(n_images) * (1 + self._fitted_params["rotations"])

    def _learns_tiles(self):
        return self._tiling is not None

    def _begin(self, maps, n_images, n_copies):
        return MapSums.begin(maps, "global") if check_room(maps, self.levels_, "global", n_copies) else None

    def _make_measure(self, memory):
        found = []
        for level, sums in zip(self.levels_, memory.sums, strict=True):
            if not sums.n_rows.any():
                raise ValueError(NOTHING_LEFT.format(level))
            try:
                found.append(find_residual(sums, float(self._fitted_params["explained"])))
            except np.linalg.LinAlgError as error:
                raise ValueError(
                    f"Level {level} has no variance over {sums.n_images} normal images: they are all the same. Give "
                    "more, and more different, images; or leave it out."
                ) from error
        return MapGaussians(found)

    def _check_parameters(self):
        super()._check_parameters()
        check_share("explained", self.explained)
        check_int("rotations", self.rotations, 0)
