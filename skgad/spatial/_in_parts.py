"""Detectors in space that learn images in parts, wherever these are: the steps of a fit, one by one."""

from contextlib import closing
from typing import Any

import numpy as np

from .._gaussian._places import count_pivot_images
from ._passes import add_all, count_images
from ._standards import DistanceSums, standardize


class InPartsMixin:
    """What `skgad.distributed` asks of a `SumsDetector`: each step takes and gives what can be sent."""

    _begin: Any
    _count_maps: Any
    _draw: Any
    _expect_pixels: Any
    _find_measure: Any
    _fitted_params: dict
    _join: Any
    _keep: Any
    _keep_pixels: Any
    _make_measure: Any
    _read: Any
    _read_to_learn: Any
    _score: Any
    _standards: Any
    _start_fit: Any

    def begin_parts(self, X, n_images):
        """Start a fit: check the parameters, fit the extractor, and return a memory without images.

        Parameters
        ----------
        X : sequence of images
            The first ones, about whose mean the sums are taken: 16, where there are so many.
        n_images : int
            How many there are in all.

        Returns
        -------
        MapSums
        """
        self._start_fit(X)
        waiting: list = []
        with closing(self._read_to_learn(X)) as batches:
            for rows, maps in batches:
                waiting.append((len(rows), maps))
                if sum(count for count, _ in waiting) >= min(count_pivot_images(maps), self._count_maps(n_images)):
                    break
        levels = zip(*(maps for _, maps in waiting), strict=True)
        first = [np.concatenate(level)[: count_pivot_images(waiting[0][1])] for level in levels]
        return self._begin(first, self._count_maps(n_images), 1).empty()

    def count_maps(self):
        """Return how many maps of a memory are those of one image."""
        return self._count_maps(1)

    def learn_part(self, X, rows, memory):
        """Return a memory of some of the images of a part, from an empty one."""
        with closing(self._read_to_learn(X, rows)) as batches:
            return add_all(memory.empty(), batches)

    def keep_parts(self, memory):
        """Learn what is in the memory of all images, and in nothing else."""
        self._keep(memory)
        self._find_measure()  # raises if there is too little to measure by

    def leave_out(self, memory, part):
        """Return what measures maps by a memory without a part of it."""
        return self._make_measure(memory.remove(part))

    def measure_part(self, X, rows, unseen):
        """Yield rows of a part, their distances by what has not seen them, and by this detector before standards."""
        measure = self._find_measure()
        with closing(self._read(X, rows)) as batches:
            for positions, maps in batches:
                yield positions, unseen(maps), measure(maps)

    def sum_distances(self, measured):
        """Return the sums of the distances by what has not seen the images."""
        sums = DistanceSums()
        for _, unseen, _ in measured:
            sums.add(unseen)
        return sums

    def set_standards(self, sums):
        """Bring distances to one scale from now on, as these sums of all images say; None for as they are."""
        self._standards = None if sums is None else sums.standards()

    def score_part(self, X, measured, largest, others=None):
        """Return the scores of a part's images, by what has not seen them and by this detector; pixels go to `largest`.

        Parameters
        ----------
        X : sequence of images
        measured : iterable
            Of `measure_part`.
        largest : LargestPixels
        others : list of LevelStandard, default=None
            By images of other folds; None where distances are as they are.
        """
        scores = np.full((2, count_images(X)), np.nan)
        if others is not None:
            measured = (
                (rows, standardize(unseen, others), standardize(seen, self._standards))
                for rows, unseen, seen in measured
            )
        for rows, unseen, seen in self._join(measured):
            scores[0, rows], scores[1, rows] = self._score(unseen), self._score(seen)
            largest.add(self._draw(unseen))
        return scores

    def expect_pixels(self, n_images):
        """Return an empty `LargestPixels` for the maps of so many images."""
        return self._expect_pixels(n_images)

    def keep_pixels(self, largest):
        """Set the pixel threshold and the peaks of maps, by those of detectors that have not seen the images."""
        self._keep_pixels(largest)

    def standardizes(self):
        """Return whether distances are brought to one scale."""
        return bool(getattr(self, "standardize", False))
