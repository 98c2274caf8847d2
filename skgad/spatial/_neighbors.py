"""Nearest neighbours in a memory of patches: what a Gaussian is compared with."""

from contextlib import closing

import numpy as np
from scipy import ndimage
from sklearn.neighbors import NearestNeighbors
from sklearn.random_projection import GaussianRandomProjection
from sklearn.utils import check_random_state

from ..deep import DeepFeatureTransformer
from ._detector import SpatialDetector, check_count, count_images
from ._maps import upsample

_REDUCTIONS = (8, 16)  # of the levels that are taken by default: PatchCore's second and third stage of a ResNet
_NEIGHBOURHOOD = 3  # locations that a patch is averaged over, along a side, as in PatchCore
_PROJECTED = 128  # dimensions in which the coreset is chosen


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
        return PatchPool(self.pool_size, seed, n_channels)

    def _update(self, X, rows):
        n_images = count_images(X) if rows is None else len(rows)
        with closing(self._read(X, rows)) as batches:
            (memory,) = self._learn(batches, n_images)
        self._keep(memory)

    def _keep(self, memory):
        self._measure = self._make_measure(memory)  # the pool, ten times as large, is not kept
        self.n_samples_seen_ = memory.n_images
        self.offset_ = self._guess_offset()

    def _make_measure(self, memory):
        return PatchNeighbors(memory.choose(self.coreset_size), self.n_neighbors)

    def _guess_offset(self):
        coreset, n_neighbors = self.coreset_, min(self.n_neighbors, len(self.coreset_) - 1)
        if n_neighbors == 0:
            return 0.0
        found, _ = NearestNeighbors(n_neighbors=n_neighbors, algorithm="brute").fit(coreset).kneighbors()
        return -float(np.quantile(found.mean(axis=1), 1.0 - self.fpr))

    def _check_parameters(self):
        super()._check_parameters()
        for name in ("coreset_size", "n_neighbors", "pool_size"):
            check_count(name, getattr(self, name))


class PatchPool:
    """An even sample of the patches of images: each patch draws a number, and the lowest ones stay.

    What an image's patches draw depends on the seed and the image's position alone, so that the sample depends on
    neither batches nor folds.
    """

    def __init__(self, size, seed, n_channels):
        self.n_images = 0
        self._size, self._seed = size, seed
        self._patches = np.empty((0, n_channels), dtype=np.float32)
        self._drawn = np.empty(0)

    def add(self, maps, rows):
        """Take the maps of the images at these positions in."""
        patches = make_patches(maps)
        for row, image in zip(rows, patches.reshape(len(patches), -1, patches.shape[-1]), strict=True):
            self._take(image, np.random.default_rng([self._seed, row]).random(len(image)))
        self.n_images += len(rows)

    def empty(self):
        """Return a pool of no images, to be merged with this one."""
        return PatchPool(self._size, self._seed, self._patches.shape[1])

    def merge(self, other):
        """Return this pool with the patches of other images."""
        result = self.empty()
        result.n_images = self.n_images + other.n_images
        result._take(self._patches, self._drawn)
        result._take(other._patches, other._drawn)
        return result

    def remove(self, other):
        """Return this pool without the patches of some of its images."""
        result = self.empty()
        result.n_images = self.n_images - other.n_images
        stays = ~np.isin(self._drawn, other._drawn)  # a part has kept all of its patches that the whole has kept
        result._take(self._patches[stays], self._drawn[stays])
        return result

    def choose(self, coreset_size):
        """Return a coreset: patches such that none of the pool is far from all of them."""
        order = np.argsort(self._drawn)
        patches = self._patches[order]
        if len(patches) <= coreset_size:
            return patches
        points = patches
        if points.shape[1] > _PROJECTED:
            points = GaussianRandomProjection(_PROJECTED, random_state=self._seed).fit_transform(points)
        squares = np.einsum("ij,ij->i", points, points)
        chosen = [0]
        nearest = np.full(len(points), np.inf, dtype=points.dtype)
        while len(chosen) < coreset_size:
            last = chosen[-1]
            np.minimum(nearest, squares + squares[last] - 2 * (points @ points[last]), out=nearest)
            nearest[last] = -np.inf
            chosen.append(int(nearest.argmax()))
        return patches[chosen]

    def _take(self, patches, drawn):
        if len(self._drawn) == self._size:
            low = drawn < self._drawn.max()
            patches, drawn = patches[low], drawn[low]
        self._patches, self._drawn = np.concatenate([self._patches, patches]), np.concatenate([self._drawn, drawn])
        if len(self._drawn) > self._size:
            lowest = np.argpartition(self._drawn, self._size)[: self._size]
            self._patches, self._drawn = self._patches[lowest], self._drawn[lowest]


class PatchNeighbors:
    """Patches of normal images, which measure those of others."""

    def __init__(self, coreset, n_neighbors):
        self.coreset = coreset
        self._index = NearestNeighbors(n_neighbors=min(n_neighbors, len(coreset)), algorithm="brute").fit(coreset)

    def __call__(self, maps):
        patches = make_patches(maps)
        distances, _ = self._index.kneighbors(patches.reshape(-1, patches.shape[-1]))
        return [distances.mean(axis=1).astype(np.float32).reshape(patches.shape[:3])]


def make_patches(maps):
    """Return the patches of images from the maps of all levels: (n, height, width, channels) of the finest one."""
    finest = max((level.shape[1:3] for level in maps), key=np.prod)
    around = (1, _NEIGHBOURHOOD, _NEIGHBOURHOOD, 1)
    averaged = [ndimage.uniform_filter(level, around, mode="nearest") for level in maps]
    grown = [level if level.shape[1:3] == finest else _grow(level, *finest) for level in averaged]
    return np.concatenate(grown, axis=-1)


def _grow(maps, height, width):
    n_images, *shape, n_channels = maps.shape
    planes = maps.transpose(0, 3, 1, 2).reshape(-1, *shape)
    return upsample(planes, height, width).reshape(n_images, n_channels, height, width).transpose(0, 2, 3, 1)
