"""What detectors in space share: fits in one pass over images, scores and maps, out of fold in two passes."""

import copy
import math
from contextlib import closing
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from .._conventions._base import StampedEstimator
from .._conventions._decisions import ScoredOutlierMixin
from .._conventions._labels import normal_rows
from .._conventions._parameters import check_length, check_share, read_fpr
from .._conventions._transaction import all_or_nothing
from .._conventions._warnings import warn
from ..deep import DeepFeatureTransformer
from ..exceptions import WorkingPointWarning
from ._joining import gather_tiles, join_tiles
from ._leaving_folds_out import LeavingFoldsOutMixin
from ._maps import AGGREGATES, LargestPixels, aggregate, smooth, upsample_mean
from ._passes import count_images, iter_maps, learn
from ._regions_out import NOT_CALIBRATED, RegionsOutMixin
from ._standards import standardize

_REDUCTIONS = (8, 16)  # of the levels that are taken by default: PatchCore's second and third stage of a ResNet
_FEW = 99  # images, below which no p-value can be 1 %


def map_reductions(backbone):
    """Return the reductions of a network's levels at 1/8 and 1/16 of the image, which find most, by their numbers."""
    from ..deep import level_table  # it needs timm

    reductions = level_table(backbone)["reduction"]
    return reductions[reductions.isin(_REDUCTIONS)]


