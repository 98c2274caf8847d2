"""One pass over the feature maps of images: from an extractor into what is learnt of them, or past a measure."""

import threading
from contextlib import closing

import numpy as np

from .._gaussian._places import count_pivot_images
from .._images._sequence import check_images
from ..deep._threads import find_pools


def count_images(X):
    """Return the number of images, or raise ImageError if they are none."""
    return len(check_images(X, items=False))


def iter_maps(features, X, rows=None):
    """Yield rows and maps of images, BLAS having half its threads to work on them.

    The network's threads spin a while after each batch. All of BLAS's beside them wait on each other: on two cores,
    distances then take five times as long.
    """
    with closing(features.iter_maps(X, rows)) as batches:
        for batch in batches:
            with _half_of_blas:
                yield batch


def learn(batches, begin, n_images, memory_of=None, n_memories=1):
    """Return memories of images, a list.

    Parameters
    ----------
    batches : iterable of (rows, maps)
    begin : callable
        From the maps of the first images, the number of images, and that of memories, to an empty memory, about the
        first ones' mean; or to None, if there is no room for so many memories.
    n_images : int
        How many will come.
    memory_of : ndarray of int, default=None
        The memory of each image, by its row; if there is no room for so many, there is one.
    n_memories : int
    """
    memories: list = []
    waiting: list = []
    for batch in batches:
        waiting.append(batch)
        if not memories:
            if sum(len(rows) for rows, _ in waiting) < min(count_pivot_images(waiting[0][1]), n_images):
                continue
            memories = _begin_memories([maps for _, maps in waiting], begin, n_images, n_memories)
        for rows, maps in waiting:
            _share_out(memories, rows, maps, memory_of)
        waiting = []
    return memories


def add_all(memory, batches):
    """Return a memory that has taken batches of rows and maps in."""
    for rows, maps in batches:
        memory.add(maps, rows)
    return memory


def _begin_memories(maps, begin, n_images, n_memories):
    first = [np.concatenate(level)[: count_pivot_images(maps[0])] for level in zip(*maps, strict=True)]
    empty = begin(first, n_images, n_memories)
    if empty is None:
        return [begin(first, n_images, 1)]
    return [empty, *(empty.empty() for _ in range(n_memories - 1))]


def _share_out(memories, rows, maps, memory_of):
    if len(memories) == 1:
        memories[0].add(maps, rows)
        return
    for number in np.unique(memory_of[rows]):
        own = memory_of[rows] == number
        memories[number].add([level[own] for level in maps], rows[own])


class _HalfOfBlas:
    """While anyone is inside, BLAS has half its threads.

    The limit is the process's. Passes in several threads overlap: the first sets it, the last takes it back, or each
    would halve what another has halved, and one of them would put that back in the end.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._n_inside = 0

    def __enter__(self):
        with self._lock:
            if not self._n_inside:
                blas = find_pools().select(user_api="blas")
                n_threads = max((library["num_threads"] for library in blas.info()), default=1)
                self._limit = blas.limit(limits=max(1, n_threads // 2))
            self._n_inside += 1

    def __exit__(self, *_):
        with self._lock:
            self._n_inside -= 1
            if not self._n_inside:
                self._limit.restore_original_limits()


_half_of_blas = _HalfOfBlas()
