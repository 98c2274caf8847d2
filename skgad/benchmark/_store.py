"""Finished cells on disk: what was computed once is not computed again, whenever the run is stopped.

A cell is found by the digest of all that its result depends on, so that other images, other weights or another
setting are another cell. Each is a file of its own, written beside its place and moved there in one step. What is
damaged all the same is put aside, told by its name, and computed anew.
"""

import csv
import hashlib
import os
import shutil
import zipfile
import zlib
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .._conventions._atomic import write_atomically
from .._conventions._warnings import warn


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
        """Return the `Result` of a key; None if there is none, or, with a warning, if it is damaged."""
        return read_whole(self._find(key), _read_result)

    def put(self, key, result):
        """Store a `Result`, whole or not at all."""
        write_atomically(self._find(key), lambda file: np.savez_compressed(file, **result._asdict()))

    def _find(self, key):
        return self._folder / f"{key}.npz"


def read_whole(path, read):
    """Return what a function reads from a file; None if there is none, or if it is damaged, which is told by its name.

    A damaged file, or a folder in its place, is put aside as ``<name>.damaged``.
    """
    try:
        return read(path)
    except FileNotFoundError:
        return None
    except (IsADirectoryError, *_DAMAGED) as error:
        aside = path.with_name(f"{path.name}.damaged")
        if aside.is_dir():
            shutil.rmtree(aside)
        os.replace(path, aside)
        warn(
            f"{path} is damaged ({type(error).__name__}: {error}). It is put aside as {aside.name}, and computed anew.",
            UserWarning,
        )
        return None


# What zipfile, NumPy and csv raise at bytes that are not as they were written; a right that is missing is no damage.
_DAMAGED = (
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    csv.Error,
)


def _read_result(path):
    content = BytesIO(path.read_bytes())
    try:
        with zipfile.ZipFile(content) as archive:
            damaged = archive.testzip()  # NumPy does not read as far as a member's checksum
    except OSError as error:  # not of the disk: a place that the archive's table names is not in it
        raise ValueError(str(error)) from error
    if damaged:
        raise ValueError(f"the checksum of {damaged} is another one")
    content.seek(0)
    with np.load(content, allow_pickle=False) as file:
        result = Result(
            file["methods"].tolist(),
            file["levels"].tolist(),
            file["n_features"],
            file["distances"],
            float(file["seconds"]),
            float(file["peak_mib"]),
        )
    n_rows = {len(result.methods), len(result.levels), len(result.n_features), len(result.distances)}
    if len(n_rows) > 1 or result.distances.ndim != 2:
        raise ValueError("its arrays do not belong together")
    return result


class Log:
    """A CSV file to which lines are added as things happen.

    A process may be killed at any moment: a line that was cut stays alone, and is left out when the lines are read.

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
        with open(self._path, "a+b") as file:
            file.seek(max(file.tell() - 1, 0))
            last = file.read()
        with open(self._path, "a", newline="") as file:
            if last not in (b"", b"\n"):
                file.write("\r\n")
            writer = csv.writer(file)
            writer.writerows([self._kind._fields, row] if not last else [row])

    def read(self):
        """Return all whole lines."""
        return read_whole(self._path, self._read_lines) or []

    def _read_lines(self, path):
        with open(path, newline="", encoding="utf-8") as file:
            return [line for line in map(self._parse, csv.reader(file)) if line is not None]

    def _parse(self, row):
        """Return a line, None if it is the header or was cut."""
        types = self._kind.__annotations__.values()
        try:
            return self._kind(*(make(text) for make, text in zip(types, row, strict=True)))
        except ValueError:
            return None


def digest(*parts):
    """Return the digest of texts, numbers and arrays."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray) and part.dtype.kind != "O":
            found.update(repr((part.shape, part.dtype.str)).encode())
            found.update(np.ascontiguousarray(part).data)
        else:
            found.update(repr(part).encode())
        found.update(b"\n")
    return found.hexdigest()[:32]
