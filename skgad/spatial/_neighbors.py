"""Nearest neighbours in a memory of patches: what a Gaussian is compared with."""

import numpy as np
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._conventions._parameters import check_int, read_fpr
from ..deep import DeepFeatureTransformer
from ._detector import SpatialDetector
from ._patches import PatchNeighbors, PatchSample

_REDUCTIONS = (8, 16)  # of the levels that are taken by default: PatchCore's second and third stage of a ResNet


class PatchNeighborsDetector(SpatialDetector):
    """Nearest neighbours in a coreset of patch features: the idea of SPADE and PatchCore, for comparison.

    A patch is a location of the finest level with the channels of all levels there, averaged over the locations around
    it. Its anomaly is the mean Euclidean distance to its nearest neighbours among patches of normal images. Of these a
    sample is kept, thinned out to a coreset that covers it.

    Parameters
    ----------
    features : DeepFeatureTransformer, default=None
        Network, levels, image size, device; None for the levels of ``DeepFeatureTransformer()`` at 1/8 and 1/16 of the
        input. Its `pool` and `cache` do nothing here.
    coreset_size : int, default=2000
        Patches that are kept: 1 % of those of 250 images at 224 pixels.
    n_neighbors : int, default=1
        Neighbours whose distances are averaged.
    pool_size : int, default=20000
        Patches, drawn evenly from all normal images, that the coreset is chosen from.
    aggregate : {"max", "mean", "top"}, default="max"
        What the distances of an image count in its score: the largest, their mean, or the mean of the largest
        `top_share`.
    top_share : float in (0, 1], default=0.05
        For "top": the share of the locations; one at least.
    smoothing : float, default=0
        Standard deviation, in pixels, of a Gaussian filter over the anomaly maps; image scores do not see it. PatchCore
        takes 4.
    fpr : float in (0, 1), default=0.01
        For ``offset_``, see there.
    pixel_fpr : float in (0, 1), default=0.01
        The share of the pixels of normal images that may be called anomalous, for ``pixel_threshold_``.
    random_state : int, RandomState instance or None, default=None
        Draws the patches and starts the coreset.

    Attributes
    ----------
    features_ : DeepFeatureTransformer
        The extractor; it refuses other weights or settings than those of the fit.
    levels_ : list of int
        The numbers of the levels.
    coreset_ : ndarray of float32 of shape (n_kept, n_channels)
        The patches that are kept.
    n_samples_seen_ : int
        The number of normal images that were learnt.
    offset_ : float
        ``decision_function = score_samples - offset_``. A guess, from the distances of the kept patches to each other;
        `FPRThresholdCV` sets a threshold that holds.
    pixel_threshold_ : float
        As of `SpatialMahalanobisDetector`.

    See Also
    --------
    SpatialMahalanobisDetector : Gaussians instead of a memory.

    Notes
    -----
    It learns all images at once: there is no ``partial_fit``. Each fold of `FPRThresholdCV` chooses a coreset of its
    own, which takes seconds, without a further run of the network.

    The coreset is chosen greedily, each time the patch that is farthest from those chosen, in a random projection to
    128 dimensions. PatchCore's weighting of image scores by neighbours of neighbours is left out.

    References
    ----------
    Cohen and Hoshen, "Sub-Image Anomaly Detection with Deep Pyramid Correspondences", 2020 (SPADE). Roth et al.,
    "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022 (PatchCore).

    Examples
    --------
    >>> import numpy as np
    >>> from skgad import DeepFeatureTransformer
    >>> from skgad.spatial import PatchNeighborsDetector
    >>> images = np.random.default_rng(0).integers(100, 130, size=(12, 64, 64, 3), dtype=np.uint8)
    >>> features = DeepFeatureTransformer("tf_efficientnet_lite0", levels=[3, 4], image_size=64)
    >>> detector = PatchNeighborsDetector(features, coreset_size=100, random_state=0).fit(images)
    >>> detector.score_maps(images).shape
    (12, 64, 64)
    """

    def __init__(
        self,
        features=None,
        *,
        coreset_size=2000,
        n_neighbors=1,
        pool_size=20_000,
        aggregate="max",
        top_share=0.05,
        smoothing=0.0,
        fpr=0.01,
        pixel_fpr=0.01,
        random_state=None,
    ):
        self.features = features
        self.coreset_size = coreset_size
        self.n_neighbors = n_neighbors
        self.pool_size = pool_size
        self.aggregate = aggregate
        self.top_share = top_share
        self.smoothing = smoothing
        self.fpr = fpr
        self.pixel_fpr = pixel_fpr
        self.random_state = random_state

    @property
    def coreset_(self):
        return self._find_measure().coreset

    def _make_default_features(self):
        from ..deep import level_table  # it needs timm

        features = DeepFeatureTransformer()
        reductions = level_table(features.backbone)["reduction"]
        return features.set_params(levels=reductions.index[reductions.isin(_REDUCTIONS)].tolist())

    def _begin(self, maps, n_copies):
        seed = int(check_random_state(self.random_state).randint(2**31))
        n_channels = sum(level.shape[-1] for level in maps)
        return PatchSample(self.pool_size, seed, n_channels)

    def _keep(self, memory):
        super()._keep(memory)
        self._measure = self._make_measure(memory)  # the sample, ten times as large, is not kept
        self.offset_ = self._guess_offset()

    def _make_measure(self, memory):
        return PatchNeighbors(memory.choose(self.coreset_size), self.n_neighbors)

    def _find_measure(self):
        check_is_fitted(self)
        return self._measure

    def _guess_offset(self):
        coreset, n_neighbors = self.coreset_, min(self.n_neighbors, len(self.coreset_) - 1)
        if n_neighbors == 0:
            return 0.0
        found, _ = NearestNeighbors(n_neighbors=n_neighbors, algorithm="brute").fit(coreset).kneighbors()
        return -float(np.quantile(found.mean(axis=1), 1.0 - float(read_fpr(self.fpr))))

    def _check_parameters(self):
        super()._check_parameters()
        for name in ("coreset_size", "n_neighbors", "pool_size"):
            check_int(name, getattr(self, name))
