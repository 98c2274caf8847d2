"""Pooled features on disk, one entry an image: what went through the network once need not go again.

An entry is found by content: the sha256 of the file's bytes or of the pixels, with a fingerprint of all that the
features depend on. So a file that is renamed is found, and one that is changed is not. The store is one SQLite file in
WAL mode: several processes may read and write it, and one that is killed in the middle of a write leaves nothing of it
behind.
"""

import hashlib
import os
import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from platformdirs import user_cache_path

from ..exceptions import CacheError
from ._images import decode, read_bytes

_FORMAT = 1  # of the values and their meaning; part of every fingerprint
_TABLES = """
CREATE TABLE IF NOT EXISTS features (key BLOB PRIMARY KEY, pooled BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS weights (origin TEXT PRIMARY KEY, sha256 TEXT NOT NULL) WITHOUT ROWID;
"""


def open_cache(cache):
    """Return the `FeatureCache` that a parameter means: None, True for the user's cache folder, or a folder.

    Raises
    ------
    ValueError
        If the parameter is neither.
    """
    if cache is None or cache is False:
        return None
    if cache is not True and not isinstance(cache, (str, os.PathLike)):
        raise ValueError(f"cache must be None, True or the path of a folder; got {cache!r}.")
    return FeatureCache(user_cache_path("skgad") if cache is True else Path(cache).expanduser())


class FeatureCache:
    """The store in a folder; made at the first write."""

    def __init__(self, folder):
        self._path = Path(folder) / "features.sqlite"

    def get(self, keys):
        """Return the entries that are there, a dict of key to float32 array."""
        if not self._path.is_file():
            return {}
        marks = ",".join("?" * len(keys))
        with self._connect() as connection:
            rows = connection.execute(f"SELECT key, pooled FROM features WHERE key IN ({marks})", keys)
            return {key: np.frombuffer(pooled, dtype="<f4") for key, pooled in rows}

    def put(self, entries):
        """Store a dict of key to array, all or nothing."""
        rows = [(key, np.ascontiguousarray(pooled, dtype="<f4").tobytes()) for key, pooled in entries.items()]
        with self._connect() as connection:
            connection.executemany("INSERT OR IGNORE INTO features VALUES (?, ?)", rows)

    def get_weights(self, origin):
        """Return the sha256 of weights from the place they were found in, None if it was never noted."""
        if not self._path.is_file():
            return None
        with self._connect() as connection:
            row = connection.execute("SELECT sha256 FROM weights WHERE origin = ?", (origin,)).fetchone()
        return row and row[0]

    def put_weights(self, origin, sha256):
        """Note the sha256 of weights, so that a warm cache needs no network."""
        with self._connect() as connection:
            connection.execute("INSERT OR REPLACE INTO weights VALUES (?, ?)", (origin, sha256))

    @contextmanager
    def _connect(self):
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._path, timeout=60)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=NORMAL")
                connection.executescript(_TABLES)
                with connection:  # a transaction
                    yield connection
        except (sqlite3.Error, OSError) as error:
            raise CacheError(
                f"The cache {self._path} cannot be used: {error}. Delete that file, or give another folder as cache=."
            ) from error


def fingerprint_features(backbone, weights_sha256, image_size):
    """Return the digest of all that the features of an image depend on, besides the image."""
    parts = (_FORMAT, backbone.name, weights_sha256, image_size, backbone.mean, backbone.std, "float32")
    return hashlib.sha256(repr(parts).encode()).digest()


def make_key(fingerprint, item, position):
    """Return the key of an image: of a file's bytes, or of what is decoded from an array or PIL image.

    Raises
    ------
    ImageError
        If it cannot be read; names the position.
    """
    digest = hashlib.sha256(fingerprint)
    if isinstance(item, (str, os.PathLike)):
        digest.update(read_bytes(item, position))
    else:
        pixels = np.ascontiguousarray(decode(item, position))
        digest.update(repr((pixels.shape, pixels.dtype.str)).encode())
        digest.update(pixels.tobytes())
    return digest.digest()
