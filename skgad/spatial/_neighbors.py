"""PatchCore: the distance to the nearest one of a memory of patches; what a Gaussian is compared with."""

import numpy as np
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.validation import check_is_fitted

from .._conventions._parameters import check_int, check_share, read_fpr
from ._detector import SpatialDetector
from ._joining import join_tiles
from ._patches import Measured, PatchMemory, PatchNeighbors, check_room


class PatchNeighborsDetector(SpatialDetector):
    """PatchCore: the distance of an image's patches to the nearest ones in a memory of patches of normal images.

    A patch is a location of the finest level with the channels of all levels there, averaged over the 3 × 3 locations
    around it, which are zero beyond the border. Its anomaly is the Euclidean distance to the nearest one in a memory;
    the image's, that of its most anomalous patch, weighted. The memory is a small share of the patches of all normal
    images, chosen such that none of the others is far from it.

    Parameters
    ----------
    features : DeepFeatureTransformer, default=None
        Network, levels, image size, device; None for ``DeepFeatureTransformer()`` with two levels, the last ones at 1/8
        and at 1/16 of the input. Its `pool` and `cache` do nothing here.
    coreset : float in (0, 1], default=0.01
        The share of all patches that is kept; one patch at least.
    n_neighbors : int, default=9
        Kept patches around the nearest one of an image's most anomalous patch, that one included, which weight the
        image's score; 1 for no weighting. The maps do not see it.
    aggregate : {"max", "mean", "top"}, default="max"
        What the distances of an image count in its score: the largest (the paper's), their mean, or the mean of the
        largest `top_share`.
    top_share : float in (0, 1], default=0.05
        For "top": the share of the locations; one at least.
    smoothing : float, default=4.0
        Standard deviation, in pixels, of a Gaussian filter over the anomaly maps (the paper's); image scores do not see
        it.
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
    coreset_ : ndarray of float32 of shape (n_kept, n_channels)
        The patches that are kept.
    n_samples_seen_ : int
        The number of normal images that were learnt.
    offset_ : float
        ``decision_function = score_samples - offset_``. A guess, from the distances of the kept patches to each other;
        `FPRThresholdCV` sets a threshold that holds.
    pixel_threshold_ : float
        As of `SpatialMahalanobisDetector`.
    map_peaks_ : ndarray of shape (n_images,)
        The largest pixel of each normal image's map, by a detector that has not seen it, ascending; set with
        ``pixel_threshold_``. What `p_value_maps` holds pixels against.

    See Also
    --------
    SpatialMahalanobisDetector : Gaussians instead of a memory.

    Notes
    -----
    It learns all images at once: there is no ``partial_fit``. A fit holds all patches in float32, 4 · N · D bytes for N
    patches of D channels, and that twice while the coreset is chosen: 2 × 153 MB for 209 images with 33 × 33 patches of
    168 channels. A fit for which there is no room is refused when the first images have come. Afterwards the coreset
    alone is held.

    The coreset is chosen greedily, first the patch that is farthest from the mean of all, then each time the one that
    is farthest from those chosen: nothing is drawn, and nothing projected. Most distances need not be computed for it
    (`docs/spatial.md` has times). Each fold of `FPRThresholdCV` chooses a coreset of its own, without a further run of
    the network.

    The weight of an image's score is eq. 7 of the paper: one minus the share of the nearest kept patch in the softmax
    of the distances to the `n_neighbors` around it. It lies between 1 - 1 / `n_neighbors` and 1.

    References
    ----------
    Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022. The nearest patches in space: Cohen
    and Hoshen, "Sub-Image Anomaly Detection with Deep Pyramid Correspondences", 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from skgad import DeepFeatureTransformer
    >>> from skgad.spatial import PatchNeighborsDetector
    >>> images = np.random.default_rng(0).integers(100, 130, size=(12, 64, 64, 3), dtype=np.uint8)
    >>> features = DeepFeatureTransformer("tf_efficientnet_lite0", levels=[4, 6], image_size=64)
    >>> detector = PatchNeighborsDetector(features, coreset=0.1).fit(images)
    >>> detector.coreset_.shape
    (77, 152)
    >>> detector.score_maps(images).shape
    (12, 64, 64)
    """

    def __init__(
        self,
        features=None,
        *,
        coreset=0.01,
        n_neighbors=9,
        aggregate="max",
        top_share=0.05,
        smoothing=4.0,
        fpr=0.01,
        pixel_fpr=0.01,
    ):
        self.features = features
        self.coreset = coreset
        self.n_neighbors = n_neighbors
        self.aggregate = aggregate
        self.top_share = top_share
        self.smoothing = smoothing
        self.fpr = fpr
        self.pixel_fpr = pixel_fpr

    @property
    def coreset_(self):
        return self._find_measure().coreset

    def _choose_levels(self, reductions):
        return reductions[~reductions.duplicated(keep="last")].index.tolist()

    def _begin(self, maps, n_images, n_copies):
        check_room(maps, n_images)  # merged memories share their patches
        return PatchMemory()

    def _keep(self, memory):
        super()._keep(memory)
        self._measure = self._make_measure(memory)  # all patches, a hundred times as large, are not kept
        self.offset_ = self._guess_offset()

    def _make_measure(self, memory):
        parameters = self._fitted_params
        return PatchNeighbors(memory.choose(parameters["coreset"]), parameters["n_neighbors"])

    def _find_measure(self):
        check_is_fitted(self)
        return self._measure

    def _aggregate(self, distances):
        return super()._aggregate(distances.maps) * np.reshape(distances.weights, (-1, 1))

    def _join(self, measured):
        if self._tiling is None:
            yield from measured
            return
        for rows, *kinds in measured:  # each of all tiles of a photograph
            joined = join_tiles([(rows, *(kind.maps for kind in kinds))], self._tiling)
            for row, *levels in joined:
                yield row, *(Measured(maps, kind.find_weight()) for maps, kind in zip(levels, kinds, strict=True))

    def _draw(self, distances):
        return super()._draw(distances.maps)

    def _guess_offset(self):
        if len(self.coreset_) == 1:
            return 0.0
        found, _ = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(self.coreset_).kneighbors()
        return -float(np.quantile(found, 1.0 - float(read_fpr(self.fpr))))

    def _check_parameters(self):
        super()._check_parameters()
        check_share("coreset", self.coreset, closed=True)
        check_int("n_neighbors", self.n_neighbors)
