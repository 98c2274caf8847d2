"""The store of a cache: features by key, each with a checksum; what is damaged or not written costs a warning only."""

import hashlib
import os
import sqlite3
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .._conventions._warnings import warn
from ..exceptions import CacheWarning
from ._cache_file import find_remedy, join_remedies, make_error, open_file

DEFAULT_LIMIT = 4 * 2**30
_OVERHEAD = 140  # bytes of an entry, beside its features


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


class FeatureStore:
    """The store in a folder, made if it is not there. A context: it is open inside. Threads may share it.

    In a job, nothing that befalls the file stops the job or changes a feature: an entry that is damaged is taken as one
    that is not there, and once writing has failed no more is written; `report` says so. `info`, `limit` and `clear`,
    which somebody has asked for, raise CacheError.

    Parameters
    ----------
    folder : path
    """

    def __init__(self, folder):
        self.path = Path(folder) / "features.sqlite"
        self._lock = threading.RLock()
        self._connection: Any = None  # a sqlite3.Connection;  # until it is entered, and where it cannot be read
        self._obstacle: Any = None  # an exception,  # to writing
        self._unreadable: set = set()  # keys
        self._n_unwritten = 0

    def __enter__(self):
        self._connection, self._obstacle = open_file(self.path)
        return self

    def __exit__(self, *_):
        if self._connection is not None:
            self._connection.close()

    def get(self, key):
        """Return the entry of a key, a float32 array, or None."""
        pooled = self._look_up("SELECT CAST(pooled AS BLOB), checksum FROM features WHERE key = ?", key)
        return None if pooled is None else np.frombuffer(pooled, dtype="<f4")

    def put(self, entries):
        """Store a dict of key to array, all or nothing."""
        values = {key: np.ascontiguousarray(pooled, dtype="<f4").tobytes() for key, pooled in entries.items()}
        rows = [(key, pooled, _digest(key, pooled)) for key, pooled in values.items()]
        if not self._try_to_write("INSERT OR REPLACE INTO features (key, pooled, checksum) VALUES (?, ?, ?)", rows):
            self._n_unwritten += len(rows)

    def get_weights(self, origin):
        """Return the sha256 of weights from the place they were found in, None if it was never noted."""
        sha256 = self._look_up("SELECT CAST(sha256 AS BLOB), checksum FROM weights WHERE origin = ?", origin)
        return None if sha256 is None else sha256.decode()

    def put_weights(self, origin, sha256):
        """Note the sha256 of weights, so that a warm cache needs no network."""
        row = (origin, sha256, _digest(origin, sha256.encode()))
        self._try_to_write("INSERT OR REPLACE INTO weights VALUES (?, ?, ?)", [row])

    def report(self):
        """Warn of entries that were damaged, and of those that could not be kept.

        Warns
        -----
        CacheWarning
        """
        parts = []
        if self._unreadable:
            parts.append(f"{len(self._unreadable)} entries are damaged, and were computed anew.")
        if self._n_unwritten:
            remedy = join_remedies(find_remedy(self._obstacle))
            parts.append(f"{self._n_unwritten} entries could not be kept: {self._obstacle}. {remedy}")
        if parts:
            warn(f"The cache {self.path}: {' '.join(parts)}", CacheWarning)

    def info(self):
        """Return a `CacheInfo`."""
        with self._named_errors():
            (n_images,) = self._read("SELECT count(*) FROM features")
            return CacheInfo(self.path, n_images, self._count_bytes(), self._find_limit())

    def limit(self, n_bytes):
        """Set the limit, and delete what is above."""
        with self._named_errors():
            if self._obstacle is not None:
                raise self._obstacle
            self._write("INSERT OR REPLACE INTO settings VALUES ('limit', ?)", [(n_bytes,)])

    def clear(self):
        """Delete all features, and give their room on disk back.

        The file goes, and is made anew: to delete rows takes room on the disk first, which may be full. Processes that
        have the old file open go on with it, until they close it.
        """
        with self._named_errors():
            limit = self._find_limit()
            self._connection.close()
            path = os.path.realpath(self.path)
            for suffix in ("-wal", "-shm", ""):  # the file last: whoever opens it meanwhile makes none of these anew
                Path(path + suffix).unlink(missing_ok=True)
            self.__enter__()
        self.limit(limit)

    def _look_up(self, query, key):
        """Return the bytes of a row, None if it is not there or its checksum is another one."""
        if self._connection is None:
            return None
        try:
            row = self._read(query, key)
        except sqlite3.Error:
            row = (None, None)
        if row is None:
            return None
        value, checksum = row
        if value is not None and checksum == _digest(key, value):
            return value
        self._unreadable.add(key)
        return None

    def _read(self, query, *parameters):
        with self._lock:
            return self._connection.execute(query, parameters).fetchone()

    def _try_to_write(self, statement, rows):
        """Write some rows, and return whether they are written; once that has failed it is not tried again."""
        if self._obstacle is None:
            try:
                self._write(statement, rows)
            except sqlite3.Error as error:
                self._obstacle = error
        return self._obstacle is None

    def _write(self, statement, rows):
        """Run a statement for some rows, all or nothing, and keep to the limit."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany(statement, rows)
                self._evict()
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.rollback()
                raise

    def _evict(self):
        """Delete the entries that were stored first, down to 90 % of the limit where it is passed."""
        n_bytes, limit = self._count_bytes(), self._find_limit()
        if n_bytes <= limit:
            return
        excess = n_bytes - 0.9 * limit
        rows = self._connection.execute(f"SELECT id, length(pooled) + {_OVERHEAD} FROM features ORDER BY id")
        last = 0
        for last, size in rows:  # noqa: B007
            excess -= size
            if excess <= 0:
                break
        rows.close()
        self._connection.execute("DELETE FROM features WHERE id <= ?", (last,))

    def _count_bytes(self):
        pages, free, size = (self._read(f"PRAGMA {name}")[0] for name in ("page_count", "freelist_count", "page_size"))
        return (pages - free) * size

    def _find_limit(self):
        row = self._read("SELECT value FROM settings WHERE name = 'limit'")
        return row[0] if row and isinstance(row[0], int) and row[0] > 0 else DEFAULT_LIMIT

    @contextmanager
    def _named_errors(self):
        try:
            if self._connection is None:
                raise self._obstacle
            yield
        except (sqlite3.Error, OSError) as error:
            raise make_error(self.path, error) from error


def _digest(key, value):
    """Return the checksum of an entry: of its key, too, so that no entry passes for another one."""
    digest = hashlib.sha256(key.encode() if isinstance(key, str) else key)
    digest.update(value)
    return digest.digest()
