"""Detectors in space that leave folds out, in two passes over images: for scores, and for the scale of distances."""

import functools
from contextlib import closing
from typing import Any

import numpy as np

from .._conventions._transaction import all_or_nothing
from ._passes import add_all, count_images, learn
from ._standards import DistanceSums, standardize

_FOLDS = 5  # of a fit that standardizes distances
_MANY_FOLDS = 32  # of so many, what each has learnt is not kept from the first pass but worked out in the second


class LeavingFoldsOutMixin:
    """What a detector in space does with images that are left out: the rest of it is `SpatialDetector`."""

    _begin: Any
    _count_maps: Any
    _draw: Any
    _expect_pixels: Any
    _find_measure: Any
    _join: Any
    _fitted_params: dict
    _keep: Any
    _keep_pixels: Any
    _make_measure: Any
    _read: Any
    _read_to_learn: Any
    _score: Any
    _standards: Any
    _start_fit: Any

    @all_or_nothing
    def fit_score_out_of_fold(self, X, fold):
        """Fit on all images, and score each by a detector that has not seen its fold: what `FPRThresholdCV` asks for.

        The images go through the network twice, whatever the folds. ``pixel_threshold_`` is set from the maps of the
        detectors that have not seen the image. Where distances are standardised, it is by images of other folds than
        the image's own, and the distance maps of all images are held meanwhile: 8 bytes a location.

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
        self._start_fit(X)
        fold = np.unique(fold, return_inverse=True)[1]
        scores, largest = np.full((2, len(fold)), np.nan), self._expect_pixels(len(fold))
        with closing(self._measure_folds(X, np.arange(len(fold)), fold)) as measured:
            is_standardized = self._fitted_params.get("standardize")
            parts = self._standardize_folds(list(measured), fold) if is_standardized else measured
            for rows, unseen, seen in self._join(iter(parts)):
                scores[0, rows], scores[1, rows] = self._score(unseen), self._score(seen)
                largest.add(self._draw(unseen))
        self._keep_pixels(largest)
        return scores[0], scores[1]

    def _measure_folds(self, X, rows, fold):
        """Learn images, then yield rows, their distances by a detector that has not seen their fold, and by this one.

        Parameters
        ----------
        X : sequence of images
        rows, fold : ndarray of int of shape (n_images,)
            Those of `X` to learn, and the fold of each, from 0.
        """
        n_folds = fold.max() + 1
        fold_of = np.zeros(count_images(X), int)
        fold_of[rows] = fold
        with closing(self._read_to_learn(X, rows)) as batches:
            memories = learn(
                batches, self._begin, self._count_maps(len(rows)), fold_of, n_folds if n_folds <= _MANY_FOLDS else 1
            )
        whole = functools.reduce(lambda one, other: one.merge(other), memories)
        self._keep(whole)
        measure = self._find_measure()
        for number in range(n_folds):
            own = rows[fold == number]
            with closing(self._read(X, own)) as batches:
                # without what was learnt of the fold alone, its maps are held, and it is worked out
                parts = batches if len(memories) > 1 else list(batches)
                left_out = memories[number] if len(memories) > 1 else self._learn_again(X, own, parts, whole.empty())
                others = self._make_measure(whole.remove(left_out))
                for positions, maps in parts:
                    yield positions, others(maps), measure(maps)

    def _learn_again(self, X, rows, parts, memory):
        """Return a memory of images, from their maps."""
        return add_all(memory, parts)

    def _fit_standards(self, X, rows):
        """Learn images, and what the distances of new ones are like at each location, in a second pass over them."""
        if len(rows) < 3:
            raise ValueError(
                f"n_samples = {len(rows)} normal images are too few to standardize distances by, of images left out: "
                "three are the least. Give more, or set standardize=False."
            )
        sums = DistanceSums()
        with closing(self._measure_folds(X, rows, np.arange(len(rows)) % min(_FOLDS, len(rows)))) as measured:
            for _, unseen, _ in measured:
                sums.add(unseen)
        self._standards = sums.standards()

    def _standardize_folds(self, parts, fold):
        """Set the standards of this detector, and return the parts, each fold by the standards of the others."""
        by_fold = [DistanceSums() for _ in range(fold.max() + 1)]
        for rows, unseen, _ in parts:
            by_fold[fold[rows[0]]].add(unseen)
        whole = functools.reduce(lambda one, other: one.merge(other), by_fold)
        self._standards = whole.standards()
        others = [whole.without(one).standards() for one in by_fold]
        return [
            (rows, standardize(unseen, others[fold[rows[0]]]), standardize(seen, self._standards))
            for rows, unseen, seen in parts
        ]
