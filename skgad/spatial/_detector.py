"""What detectors in space share: one pass over images to learn, maps and scores, out of fold in two passes."""

import copy
from contextlib import closing
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy import ndimage
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from .._conventions._base import StampedEstimator
from .._conventions._decisions import ScoredOutlierMixin
from .._conventions._labels import normal_rows
from .._conventions._parameters import read_fpr
from .._conventions._transaction import all_or_nothing
from .._images._decoding import check_images
from ..deep import DeepFeatureTransformer
from ..deep._threads import find_pools
from ._maps import AGGREGATES, LargestPixels, aggregate, upsample
from ._sums import PIVOT_IMAGES

_MANY_FOLDS = 32  # of so many, what each has learnt is not kept from the first pass but worked out in the second


class SpatialDetector(ScoredOutlierMixin, StampedEstimator):
    """An outlier detector on images that scores every location.

    A subclass brings ``_update(X, rows)``, which learns; ``_begin(maps, n_copies)``, which returns an empty memory, or
    None if there is no room for so many copies; ``_make_measure(memory)``, which returns a function from the maps of
    all levels to a list of distance maps; and ``_keep(memory)``, which sets all that a fit sets. A memory has
    ``add(maps, rows)``, ``empty()``, ``merge(other)`` and ``remove(other)``.
    """

    # What the detector brings.
    _begin: Any
    _update: Any
    _make_measure: Any
    _keep: Any
    _measure: Any
    features: DeepFeatureTransformer | None
    aggregate: str
    top_share: float
    smoothing: float
    fpr: float
    pixel_fpr: float

    @all_or_nothing
    def fit(self, X, y=None):
        """Learn normal images, in one pass over them; memory does not grow with their number.

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
        self._fit_features(X)
        self._update(X, normal_rows(y, count_images(X)))
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
        measure = self._find_measure()
        scores = np.full(count_images(X), np.nan)
        for rows, maps in _iter_maps(self.features_, X):
            scores[rows] = self._score(measure(maps))
        return scores

    def score_maps(self, X):
        """Return the anomaly map of each image: how far each pixel is from normal.

        Each level's distance map is upsampled bilinearly to the square that the image was resized to, and the levels
        are averaged: section 3 of the paper. Neither is a map scaled by itself, nor clamped: maps of one detector
        compare with each other and with its pixel threshold.

        Parameters
        ----------
        X : sequence of images

        Returns
        -------
        ndarray of float32 of shape (n_samples, image_size, image_size)
            In units of distance: higher is more anomalous. It covers the whole image, whatever its shape was (with
            ``resize="timm"``, what that leaves of it). NaN for an image that cannot be used, where `features` has
            ``on_bad_image="nan"``.
        """
        measure = self._find_measure()
        size = self.features_.image_size_
        result = np.full((count_images(X), size, size), np.nan, dtype=np.float32)
        for rows, maps in _iter_maps(self.features_, X):
            result[rows] = self._draw(measure(maps))
        return result

    def predict_masks(self, X):
        """Return which pixels are anomalous: those whose distance exceeds ``pixel_threshold_``.

        Parameters
        ----------
        X : sequence of images

        Returns
        -------
        ndarray of bool of shape (n_samples, image_size, image_size)

        Raises
        ------
        ValueError
            If an image cannot be used, where `features` has ``on_bad_image="nan"``.
        NotFittedError
            If the pixel threshold was not calibrated, by `FPRThresholdCV` around this detector or `calibrate_pixels`.
        """
        check_is_fitted(self)
        if not hasattr(self, "pixel_threshold_"):
            raise NotFittedError(
                f"This {type(self).__name__} has no pixel threshold: its training images tell too little of new ones. "
                "Fit FPRThresholdCV(detector), with folds that leave out each image once, and call predict_masks of "
                "that; or calibrate_pixels(images) on normal images that it has not learnt."
            )
        maps = self.score_maps(X)
        unusable = np.flatnonzero(np.isnan(maps[:, 0, 0]))
        if len(unusable):
            raise ValueError(
                f"Images {', '.join(map(str, unusable[:10]))} cannot be used and have no map; leave them out."
            )
        return maps > self.pixel_threshold_

    @all_or_nothing
    def fit_score_out_of_fold(self, X, fold):
        """Fit on all images, and score each by a detector that has not seen its fold: what `FPRThresholdCV` asks for.

        The images go through the network twice, whatever the folds. ``pixel_threshold_`` is set from the maps of the
        detectors that have not seen the image.

        Parameters
        ----------
        X : sequence of images
            Normal ones.
        fold : array-like of int of shape (n_samples,)
            Images with the same number are left out together.

        Returns
        -------
        out_of_fold, in_sample : ndarray of shape (n_samples,)
            Scores.

        Raises
        ------
        ValueError, ImageError, BackboneError, WeightsError, DependencyError
            As `fit`.
        """
        self._fit_features(X)
        numbers, fold = np.unique(fold, return_inverse=True)
        n_memories = len(numbers) if len(numbers) <= _MANY_FOLDS else 1
        memories = self._learn(self._read(X), len(fold), fold, n_memories)
        whole = memories[0]
        for memory in memories[1:]:
            whole = whole.merge(memory)
        self._keep(whole)
        measure = self._find_measure()
        out_of_fold, in_sample = np.full(len(fold), np.nan), np.full(len(fold), np.nan)
        largest = LargestPixels(len(fold) * self.features_.image_size_**2, self.pixel_fpr)
        for number in range(len(numbers)):
            with closing(self._read(X, np.flatnonzero(fold == number))) as batches:
                if len(memories) > 1:
                    left_out, parts = memories[number], batches
                else:
                    left_out, parts = whole.empty(), list(batches)
                    for rows, maps in parts:
                        left_out.add(maps, rows)
                others = self._make_measure(whole.remove(left_out))
                for rows, maps in parts:
                    distances = others(maps)
                    out_of_fold[rows], in_sample[rows] = self._score(distances), self._score(measure(maps))
                    largest.add(self._draw(distances))
        self.pixel_threshold_ = largest.threshold()
        return out_of_fold, in_sample

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
        measure = self._find_measure()
        rows = normal_rows(y, count_images(X))
        n_images = count_images(X) if rows is None else len(rows)
        largest = LargestPixels(n_images * self.features_.image_size_**2, self.pixel_fpr)
        with closing(self._read(X, rows)) as batches:
            for _, maps in batches:
                largest.add(self._draw(measure(maps)))
        self.pixel_threshold_ = largest.threshold()
        return self

    def _fit_features(self, X):
        """Check all parameters, and forget what was learnt."""
        self._check_parameters()
        features = self._make_default_features() if self.features is None else clone(self.features)
        if not hasattr(features, "iter_maps"):
            raise TypeError(f"features must be a DeepFeatureTransformer, whose maps are wanted; got {features!r}.")
        for name in set(vars(self)) - set(self.get_params(deep=False)):
            delattr(self, name)
        self.features_ = features.fit(X)
        self.levels_ = features.levels_

    def _make_default_features(self):
        return DeepFeatureTransformer()

    def _read(self, X, rows=None):
        """Yield rows and maps of images; one that cannot be used is refused: none is to be missing without a word."""
        return _iter_maps(copy.copy(self.features_).set_params(on_bad_image="raise"), X, rows)

    def _learn(self, batches, n_images, memory_of=None, n_memories=1):
        """Return memories of images that come in batches of rows and maps.

        Each has that of the images whose row in `memory_of` says so; if there is no room for so many, there is one.
        """
        memories: list = []
        waiting: list = []
        for batch in batches:
            waiting.append(batch)
            if not memories:
                if sum(len(rows) for rows, _ in waiting) < min(PIVOT_IMAGES, n_images):
                    continue
                memories = self._begin_memories([maps for _, maps in waiting], n_memories)
            for rows, maps in waiting:
                _share_out(memories, rows, maps, memory_of)
            waiting = []
        return memories

    def _begin_memories(self, maps, n_memories):
        first = [np.concatenate(level)[:PIVOT_IMAGES] for level in zip(*maps, strict=True)]
        empty = self._begin(first, n_memories)
        if empty is None:
            return [self._begin(first, 1)]
        return [empty, *(empty.empty() for _ in range(n_memories - 1))]

    def _find_measure(self):
        check_is_fitted(self)
        self._check_parameters()
        return self._measure

    def _score(self, distances):
        parts = [aggregate(level, self.aggregate, self.top_share) for level in distances]
        return -np.mean(parts, axis=0)

    def _draw(self, distances):
        size = self.features_.image_size_
        mean = sum(upsample(level, size, size) for level in distances) / np.float32(len(distances))
        if not self.smoothing:
            return mean
        return ndimage.gaussian_filter(mean, (0, self.smoothing, self.smoothing), mode="nearest")

    def _check_parameters(self):
        read_fpr(self.fpr)
        _check_share("pixel_fpr", self.pixel_fpr)
        _check_share("top_share", self.top_share, closed=True)
        if self.aggregate not in AGGREGATES:
            raise ValueError(f"aggregate must be one of {', '.join(map(repr, AGGREGATES))}; got {self.aggregate!r}.")
        if not isinstance(self.smoothing, Real) or isinstance(self.smoothing, bool) or not 0 <= self.smoothing < np.inf:
            raise ValueError(f"smoothing must be a non-negative number of pixels; got {self.smoothing!r}.")

    def __sklearn_is_fitted__(self):
        return hasattr(self, "n_samples_seen_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.no_validation = True
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        return tags


def count_images(X):
    """Return the number of images, or raise ImageError if they are none."""
    return len(check_images(X, files=False))


def _share_out(memories, rows, maps, memory_of):
    if len(memories) == 1:
        memories[0].add(maps, rows)
        return
    for number in np.unique(memory_of[rows]):
        own = memory_of[rows] == number
        memories[number].add([level[own] for level in maps], rows[own])


def _iter_maps(features, X, rows=None):
    """Yield the maps of images, BLAS having half its threads to work on them.

    The network's threads spin a while after each batch. All of BLAS's beside them wait on each other: on two cores,
    distances then take five times as long.
    """
    with closing(features.iter_maps(X, rows)) as batches:
        for batch in batches:
            blas = find_pools().select(user_api="blas")
            n_threads = max((pool["num_threads"] for pool in blas.info()), default=1)
            with blas.limit(limits=max(1, n_threads // 2)):
                yield batch


def check_count(name, value):
    """Raise ValueError unless this is a positive int."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a positive int; got {value!r}.")


def _check_share(name, value, closed=False):
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not (0 < value < 1 or (closed and value == 1)):
        raise ValueError(f"{name} must lie in (0, 1{']' if closed else ')'}: it is a share; got {value!r}.")
