"""Pooled features on disk, one entry an image: what went through the network once need not go again.

An entry is found by content: the sha256 of the file's bytes or of the pixels, with a fingerprint of all that the
features depend on. So a file that is renamed is found, and one that is changed is not. The store is one SQLite file in
WAL mode: several processes may read and write it, and one that is killed in the middle of a write leaves nothing of it
behind. Above its limit, the entries that were stored first go.
"""

import hashlib
import os
import sqlite3
import threading
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
from platformdirs import user_cache_path

from ..exceptions import CacheError

_FORMAT = 2  # of the file, the values and their meaning; part of every fingerprint
_DEFAULT_LIMIT = 4 * 2**30
_PATIENCE = 60  # seconds to wait for other processes
_TABLES = """
CREATE TABLE IF NOT EXISTS features (id INTEGER PRIMARY KEY, key BLOB UNIQUE NOT NULL, pooled BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS weights (origin TEXT PRIMARY KEY, sha256 TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""


class CacheInfo(NamedTuple):
    """What a cache holds.

    Parameters
    ----------
    path : Path
        Of its file.
    n_images : int
        Entries: one an image and setting.
    n_bytes : int
        How much they take.
    limit_bytes : int
        Above it, the entries that were stored first go.
    """

    path: Path
    n_images: int
    n_bytes: int
    limit_bytes: int


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
        If the file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from skgad.deep import cache_info
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cache_info(folder).n_images
    0
    """
    folder = _find_folder(cache)
    if not _find_file(folder).is_file():
        return CacheInfo(_find_file(folder), 0, 0, _DEFAULT_LIMIT)
    with FeatureStore(folder) as store:
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
        If the file cannot be written.

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
    folder = _find_folder(cache)
    if _find_file(folder).is_file():
        with FeatureStore(folder) as store:
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
        If the file cannot be written.

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
        If the parameter is neither None nor True nor a folder.
    """
    return nullcontext() if cache is None or cache is False else FeatureStore(_find_folder(cache))


class FeatureStore:
    """The store in a folder, made if it is not there. A context: it is open inside. Threads may share it."""

    def __init__(self, folder):
        self._path = _find_file(folder)
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection = None  # type: ignore[assignment]  # until it is entered

    def __enter__(self):
        with self._named_errors():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                self._path, timeout=_PATIENCE, check_same_thread=False, isolation_level=None
            )
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise
        return self

    def __exit__(self, *_):
        self._connection.close()

    def get(self, key):
        """Return the entry of a key, a float32 array, or None."""
        with self._named_errors():
            row = self._connection.execute("SELECT pooled FROM features WHERE key = ?", (key,)).fetchone()
        return None if row is None else np.frombuffer(row[0], dtype="<f4")

    def put(self, entries):
        """Store a dict of key to array, all or nothing."""
        rows = [(key, np.ascontiguousarray(pooled, dtype="<f4").tobytes()) for key, pooled in entries.items()]
        with self._write() as connection:
            connection.executemany("INSERT OR IGNORE INTO features (key, pooled) VALUES (?, ?)", rows)
            self._evict(connection)

    def get_weights(self, origin):
        """Return the sha256 of weights from the place they were found in, None if it was never noted."""
        with self._named_errors():
            row = self._connection.execute("SELECT sha256 FROM weights WHERE origin = ?", (origin,)).fetchone()
        return row and row[0]

    def put_weights(self, origin, sha256):
        """Note the sha256 of weights, so that a warm cache needs no network."""
        with self._write() as connection:
            connection.execute("INSERT OR REPLACE INTO weights VALUES (?, ?)", (origin, sha256))

    def info(self):
        """Return a `CacheInfo`."""
        with self._named_errors():
            (n_images,) = self._connection.execute("SELECT count(*) FROM features").fetchone()
            return CacheInfo(self._path, n_images, self._count_bytes(), self._find_limit())

    def limit(self, n_bytes):
        """Set the limit, and delete what is above."""
        with self._write() as connection:
            connection.execute("INSERT OR REPLACE INTO settings VALUES ('limit', ?)", (n_bytes,))
            self._evict(connection)

    def clear(self):
        """Delete all features and give their room on disk back."""
        with self._write() as connection:
            connection.execute("DELETE FROM features")
        with self._named_errors():
            self._connection.execute("VACUUM")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _prepare(self):
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._switch_to_wal()
            self._connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version={_FORMAT}; COMMIT;")
        elif version != _FORMAT:
            raise sqlite3.DatabaseError(f"it has format {version}, this version of skgad reads format {_FORMAT}")
        self._connection.execute("PRAGMA synchronous=NORMAL")

    def _switch_to_wal(self):
        """Switch a new file's mode, which does not wait for other processes that do so at the same time."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def _evict(self, connection):
        """Delete the entries that were stored first, down to 90 % of the limit where it is passed."""
        n_bytes, limit = self._count_bytes(), self._find_limit()
        if n_bytes <= limit:
            return
        excess = n_bytes - 0.9 * limit
        rows = connection.execute("SELECT id, length(pooled) + 100 FROM features ORDER BY id")
        last = 0
        for last, size in rows:  # noqa: B007
            excess -= size
            if excess <= 0:
                break
        rows.close()
        connection.execute("DELETE FROM features WHERE id <= ?", (last,))

    def _count_bytes(self):
        pages, free, size = (
            self._connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size

    def _find_limit(self):
        row = self._connection.execute("SELECT value FROM settings WHERE name = 'limit'").fetchone()
        return _DEFAULT_LIMIT if row is None else row[0]

    @contextmanager
    def _write(self):
        with self._named_errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.rollback()
                raise

    @contextmanager
    def _named_errors(self):
        try:
            with self._lock:
                yield
        except (sqlite3.Error, OSError) as error:
            remedy = "Other processes write to it; try again" if "locked" in str(error) else "Delete that file"
            raise CacheError(
                f"The cache {self._path} cannot be used: {error}. {remedy}, or give another folder as cache=."
            ) from error


def fingerprint_features(*parts):
    """Return the digest of all that the features of an image depend on, besides the image."""
    return hashlib.sha256(repr((_FORMAT, *parts)).encode()).digest()


def make_key(fingerprint, content):
    """Return the key of an image: of its file's bytes, or of its decoded pixels, with the fingerprint of the rest."""
    digest = hashlib.sha256(fingerprint)
    if isinstance(content, np.ndarray):
        digest.update(repr((content.shape, content.dtype.str)).encode())
        digest.update(np.ascontiguousarray(content).data)
    else:
        digest.update(content)
    return digest.digest()


def _find_folder(cache):
    if cache is not True and not isinstance(cache, (str, os.PathLike)):
        raise ValueError(f"cache must be None, True or the path of a folder; got {cache!r}.")
    return user_cache_path("skgad") if cache is True else Path(cache).expanduser()


def _find_file(folder):
    return Path(folder) / "features.sqlite"
