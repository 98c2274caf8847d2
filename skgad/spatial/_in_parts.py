"""The steps of a fit in space, one by one: each takes and gives what can be sent, for images that are in parts.

What `skgad.distributed` asks; of a `SumsDetector`, whose methods these steps are made of.
"""

from contextlib import closing

import numpy as np

from .._gaussian._places import count_pivot_images
from ._passes import add_all, count_images
from ._standards import DistanceSums, standardize


def begin(detector, X, n_images):
    """Start a fit: check the parameters, fit the extractor, and return a memory without images.

    Parameters
    ----------
    detector : SumsDetector
    X : sequence of images
        The first ones, about whose mean the sums are taken: 16, where there are so many.
    n_images : int
        How many there are in all.

    Returns
    -------
    MapSums
    """
    detector._start_fit(X)
    waiting: list = []
    with closing(detector._read_to_learn(X)) as batches:
        for rows, maps in batches:
            waiting.append((len(rows), maps))
            if sum(count for count, _ in waiting) >= min(count_pivot_images(maps), detector._count_maps(n_images)):
                break
    levels = zip(*(maps for _, maps in waiting), strict=True)
    first = [np.concatenate(level)[: count_pivot_images(waiting[0][1])] for level in levels]
    return detector._begin(first, detector._count_maps(n_images), 1).empty()


def count_images_in(detector, memory):
    """Return how many images a memory has taken in."""
    return memory.n_images // detector._count_maps(1)


def learn(detector, X, rows, memory):
    """Return a memory of some images, from an empty one."""
    with closing(detector._read_to_learn(X, rows)) as batches:
        return add_all(memory.empty(), batches)


def keep(detector, memory):
    """Have a detector know what is in the memory of all images, and nothing else."""
    detector._keep(memory)
    detector._find_measure()  # raises if there is too little to measure by


def leave_out(detector, memory, part):
    """Return what measures maps by a memory without a part of it."""
    return detector._make_measure(memory.remove(part))


def measure(detector, X, rows, unseen):
    """Yield rows of images, their distances by what has not seen them, and by the detector, before standards."""
    seen = detector._find_measure()
    with closing(detector._read(X, rows)) as batches:
        for positions, maps in batches:
            yield positions, unseen(maps), seen(maps)


def sum_distances(measured):
    """Return the sums of the distances by what has not seen the images."""
    sums = DistanceSums()
    for _, unseen, _ in measured:
        sums.add(unseen)
    return sums


def standardizes(detector):
    """Return whether a detector brings distances to one scale."""
    return bool(detector.get_params(deep=False).get("standardize"))


def set_standards(detector, sums):
    """Bring distances to one scale from now on, as the sums of all images say."""
    detector._standards = sums.standards()


def score(detector, X, measured, largest, others=None):
    """Return the scores of images, by what has not seen them and by the detector; their pixels go to `largest`.

    Parameters
    ----------
    detector : SumsDetector
    X : sequence of images
    measured : iterable
        Of `measure`.
    largest : LargestPixels
    others : list of LevelStandard, default=None
        By images of other folds; None where distances are as they are.

    Returns
    -------
    ndarray of shape (2, n_images)
        NaN for images that were not measured.
    """
    scores = np.full((2, count_images(X)), np.nan)
    if others is not None:
        measured = (
            (rows, standardize(unseen, others), standardize(seen, detector._standards))
            for rows, unseen, seen in measured
        )
    for rows, unseen, seen in detector._join(measured):
        scores[0, rows], scores[1, rows] = detector._score(unseen), detector._score(seen)
        largest.add(detector._draw(unseen))
    return scores


def expect_pixels(detector, n_images):
    """Return an empty `LargestPixels` for the maps of so many images."""
    return detector._expect_pixels(n_images)


def keep_pixels(detector, largest):
    """Set the pixel threshold and the peaks of maps, by those of detectors that have not seen the images."""
    detector._keep_pixels(largest)
