"""From a sequence of images to batches of features or maps: read ahead, looked up, and through the network once."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from .._images._decoding import decode
from .._images._files import is_path, name_image, read_bytes
from .._images._interest import read_own, split
from .._images._sequence import fetch
from ..exceptions import ImageError
from ._cache_keys import make_key
from ._threads import find_pools

_AHEAD = 2  # batches that are read while the network works; of one image each, one: it may be a big photograph


class Prepared(NamedTuple):
    """One image, ready for the network, or what is known of it without."""

    key: object = None  # the same for the same features
    pooled: np.ndarray | None = None  # its entry of the store
    resized: object = None  # as the network sees it, where it has none
    error: ImageError | None = None  # why it cannot be used


class Batch(NamedTuple):
    """The features of some images."""

    rows: range  # their positions
    pooled: np.ndarray  # (n_images, n_features), float32; NaN where there is an error
    errors: list  # of ImageError


def extract(images, resize, run, *, n_features, batch_size, num_workers, store=None, fingerprint=b""):
    """Yield the features of images in batches, in their order.

    Memory does not grow with the number of images: at most three batches are held.

    Parameters
    ----------
    images : sequence
        What `check_images` returned.
    resize : callable
        From a decoded image, its region of interest or None, and its name to what `run` takes.
    run : callable
        From a list of resized images to an array (n, n_features): the network.
    n_features : int
    batch_size : int
        Images per call of `run`.
    num_workers : int
        Threads that read, look up, decode and resize while the network works; 0 does so in between.
    store : FeatureStore, default=None
        Where to look features up and to keep them.
    fingerprint : bytes, default=b""
        Of all that the features depend on besides the image.

    Yields
    ------
    Batch
    """
    prepare = partial(_prepare, images, resize, store, fingerprint)
    for rows, prepared in _read_ahead(prepare, len(images), batch_size, num_workers):
        errors = [image.error for image in prepared if image.error is not None]
        found = _find_features([image for image in prepared if image.error is None], run, store)
        pooled = np.full((len(rows), n_features), np.nan, dtype=np.float32)
        for row, image in enumerate(prepared):
            if image.error is None:
                pooled[row] = found[image.key]
        yield Batch(rows, pooled, errors)


class MapBatch(NamedTuple):
    """The feature maps of some images."""

    rows: np.ndarray  # positions of the images that could be used
    maps: list  # one a level, (n_rows, height, width, channels), float32; empty if none could
    errors: list  # of ImageError
    n_images: int  # used or not


def extract_maps(images, rows, resize, run, *, batch_size, num_workers):
    """Yield the feature maps of the images at the positions `rows`, in batches; as `extract` but for the store."""

    def prepare(index):
        return _prepare(images, resize, None, b"", int(rows[index]))

    for indices, prepared in _read_ahead(prepare, len(rows), batch_size, num_workers):
        usable = [image for image in prepared if image.error is None]
        maps = run([image.resized for image in usable]) if usable else []
        errors = [image.error for image in prepared if image.error is not None]
        positions = np.asarray([image.key for image in usable], dtype=np.intp)
        yield MapBatch(positions, maps, errors, len(indices))


def read_rows(rows, n_images):
    """Return positions of images as an array, all of them for None; ValueError if some are no positions."""
    if rows is None:
        return np.arange(n_images)
    rows = np.asarray(rows)
    if rows.dtype == bool and rows.shape == (n_images,):
        return np.flatnonzero(rows)
    if rows.ndim != 1 or not (np.issubdtype(rows.dtype, np.integer) or rows.size == 0):
        raise ValueError(f"rows must hold positions of images, or be a mask; got {rows.dtype} of shape {rows.shape}.")
    if rows.size and not (rows.min() >= 0 and rows.max() < n_images):
        odd = rows[(rows < 0) | (rows >= n_images)][0]
        raise ValueError(f"rows must lie in 0..{n_images - 1}, the positions of the images; got {odd}.")
    return rows.astype(np.intp)


def _prepare(images, resize, store, fingerprint, position):
    try:
        item, roi = split(fetch(images, position))
        own = read_own(roi, name_image(item, position))
        content = read_bytes(item, position) if is_path(item) else decode(item, position)
        key = position if store is None else make_key(fingerprint, content, own)
        pooled = None if store is None else store.get(key)
        if pooled is not None:
            return Prepared(key, pooled=pooled)
        image = decode(item, position, content) if is_path(item) else content
        return Prepared(key, resized=resize(image, own, name_image(item, position)))
    except ImageError as error:
        return Prepared(error=ImageError(str(error)))  # a new one: the traceback of the first holds the file's bytes


def _find_features(prepared, run, store):
    """Return the features of each key; what the store lacks goes through the network, and into the store."""
    found = {image.key: image.pooled for image in prepared if image.pooled is not None}
    lacking = {image.key: image.resized for image in prepared if image.key not in found}
    if store is not None:  # an earlier batch or another process may have stored it since
        later = {key: store.get(key) for key in lacking}
        found.update((key, pooled) for key, pooled in later.items() if pooled is not None)
    lacking = {key: resized for key, resized in lacking.items() if key not in found}
    if lacking:
        computed = dict(zip(lacking, run(list(lacking.values())), strict=True))
        if store is not None:
            store.put(computed)
        found.update(computed)
    return found


def _read_ahead(prepare, n_images, batch_size, num_workers):
    """Yield batches of positions and what was prepared for them; later ones are prepared meanwhile."""
    batches = [range(start, min(start + batch_size, n_images)) for start in range(0, n_images, batch_size)]
    if num_workers == 0 or n_images == 1:
        for rows in batches:
            yield rows, [prepare(row) for row in rows]
        return
    executor = ThreadPoolExecutor(num_workers, thread_name_prefix="skgad-reader", initializer=_work_alone)
    waiting: deque = deque()
    try:
        for rows in batches:
            shares = [rows[start::num_workers] for start in range(min(num_workers, len(rows)))]
            waiting.append((rows, [executor.submit(_prepare_all, prepare, share) for share in shares]))
            if len(waiting) > (_AHEAD if batch_size > 1 else 1):
                yield _collect(*waiting.popleft())
        while waiting:
            yield _collect(*waiting.popleft())
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _work_alone():
    """Let torch use one core in this thread: the network has the others, and the two would wait for each other."""
    torch.get_num_threads()  # torch sets a thread up at its first question; after that, the limit stays
    find_pools().limit(limits=1, user_api="openmp")  # of the calling thread only, as OpenMP has it


def _prepare_all(prepare, rows):
    return [prepare(row) for row in rows]  # one task a batch and worker: a task an image costs more than a look-up


def _collect(rows, futures):
    prepared = [None] * len(rows)
    for start, future in enumerate(futures):
        prepared[start :: len(futures)] = future.result()
    return rows, prepared
