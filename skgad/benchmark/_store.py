"""Finished cells on disk: what was computed once is not computed again, whenever the run is stopped.

A cell is found by the digest of all that its result depends on, so that other images, other weights or another
setting are another cell. Each is a file of its own, written beside its place and moved there in one step.
"""

import csv
import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Result(NamedTuple):
    """What a cell gives: distances of the test images, by method and level, and what they cost.

    Parameters
    ----------
    methods : list of str
        One a row.
    levels : list of str
        "1", ..., "sum".
    n_features : ndarray of int of shape (n_rows,)
        Behind each row's distance; 0 where the distance has no law.
    distances : ndarray of shape (n_rows, n_test)
        Higher is more anomalous.
    seconds : float
    peak_mib : float
    """

    methods: list
    levels: list
    n_features: np.ndarray
    distances: np.ndarray
    seconds: float
    peak_mib: float


class Store:
    """A folder of results.

    Parameters
    ----------
    folder : path
        Made if it is not there.
    """

    def __init__(self, folder):
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)

    def get(self, key):
        """Return the `Result` of a key, or None."""
        try:
            with np.load(self._find(key)) as file:
                return Result(
                    file["methods"].tolist(),
                    file["levels"].tolist(),
                    file["n_features"],
                    file["distances"],
                    float(file["seconds"]),
                    float(file["peak_mib"]),
                )
        except FileNotFoundError:
            return None

    def put(self, key, result):
        """Store a `Result`, whole or not at all."""
        write_atomically(self._find(key), lambda file: np.savez_compressed(file, **result._asdict()))

    def _find(self, key):
        return self._folder / f"{key}.npz"


class Log:
    """A CSV file to which lines are added as things happen.

    Parameters
    ----------
    path : path
        Made with its header by the first line.
    kind : type
        A NamedTuple of texts and numbers.
    """

    def __init__(self, path, kind):
        self._path = path
        self._kind = kind

    def add(self, row):
        """Add a line."""
        is_new = not self._path.exists()
        with open(self._path, "a", newline="") as file:
            writer = csv.writer(file)
            writer.writerows([self._kind._fields, row] if is_new else [row])

    def read(self):
        """Return all lines."""
        if not self._path.exists():
            return []
        types = self._kind.__annotations__.values()
        with open(self._path, newline="") as file:
            _, *rows = csv.reader(file)
        whole = [row for row in rows if len(row) == len(types)]  # a process may have been killed within a line
        return [self._kind(*(make(text) for make, text in zip(types, row, strict=True))) for row in whole]


def make_key(*parts):
    """Return the digest of texts, numbers and arrays."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray) and part.dtype.kind != "O":
            digest.update(repr((part.shape, part.dtype.str)).encode())
            digest.update(np.ascontiguousarray(part).data)
        else:
            digest.update(repr(part).encode())
        digest.update(b"\n")
    return digest.hexdigest()[:32]


def write_atomically(path, write):
    """Write a file beside its place, by a function that takes the open file, and move it there in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            write(file)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
