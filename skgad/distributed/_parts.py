"""Images in parts, each of which one worker reads: what a user has, cut up, with the position of each image."""

from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from .._conventions._labels import normal_rows
from .._conventions._sklearn import safe_indexing
from .._images._files import is_path
from .._images._sequence import check_images, fetch
from ..exceptions import ImageError

_FEWEST, _MOST = 16, 4096  # images in a part: a task costs the scheduler a millisecond, and is what a lost worker loses
_CHECKPOINT = 256  # images in a part of a checkpoint
_PARTS_A_THREAD = 8  # so that the last part to end keeps the others waiting for an eighth of the time at most


class Part(NamedTuple):
    """Some images, or rows of a table.

    Attributes
    ----------
    number : int
        From 0, without gaps.
    start : int
        How many images are in the parts before.
    positions : range or ndarray of int
        Of its images among all.
    items : sequence, frame, array, or a Delayed of one
        None for images that could be gone through only once, and have been.
    """

    number: int
    start: int
    positions: Any
    items: Any


class Parts:
    """All images, in parts.

    Parameters
    ----------
    make : callable
        Without arguments, to an iterable of `Part`; called once a pass.
    n_images : int or None
        How many images there are; None for an iterator, which only tells in the end.
    n_parts : int or None
    once : bool, default=False
        Whether the images can be gone through only once.
    """

    def __init__(self, make, n_images, n_parts, once=False):
        self.make, self.n_images, self.n_parts, self.once = make, n_images, n_parts, once


def make_parts(X, y, size, *, images, n_threads, count, kept=False):
    """Return the `Parts` of what a user has.

    Parameters
    ----------
    X : sequence of images, table, Dask collection, or iterator of batches
    y : array-like or None
        Labels: rows at -1 are left out.
    size : int or None
        Images in a part.
    images : bool
        Whether these are images, or else rows.
    n_threads : int
        That are there to work.
    count : callable
        From a list of Delayed to their lengths.
    kept : bool, default=False
        Whether a checkpoint has the parts, wherever it goes on: then their size is the same for any number of threads.

    Raises
    ------
    ValueError
        If `X` is empty, or labels come with what has no known order.
    ImageError
        If `X` is no sequence of images.
    """
    if hasattr(X, "to_delayed") or hasattr(X, "__next__"):
        if y is not None:
            raise ValueError("y goes with a sequence of images; leave anomalous ones out of a Dask collection before.")
        if size is not None:
            raise ValueError(
                "partition_size goes with a sequence of images: batches and partitions are parts as they come. "
                "Repartition a Dask collection."
            )
        return _OnceParts(X) if hasattr(X, "__next__") else _of_collection(X, images, count)
    if images:
        rows = X = check_images(X, items=False)
    else:
        rows = np.asarray(X)
    if y is None:
        positions = np.arange(len(rows))
    else:
        normals = normal_rows(y, len(rows))
        positions = np.arange(len(rows)) if normals is None else normals
    n_images = len(positions)
    if not n_images:
        raise ValueError("X is empty: n_samples = 0, a minimum of 1 is required.")
    if size is None and kept:
        size = _CHECKPOINT
    if size is None:
        size = int(np.clip(-(-n_images // (_PARTS_A_THREAD * n_threads)), _FEWEST, _MOST))
    starts = range(0, n_images, size)

    def make():
        for number, start in enumerate(starts):
            own = positions[start : start + size]
            yield Part(number, start, own, _take(X, own, images))

    return Parts(make, n_images, len(starts))


def _take(X, positions, images):
    if not images:
        return safe_indexing(X, positions)
    if isinstance(X, np.ndarray):
        return X[positions]
    return [fetch(X, position) for position in positions]


def _of_collection(X, images, count):
    """Return the parts of a Dask bag, Series or frame: its partitions."""
    if images and getattr(X, "ndim", 1) == 2:
        raise ImageError("X is a frame; pass the column that holds the paths, X['path'], not the frame.")
    if any(len(sizes) > 1 for sizes in getattr(X, "chunks", ((),))[1:]):
        raise ValueError("X is a Dask array whose rows are cut: X.rechunk({1: -1}) keeps each row in one chunk.")
    delayed = list(np.ravel(X.to_delayed()))
    lengths = count(delayed)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    if not starts[-1]:
        raise ValueError("X is empty: n_samples = 0, a minimum of 1 is required.")
    filled = [(start, length, one) for start, length, one in zip(starts, lengths, delayed, strict=False) if length]

    def make():
        for number, (start, length, one) in enumerate(filled):
            yield Part(number, start, np.arange(start, start + length), one)

    return Parts(make, int(starts[-1]), len(filled))


class _OnceParts(Parts):
    """The parts of an iterator of batches: with their images in the first pass, and without in those that follow."""

    def __init__(self, batches):
        super().__init__(self._pass, None, None, once=True)
        self._batches = enumerate(batches)
        self._seen: list = []  # parts, without their images
        self._first = None

    def peek(self):
        """Return the first part, which the first pass yields as well."""
        self._first = next(self._read(), None)
        if self._first is None:
            raise ValueError("X is empty: the iterator gives no batch.")
        return self._first

    def _pass(self):
        if self._first is not None:
            first, self._first = self._first, None
            yield first
            yield from self._read()
        elif self._seen:
            yield from self._seen
        else:
            yield from self._read()

    def _read(self):
        for number, batch in self._batches:
            if is_path(batch) or not hasattr(batch, "__len__"):
                raise ImageError(
                    f"Batch {number} of X is {batch!r}: an iterator gives batches, lists of images. Pass list(X)."
                )
            items = batch if hasattr(batch, "shape") else list(batch)
            if not len(items):
                raise ValueError(f"Batch {number} of X is empty.")
            start = 0 if not self._seen else self._seen[-1].start + len(self._seen[-1].positions)
            part = Part(number, start, np.arange(start, start + len(items)), items)
            self._seen.append(part._replace(items=None))
            yield part


def in_groups(items, size):
    """Yield lists of so many items, the last may be shorter."""
    items = iter(items)
    while group := list(islice(items, size)):
        yield group