class SpatialDetector(RegionsOutMixin, LeavingFoldsOutMixin, ScoredOutlierMixin, StampedEstimator):
    """An outlier detector on images that scores every location.

    A subclass brings ``_begin(maps, n_images, n_copies)``, which returns an empty memory of the images to come, or None
    if there is no room for so many copies; ``_make_measure(memory)``, which returns a function from the maps of all
    levels to a list of distance maps, or to what its own ``_score`` and ``_draw`` take; and ``_find_measure()``, which
    returns that of the fit. It extends ``_keep(memory)``, which sets what a fit sets. A memory has ``n_images``,
    ``add(maps, rows)``, ``empty()``, ``merge(other)`` and ``remove(other)``. ``_iter_maps`` may change the maps first.

    What comes after a fit reads parameters from ``_fitted_params``; `calibrate_pixels`, a fit of its own, reads its
    ``pixel_fpr``.
    """

    # What the detector brings, and a fit sets.
    _tiling: Any
    _begin: Any
    _make_measure: Any
    _find_measure: Any
    features: DeepFeatureTransformer | None
    aggregate: str
    top_share: float
    smoothing: float
    fpr: float
    pixel_fpr: float

    @all_or_nothing
    def fit(self, X, y=None):
        """Learn normal images, in one pass over them.

        Parameters
        ----------
        X : sequence of images
            As `DeepFeatureTransformer` takes them.
        y : array-like of shape (n_samples,), default=None
            Labels, if all are +1 (normal) or -1 (anomalous): images at -1 are left out. Ignored otherwise.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is out of range; there are too few normal images, or they are all the same somewhere; what is
            to be kept of them does not fit into memory.
        ImageError, BackboneError, WeightsError, DependencyError
            As `DeepFeatureTransformer`. The detector is what it was before.
        """
        self._start_fit(X)
        rows = normal_rows(y, count_images(X))
        if self._fitted_params.get("standardize"):
            self._fit_standards(X, np.arange(count_images(X)) if rows is None else rows)
        else:
            self._update(X, rows)
        self._find_measure()  # raises if there is too little to measure by
        return self

    def score_samples(self, X):
        """Return minus the anomaly score of each image: higher is more normal.

        Parameters
        ----------
        X : sequence of images

        Returns
        -------
        ndarray of shape (n_samples,)
            Minus the mean over the levels of what `aggregate` makes of a level's distance map, in units of distance.
            NaN for an image that cannot be used, where `features` has ``on_bad_image="nan"``.
        """
        measure = self._find_distances()
        scores = np.full(count_images(X), np.nan)
        for rows, distances in self._measure_images(self._iter_maps(self.features_, X), measure):
            scores[rows] = self._score(distances)
        return scores

    def level_distances(self, X):
        """Return what each level counts in the anomaly score of each image, which is their mean.

        Parameters
        ----------
        X : sequence of images

        Returns
        -------
        ndarray of shape (n_samples, n_levels)
            In the order of ``levels_``, in units of distance.
        """
        measure = self._find_distances()
        result = np.full((count_images(X), len(self.levels_)), np.nan)
        for rows, distances in self._measure_images(self._iter_maps(self.features_, X), measure):
            result[rows] = self._aggregate(distances)
        return result

    def score_maps(self, X):
        """Return the anomaly map of each image: how far each pixel is from normal.

        Each level's distance map is upsampled bilinearly to the size that the image was resized to, and the levels
        are averaged: section 3 of the paper. Neither is a map scaled by itself, nor clamped: maps of one detector
        compare with each other and with its pixel threshold.

        Parameters
        ----------
        X : sequence of images

        Returns
        -------
        ndarray of float32 of shape (n_samples, height, width)
            ``features_.image_size_`` each. In units of distance: higher is more anomalous. It covers the whole image;
            with ``resize="timm"``, the box of it that `find_box` gives. 0 outside of a region of interest. NaN for an
            image that cannot be used, where `features` has ``on_bad_image="nan"``.
        """
        measure = self._find_distances()
        result = np.full((count_images(X), *self.features_.image_size_), np.nan, dtype=np.float32)
        for rows, distances in self._measure_images(self._iter_maps(self.features_, X), measure):
            result[rows] = np.nan_to_num(self._draw(distances), copy=False)
        return result

    def find_box(self, height, width):
        """Return the box of an image of this size that its anomaly map covers.

        Parameters
        ----------
        height, width : int
            Of the image in pixels, as it is seen: after EXIF orientation.

        Returns
        -------
        left, top, right, bottom : float
            In the image's own pixels: see `DeepFeatureTransformer.find_box`.
        """
        check_is_fitted(self)
        return self.features_.find_box(height, width)

    def predict_masks(self, X):
        """Return which pixels are anomalous: those whose distance exceeds ``pixel_threshold_``.

        Parameters
        ----------
        X : sequence of images

        Returns
        -------
        ndarray of bool of shape (n_samples, height, width)
            Each covers what its map does.

        Raises
        ------
        ValueError
            If an image cannot be used, where `features` has ``on_bad_image="nan"``.
        NotFittedError
            If the pixel threshold was not calibrated, by `FPRThresholdCV` around this detector or `calibrate_pixels`.
        """
        check_is_fitted(self)
        if not hasattr(self, "pixel_threshold_"):
            raise NotFittedError(NOT_CALIBRATED.format(type(self).__name__, "predict_masks"))
        maps = self.score_maps(X)
        unusable = np.flatnonzero(np.isnan(maps[:, 0, 0]))
        if len(unusable):
            raise ValueError(
                f"Images {', '.join(map(str, unusable[:10]))} cannot be used and have no map; leave them out."
            )
        return maps > self.pixel_threshold_

    def p_value_maps(self, X):
        """Return for each pixel how probable so large a distance is anywhere in the map of a normal image.

        A pixel's distance is held against the largest one of each normal image's map, by a detector that has not seen
        it: so the whole map of a normal image has a p-value at or below 1 % in one case of a hundred at most, however
        many pixels it has. That is a theorem after `calibrate_pixels`; from folds it is nominal.

        Parameters
        ----------
        X : sequence of images

        Returns
        -------
        ndarray of float32 of shape (n_samples, height, width)
            In (0, 1], multiples of 1/(n+1) for n normal images. ``(p <= 0.01)`` are the regions that are anomalous at
            1 %; where there are none, the map says that there is nothing. NaN for an image that cannot be used.

        Raises
        ------
        NotFittedError
            As in `predict_masks`.

        Warns
        -----
        WorkingPointWarning
            If fewer than 99 normal images are known, so that no p-value can be 1 %.
        """
        check_is_fitted(self)
        if not hasattr(self, "map_peaks_"):
            raise NotFittedError(NOT_CALIBRATED.format(type(self).__name__, "p_value_maps"))
        n_images = len(self.map_peaks_)
        if n_images < _FEW:
            warn(
                f"{n_images} normal images are known: no p-value is below 1/{n_images + 1} = {1 / (n_images + 1):.2g}.",
                WorkingPointWarning,
            )
        maps = self.score_maps(X)
        beyond = n_images - np.searchsorted(self.map_peaks_, maps, side="left")
        return np.where(np.isnan(maps), np.nan, (1 + beyond) / (n_images + 1)).astype(np.float32)

    @all_or_nothing
    def calibrate_pixels(self, X, y=None):
        """Set ``pixel_threshold_`` from normal images that were not learnt: what split calibration is for images.

        Parameters
        ----------
        X : sequence of images
            Not those of the fit, on which distances are smaller than on new ones.
        y : array-like of shape (n_samples,), default=None
            As in `fit`.

        Returns
        -------
        self

        Raises
        ------
        ValueError, ImageError, WeightsError, DependencyError
            As `fit`.
        """
        measure = self._find_distances()
        check_share("pixel_fpr", self.pixel_fpr)
        rows = normal_rows(y, count_images(X))
        largest = self._expect_pixels(count_images(X) if rows is None else len(rows))
        with closing(self._read(X, rows)) as batches:
            for _, distances in self._measure_images(batches, measure):
                largest.add(self._draw(distances))
        self._keep_pixels(largest)
        return self

    def _start_fit(self, X):
        """Check all parameters, and set those that hold from now on, and the extractor."""
        self._check_parameters()
        features = self._make_default_features() if self.features is None else clone(self.features)
        if not hasattr(features, "iter_maps"):
            raise TypeError(f"features must be a DeepFeatureTransformer, whose maps are wanted; got {features!r}.")
        self.features_ = features.fit(X)
        self.levels_ = features.levels_
        self._tiling = features.find_tiling() if hasattr(features, "find_tiling") else None
        self._freeze()

    def _freeze(self):
        """Keep the parameters as they are: until the next fit, ``set_params`` changes nothing."""
        self._fitted_params = {name: getattr(self, name) for name in self._get_param_names() if name != "features"}

    def _make_default_features(self):
        """Return the extractor of the default network."""
        features = DeepFeatureTransformer()
        return features.set_params(levels=self._choose_levels(map_reductions(features.backbone)))

    def _choose_levels(self, reductions):
        """Return the numbers of the levels to take by default, out of some with their reductions."""
        return reductions.index.tolist()

    def _read(self, X, rows=None):
        """Yield rows and maps of images; one that cannot be used is refused: none is to be missing without a word."""
        return self._iter_maps(copy.copy(self.features_).set_params(on_bad_image="raise"), X, rows)

    def _read_to_learn(self, X, rows=None):
        """Yield rows and maps to learn from: those of images."""
        return self._read(X, rows)

    def _iter_maps(self, features, X, rows=None):
        """Yield rows and maps of images, as they are learnt and measured; of all their tiles together."""
        batches = iter_maps(features, X, rows)
        return batches if self._tiling is None else gather_tiles(batches, len(self._tiling.places))

    def _measure_images(self, batches, measure):
        """Yield rows and distances of images from their maps, or those of their tiles."""
        return self._join((rows, measure(maps)) for rows, maps in batches)

    def _join(self, measured):
        """Yield rows and distances of images from those of their tiles, where there are tiles."""
        return measured if self._tiling is None else join_tiles(measured, self._tiling)

    def _count_maps(self, n_images):
        """Return how many maps are learnt of so many images: one of each, or one of each tile."""
        return n_images * len(self._tiling.places) if self._learns_tiles() else n_images

    def _learns_tiles(self):
        """Return whether each tile is learnt like an image of its own."""
        return False

    def _update(self, X, rows):
        """Learn images, and nothing else."""
        n_images = count_images(X) if rows is None else len(rows)
        with closing(self._read_to_learn(X, rows)) as batches:
            (memory,) = learn(batches, self._begin, self._count_maps(n_images))
        self._keep(memory)

    def _keep(self, memory):
        self.n_samples_seen_ = memory.n_images // self._count_maps(1)
        self._standards = None
        for name in ("pixel_threshold_", "map_peaks_"):
            if hasattr(self, name):
                delattr(self, name)  # it was another detector's

    def _keep_pixels(self, largest):
        self.pixel_threshold_ = largest.threshold()
        self.map_peaks_ = largest.peaks()

    def _expect_pixels(self, n_images):
        return LargestPixels(n_images * math.prod(self.features_.image_size_), read_fpr(self.pixel_fpr))

    def _find_distances(self):
        """Return a function from maps to what `_score` and `_draw` take."""
        measure, standards = self._find_measure(), self._standards
        return measure if standards is None else lambda maps: standardize(measure(maps), standards)

    def _score(self, distances):
        return -np.mean(self._aggregate(distances), axis=1)

    def _aggregate(self, distances):
        """Return what each level counts, (n, n_levels)."""
        how, top_share = self._fitted_params["aggregate"], self._fitted_params["top_share"]
        return np.column_stack([aggregate(level, how, top_share) for level in distances])

    def _draw(self, distances):
        size = self.features_.image_size_
        mean = upsample_mean(distances, size, size if self._tiling is None else self._tiling.padded)
        return smooth(mean, self._fitted_params["smoothing"])

    def _check_parameters(self):
        read_fpr(self.fpr)
        check_share("pixel_fpr", self.pixel_fpr)
        check_share("top_share", self.top_share, closed=True)
        if self.aggregate not in AGGREGATES:
            raise ValueError(f"aggregate must be one of {', '.join(map(repr, AGGREGATES))}; got {self.aggregate!r}.")
        check_length("smoothing", self.smoothing)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "n_samples_seen_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.no_validation = True
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        return tags
