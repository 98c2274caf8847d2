"""Pooled features on disk, one entry an image: what went through the network once need not go again.

What a user asks of a cache. An entry is found by content: the sha256 of the file's bytes or of the pixels, with a
fingerprint of all that the features depend on (`_cache_keys`). So a file that is renamed is found, and one that is
changed is not. The store (`_feature_store`) is one SQLite file in WAL mode (`_cache_file`): several processes may read
and write it, and one that is killed in the middle of a write leaves nothing of it behind. Above its limit, the entries
that were stored first go.
"""

import os
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from platformdirs import user_cache_path

from ._cache_file import make_error
from ._feature_store import DEFAULT_LIMIT, CacheInfo, FeatureStore


def cache_info(cache=True):
    """Return what a cache of features holds.

    Parameters
    ----------
    cache : True or path, default=True
        As in `DeepFeatureTransformer`: the user's cache folder, or a folder.

    Returns
    -------
    CacheInfo
        A named tuple of ``path``, ``n_images``, ``n_bytes`` and ``limit_bytes``.

    Raises
    ------
    CacheError
        If the file is not skgad's, or cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from skgad.deep import cache_info
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cache_info(folder).n_images
    0
    """
    store, is_there = _find_store(cache)
    if not is_there:
        return CacheInfo(store.path, 0, 0, DEFAULT_LIMIT)
    with store:
        return store.info()


def clear_cache(cache=True):
    """Delete all features of a cache; its limit stays.

    Parameters
    ----------
    cache : True or path, default=True
        As in `DeepFeatureTransformer`: the user's cache folder, or a folder.

    Raises
    ------
    CacheError
        If the file is not skgad's, or cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from skgad import DeepFeatureTransformer
    >>> from skgad.deep import cache_info, clear_cache
    >>> images = np.zeros((1, 32, 32), dtype=np.uint8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = DeepFeatureTransformer("tf_efficientnet_lite0", image_size=32, cache=folder).fit_transform(images)
    ...     before = cache_info(folder).n_images
    ...     clear_cache(folder)
    ...     (before, cache_info(folder).n_images)
    (1, 0)
    """
    store, is_there = _find_store(cache)
    if is_there:
        with store:
            store.clear()


def limit_cache(n_bytes, cache=True):
    """Set how large a cache may become. Above that, the features that were stored first are deleted.

    Parameters
    ----------
    n_bytes : int
        The limit, 4 GiB unless it is set. An image takes 4 bytes a feature of all levels: 12 kB with EfficientNet-B4.
    cache : True or path, default=True
        As in `DeepFeatureTransformer`: the user's cache folder, or a folder. The limit is kept there.

    Raises
    ------
    ValueError
        If `n_bytes` is no positive int.
    CacheError
        If the file is not skgad's, or cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from skgad.deep import cache_info, limit_cache
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     limit_cache(2**30, folder)
    ...     cache_info(folder).limit_bytes
    1073741824
    """
    if not isinstance(n_bytes, (int, np.integer)) or isinstance(n_bytes, bool) or n_bytes < 1:
        raise ValueError(f"n_bytes must be a positive int; got {n_bytes!r}.")
    with FeatureStore(_find_folder(cache)) as store:
        store.limit(int(n_bytes))


def open_store(cache):
    """Return the `FeatureStore` that a parameter means, a context that gives nothing for None.

    Raises
    ------
    ValueError
        If the parameter is neither None nor True nor the path of a folder.
    CacheError
        When it is entered, if there is something in the file's place that is not a cache of skgad's.
    """
    return nullcontext() if cache is None or cache is False else FeatureStore(_find_folder(cache))


def _find_folder(cache):
    if cache is True:
        return user_cache_path("skgad")
    path = os.fspath(cache) if isinstance(cache, (str, os.PathLike)) else None
    if not isinstance(path, str) or not path or "\0" in path:
        raise ValueError(f"cache must be None, True or the path of a folder; got {cache!r}.")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:  # ~nobody
        raise ValueError(f"cache={cache!r}: {error} Give the path of a folder.") from error


def _find_store(cache):
    """Return the store that a parameter means, and whether there is something in its place."""
    store = FeatureStore(_find_folder(cache))
    try:
        store.path.stat()
    except FileNotFoundError:
        return store, False
    except OSError as error:
        raise make_error(store.path, error) from error
    return store, True
